"""Which GPUs of a node, and which nodes, no path question can tell apart: the solver need not either."""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from optimizer.errors import UnknownRateError
from optimizer.inputs.cluster import Torus
from optimizer.topology.alike import leaf_terms
from optimizer.topology.graph import Node, Topology
from optimizer.topology.meeting import scale_up_parts
from optimizer.topology.reach import Reach, boundary_bytes_per_s, is_narrow, leaf_switches, leaves_of, reach, sharers


@dataclass(frozen=True)
class Island:
    """Placeable GPUs of one node that may change seats without any fair rate changing."""

    gpus: tuple[str, ...]
    """Ids in local order."""
    gpu_type: str
    speed_factor: float
    key: tuple[Hashable, ...]
    """What tells it from other islands; equal keys in different nodes mean equal islands."""


@dataclass(frozen=True)
class IslandShape:
    """An island without names."""

    gpu_type: str
    size: int
    speed_factor: float


@dataclass(frozen=True)
class NodeClass:
    """Equal nodes at one place of the fabric; their islands agree in order."""

    nodes: tuple[str, ...]
    islands: tuple[IslandShape, ...]
    leaf: str | None
    """Leaf group, where leaving it is slower than reaching it; else None: all such leaves are as good as one."""
    nvlink_domain: str | None = None
    """The NVSwitch domain when it spans nodes: nodes of one domain reach each other at NVLink speed."""


def node_islands(topology: Topology, node: str) -> tuple[Island, ...]:
    """Return the islands of a node by their first GPU; empty when none of its GPUs can hold a rank."""
    record = topology.node(node)
    return tuple(
        Island(tuple(record.gpus[index] for index in indices), gpu_type, speed, key)
        for indices, gpu_type, speed, key in _local_islands(topology, record)
    )


def node_classes(topology: Topology) -> tuple[NodeClass, ...]:
    """Return the classes of nodes that can hold ranks, in file order of their first nodes."""
    if ("classes",) not in topology.memo:
        topology.memo["classes",] = _node_classes(topology)
    found = topology.memo["classes",]
    assert isinstance(found, tuple)
    return found


def leaf_of(topology: Topology, node: str) -> str | None:
    """Return the leaf group of a node; None without a fabric or a NIC."""
    return topology.node(node).leaf


def joined(topology: Topology, a: str | None, b: str | None) -> bool:
    """Return whether GPUs under two leaf groups reach each other over the fabric."""
    if a is None or b is None or topology.cluster.fabric is None:
        return False
    return a == b or all(_uplinks(topology, leaf) > 0 for leaf in (a, b))


def joins_nodes(topology: Topology) -> bool:
    """Return whether any two nodes may hold one replica: joined by a fabric or an NVSwitch domain of several nodes.

    On a torus only those of a box may (``boxes``).
    """
    nodes, fabric = topology.node_by_name.values(), topology.cluster.fabric
    return (fabric is not None and not isinstance(fabric, Torus)) or any(node.nvlink_domain for node in nodes)


def seat_order(topology: Topology, gpus: Sequence[str]) -> tuple[str, ...]:
    """Return the GPUs of an island so that every leading part of them is spread over as many NICs as it can be."""
    seen: Counter[tuple[str, ...]] = Counter()
    turns = []
    for index, gpu in enumerate(gpus):
        nics = reach(topology, gpu).nics
        turns.append((seen[nics], index, gpu))
        seen[nics] += 1
    return tuple(gpu for _, _, gpu in sorted(turns))


def _uplinks(topology: Topology, leaf: str) -> float:
    """Return the bytes/s that leave a leaf group upwards; inf when it is the only switch."""
    return sum(boundary_bytes_per_s(topology, switch) for switch in leaf_switches(topology, leaf))


_Local: TypeAlias = tuple[tuple[int, ...], str, float, tuple[Hashable, ...]]


def _local_islands(topology: Topology, node: Node) -> tuple[_Local, ...]:
    """Return islands as local indices; equal nodes share the answer."""
    key = ("islands", node.blueprint, leaf_terms(topology, node.name))
    if key not in topology.memo:
        topology.memo[key] = _find_islands(topology, node)
    found = topology.memo[key]
    assert isinstance(found, tuple)
    return found


def _find_islands(topology: Topology, node: Node) -> tuple[_Local, ...]:
    members = tuple(reach(topology, gpu) for gpu in node.gpus if topology.gpu(gpu).placeable)
    parts = scale_up_parts(members)
    numbers: dict[Hashable, int] = {}
    islands: dict[tuple[Hashable, ...], list[Reach]] = {}
    for number, part in enumerate(parts):
        part_number = number if len(part) > 1 else None
        marks = _direct_marks(topology, part)
        for member in part:
            place = (member.switch, member.socket) if len(parts) > 1 else ()
            ordinals = tuple(name and numbers.setdefault(name, len(numbers)) for name in place)
            key = (part_number, *ordinals, marks[member.id], *_links(topology, member), *_outward(topology, member))
            islands.setdefault((member.gpu.type, member.gpu.speed_factor, *key), []).append(member)
    found = [
        (tuple(m.gpu.local_index for m in island), island[0].gpu.type, island[0].gpu.speed_factor, key)
        for key, island in islands.items()
    ]
    return tuple(sorted(found, key=lambda island: island[0]))


def _direct_marks(topology: Topology, part: Sequence[Reach]) -> dict[str, Hashable]:
    """Return what tells GPUs on direct cables apart: nothing when every pair carries the lesser of its two ends."""
    arcs = topology.graph.adj
    rates = {(a.id, b.id): arcs[a.id][b.id]["bytes_per_s"] for a in part for b in part if b.id in a.peers}
    if not rates:
        return dict.fromkeys((member.id for member in part), None)
    if None in rates.values():
        return {member.id: member.gpu.local_index for member in part}
    ends = {a.id: max((rates.get((a.id, b.id), 0.0) for b in part), default=0.0) for a in part}
    even = all(rates.get((a, b)) == min(ends[a], ends[b]) for a in ends for b in ends if a != b)
    return {member.id: ends[member.id] if even else member.gpu.local_index for member in part}


def _links(topology: Topology, member: Reach) -> tuple[Hashable, ...]:
    """Return the rates of a GPU's own links."""
    arcs = topology.graph.adj[member.id].values()
    return tuple(arc["bytes_per_s"] for arc in arcs if arc["kind"] in ("nvlink", "pcie"))


def _outward(topology: Topology, member: Reach) -> tuple[Hashable, ...]:
    """Return the fair shares of a GPU on its ways out."""
    boundaries = [*member.via, *sorted(member.nics)]
    if member.narrow_leaf and leaves_bind(topology):
        boundaries += member.leaves
    if member.narrow_pod and member.pod:
        boundaries.append(member.pod)
    ports = (
        topology.graph.adj[nic][leaf]["bytes_per_s"] for nic, leaf in zip(member.nics, member.leaves, strict=False)
    )
    shares = (_fair_share(topology, boundary) for boundary in boundaries)
    return (len(member.via), len(member.nics), *ports, *shares)


def _fair_share(topology: Topology, boundary: str) -> float | None:
    """Return one way's part of a boundary; None where nobody gave its bandwidth."""
    try:
        return boundary_bytes_per_s(topology, boundary) / max(1, sharers(topology, boundary))
    except UnknownRateError:
        return None


def leaves_bind(topology: Topology) -> bool:
    """Return whether uplinks of leaves are on the way between some GPUs that can hold ranks."""
    return _leaf_groups(topology) > 1 or _rails_bind(topology)


def _leaf_groups(topology: Topology) -> int:
    key = ("leaf groups",)
    if key not in topology.memo:
        topology.memo[key] = len({node.leaf for node in topology.node_by_name.values()})
    return int(topology.memo[key])


def _rails_bind(topology: Topology) -> bool:
    """Return whether some GPU cannot reach other rails over NVLink: whoever meets it may need the spine as well."""
    key = ("rails bind",)
    if key not in topology.memo:
        kinds = {node.blueprint: node for node in topology.node_by_name.values()}
        gpus = [gpu for node in kinds.values() for gpu in node.gpus if topology.gpu(gpu).placeable]
        topology.memo[key] = not all(reach(topology, gpu).crosses_rails for gpu in gpus)
    return bool(topology.memo[key])


def _node_classes(topology: Topology) -> tuple[NodeClass, ...]:
    members: dict[tuple[Hashable, ...], list[str]] = {}
    for name, node in topology.node_by_name.items():
        islands = _local_islands(topology, node)
        if islands:
            shape = tuple((len(indices), key) for indices, _, _, key in islands)
            nics = _nic_pattern(topology, node)
            members.setdefault((shape, nics, _narrow_place(topology, node), node.nvlink_domain), []).append(name)
    return tuple(_node_class(topology, tuple(nodes)) for nodes in members.values())


def _node_class(topology: Topology, nodes: tuple[str, ...]) -> NodeClass:
    first = topology.node(nodes[0])
    shapes = tuple(
        IslandShape(gpu_type, len(indices), speed) for indices, gpu_type, speed, _ in _local_islands(topology, first)
    )
    return NodeClass(nodes, shapes, _narrow_place(topology, first)[0], first.nvlink_domain)


def _narrow_place(topology: Topology, node: Node) -> tuple[str | None, str | None]:
    """Return the leaf group and pod of a node as far as their uplinks are narrow."""
    narrow_leaf = any(is_narrow(topology, leaf) for nic in node.nics for leaf in leaves_of(topology, nic))
    narrow_pod = node.pod is not None and is_narrow(topology, node.pod)
    return node.leaf if narrow_leaf else None, node.pod if narrow_pod else None


def _nic_pattern(topology: Topology, node: Node) -> Hashable:
    """Return which GPUs share NICs, by occurrence: what a replica that has them alone gets depends on it."""
    key = ("nic pattern", node.blueprint)
    if key not in topology.memo:
        vertices = topology.graph.nodes
        numbers: dict[Hashable, int] = {}
        ways = [vertices[gpu]["nics"] for gpu in node.gpus if topology.gpu(gpu).placeable]
        topology.memo[key] = tuple(numbers.setdefault(nics, len(numbers)) for nics in ways)
    found: Hashable = topology.memo[key]
    return found
