"""Slurm `topology.conf`: nodes on leaves, in blocks or in rings. Speeds in it are arbitrary (man page)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optimizer.errors import InputError
from optimizer.inputs.hostlist import expand
from optimizer.inputs.importers.facts import FabricFacts, Facts, Finding, HostFacts, Pasted, counted, listed
from optimizer.inputs.importers.slurm_torus import Grid
from optimizer.inputs.importers.slurm_torus import facts as of_grids

KIND = "Slurm topology.conf"
_LINE = re.compile(
    r"^[ \t]*(SwitchName|BlockName|RingName)[ \t]*=[ \t]*(\S+)(?![ \t]+(?:Level|BlockIndex)=)(?!\S)",
    re.IGNORECASE | re.MULTILINE,
)
"""What `scontrol show topology` prints looks alike, with a level or an index; it has a reader of its own."""
_SETTING = re.compile(r"(\w+)\s*=\s*(\S+)")
MAX_NODES = 100_000


@dataclass(frozen=True)
class Unit:
    """A switch or a block, with what hangs on it."""

    name: str
    nodes: tuple[str, ...] = ()
    switches: tuple[str, ...] = ()


def recognises(pasted: Pasted) -> bool:
    """Whether the text names switches or blocks."""
    return _LINE.search(pasted.text) is not None


def read(pasted: Pasted) -> Facts:
    """Return the nodes with their leaf and pod, with their block, or in the order of a ring."""
    switches: list[Unit] = []
    blocks: list[Unit] = []
    rings: list[Grid] = []
    findings: list[Finding] = []
    for number, line in enumerate(pasted.text.split("\n"), start=1):
        settings = {key.lower(): value for key, value in _SETTING.findall(line.split("#")[0])}
        where = f"{pasted.where}:{number}"
        if {"level", "blockindex"} & set(settings):
            continue
        if "switchname" in settings:
            switches.append(_unit(settings, "switchname", where, findings))
        elif "blockname" in settings:
            blocks.append(_unit(settings, "blockname", where, findings))
        elif "ringname" in settings:
            nodes = hostlist(settings.get("nodes", ""), where, findings)
            rings.append(Grid(settings["ringname"], (len(nodes),), tuple((n, (i,)) for i, n in enumerate(nodes))))
    if rings and not switches and not blocks and any(ring.nodes for ring in rings):
        return of_grids(rings, pasted.where, KIND, findings)
    return facts(switches, blocks, pasted.where, KIND, findings)


def _unit(settings: Mapping[str, str], name: str, where: str, findings: list[Finding]) -> Unit:
    nodes = hostlist(settings.get("nodes", ""), where, findings)
    return Unit(settings[name], nodes, hostlist(settings.get("switches", ""), where, findings))


def hostlist(text: str, where: str, findings: list[Finding]) -> tuple[str, ...]:
    """Return the names of a host list; one that is cut is reported and left out."""
    if not text or text == "(null)":
        return ()
    try:
        return expand(text)
    except ValueError as error:
        findings.append(Finding("broken", f"{where}: {error}; left out"))
        return ()


def facts(
    switches: Sequence[Unit], blocks: Sequence[Unit], where: str, kind: str, findings: Sequence[Finding] = ()
) -> Facts:
    """Return what a tree of switches, or a list of blocks, says about nodes."""
    said = list(findings)
    leaf_of = _places([u for u in switches if u.nodes], where, said)
    block_of = _places(blocks, where, said)
    names = list(dict.fromkeys((*leaf_of, *block_of)))
    if not names:
        raise InputError(f"{where}: {kind} that names no node; give the whole file")
    if len(names) > MAX_NODES:
        raise InputError(f"{where}: names more than {MAX_NODES:,} nodes; import a part of it")
    pods = _pods(switches, where, said)
    leaves = list(dict.fromkeys(leaf_of.values()))
    hosts = tuple(
        HostFacts(n, leaf=leaf_of.get(n, block_of.get(n)), pod=pods.get(leaf_of.get(n, "")), domain=block_of.get(n))
        for n in names
    )
    parts = [counted(len(names), "node")]
    parts += [f"{len(leaves)} leaf switches"] if leaves else []
    parts += [counted(len(blocks), "block")] if blocks else []
    told = Finding("read", f"{where}: {kind}: {', '.join(parts)}")
    lacks = Finding("missing", f"{where}: Slurm files give no GPU, no NIC and no bandwidth; merge a node's own file")
    return Facts(hosts=hosts, fabric=FabricFacts("fat-tree"), findings=(told, lacks, *said))


def _places(units: Sequence[Unit], where: str, said: list[Finding]) -> dict[str, str]:
    """Return the unit of each node; the first when there are several."""
    place: dict[str, str] = {}
    twice: dict[str, None] = {}
    for unit in units:
        for node in unit.nodes:
            if place.setdefault(node, unit.name) != unit.name:
                twice[node] = None
    if twice:
        said.append(Finding("broken", f"{where}: {listed(list(twice))} named under two leaves; the first is used"))
    return place


def _pods(switches: Sequence[Unit], where: str, said: list[Finding]) -> dict[str, str]:
    """Return the parent of each leaf where leaves have different parents, and say what is odd about the tree."""
    parents: dict[str, str] = {}
    for unit in switches:
        for child in unit.switches:
            parents.setdefault(child, unit.name)
    known = {unit.name for unit in switches}
    unknown = sorted(set(parents) - known)
    if unknown:
        said.append(Finding("broken", f"{where}: {listed(unknown)} named as children but nowhere described"))
    roots = [u.name for u in switches if u.name not in parents]
    if len(roots) > 1:
        message = f"{where}: {len(roots)} roots ({listed(roots)}): no switch is named that joins them"
        said.append(Finding("guessed", f"{message}; one layer of spines above is assumed"))
    leaves = [u.name for u in switches if u.nodes]
    if len({_depth(leaf, parents) for leaf in leaves}) > 1:
        said.append(Finding("read", f"{where}: the tree is unbalanced: leaves at different depths"))
    pods = {leaf: parents[leaf] for leaf in leaves if leaf in parents}
    return pods if len(set(pods.values())) > 1 else {}


def _depth(name: str, parents: Mapping[str, str]) -> int:
    seen = {name}
    while (name := parents.get(name, "")) and name not in seen:
        seen.add(name)
    return len(seen)
