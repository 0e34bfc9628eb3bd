"""Slurm `topology.yaml`: the same trees and blocks as topology.conf; a file may hold several topologies."""

import re
from collections.abc import Mapping

from optimizer.errors import InputError
from optimizer.inputs.documents import parse_yaml
from optimizer.inputs.importers.facts import Facts, Finding, Pasted
from optimizer.inputs.importers.slurm_conf import Unit, facts, hostlist

KIND = "Slurm topology.yaml"
_TOPOLOGY = re.compile(r"^\s*-\s*topology\s*:\s*\S", re.MULTILINE)
_TYPE = re.compile(r"^\s+(?:tree|block|flat|ring|torus3d)\s*:", re.MULTILINE)
_NOT_READ = ("ring", "torus3d")


def recognises(pasted: Pasted) -> bool:
    """Whether the text lists topologies."""
    return _TOPOLOGY.search(pasted.text) is not None and _TYPE.search(pasted.text) is not None


def read(pasted: Pasted) -> Facts:
    """Return the nodes of all trees and blocks of the file."""
    document = parse_yaml(pasted.text, pasted.where)
    findings: list[Finding] = []
    switches: list[Unit] = []
    blocks: list[Unit] = []
    for entry in _mappings(document):
        for kind in _NOT_READ:
            if kind in entry:
                message = (
                    f"{pasted.where}: topology {entry.get('topology')}: {kind} is not read; its nodes are left out"
                )
                findings.append(Finding("missing", message))
        tree, block = entry.get("tree"), entry.get("block")
        switches += _units(tree, "switches", "switch", pasted.where, findings)
        blocks += _units(block, "blocks", "block", pasted.where, findings)
    if not switches and not blocks:
        raise InputError(
            f"{pasted.where}: {KIND} without tree or block (flat names no place); give nodes by another file"
        )
    return facts(switches, blocks, pasted.where, KIND, findings)


def _mappings(value: object) -> list[Mapping[str, object]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _units(section: object, plural: str, singular: str, where: str, findings: list[Finding]) -> list[Unit]:
    items = _mappings(section.get(plural)) if isinstance(section, Mapping) else []
    return [
        Unit(
            str(item.get(singular) or "?"),
            hostlist(str(item.get("nodes") or ""), where, findings),
            hostlist(str(item.get("children") or item.get("switches") or ""), where, findings),
        )
        for item in items
    ]
