"""Slurm `topology.yaml`: trees and blocks as in topology.conf, rings and 3D tori; a file may hold several of them."""

import re
from collections.abc import Mapping
from functools import partial

from optimizer.errors import InputError
from optimizer.inputs.documents import parse_yaml
from optimizer.inputs.importers.facts import Facts, Finding, Pasted
from optimizer.inputs.importers.slurm_conf import Unit, facts, hostlist
from optimizer.inputs.importers.slurm_torus import Grid, grids
from optimizer.inputs.importers.slurm_torus import facts as of_grids

KIND = "Slurm topology.yaml"
_TOPOLOGY = re.compile(r"^\s*-\s*topology\s*:\s*\S", re.MULTILINE)
_TYPE = re.compile(r"^\s+(?:tree|block|flat|ring|torus3d)\s*:", re.MULTILINE)


def recognises(pasted: Pasted) -> bool:
    """Whether the text lists topologies."""
    return _TOPOLOGY.search(pasted.text) is not None and _TYPE.search(pasted.text) is not None


def read(pasted: Pasted) -> Facts:
    """Return the nodes of all trees and blocks of the file; where there are none, of its largest torus or ring."""
    document = parse_yaml(pasted.text, pasted.where)
    findings: list[Finding] = []
    switches: list[Unit] = []
    blocks: list[Unit] = []
    found: list[Grid] = []
    for entry in _mappings(document):
        found += grids(entry, partial(_named, where=pasted.where, findings=findings), pasted.where, findings)
        tree, block = entry.get("tree"), entry.get("block")
        switches += _units(tree, "switches", "switch", pasted.where, findings)
        blocks += _units(block, "blocks", "block", pasted.where, findings)
    if found and not switches and not blocks:
        return of_grids(found, pasted.where, KIND, findings)
    for grid in found:
        message = (
            f"{pasted.where}: {grid.name} is left out: the tree or blocks of the same file tell how nodes are joined"
        )
        findings.append(Finding("missing", message))
    if not switches and not blocks:
        raise InputError(
            f"{pasted.where}: {KIND} without tree, block, ring or torus3d (flat names no place); give another file"
        )
    return facts(switches, blocks, pasted.where, KIND, findings)


def _named(value: object, *, where: str, findings: list[Finding]) -> tuple[str, ...]:
    """Return the names of a host list, or of a list of them."""
    texts = value if isinstance(value, list) else [value]
    return tuple(name for text in texts if isinstance(text, str) for name in hostlist(text, where, findings))


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
