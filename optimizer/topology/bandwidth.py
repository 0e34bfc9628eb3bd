"""What the ranks of one replica may send to each other, and what that sets aside on every boundary they cross."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from optimizer.errors import InputError, NoPathError
from optimizer.topology.alike import Reserved, Stages, remembered, shape
from optimizer.topology.cuts import least_direct_cut
from optimizer.topology.fabrics import router
from optimizer.topology.graph import Topology
from optimizer.topology.lattice import Carried, carried, spanned
from optimizer.topology.meeting import Cell, Level, Meeting, meet, pcie_levels
from optimizer.topology.reach import boundary_bytes_per_s, leaf_switches, link_rate, reach
from optimizer.topology.sections import sections
from optimizer.topology.shares import UNSHARED, Share, Shares, crossings, least, levels_of
from optimizer.topology.wiring import ALONE, GroupPath, HopPath, Wiring, ring_rate


def wiring(topology: Topology, stages: Stages, share: Share = "fair") -> Wiring:
    """Return the paths of a replica whose stages hold these GPU ids in TP rank order.

    Rates are nominal, per direction. ``fair``: each GPU has its part of every shared boundary; ``alone``: the replica
    has the whole of those it crosses. InputError: a GPU that holds no rank, nodes that are not joined, a group with a
    GPU that lost its NVLink, or a missing bandwidth, with the key to give.
    """
    key = ("wiring", shape(topology, stages), share)
    if key not in topology.memo:
        for stage in stages:
            _keeps_off_nvlink_out(topology, stage)
        topology.memo[key] = _wiring(topology, stages, share, carried(topology, stages))
    found = topology.memo[key]
    assert isinstance(found, Wiring)
    return found


def group_path(topology: Topology, gpus: Sequence[str]) -> GroupPath:
    """Return how any GPUs would meet with all links to themselves, those that lost NVLink included: over PCIe.

    On a torus over the links of the smallest box around their nodes.
    """
    return _wiring(topology, [tuple(gpus)], "alone", carried(topology, [tuple(gpus)], whole=False)).group


def reservations(topology: Topology, stages: Stages, share: Share = "fair") -> Reserved:
    """Return (boundary, bytes/s per direction) set aside for a replica on each boundary it crosses, sorted by name."""
    return remembered(topology, stages, share, lambda: _reservations(topology, stages, share))


def _reservations(topology: Topology, stages: Stages, share: Share) -> Reserved:
    """Return the shares of what is crossed; a replica over several nodes of a torus has their torus links alone."""
    whole = ((name := router(node), capacity(topology, name)) for node in spanned(topology, stages))
    return tuple(sorted((*set_aside(topology, share, levels_crossed(topology, stages)), *whole)))


def set_aside(topology: Topology, share: Share, levels: Iterable[Level]) -> Reserved:
    """Return what a replica whose GPUs cross these cuts takes of each boundary."""
    shares = Shares(topology, share, crossings(levels))
    return tuple((boundary, shares.reserved(boundary)) for boundary in sorted(shares.crossings))


def levels_crossed(topology: Topology, stages: Stages) -> Iterator[Level]:
    """Yield the cuts that a replica's own groups cross."""
    for group in _groups(stages):
        yield from levels_of(meet(topology, group))


def capacity(topology: Topology, domain_id: str) -> float:
    """Return the bytes/s per direction on the boundary of a domain.

    A domain is a PCIe switch, socket, NIC, router, leaf switch or pod, a node (all its NICs), or a leaf group (all its
    leaf switches). InputError when there is none of that name.
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


# -- rates ---------------------------------------------------------------------------------------------------------


def _groups(stages: Stages) -> list[tuple[str, ...]]:
    """Return all groups of a replica: its stages, then the pairs of ranks of consecutive stages."""
    sizes = {len(stage) for stage in stages}
    seats = [gpu for stage in stages for gpu in stage]
    if len(sizes) != 1 or 0 in sizes or len(set(seats)) != len(seats):
        raise InputError("stages: each holds equally many GPUs, at least one, and no GPU twice")
    pairs = (pair for here, there in pairwise(stages) for pair in zip(here, there, strict=True))
    return [*map(tuple, stages), *pairs]


def _keeps_off_nvlink_out(topology: Topology, group: Sequence[str]) -> None:
    """Raise NoPathError when some GPUs of a group lost their NVLink (or xGMI) and others did not.

    One such GPU takes all of its group down to PCIe: eight GB300 fell from 507 to 33-52 GB/s.
    """
    off = [gpu for gpu in group if reach(topology, gpu).off_own_links]
    if 0 < len(off) < len(group):
        why = "lost its NVLink: it is left out of groups with GPUs that have theirs"
        raise NoPathError(f"cluster {topology.cluster.name}: GPU {off[0]} {why}")


def _wiring(topology: Topology, stages: Stages, share: Share, torus: Carried | None) -> Wiring:
    ways = crossings(levels_crossed(topology, stages)) if share == "alone" else Counter[str]()
    shares = Shares(topology, share, ways)
    paths = [_path(group, shares) for group in _groups(stages)]
    groups, pairs = paths[: len(stages)], paths[len(stages) :]
    tp = len(stages[0])
    hops = tuple(_hop(pairs[start : start + tp]) for start in range(0, len(pairs), tp))
    if torus is not None:
        groups = [_at_most(path, rate) for path, rate in zip(groups, torus.rings, strict=True)]
        hops = tuple(
            replace(hop, bytes_per_s=min(hop.bytes_per_s, rate)) for hop, rate in zip(hops, torus.hops, strict=True)
        )
    speed = min(topology.gpu(gpu).speed_factor for stage in stages for gpu in stage)
    return Wiring(min(groups, key=ring_rate), hops, speed, sections=sections(topology, stages, groups))


def _at_most(path: GroupPath, bytes_per_s: float) -> GroupPath:
    """Return the path of a group whose nodes pass on no more than this."""
    return replace(path, outer_bytes_per_s=min(path.outer_bytes_per_s, bytes_per_s))


def _hop(pairs: Sequence[GroupPath]) -> HopPath:
    """Return the way between two stages, the slowest pair of ranks standing for all."""
    slowest = min(pairs, key=ring_rate)
    medium = slowest.inner if slowest.outer == "local" else slowest.outer
    return HopPath(medium, min(slowest.inner_bytes_per_s, slowest.outer_bytes_per_s), len(pairs))


def _path(group: tuple[str, ...], shares: Shares) -> GroupPath:
    """Return how a group meets; with fair shares that does not depend on the replica around it."""
    topology = shares.topology
    if shares.share == "alone":
        return _found_path(meet(topology, group), shares)
    key = ("fair path", group)
    if key not in topology.memo:
        topology.memo[key] = _found_path(meet(topology, group), shares)
    found = topology.memo[key]
    assert isinstance(found, GroupPath)
    return found


def _found_path(meeting: Meeting, shares: Shares) -> GroupPath:
    ranks = sum(len(part) for part in meeting.parts)
    if ranks == 1:
        return ALONE
    inner = min(_inner(part, shares) for part in meeting.parts)
    levels = meeting.levels
    outer = min((least(level, shares, meeting.outer) for level in levels), default=UNSHARED)
    if min(inner, outer) <= 0 or (meeting.outer == "rdma" and shares.topology.cluster.fabric is None):
        raise NoPathError(f"cluster {shares.topology.cluster.name}: {_no_way(meeting, shares.topology)}")
    return GroupPath(ranks, len(meeting.parts), meeting.inner, inner, meeting.outer, outer)


def _no_way(meeting: Meeting, topology: Topology) -> str:
    here, there = meeting.parts[0][0], meeting.parts[-1][-1]
    if topology.cluster.fabric is None and here.gpu.node != there.gpu.node:
        return f"fabric: missing, so {here.gpu.node} and {there.gpu.node} are not joined; describe the fabric"
    return f"no working way between {here.id} and {there.id}; place the ranks elsewhere or give the nodes NICs"


def _inner(part: Cell, shares: Shares) -> float:
    """Return the least cut inside a part, in bytes/s per rank; inf for a single rank."""
    if len(part) == 1:
        return UNSHARED
    topology = shares.topology
    meeting = meet(topology, tuple(member.id for member in part))
    if meeting.inner == "nvswitch" and len(meeting.parts) == 1:
        return min(link_rate(topology, member.id, "nvlink") for member in part)
    if meeting.inner in ("mesh", "nvlink") and len(meeting.parts) == 1:
        return least_direct_cut(topology, tuple(member.id for member in part))
    return min(least(level, shares, "pcie") for level in pcie_levels(part))
