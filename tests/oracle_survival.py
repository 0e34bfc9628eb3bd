"""The best plan that survives any single failure, by brute force: every set of replicas, every element taken away.

Nothing of the formulation is used: no GPU counts as equal to another, and what is left without an element is summed
for every element by itself.
"""

from oracle import SLACK, Answer, Goal, Vector, _packings
from seatings import Seated, equal_gpus, replicas

from optimizer.cost.quantities import Estimate
from optimizer.inputs.cluster import ClusterSpec
from optimizer.inputs.model import ModelSpec
from optimizer.inputs.workload import WorkloadSpec
from optimizer.plan import Failure, ObjectiveName
from optimizer.topology.bandwidth import capacity
from optimizer.topology.graph import Topology, build


def best_surviving(
    cluster: ClusterSpec, model: ModelSpec, workload: WorkloadSpec, objective: ObjectiveName, failure: Failure
) -> Answer | None:
    """Return the best answer over all plans that meet the workload without any one element, None when there is none."""
    topology = build(cluster)
    alone = tuple((gpu,) for ids in equal_gpus(topology) for gpu in ids)
    seated = list(replicas(topology, alone, model, workload))
    elements = sorted({element for one in seated for element in needs(topology, one, failure)}) or [""]
    domains = sorted({domain for one in seated for domain, _ in one.reserved})
    target = _goal(objective, workload, len(elements))
    options: dict[tuple[int, ...], list[Vector]] = {}
    for one in seated:
        used = tuple(sum(gpu.id in ids for gpu in one.gpus) for ids in alone)
        broken = needs(topology, one, failure)
        kept = tuple(0.0 if element in broken else _served(one.estimate, workload, objective) for element in elements)
        reserved = dict(one.reserved)
        vector = _vector(objective, one, kept)
        options.setdefault(used, []).append(vector + tuple(reserved.get(domain, 0.0) for domain in domains))
    limits = tuple(capacity(topology, domain) * (1 + SLACK) for domain in domains)
    found = _packings(options, tuple(1 for _ in alone), target, limits)
    worths = [worth for vector in found if any(vector) and (worth := target.worth(vector)) is not None]
    if not worths:
        return None
    value, tie = min(worths)
    return Answer(target.signs[0] * value, target.signs[1] * tie)


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


def _vector(objective: ObjectiveName, one: Seated, kept: Vector) -> Vector:
    left = tuple(-k for k in kept)
    if objective == "throughput":
        return (*left, len(one.gpus), one.estimate.concurrency)
    if objective == "latency":
        return (one.estimate.tpot_s, len(one.gpus), *left)
    return (len(one.gpus), -one.estimate.output_tokens_per_s, *left)


def _goal(objective: ObjectiveName, workload: WorkloadSpec, elements: int) -> Goal:
    """Return how sums over replicas are worth, for throughput, latency or gpus."""
    rate, clients, inf = workload.request_rate, workload.concurrency, float("inf")
    if objective == "throughput":
        tokens = rate * workload.osl.mean if rate else inf
        return Goal(
            measure=_unused, signs=(-1, 1),
            worth=lambda v: (max(v[:elements]), v[elements]) if max(v[:elements]) < 0 else None,
            floors=(*(-tokens,) * elements, 0, 0), most=clients or inf,
        )  # fmt: skip
    demand = (rate or clients or 1) * (1 - SLACK)
    return Goal(
        measure=_unused, worth=lambda v: (v[0], v[1]) if all(-left >= demand for left in v[2 : 2 + elements]) else None,
        signs=(1, 1) if objective == "latency" else (1, -1), worst_counts=objective == "latency",
        floors=(0, 0 if objective == "latency" else -inf, *(-demand,) * elements),
    )  # fmt: skip


def _unused(*_: object) -> Vector:
    raise AssertionError("vectors are made from seats here")
