"""Bandwidth questions for any set of GPUs that has the cluster to itself: what its links allow, before any efficiency.

Bus bandwidth as nccl-tests define it (doc/PERFORMANCE.md): algorithm bandwidth times 2(n-1)/n for all-reduce and
(n-1)/n for all-gather, reduce-scatter and all-to-all; it compares with the bandwidth of one link and direction.
Everything rests on cuts: what leaves a part of the set over links that it may use, through no GPU outside the set.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import networkx as nx
from networkx.algorithms.flow import boykov_kolmogorov

from optimizer.errors import NoPathError
from optimizer.topology.bandwidth import group_path, wiring
from optimizer.topology.boxes import ring
from optimizer.topology.fabrics import router
from optimizer.topology.graph import Graph, Topology
from optimizer.topology.lattice import box_around, cables, carried, divisions, lattice, relative
from optimizer.topology.meeting import Cell, scale_up_parts
from optimizer.topology.reach import Reach, link_rate, rate, reach, socket_of

_EVERY_CUT = 6
"""Up to so many GPUs joined by direct cables every division is looked at with the switches contracted by max-flow."""


@dataclass(frozen=True)
class Cut:
    """A part of a set of GPUs and the bytes/s that can leave it."""

    inside: frozenset[str]
    bytes_per_s: float


@dataclass(frozen=True)
class Busbw:
    """Nominal bus bandwidths of a set of GPUs, in bytes/s."""

    ring: float
    """All-reduce, all-gather and reduce-scatter over rings: a cycle crosses every cut once each way."""
    hierarchical: float
    """All-reduce in equal domains: reduce inside, exchange between domains, spread inside, all pipelined."""
    in_switch: float | None
    """All-reduce summed by the NVSwitch (NVLS); None where it cannot."""
    optimal: float
    """All-gather and reduce-scatter by the best schedule there is (ForestColl, arXiv 2402.06787, theorem 1)."""
    all_to_all: float


def busbw(topology: Topology, gpus: Sequence[str]) -> Busbw:
    """Return the bus bandwidths of two or more GPUs. InputError: one holds no rank, or a bandwidth is missing.

    On a torus a ring goes around the box of the GPUs' nodes once, both ways; 0 where a link in the way of it is down.
    """
    gpus = _around_the_box(topology, gpus)
    found, n = cuts(topology, gpus), len(gpus)
    shares = [(len(cut.inside), cut.bytes_per_s) for cut in found]
    if min(rate for _, rate in shares) <= 0:
        return Busbw(0.0, 0.0, None, 0.0, 0.0)
    return Busbw(
        ring=min([*(rate for _, rate in shares), *_around(topology, gpus)]),
        hierarchical=_hierarchical(topology, gpus),
        in_switch=_in_switch(topology, gpus),
        optimal=(n - 1) / max(inside / rate for inside, rate in shares),
        all_to_all=(n - 1) / max(inside * (n - inside) / rate for inside, rate in shares),
    )


def point_to_point(topology: Topology, a: str, b: str) -> float:
    """Return bytes/s from one GPU to another over its own links and NICs, never through a third GPU."""
    return wiring(topology, [(a,), (b,)], "alone").hops[0].bytes_per_s


def cuts(topology: Topology, gpus: Sequence[str]) -> tuple[Cut, ...]:
    """Return the cuts that decide: single GPUs, PCIe switches, sockets, nodes, leaves, pods, and what they leave over.

    In fabrics built of such domains these give the bound that all cuts give; few GPUs on direct cables are cut in
    every way.
    """
    members = tuple(reach(topology, gpu) for gpu in gpus)
    wires = _wires(topology, members)
    parts = dict.fromkeys((*_parts(members), *_torus_parts(topology, members)))
    return tuple(Cut(part, _flow(wires, part, members)) for part in parts)


def _flow(wires: Graph, part: frozenset[str], members: Cell) -> float:
    """Return the least bytes/s that leave ``part``, whichever side each switch is counted to."""
    ends = nx.DiGraph(wires)
    for member in members:
        if member.id in part:
            ends.add_edge("all inside", member.id)
        else:
            ends.add_edge(member.id, "all outside")
    return float(nx.minimum_cut_value(ends, "all inside", "all outside", flow_func=boykov_kolmogorov))


def _parts(members: Cell) -> Iterator[frozenset[str]]:
    """Yield the proper parts of a set along its domains, and their complements."""
    everyone = frozenset(member.id for member in members)
    if len(members) <= _EVERY_CUT and any(member.peers for member in members):
        for size in range(1, len(members)):
            yield from (frozenset(m.id for m in chosen) for chosen in combinations(members, size))
        return
    for mark in _DOMAINS:
        domains: dict[object, set[str]] = {}
        for member in members:
            domains.setdefault(mark(member), set()).add(member.id)
        for part in domains.values():
            if len(part) < len(everyone):
                yield frozenset(part)
                yield everyone - part


def _torus_parts(topology: Topology, members: Cell) -> Iterator[frozenset[str]]:
    """Yield the proper parts of a set along the divisions of its nodes, where it is on a torus."""
    found, everyone = lattice(topology), frozenset(member.id for member in members)
    nodes = tuple(dict.fromkeys(member.gpu.node for member in members))
    if found is None or len(nodes) == 1:
        return
    for inside in divisions(found, nodes):
        part = frozenset(member.id for member in members if member.gpu.node in inside)
        if 0 < len(part) < len(everyone):
            yield part
            yield everyone - part


_DOMAINS: tuple[Callable[[Reach], object], ...] = (
    lambda member: member.id,
    lambda member: member.parent,
    lambda member: member.socket,
    lambda member: member.nics,
    lambda member: member.gpu.node,
    lambda member: member.unit,
    lambda member: member.leaves,
    lambda member: member.leaf,
    lambda member: member.pod,
)  # fmt: skip


# -- links that a set may use --------------------------------------------------------------------------------------


def _wires(topology: Topology, members: Cell) -> Graph:
    """Return the links a set of GPUs may use, with their ``capacity`` in bytes/s.

    Where their own links join all GPUs of a unit, PCIe is used to reach NICs only.
    """
    wires: Graph = nx.DiGraph()
    wires.add_nodes_from(member.id for member in members)
    units: dict[str, list[Reach]] = {}
    for member in members:
        units.setdefault(member.unit, []).append(member)
    for unit in units.values():
        joined = len(scale_up_parts(tuple(unit))) == 1
        _add_own_links(topology, wires, unit)
        if not joined:
            _add_pcie(topology, wires, unit)
        if len(units) > 1:
            _add_ways_out(topology, wires, unit, own_links=joined)
    found = lattice(topology)
    if found is not None and len(units) > 1:
        for a, b in cables(found, {member.gpu.node: None for member in members}):
            wires.add_edge(router(a), router(b), capacity=rate(topology, router(a), router(b)))
    return wires


def _add(topology: Topology, wires: Graph, u: str, v: str) -> None:
    """Add both arcs of a cable of the topology."""
    wires.add_edge(u, v, capacity=rate(topology, u, v))
    wires.add_edge(v, u, capacity=rate(topology, v, u))


def _add_own_links(topology: Topology, wires: Graph, unit: Sequence[Reach]) -> None:
    inside = {member.id for member in unit}
    for member in unit:
        ends = [*(peer for peer in sorted(member.peers) if peer in inside), *filter(None, [member.nvswitch])]
        for end in ends:
            _add(topology, wires, member.id, end)


def _add_pcie(topology: Topology, wires: Graph, unit: Sequence[Reach]) -> None:
    """Add the PCIe tree from the GPUs up to their sockets, and between the sockets when there are several."""
    for member in unit:
        _add(topology, wires, member.id, member.parent)
    _add_tree(topology, wires, [member.parent for member in unit])


def _add_tree(topology: Topology, wires: Graph, vertices: Sequence[str]) -> None:
    """Add what joins PCIe switches and sockets of a node: uplinks, and the link between sockets if they differ."""
    sockets = set()
    for vertex in dict.fromkeys(vertices):
        if _kind(topology, vertex) == "pcie":
            _add(topology, wires, vertex, socket_of(topology, vertex))
            sockets.add(socket_of(topology, vertex))
        else:
            sockets.add(vertex)
    if len(sockets) > 1:
        for socket in sorted(sockets):
            _add(topology, wires, socket, next(v for v in topology.graph.adj[socket] if _kind(topology, v) == "smp"))


def _add_ways_out(topology: Topology, wires: Graph, unit: Sequence[Reach], *, own_links: bool) -> None:
    """Add NICs and the fabric above them; who borrows a NIC reaches it through its owner over NVLink if it can."""
    owned = any(not member.borrows for member in unit)
    for member in unit:
        if member.router and not member.nics:
            _add(topology, wires, member.id, member.router)
        for nic in member.nics:
            if not own_links:
                home = next(v for v, arc in topology.graph.adj[nic].items() if arc["kind"] == "nic")
                _add(topology, wires, nic, home)
                _add_tree(topology, wires, [member.parent, home])
            elif not (member.borrows and owned):
                capacity = link_rate(topology, member.id, "pcie")
                wires.add_edge(member.id, nic, capacity=capacity)
                wires.add_edge(nic, member.id, capacity=capacity)
            _add_upwards(topology, wires, nic)


def _add_upwards(topology: Topology, wires: Graph, vertex: str) -> None:
    """Add the cables above a NIC, leaf or pod."""
    above = [v for v, arc in topology.graph.adj[vertex].items() if arc["kind"] in _UPWARDS]
    above = [v for v in above if _HEIGHT[_kind(topology, v)] > _HEIGHT[_kind(topology, vertex)]]
    for end in above:
        _add(topology, wires, vertex, end)
        _add_upwards(topology, wires, end)


_UPWARDS = ("port", "leaf-uplink", "pod-uplink", "torus-port")
_HEIGHT = {"nic": 0, "leaf": 1, "router": 1, "pod": 2, "spine": 3}


def _kind(topology: Topology, vertex: str) -> str:
    return str(topology.graph.nodes[vertex]["kind"])


# -- all-reduce in domains -----------------------------------------------------------------------------------------


def _around_the_box(topology: Topology, gpus: Sequence[str]) -> tuple[str, ...]:
    """Return the GPUs in the order of their nodes around the box that holds them, where they are on a torus."""
    found, nodes = lattice(topology), {topology.gpu(gpu).node: None for gpu in gpus}
    if found is None:
        return tuple(gpus)
    box = box_around(found, (found.at[node] for node in nodes))
    turn = {place: number for number, place in enumerate(ring(box.size, box.closed))}
    return tuple(sorted(gpus, key=lambda gpu: turn[relative(found, box, found.at[topology.gpu(gpu).node])]))


def _around(topology: Topology, gpus: Sequence[str]) -> tuple[float, ...]:
    """Return what a ring around the box gives a node, where the GPUs are on several nodes of a torus."""
    try:
        found = carried(topology, [tuple(gpus)], whole=False)
    except NoPathError:
        return (0.0,)
    return () if found is None else found.rings


def _hierarchical(topology: Topology, gpus: Sequence[str]) -> float:
    """Return the bus bandwidth of an all-reduce in two pipelined levels: the slower level decides."""
    if 0.0 in _around(topology, gpus):
        return 0.0
    path, n = group_path(topology, gpus), len(gpus)
    inside, domains = path.ranks / path.domains, path.domains
    seconds_per_byte = max(
        2 * (inside - 1) / inside / path.inner_bytes_per_s, 2 * (domains - 1) / domains / path.outer_bytes_per_s
    )
    return 2 * (n - 1) / n / seconds_per_byte


def _in_switch(topology: Topology, gpus: Sequence[str]) -> float | None:
    """Return the least port of GPUs that one NVSwitch domain of Hopper or later can sum for, else None."""
    members = [reach(topology, gpu) for gpu in gpus]
    architectures = {topology.spec(member.gpu).architecture for member in members}
    if len({member.nvswitch for member in members}) > 1 or members[0].nvswitch is None:
        return None
    if not architectures <= {"hopper", "blackwell"}:
        return None
    return min(link_rate(topology, gpu, "nvlink") for gpu in gpus)
