"""Switches, sockets and all else that passes traffic on, in parts whose members all reach each other over live cables.

What is true of one member is true of all, so that a search for a way need not walk through the fabric every time.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import networkx as nx

from optimizer.topology.graph import Topology

ENDS = ("gpu", "nic")
"""What forwards only for its own replica."""


@dataclass(frozen=True)
class Forwarders:
    """The parts, by number."""

    part_of: dict[str, int]
    beyond: dict[int, list[int]]
    """Parts that live cables lead to from a part, and not back."""


def forwarding(topology: Topology) -> Forwarders:
    """Return the parts of a topology, found once."""
    key = ("forwarders",)
    if key not in topology.memo:
        topology.memo[key] = _forwarding(topology)
    found = topology.memo[key]
    assert isinstance(found, Forwarders)
    return found


def meet(topology: Topology, gpus: Sequence[str]) -> bool:
    """Whether some part hears the first GPU and is heard by all others, over no more than one NIC each way.

    Enough for them to reach each other, not necessary.
    """
    common = set(_around(topology, gpus[0], outward=True))
    for gpu in gpus[1:]:
        common &= _around(topology, gpu, outward=False)
    return bool(common)


def _around(topology: Topology, gpu: str, *, outward: bool) -> set[int]:
    """Return the parts that hear a GPU (or that it hears) directly or over the NICs of its node."""
    node = topology.gpu(gpu).node
    near = _parts(topology, gpu, outward=outward)
    return near.union(*(_behind_nics(topology, node, part, outward=outward) for part in near))


def _behind_nics(topology: Topology, node: str, part: int, *, outward: bool) -> set[int]:
    """Return the parts on the other side of the NICs that a part of a node reaches."""
    key = ("behind nics", node, part, outward)
    if key not in topology.memo:
        nics = (nic for nic in topology.node(node).nics if part in _parts(topology, nic, outward=not outward))
        topology.memo[key] = set[int]().union(*(_parts(topology, nic, outward=outward) for nic in nics))
    found = topology.memo[key]
    assert isinstance(found, set)
    return found


def _parts(topology: Topology, vertex: str, *, outward: bool) -> set[int]:
    """Return the parts at the other ends of a vertex's live cables."""
    part_of, graph = forwarding(topology).part_of, topology.graph
    cables = (graph.adj if outward else graph.pred)[vertex].items()
    return {part_of[other] for other, cable in cables if cable["bytes_per_s"] != 0 and other in part_of}


def _forwarding(topology: Topology) -> Forwarders:
    kinds = topology.graph.nodes
    live: nx.DiGraph[str] = nx.DiGraph()
    inner = [vertex for vertex, data in kinds(data=True) if data["kind"] not in ENDS]
    live.add_nodes_from(inner)
    for vertex in inner:
        for other, cable in topology.graph.adj[vertex].items():
            if cable["bytes_per_s"] != 0 and kinds[other]["kind"] not in ENDS:
                live.add_edge(vertex, other)
    parts = enumerate(nx.strongly_connected_components(live))
    part_of = {vertex: number for number, part in parts for vertex in part}
    beyond: dict[int, list[int]] = defaultdict(list)
    for vertex, other in live.edges:
        if part_of[vertex] != part_of[other]:
            beyond[part_of[vertex]].append(part_of[other])
    return Forwarders(part_of, beyond)
