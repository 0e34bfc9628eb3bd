"""Rule on tori: replicas over several nodes have boxes of neighbours, none in common, and no link is passed too fast.

Read off coordinates and cables alone; how a ring is laid through a box is not asked.
"""

from collections import defaultdict
from collections.abc import Iterator
from math import prod

import networkx as nx

from optimizer.topology.fabrics import router
from optimizer.verify.evidence import TOLERANCE, Claim, Evidence


def replicas_have_boxes_of_the_torus(evidence: Evidence) -> Iterator[str]:
    """The nodes of a replica are a whole box joined by live links, no other replica over nodes has one of them."""
    holders: dict[str, list[str]] = defaultdict(list)
    for claim in evidence.seated:
        nodes = list(dict.fromkeys(gpu.node for gpu in claim.gpus or ()))
        places = [place for node in nodes if (place := claim.topology.node(node).at) is not None]
        if len(nodes) == 1 or not places:
            continue
        for node in nodes:
            holders[node].append(claim.name)
        lengths = [len(set(along)) for along in zip(*places, strict=True)]
        if prod(lengths) != len(nodes) or not _joined(claim, nodes):
            yield f"{claim.name}: {', '.join(nodes)} are no box of neighbours on the torus"
        yield from _too_fast(claim, nodes)
    for node, names in holders.items():
        if len(names) > 1:
            yield f"{node}: its links of the torus are those of {' and '.join(names)}"


def _joined(claim: Claim, nodes: list[str]) -> bool:
    """Whether live links lead from each node to each other without leaving them."""
    graph, ends = claim.topology.graph, [router(node) for node in nodes]
    live: nx.DiGraph[str] = nx.DiGraph()
    live.add_nodes_from(ends)
    live.add_edges_from((u, v) for u in ends for v in ends if graph.has_edge(u, v) and graph[u][v]["bytes_per_s"] != 0)
    return nx.is_strongly_connected(live)


def _too_fast(claim: Claim, nodes: list[str]) -> Iterator[str]:
    """Yield where a stage sends more out of a node than all of its links inside the box carry."""
    if isinstance(claim.wiring, str) or claim.wiring.group.outer != "rdma":
        return
    graph = claim.topology.graph
    for node in nodes:
        out = sum(graph[router(node)][end]["bytes_per_s"] or 0.0 for other in nodes
                  if graph.has_edge(router(node), end := router(other)))  # fmt: skip
        if claim.wiring.group.outer_bytes_per_s > out * (1 + TOLERANCE):
            sent = claim.wiring.group.outer_bytes_per_s
            yield f"{claim.name}: passes on {sent:.6g} B/s at {node}, whose links carry {out:.6g}"
