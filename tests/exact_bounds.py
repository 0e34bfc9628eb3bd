"""The exact bounds on collectives of a set of GPUs, by max-flow over every division of the set."""

from itertools import combinations

import networkx as nx
from networkx.algorithms.flow import preflow_push

from optimizer.topology.busbw import _wires
from optimizer.topology.graph import Topology
from optimizer.topology.reach import reach


def exact(found: Topology, gpus: list[str]) -> tuple[float, float, float]:
    """Return ring, optimum and all-to-all from every division of the set, each contracted by max-flow."""
    wires = nx.DiGraph(_wires(found, tuple(reach(found, gpu) for gpu in gpus)))
    n, rows = len(gpus), []
    for size in range(1, n):
        for inside in combinations(gpus, size):
            ends = nx.DiGraph(wires)
            ends.add_edges_from(("from", gpu) if gpu in inside else (gpu, "to") for gpu in gpus)
            rows.append((size, nx.maximum_flow_value(ends, "from", "to", flow_func=preflow_push)))
    most = max(size / rate for size, rate in rows)
    most_all_to_all = max(size * (n - size) / rate for size, rate in rows)
    return min(rate for _, rate in rows), (n - 1) / most, (n - 1) / most_all_to_all
