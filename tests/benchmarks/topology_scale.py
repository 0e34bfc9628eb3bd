"""Print how long a rail Clos of 16,384 GPUs takes to build, to sum up into classes and to answer; run as a script."""

import resource
import sys
import time
from collections.abc import Callable
from typing import TypeVar

from optimizer.inputs.cluster import ClusterSpec
from optimizer.inputs.presets import load_cluster
from optimizer.topology.bandwidth import reservations, wiring
from optimizer.topology.classes import node_classes
from optimizer.topology.graph import build

T = TypeVar("T")


def timed(what: str, work: Callable[[], T], times: int = 1) -> T:
    """Return what ``work`` returns and print its mean seconds."""
    start = time.process_time()
    for _ in range(times):
        answer = work()
    seconds = (time.process_time() - start) / times
    sys.stdout.write(f"{what:<52} {seconds * 1e6:12,.1f} us\n")
    return answer


def main(nodes: int = 2048) -> None:
    """Build, class and ask."""
    node = load_cluster("hgx-h200")
    given = node.model_dump(mode="json") | {
        "nodes": [{"count": nodes, "template": "hgx-h200"}],
        "fabric": {"kind": "rail-clos", "nodes_per_leaf": 32},
        "overrides": [{"match": {"node": f"node{n}", "gpu": n % 8}, "state": "lost"} for n in range(7, nodes, 100)],
    }
    cluster = ClusterSpec.model_validate(given)
    found = timed(f"build {nodes * 8:,} GPUs", lambda: build(cluster))
    classes = timed("islands and node classes", lambda: node_classes(found))
    stages = [found.node(name).gpus for name in found.nodes[40:44]]
    timed("wiring of tp8 pp4 over 4 nodes, first of its kind", lambda: wiring(found, stages))
    other = [found.node(name).gpus for name in found.nodes[80:84]]
    timed("wiring of tp8 pp4, another of the kind", lambda: wiring(found, other), 1000)
    timed("reservations of it", lambda: reservations(found, other), 100)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    size = f"{len(found.graph):,} vertices, {found.graph.number_of_edges():,} arcs, {len(classes)} classes"
    sys.stdout.write(f"{size}, {peak:.0f} MiB at the peak\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
