"""A user's own graph (node-link JSON, GraphML) to facts: nodes with a kind, edges with a bandwidth.

Nodes: `kind` (gpu, nvswitch, pcie, cpu, nic, leaf, spine, host), `host`, and for GPUs `gpu` (type), `uuid`, `bus_id`,
`state`. Edges: `bandwidth` as text with its unit, or `bytes_per_s`; parallel edges add up, a cable's two arcs do not.
"""

import re
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from optimizer.errors import InputError
from optimizer.inputs.importers.facts import (
    MAX_GPUS,
    FabricFacts,
    Facts,
    Finding,
    GpuFacts,
    HostFacts,
    NicFacts,
    NodeFacts,
    counted,
    listed,
)
from optimizer.inputs.importers.nearness import nearest
from optimizer.units import parse_bytes_per_s

Attributes = Mapping[str, object]
MAX_NODES = 200_000
_KINDS = {
    "gpu": r"gpu|accelerator|npu|device",
    "nvswitch": r"nv-?_?sw(?:itch)?|nvlink_?switch",
    "pcie": r"pcie?_?(?:switch|sw)?|pcisw|plx",
    "cpu": r"cpu|numa|socket",
    "nic": r"nic|hca|net|mlx\d?|rdma",
    "leaf": r"leaf|tor|rail|edge_?switch",
    "spine": r"spine|core|aggregation|switch|sw",
    "host": r"host|server|node|machine",
}
_INSIDE = ("gpu", "nvswitch", "pcie", "cpu", "nic", "host")
_NUMBER_UNITS = {"bytes_per_s": "B/s", "gb_per_s": "GB/s", "gbytes_per_s": "GB/s", "gbit_per_s": "Gb/s", "gbps": "Gb/s"}


@dataclass
class Graph:
    """Nodes by id and the rate of each arc in bytes/s (0 when not told)."""

    where: str
    nodes: dict[str, Attributes] = field(default_factory=dict)
    arcs: dict[tuple[str, str], float] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def add_edge(self, source: str, target: str, attributes: Attributes, is_directed: bool) -> None:
        """Add an edge or arc; its ends become nodes when the file does not list them."""
        if source == target:
            return
        for end in (source, target):
            self.nodes.setdefault(end, {})
        rate = _rate(attributes)
        self.arcs[source, target] = self.arcs.get((source, target), 0.0) + rate
        if not is_directed:
            self.arcs[target, source] = self.arcs.get((target, source), 0.0) + rate

    def rate(self, a: str, b: str) -> float:
        """Return the larger of both directions."""
        return max(self.arcs.get((a, b), 0.0), self.arcs.get((b, a), 0.0))


def _rate(attributes: Attributes) -> float:
    text = attributes.get("bandwidth")
    try:
        if isinstance(text, str):
            return parse_bytes_per_s(text)
        for key, unit in _NUMBER_UNITS.items():
            if key in attributes:
                return parse_bytes_per_s(f"{float(str(attributes[key]))!r} {unit}")
    except ValueError:
        return 0.0
    return 0.0


def read_graph(graph: Graph, format_name: str) -> Facts:
    """Return the hosts, their insides and the leaves that join them."""
    if len(graph.nodes) > MAX_NODES:
        raise InputError(f"{graph.where}: more than {MAX_NODES:,} nodes; import a part of it")
    kinds = {name: _kind(name, attributes) for name, attributes in graph.nodes.items()}
    if "gpu" not in kinds.values():
        raise InputError(
            f"{graph.where}: no node is a GPU; give nodes a `kind` (gpu, nvswitch, pcie, cpu, nic, leaf, spine)"
        )
    guessed = [name for name, attributes in graph.nodes.items() if kinds[name] and not _told(attributes)]
    if guessed:
        graph.findings.append(Finding("guessed", f"{graph.where}: kinds of {listed(guessed)} from their names"))
    ignored = [name for name, kind in kinds.items() if not kind]
    if ignored:
        graph.findings.append(
            Finding("missing", f"{graph.where}: {listed(ignored)} have no kind that is known; ignored")
        )
    near = _neighbours(graph)
    homes = _homes(graph, kinds, near)
    insides = {host: _inside(graph, kinds, near, host, members, format_name) for host, members in homes.items()}
    hosts, fabric = _fabric(graph, kinds, near, insides, homes)
    told = (
        f"{graph.where}: {format_name}: {counted(len(graph.nodes), 'node')}, {counted(len(insides), 'host')} with GPUs"
    )
    return Facts(tuple(insides.values()), hosts, fabric, findings=(Finding("read", told), *graph.findings))


def _told(attributes: Attributes) -> str:
    return str(attributes.get("kind") or attributes.get("type") or "").strip().lower()


def _kind(name: str, attributes: Attributes) -> str:
    told = _told(attributes)
    for kind, words in _KINDS.items():
        if told and re.fullmatch(words, told):
            return kind
    if told:
        return ""
    last = re.split(r"[/:. ]", name)[-1].lower()
    return next((kind for kind, words in _KINDS.items() if re.match(rf"(?:{words})[-_]?\d*(?:[-_.]\d+)*$", last)), "")


def _neighbours(graph: Graph) -> dict[str, list[str]]:
    near: dict[str, dict[str, None]] = {name: {} for name in graph.nodes}
    for a, b in graph.arcs:
        near[a][b] = None
        near[b][a] = None
    return {name: list(others) for name, others in near.items()}


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part[:12]), "") if part.isdigit() else (-1, part) for part in re.findall(r"[0-9]+|[^0-9]+", name)]


def _homes(graph: Graph, kinds: Mapping[str, str], near: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Return the members of each host that has a GPU: by attribute, by the name before "/", else by what is wired."""
    told: dict[str, str] = {}
    for name, attributes in graph.nodes.items():
        host = attributes.get("host") or attributes.get("server") or (name.rpartition("/")[0] if "/" in name else "")
        if kinds[name] in _INSIDE and host:
            told[name] = str(host)
    homes: dict[str, list[str]] = {}
    for name in graph.nodes:
        if kinds[name] in _INSIDE and name not in told:
            reached = _reach(name, near, lambda n: kinds[n] in _INSIDE)
            known = next((told[n] for n in reached if n in told), None) or f"node{len(homes) + 1}"
            told.update(dict.fromkeys((n for n in reached if n not in told), known))
        if name in told:
            homes.setdefault(told[name], []).append(name)
    return {host: homes[host] for host in sorted(homes, key=_natural) if any(kinds[n] == "gpu" for n in homes[host])}


def _reach(start: str, near: Mapping[str, list[str]], is_inside: "object") -> list[str]:
    seen, queue = {start: None}, deque([start])
    while queue:
        for other in near[queue.popleft()]:
            if other not in seen and is_inside(other):  # type: ignore[operator]
                seen[other] = None
                queue.append(other)
    return list(seen)


def _inside(
    graph: Graph, kinds: Mapping[str, str], near: Mapping[str, list[str]], host: str, members: list[str], kind: str
) -> NodeFacts:
    gpus = sorted((n for n in members if kinds[n] == "gpu"), key=_natural)
    nics = sorted((n for n in members if kinds[n] == "nic"), key=_natural)
    if len(gpus) > MAX_GPUS or len(nics) > 4 * MAX_GPUS:
        raise InputError(f"{graph.where}: host {host}: {len(gpus)} GPUs, {len(nics)} NICs; give nodes a `host`")
    position = {name: i for i, name in enumerate(gpus)}
    switched = {i: [n for n in near[g] if kinds[n] == "nvswitch"] for g, i in position.items()}
    rates = [sum(graph.rate(gpus[i], s) for s in switches) for i, switches in switched.items() if switches]
    pairs = {(position[g], position[o]) for g in gpus for o in near[g] if o in position and position[g] < position[o]}
    pcie = [graph.rate(g, n) for g in gpus for n in near[g] if kinds[n] in ("pcie", "cpu")]
    hops = [_hops(nic, near, frozenset(members)) for nic in nics]
    return NodeFacts(
        where=graph.where,
        kind=kind,
        host=host,
        gpus=tuple(_gpu(i, graph.nodes[g], bool(switched[i]) if rates else None) for g, i in position.items()),
        nics=tuple(NicFacts(n.rpartition("/")[2], _nic_rate(graph, kinds, near, n)) for n in nics),
        nearest=nearest(len(gpus), len(nics), lambda g, n: hops[n].get(gpus[g], 99)),
        pairs=dict.fromkeys(sorted(pairs), 1),
        knows_links=True,
        pair_bytes_per_s={(a, b): graph.rate(gpus[a], gpus[b]) for a, b in sorted(pairs)},
        switch_bytes_per_s=max(rates, default=0.0) or None,
        pcie_bytes_per_s=min((rate for rate in pcie if rate), default=None),
    )


def _gpu(index: int, attributes: Attributes, is_switched: bool | None) -> GpuFacts:
    def text(*keys: str) -> str | None:
        return next((str(attributes[key]) for key in keys if attributes.get(key)), None)

    is_lost = str(attributes.get("state")).lower() in ("lost", "down", "failed")
    return GpuFacts(
        index=index,
        product=text("gpu", "gpu_type", "product", "model"),
        bus_id=text("bus_id", "busid"),
        uuid=text("uuid"),
        switch_links=None if is_switched is None else int(is_switched),
        state="lost" if is_lost else None,
        reason="state in the graph" if is_lost else None,
    )


def _hops(start: str, near: Mapping[str, list[str]], members: frozenset[str]) -> dict[str, int]:
    far, queue = {start: 0}, deque([start])
    while queue:
        name = queue.popleft()
        for other in near[name]:
            if other in members and other not in far:
                far[other] = far[name] + 1
                queue.append(other)
    return far


def _outside(kinds: Mapping[str, str], near: Mapping[str, list[str]], names: Iterable[str]) -> dict[str, None]:
    return {other: None for name in names for other in near[name] if kinds[other] in ("leaf", "spine")}


def _nic_rate(graph: Graph, kinds: Mapping[str, str], near: Mapping[str, list[str]], nic: str) -> float | None:
    return sum(graph.rate(nic, other) for other in _outside(kinds, near, [nic])) or None


def _fabric(
    graph: Graph,
    kinds: Mapping[str, str],
    near: Mapping[str, list[str]],
    insides: Mapping[str, NodeFacts],
    homes: Mapping[str, list[str]],
) -> tuple[tuple[HostFacts, ...], FabricFacts | None]:
    """Return each host's leaf, or the leaves of its rails as one unit, and the oversubscription of the worst leaf."""
    leaves = {host: list(_outside(kinds, near, homes[host])) for host in insides}
    used = {leaf: None for found in leaves.values() for leaf in found}
    if not used:
        return (), None
    hosts = tuple(
        HostFacts(host, leaf="+".join(sorted(found, key=_natural))[:120] or None) for host, found in leaves.items()
    )
    ratios = []
    for leaf in used:
        down = sum(graph.rate(leaf, n) for n in near[leaf] if kinds[n] in _INSIDE)
        up = sum(graph.rate(leaf, n) for n in near[leaf] if kinds[n] in ("leaf", "spine"))
        ratios += [down / up] if up and down else []
    over = max(1.0, *ratios) if ratios else None
    is_rail = any(len(found) > 1 for found in leaves.values())
    return hosts, FabricFacts("rail-clos" if is_rail else "fat-tree" if len(used) > 1 else "switch", over)
