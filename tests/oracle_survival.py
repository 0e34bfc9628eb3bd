"""The best plan that survives any single failure, by brute force: every set of replicas, every element taken away.

Nothing of the formulation is used: no GPU counts as equal to another, and what is left without an element is summed
for every element by itself.
"""

from collections.abc import Sequence

from oracle import SLACK, Answer, Goal, Vector, packed
from seatings import Seated, equal_gpus, replicas

from optimizer.cost.quantities import Estimate
from optimizer.inputs.cluster import ClusterSpec
from optimizer.inputs.model import ModelSpec
from optimizer.inputs.workload import WorkloadSpec
from optimizer.plan import Failure, ObjectiveName
from optimizer.topology.graph import Topology, build


def best_surviving(
    cluster: ClusterSpec, model: ModelSpec, workload: WorkloadSpec, objective: ObjectiveName, failure: Failure
) -> Answer | None:
    """Return the best answer over all plans that meet the workload without any one element, None when there is none."""
    topology = build(cluster)
    alone = tuple((gpu,) for ids in equal_gpus(topology) for gpu in ids)
    seated = list(replicas(topology, alone, model, workload, first_token=objective == "ttft"))
    elements = sorted({element for one in seated for element in needs(topology, one, failure)}) or [""]
    target = _goal(objective, workload, topology, failure, elements)
    return packed(topology, alone, seated, target, objective)


def needs(topology: Topology, one: Seated, failure: Failure) -> frozenset[str]:
    """Return what breaks a replica; of the NICs those nearest to its GPUs, when it sends to another node."""
    match failure:
        case "gpu":
            return frozenset(gpu.id for gpu in one.gpus)
        case "node":
            return frozenset(gpu.node for gpu in one.gpus)
        case "nic":
            vertices = topology.graph.nodes
            return frozenset(domain for domain, _ in one.reserved if vertices[domain]["kind"] == "nic")


def _served(e: Estimate, workload: WorkloadSpec, objective: ObjectiveName) -> float:
    if objective == "throughput":
        return e.output_tokens_per_s
    return e.requests_per_s if workload.request_rate else e.concurrency


def _goal(
    objective: ObjectiveName, workload: WorkloadSpec, topology: Topology, failure: Failure, elements: Sequence[str]
) -> Goal:
    """Return how sums over replicas are worth, for throughput, latency or gpus; ``elements`` may break."""
    rate, clients, inf, n = workload.request_rate, workload.concurrency, float("inf"), len(elements)

    def left(one: Seated) -> Vector:
        broken = needs(topology, one, failure)
        return tuple(0.0 if e in broken else -_served(one.estimate, workload, objective) for e in elements)

    if objective == "throughput":
        tokens, most = rate * workload.osl.mean if rate else inf, clients or inf
        return Goal(
            measure=lambda one, _: (*left(one), len(one.gpus), one.estimate.concurrency),
            worth=lambda v: (max(v[:n]), v[n]) if max(v[:n]) < 0 else None,
            signs=(-1, 1), floors=(*(-tokens,) * n, 0, 0), keeps=lambda v: v[n + 1] <= most,
        )  # fmt: skip
    demand = (rate or clients or 1) * (1 - SLACK)
    if objective == "latency":
        return Goal(
            measure=lambda one, _: (one.estimate.tpot_s, len(one.gpus), *left(one)),
            worth=lambda v: (v[0], v[1]) if all(-served >= demand for served in v[2 : 2 + n]) else None,
            signs=(1, 1), worst=(0,), floors=(0, 0, *(-demand,) * n),
        )  # fmt: skip
    return Goal(
        measure=lambda one, _: (len(one.gpus), -one.estimate.output_tokens_per_s, *left(one)),
        worth=lambda v: (v[0], v[1]) if all(-served >= demand for served in v[2 : 2 + n]) else None,
        signs=(1, -1), floors=(0, -inf, *(-demand,) * n),
    )  # fmt: skip
