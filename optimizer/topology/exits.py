"""How KV leaves a replica whose prefill or decode is elsewhere, and what is kept free for it on the way.

Between nodes KV goes over the NICs nearest to its GPU; inside the only node, or the only NVSwitch domain, over the
GPUs' own links. Where the other replica sits is not known: what is counted is this side's way out.
"""

from collections.abc import Sequence
from dataclasses import replace

from optimizer.errors import InputError, NoPathError
from optimizer.inputs.cluster import Torus
from optimizer.inputs.workload import Role
from optimizer.topology.alike import Reserved, Stages, remembered, shape
from optimizer.topology.bandwidth import levels_crossed, reservations, set_aside, wiring
from optimizer.topology.classes import leaves_bind
from optimizer.topology.graph import Topology
from optimizer.topology.meeting import Cell, Level, Ways, medium_of, pcie_levels
from optimizer.topology.reach import Reach, link_rate, rate, reach
from optimizer.topology.shares import Share, Shares, crossings, out
from optimizer.topology.wiring import HopPath, Medium, Wiring


def role_wiring(topology: Topology, stages: Stages, share: Share, role: Role) -> Wiring:
    """Return the paths of a replica, its way out among them where it does one phase only; errors as ``wiring``."""
    paths = wiring(topology, stages, share)
    return paths if role == "both" else replace(paths, exit=leaving(topology, stages, share))


def role_reservations(topology: Topology, stages: Stages, share: Share, role: Role) -> Reserved:
    """Return what is set aside for a replica, its way out included where it does one phase only."""
    take = reservations if role == "both" else kept_free
    return take(topology, stages, share)


def leaving(topology: Topology, stages: Stages, share: Share = "fair") -> HopPath:
    """Return the way of KV out of a replica (or into it), its slowest rank standing for all.

    Rates are nominal, per direction and rank. NoPathError where the cluster has several nodes and no fabric, or a GPU
    has no working NIC; UnknownRateError names a bandwidth to give.
    """
    key = ("leaving", shape(topology, stages), share)
    if key not in topology.memo:
        topology.memo[key] = _leaving(topology, stages, share)
    found = topology.memo[key]
    assert isinstance(found, HopPath)
    return found


def kept_free(topology: Topology, stages: Stages, share: Share = "fair") -> Reserved:
    """Return (boundary, bytes/s per direction) set aside for a replica and its KV, sorted by name.

    It is what its own groups cross and what its way out crosses: one share for each GPU and boundary, whatever for.
    """
    return remembered(
        topology, stages, ("kept free", share), lambda: set_aside(topology, share, _all_levels(topology, stages))
    )


def _all_levels(topology: Topology, stages: Stages) -> tuple[Level, ...]:
    return *levels_crossed(topology, stages), _way_out(topology, stages)


def _leaving(topology: Topology, stages: Stages, share: Share) -> HopPath:
    if _several_units(topology) and topology.cluster.fabric is None:
        raise NoPathError(
            f"cluster {topology.cluster.name}: fabric: missing, so no KV moves between nodes; describe the fabric"
        )
    if _several_units(topology) and isinstance(topology.cluster.fabric, Torus):
        raise InputError(
            f"cluster {topology.cluster.name}: prefill and decode apart are not planned on a torus: KV would pass the "
            "links of other replicas, and nothing bounds it; ask for roles: [both]"
        )
    levels = _all_levels(topology, stages)
    level, shares = levels[-1], Shares(topology, share, crossings(levels))
    ranks = [_rank_way(topology, member, level, shares) for (member,) in level.cells]
    bytes_per_s, medium, gpu = min(ranks, key=lambda way: way[0])
    if bytes_per_s <= 0:
        raise NoPathError(f"cluster {topology.cluster.name}: no way for KV out of {gpu}; give its node working NICs")
    return HopPath(medium, bytes_per_s, len(ranks))


def _way_out(topology: Topology, stages: Stages) -> Level:
    """Return the cut around each rank, with the boundaries that its KV passes; none on links of its own."""
    members = [reach(topology, gpu) for stage in stages for gpu in stage]
    if _several_units(topology):
        return _alone(members, {member.id: _over_nics(topology, member) for member in members})
    tree = pcie_levels(_neighbours(topology, members[0]))[-1].ways
    ways = {member.id: () if _own_medium(topology, member) else tree[member.id] for member in members}
    return _alone(members, ways)


def _alone(members: Sequence[Reach], ways: dict[str, Ways]) -> Level:
    return Level(tuple((member,) for member in members), ways)


def _over_nics(topology: Topology, member: Reach) -> Ways:
    """Return the boundaries on the way to any other node: inside the node, the NICs, and uplinks that are narrow."""
    ways: Ways = (*((boundary,) for boundary in member.via), member.nics)
    if member.narrow_leaf and leaves_bind(topology):
        ways = (*ways, member.leaves)
    if member.narrow_pod and member.pod and _several_pods(topology):
        ways = (*ways, (member.pod,) * len(member.nics))
    return ways


def _rank_way(topology: Topology, member: Reach, level: Level, shares: Shares) -> tuple[float, Medium, str]:
    """Return what one rank may send out, over what, and its GPU."""
    if _several_units(topology):
        return out(member.id, level, shares, "rdma"), "rdma", member.id
    medium = _own_medium(topology, member)
    if medium is None:
        others = _neighbours(topology, member)
        under_one = len({other.parent for other in others}) == 1 and member.switch is not None
        direct = under_one and all(other.peer_to_peer for other in others)
        return out(member.id, level, shares, "pcie"), "pcie" if direct else "host", member.id
    if medium == "nvswitch":
        return link_rate(topology, member.id, "nvlink"), medium, member.id
    return min(rate(topology, member.id, peer) for peer in _others(topology, member)), medium, member.id


def _own_medium(topology: Topology, member: Reach) -> Medium | None:
    """Return the medium by which a GPU reaches all others without PCIe; None where it does not."""
    if member.nvswitch:
        return "nvswitch"
    others = _others(topology, member)
    if not others or not member.peers.issuperset(others):
        return None
    return medium_of(topology, (member, reach(topology, others[0])))


def _others(topology: Topology, member: Reach) -> list[str]:
    """Return the other GPUs of a node that can hold ranks, in order."""
    return sorted(other.id for other in _neighbours(topology, member) if other.id != member.id)


def _neighbours(topology: Topology, member: Reach) -> Cell:
    """Return all GPUs of a node that can hold ranks."""
    gpus = topology.node(member.gpu.node).gpus
    return tuple(reach(topology, gpu) for gpu in gpus if topology.gpu(gpu).placeable)


def _several_units(topology: Topology) -> bool:
    """Return whether some GPUs that can hold ranks meet over NICs only."""
    key = ("several units",)
    if key not in topology.memo:
        nodes = [
            node for node in topology.node_by_name.values() if any(topology.gpu(gpu).placeable for gpu in node.gpus)
        ]
        domains = {node.nvlink_domain or node.name for node in nodes}
        topology.memo[key] = len(domains) > 1 or (len(nodes) > 1 and not _all_on_nvlink(topology))
    return bool(topology.memo[key])


def _all_on_nvlink(topology: Topology) -> bool:
    return all(reach(topology, gpu.id).nvswitch for gpu in topology.gpus if gpu.placeable)


def _several_pods(topology: Topology) -> bool:
    key = ("several pods",)
    if key not in topology.memo:
        topology.memo[key] = len({node.pod for node in topology.node_by_name.values()}) > 1
    return bool(topology.memo[key])
