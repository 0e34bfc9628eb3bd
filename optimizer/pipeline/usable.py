"""What of a cluster may be used: without what others use, by type, and in classes of equal nodes."""

from collections import Counter
from collections.abc import Sequence

from optimizer.errors import InputError
from optimizer.inputs.cluster import ClusterSpec, Match, Override
from optimizer.topology.classes import NodeClass, node_classes
from optimizer.topology.graph import Topology

FEW_NODES = 4
"""Up to so many nodes each is a class of its own, so that every footprint is tried on every node."""


def without(cluster: ClusterSpec, exclude: Sequence[str]) -> ClusterSpec:
    """Return the cluster with nodes and GPUs that others use marked as reserved."""
    if not exclude:
        return cluster
    marks = []
    for name in exclude:
        node, _, gpu = name.partition("/")
        match = Match(node=node, gpu=int(gpu) if gpu.isdigit() else gpu or None)
        marks.append(Override(match=match, state="reserved", reason="excluded on the command line"))
    return cluster.model_copy(update={"overrides": (*cluster.overrides, *marks)})


def usable_gpus(topology: Topology) -> dict[str, int]:
    """Count the GPUs that can hold a rank, by type; InputError when there are none."""
    counts = dict(Counter(gpu.type for gpu in topology.gpus if gpu.placeable))
    if not counts:
        raise InputError(f"cluster {topology.cluster.name}: no GPU is usable: all are lost, reserved or excluded")
    return counts


def classes_of(topology: Topology) -> tuple[NodeClass, ...]:
    """Return the classes of equal nodes; in a small cluster each node is one."""
    classes = node_classes(topology)
    if sum(len(c.nodes) for c in classes) > FEW_NODES:
        return classes
    return tuple(NodeClass((node,), c.islands, c.leaf) for c in classes for node in c.nodes)
