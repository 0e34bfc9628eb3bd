"""What the ranks of one replica may send to each other, and what that sets aside on every boundary they cross."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias

from optimizer.errors import InputError, NoPathError
from optimizer.topology.cuts import least_direct_cut
from optimizer.topology.graph import Topology
from optimizer.topology.meeting import Cell, Level, Meeting, meet, pcie_levels
from optimizer.topology.reach import (
    boundary_bytes_per_s,
    is_narrow,
    leaf_switches,
    leaves_of,
    link_rate,
    reach,
    sharers,
)
from optimizer.topology.wiring import ALONE, GroupPath, HopPath, Wiring

Share: TypeAlias = Literal["fair", "alone"]
Stages: TypeAlias = Sequence[Sequence[str]]

_UNSHARED = float("inf")


def wiring(topology: Topology, stages: Stages, share: Share = "fair") -> Wiring:
    """Return the paths of a replica whose stages hold these GPU ids in TP rank order.

    Rates are nominal, per direction. ``fair``: each GPU has its part of every shared boundary; ``alone``: the replica
    has the whole of those it crosses. InputError: a GPU that holds no rank, nodes that are not joined, a group with a
    GPU that lost its NVLink, or a missing bandwidth, with the key to give.
    """
    key = ("wiring", _shape(topology, stages), share)
    if key not in topology.memo:
        for stage in stages:
            _keeps_off_nvlink_out(topology, stage)
        topology.memo[key] = _wiring(topology, stages, share)
    found = topology.memo[key]
    assert isinstance(found, Wiring)
    return found


def group_path(topology: Topology, gpus: Sequence[str]) -> GroupPath:
    """Return how any GPUs would meet with all links to themselves, those that lost NVLink included: over PCIe."""
    return _wiring(topology, [tuple(gpus)], "alone").group


def reservations(topology: Topology, stages: Stages, share: Share = "fair") -> tuple[tuple[str, float], ...]:
    """Return (boundary, bytes/s per direction) set aside for a replica on each boundary it crosses, sorted by name."""
    places = _places(topology, stages)
    key = ("reservations", share, _shape(topology, stages))
    if key not in topology.memo:
        topology.memo[key] = _placed(_reservations(topology, stages, share), places)
    found = topology.memo[key]
    if found is None:
        return _reservations(topology, stages, share)
    assert isinstance(found, tuple)
    return tuple(sorted((f"{places[place]}{rest}", rate) for place, rest, rate in found))


def _places(topology: Topology, stages: Stages) -> tuple[str, ...]:
    """Return the nodes, leaf groups and pods of a replica by occurrence."""
    nodes = [topology.node(name) for name in dict.fromkeys(topology.gpu(gpu).node for stage in stages for gpu in stage)]
    names = [name for node in nodes for name in (node.name, node.leaf, node.pod) if name is not None]
    return tuple(dict.fromkeys(names))


def _placed(
    reserved: tuple[tuple[str, float], ...], places: tuple[str, ...]
) -> tuple[tuple[int, str, float], ...] | None:
    """Return boundaries as (place, rest of the name, bytes/s): alike in equal replicas; None if any has no place."""
    found = []
    for boundary, rate in reserved:
        at = [n for n, place in enumerate(places) if boundary == place or boundary.startswith(f"{place}/")]
        if len(at) != 1:
            return None
        found.append((at[0], boundary.removeprefix(places[at[0]]), rate))
    return tuple(found)


def _reservations(topology: Topology, stages: Stages, share: Share) -> tuple[tuple[str, float], ...]:
    shares = _Shares(topology, share, _crossings(_meetings(topology, stages)))
    return tuple((boundary, shares.reserved(boundary)) for boundary in sorted(shares.crossings))


def capacity(topology: Topology, domain_id: str) -> float:
    """Return the bytes/s per direction on the boundary of a domain.

    A domain is a PCIe switch, socket, NIC, leaf switch or pod, a node (all its NICs), or a leaf group (all its leaf
    switches). InputError when there is none of that name.
    """
    vertices = topology.graph.nodes
    if domain_id in vertices and "gpus" in vertices[domain_id]:
        return boundary_bytes_per_s(topology, domain_id)
    if domain_id in topology.node_by_name:
        return sum(boundary_bytes_per_s(topology, nic) for nic in topology.node(domain_id).nics)
    leaves = leaf_switches(topology, domain_id)
    if leaves:
        return sum(boundary_bytes_per_s(topology, leaf) for leaf in leaves)
    raise InputError(
        f"cluster {topology.cluster.name}: no domain {domain_id!r}; it is a node, PCIe switch, NIC or leaf"
    )


# -- replicas of equal shape ---------------------------------------------------------------------------------------


def _shape(topology: Topology, stages: Stages) -> tuple[object, ...]:
    """Return what the wiring of a replica depends on: seats by kind of node, nodes, leaves and pods by occurrence."""
    numbers: dict[object, int] = {}
    nodes: dict[str, tuple[object, ...]] = {}
    seats = []
    for stage in stages:
        for gpu_id in stage:
            gpu = topology.gpu(gpu_id)
            if gpu.node not in nodes:
                node = topology.node(gpu.node)
                marks = (node.leaf, node.pod, node.nvlink_domain)
                nodes[gpu.node] = (
                    node.blueprint, leaf_terms(topology, gpu.node),
                    *(mark and numbers.setdefault((i, mark), len(numbers)) for i, mark in enumerate(marks)),
                )  # fmt: skip
            seats.append((numbers.setdefault(gpu.node, len(numbers)), gpu.local_index))
        seats.append((-1, -1))
    return (*seats, *nodes.values())


def leaf_terms(topology: Topology, node: str) -> tuple[object, ...]:
    """Return what each NIC of a node gets of the fabric: its port, its part of the leaf's and of the pod's uplinks."""
    key = ("leaf terms", node)
    if key not in topology.memo:
        record = topology.node(node)
        pods = (_part(topology, record.pod),) if record.pod else ()
        topology.memo[key] = tuple(
            (topology.graph.adj[nic][leaf]["bytes_per_s"], _part(topology, leaf), *pods)
            for nic in record.nics
            for leaf in leaves_of(topology, nic)
        )
    found = topology.memo[key]
    assert isinstance(found, tuple)
    return found


def _part(topology: Topology, boundary: str) -> tuple[float, int, bool]:
    return boundary_bytes_per_s(topology, boundary), sharers(topology, boundary), is_narrow(topology, boundary)


# -- shares --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Shares:
    """What one GPU of the replica gets of each boundary."""

    topology: Topology
    share: Share
    crossings: Counter[str]
    """Ways of the replica's GPUs over each boundary."""

    def of(self, boundary: str) -> float:
        """Return bytes/s of one way."""
        ways = self.crossings[boundary] if self.share == "alone" else sharers(self.topology, boundary)
        return boundary_bytes_per_s(self.topology, boundary) / ways

    def reserved(self, boundary: str) -> float:
        """Return bytes/s of all ways."""
        if self.share == "alone":
            return boundary_bytes_per_s(self.topology, boundary)
        return self.of(boundary) * self.crossings[boundary]


def _crossings(meetings: Sequence[Meeting]) -> Counter[str]:
    """Return the ways over each boundary; a GPU that crosses it in several groups still has one share of it."""
    ways: dict[tuple[str, tuple[str, ...]], None] = {}
    for meeting in meetings:
        for level in _all_levels(meeting):
            for gpu, series in level.ways.items():
                ways |= dict.fromkeys((gpu, parallel) for parallel in series)
    return Counter(boundary for _, parallel in ways for boundary in parallel)


def _all_levels(meeting: Meeting) -> Iterator[Level]:
    yield from meeting.levels
    if meeting.inner in ("pcie", "host"):
        for part in meeting.parts:
            yield from pcie_levels(part)


# -- rates ---------------------------------------------------------------------------------------------------------


def _meetings(topology: Topology, stages: Stages) -> list[Meeting]:
    """Return all groups of a replica: its stages, then the pairs of ranks of consecutive stages."""
    sizes = {len(stage) for stage in stages}
    seats = [gpu for stage in stages for gpu in stage]
    if len(sizes) != 1 or 0 in sizes or len(set(seats)) != len(seats):
        raise InputError("stages: each holds equally many GPUs, at least one, and no GPU twice")
    pairs = [pair for here, there in pairwise(stages) for pair in zip(here, there, strict=True)]
    return [meet(topology, group) for group in (*stages, *pairs)]


def _keeps_off_nvlink_out(topology: Topology, group: Sequence[str]) -> None:
    """Raise NoPathError when some GPUs of a group lost their NVLink (or xGMI) and others did not.

    One such GPU takes all of its group down to PCIe: eight GB300 fell from 507 to 33-52 GB/s.
    """
    off = [gpu for gpu in group if reach(topology, gpu).off_own_links]
    if 0 < len(off) < len(group):
        why = "lost its NVLink: it is left out of groups with GPUs that have theirs"
        raise NoPathError(f"cluster {topology.cluster.name}: GPU {off[0]} {why}")


def _wiring(topology: Topology, stages: Stages, share: Share) -> Wiring:
    meetings = _meetings(topology, stages)
    shares = _Shares(topology, share, _crossings(meetings))
    paths = [_path(meeting, shares) for meeting in meetings]
    groups, pairs = paths[: len(stages)], paths[len(stages) :]
    tp = len(stages[0])
    hops = tuple(_hop(pairs[start : start + tp]) for start in range(0, len(pairs), tp))
    speed = min(topology.gpu(gpu).speed_factor for stage in stages for gpu in stage)
    return Wiring(group=min(groups, key=_ring), hops=hops, speed_factor=speed)


def _ring(path: GroupPath) -> tuple[float, float, float]:
    """Order paths by what a ring over them carries, slowest first."""
    slow, fast = sorted((path.inner_bytes_per_s, path.outer_bytes_per_s))
    return slow, fast, -path.domains


def _hop(pairs: Sequence[GroupPath]) -> HopPath:
    """Return the way between two stages, the slowest pair of ranks standing for all."""
    slowest = min(pairs, key=_ring)
    medium = slowest.inner if slowest.outer == "local" else slowest.outer
    return HopPath(medium, min(slowest.inner_bytes_per_s, slowest.outer_bytes_per_s), len(pairs))


def _path(meeting: Meeting, shares: _Shares) -> GroupPath:
    ranks = sum(len(part) for part in meeting.parts)
    if ranks == 1:
        return ALONE
    inner = min(_inner(part, shares) for part in meeting.parts)
    levels = meeting.levels
    outer = min((_least(level, shares, meeting.outer) for level in levels), default=_UNSHARED)
    if min(inner, outer) <= 0 or (meeting.outer == "rdma" and shares.topology.cluster.fabric is None):
        raise NoPathError(f"cluster {shares.topology.cluster.name}: {_no_way(meeting, shares.topology)}")
    return GroupPath(ranks, len(meeting.parts), meeting.inner, inner, meeting.outer, outer)


def _no_way(meeting: Meeting, topology: Topology) -> str:
    here, there = meeting.parts[0][0], meeting.parts[-1][-1]
    if topology.cluster.fabric is None and here.gpu.node != there.gpu.node:
        return f"fabric: missing, so {here.gpu.node} and {there.gpu.node} are not joined; describe the fabric"
    return f"no working way between {here.id} and {there.id}; place the ranks elsewhere or give the nodes NICs"


def _inner(part: Cell, shares: _Shares) -> float:
    """Return the least cut inside a part, in bytes/s per rank; inf for a single rank."""
    if len(part) == 1:
        return _UNSHARED
    topology = shares.topology
    meeting = meet(topology, tuple(member.id for member in part))
    if meeting.inner == "nvswitch" and len(meeting.parts) == 1:
        return min(link_rate(topology, member.id, "nvlink") for member in part)
    if meeting.inner in ("mesh", "nvlink") and len(meeting.parts) == 1:
        return least_direct_cut(topology, tuple(member.id for member in part))
    return min(_least(level, shares, "pcie") for level in pcie_levels(part))


def _least(level: Level, shares: _Shares, medium: str) -> float:
    """Return the least bytes/s out of a cell of a level: the sum of what its GPUs may send out."""
    return min(sum(_out(member.id, level, shares, medium) for member in cell) for cell in level.cells)


def _out(gpu: str, level: Level, shares: _Shares, medium: str) -> float:
    """Return what a GPU may send out of its cell: the least of its own link and its shares on the way."""
    series = [sum(shares.of(boundary) for boundary in parallel) for parallel in level.ways[gpu]]
    return min(_own_link(gpu, shares.topology, medium), *series, _UNSHARED)


def _own_link(gpu: str, topology: Topology, medium: str) -> float:
    """Return the GPU's link towards the boundary: PCIe, or NVLink where its NIC is a peer's (PXN); 0 off the fabric."""
    ways = reach(topology, gpu)
    if medium == "rdma" and not ways.leaves:
        return 0.0
    if medium == "rdma" and ways.nvswitch and ways.borrows:
        return max(link_rate(topology, gpu, "pcie"), link_rate(topology, gpu, "nvlink"))
    return link_rate(topology, gpu, "pcie")
