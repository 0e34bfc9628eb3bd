"""Replicas of equal shape: what is known of the paths of one holds for all of them, at their own places."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from optimizer.topology.fabrics import router
from optimizer.topology.graph import Topology
from optimizer.topology.lattice import carried, spanned
from optimizer.topology.reach import boundary_bytes_per_s, is_narrow, leaves_of, sharers

Stages: TypeAlias = Sequence[Sequence[str]]
"""GPU ids of each stage in TP rank order."""

Reserved: TypeAlias = tuple[tuple[str, float], ...]
"""(boundary, bytes/s per direction), sorted by name."""


def remembered(topology: Topology, stages: Stages, key: object, find: Callable[[], Reserved]) -> Reserved:
    """Return what ``find`` says of these seats, read off an equal replica where one was asked before for ``key``."""
    places, known = _places(topology, stages), ("reserved", key, shape(topology, stages))
    if known not in topology.memo:
        topology.memo[known] = _placed(find(), places)
    found = topology.memo[known]
    if found is None:
        return find()
    assert isinstance(found, tuple)
    return tuple(sorted((f"{places[place]}{rest}", rate) for place, rest, rate in found))


def _places(topology: Topology, stages: Stages) -> tuple[str, ...]:
    """Return the nodes, leaf groups and pods of a replica by occurrence."""
    nodes = [topology.node(name) for name in dict.fromkeys(topology.gpu(gpu).node for stage in stages for gpu in stage)]
    names = [name for node in nodes for name in (node.name, node.leaf, node.pod) if name is not None]
    return tuple(dict.fromkeys(names))


def _placed(reserved: Reserved, places: tuple[str, ...]) -> tuple[tuple[int, str, float], ...] | None:
    """Return boundaries as (place, rest of the name, bytes/s): alike in equal replicas; None if any has no place."""
    found = []
    for boundary, rate in reserved:
        at = [n for n, place in enumerate(places) if boundary == place or boundary.startswith(f"{place}/")]
        if len(at) != 1:
            return None
        found.append((at[0], boundary.removeprefix(places[at[0]]), rate))
    return tuple(found)


def shape(topology: Topology, stages: Stages) -> tuple[object, ...]:
    """Return what the wiring of a replica depends on: seats by kind of node, nodes, leaves and pods by occurrence.

    On a torus also what the links of its box give it; NoPathError where its nodes are no box.
    """
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
    ends = tuple(boundary_bytes_per_s(topology, router(node)) for node in spanned(topology, stages))
    return (*seats, *nodes.values(), carried(topology, stages), ends)


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
