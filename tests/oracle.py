"""The best plan by brute force over layouts, placements, shares and concurrencies on at most 8 GPUs.

Nothing is shared with the formulation: no footprints, no classes, no integers. What is taken as given is what a plan
may consist of (``layout.layouts``, ``cost.options.concurrencies``) and what it costs (``topology.bandwidth``,
``cost.estimate``). Replicas on their seats are combined by dynamic programming over the GPUs that are left; of two
ways to fill the same GPUs, one is forgotten only when the other is at least as good in every number that can still
matter.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from seatings import Seated, equal_gpus, replicas

from optimizer.cost.options import BATCHED_TOKENS, ROOMY_TOKENS
from optimizer.inputs.cluster import ClusterSpec
from optimizer.inputs.model import ModelSpec
from optimizer.inputs.workload import WorkloadSpec
from optimizer.plan import ObjectiveName
from optimizer.topology.bandwidth import capacity
from optimizer.topology.graph import Topology, build

SLACK = 1e-9
"""Relative: sums of floats in another order."""

Counts = tuple[int, ...]
"""GPUs per class of equal ones."""

Vector = tuple[float, ...]
"""What still matters of a set of replicas, less is better in every entry: the goal's numbers, then reservations."""


@dataclass(frozen=True)
class Answer:
    """The best value of the objective in its own unit, and of its tie-break."""

    value: float
    tie: float


def best(
    cluster: ClusterSpec,
    model: ModelSpec,
    workload: WorkloadSpec,
    objective: ObjectiveName,
    *,
    tell_apart: bool = False,
    target: "Goal | None" = None,
) -> Answer | None:
    """Return the best answer over all plans, None when there is none; ``tell_apart``: no two GPUs count as equal.

    ``target``: what is sought in place of the objective.
    """
    topology = build(cluster)
    classes = classes_of(topology, tell_apart=tell_apart)
    target = target or goal(objective, workload)
    seated = replicas(
        topology, classes, model, workload, first_token=objective == "ttft",
        batched_tokens=(None, *_tokens_per_step(workload, objective)),
    )  # fmt: skip
    return packed(topology, classes, seated, target, objective)


def _tokens_per_step(workload: WorkloadSpec, objective: ObjectiveName) -> tuple[int, ...]:
    """Return what the engine may be told to compute in a step at most, where that is open."""
    if workload.engine.max_num_batched_tokens is not None:
        return ()
    slo = workload.slo
    on_latency = objective in ("latency", "ttft") or slo.ttft is not None or slo.tpot is not None
    return BATCHED_TOKENS if on_latency else ROOMY_TOKENS


def classes_of(topology: Topology, *, tell_apart: bool) -> tuple[tuple[str, ...], ...]:
    """Return the GPUs in classes of equal ones; ``tell_apart``: each GPU is a class."""
    classes = equal_gpus(topology)
    return tuple((gpu,) for ids in classes for gpu in ids) if tell_apart else classes


def packed(
    topology: Topology,
    classes: Sequence[tuple[str, ...]],
    offers: Iterable[Seated],
    target: "Goal",
    objective: ObjectiveName,
) -> Answer | None:
    """Return the best answer over all sets of the replicas offered that share no GPU and overload no boundary."""
    seated = list(offers)
    domains = sorted({domain for replica in seated for domain, _ in replica.reserved})
    options: dict[Counts, list[Vector]] = {}
    for replica in seated:
        price = sum(_per_gpu(topology.cluster, objective, gpu.type) for gpu in replica.gpus)
        reserved = dict(replica.reserved)
        used = tuple(sum(1 for gpu in replica.gpus if gpu.id in ids) for ids in classes)
        vector = target.measure(replica, price) + tuple(reserved.get(domain, 0.0) for domain in domains)
        options.setdefault(used, []).append(vector)
    limits = tuple(capacity(topology, domain) * (1 + SLACK) for domain in domains)
    found = _packings(options, tuple(len(ids) for ids in classes), target, limits)
    worths = [worth for vector in found if any(vector) and (worth := target.worth(vector)) is not None]
    if not worths:
        return None
    value, tie = min(worths, key=lambda worth: (_digits(worth[0]), worth[1]))
    return Answer(target.signs[0] * value, target.signs[1] * tie)


def _per_gpu(cluster: ClusterSpec, objective: ObjectiveName, gpu_type: str) -> float:
    """Return what one GPU costs where GPUs are not counted but weighed: money or watts."""
    match objective:
        case "cost":
            return cluster.prices[gpu_type][0]
        case "energy":
            return cluster.gpus[gpu_type].tdp
        case _:
            return 0.0


def _digits(value: float) -> float:
    """Return the value to 12 digits: equal sums of floats in another order are ties."""
    return float(f"{value:.12g}")


# -- what objectives see ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Goal:
    """How an objective sees replicas: numbers of each, how they add up, and what the sum is worth."""

    measure: Callable[[Seated, float], Vector]
    """Of a replica and what its GPUs cost; less is better in each entry."""
    worth: Callable[[Vector], tuple[float, float] | None]
    """(value, tie), less is better; None when the demand is not met."""
    signs: tuple[int, int]
    """What turns ``worth`` into the objective's own units."""
    floors: Vector
    """What each entry need not go below: the demand is met, more is worth nothing."""
    worst: tuple[int, ...] = ()
    """Entries of which the largest counts; all others are summed."""
    keeps: Callable[[Vector], bool] = lambda _: True
    """Whether a set may be part of a plan; what larger sets cannot mend."""

    def together(self, a: Vector, b: Vector) -> Vector:
        """Return the numbers of two sets of replicas side by side; reservations follow the goal's own entries."""
        sums = [x + y for x, y in zip(a, b, strict=True)]
        for entry in self.worst:
            sums[entry] = max(a[entry], b[entry])
        return (*map(max, sums, self.floors), *sums[len(self.floors) :])


def goal(objective: ObjectiveName, workload: WorkloadSpec) -> Goal:
    """Return what the objective asks of replicas under this workload."""
    rate, clients = workload.request_rate, workload.concurrency
    demand = (rate or clients or 1) * (1 - SLACK)
    all_tokens = rate * workload.osl.mean if rate else math.inf

    def served(one: Seated) -> float:
        return one.estimate.requests_per_s if rate else one.estimate.concurrency

    if objective == "throughput":
        most = clients or math.inf
        return Goal(
            measure=lambda one, _: (
                -one.estimate.output_tokens_per_s, len(one.gpus), one.estimate.concurrency if clients else 0
            ),
            worth=lambda v: (max(v[0], -all_tokens), v[1]),
            signs=(-1, 1), floors=(-all_tokens, 0, 0), keeps=lambda v: v[2] <= most,
        )  # fmt: skip
    if objective in ("latency", "ttft"):
        return Goal(
            measure=lambda one, _: (
                one.estimate.tpot_s if objective == "latency" else one.estimate.ttft_s, len(one.gpus), -served(one)
            ),
            worth=lambda v: (v[0], v[1]) if -v[2] >= demand else None,
            signs=(1, 1), floors=(0, 0, -demand), worst=(0,),
        )  # fmt: skip
    return Goal(
        measure=lambda one, price: (
            len(one.gpus) if objective == "gpus" else price, -one.estimate.output_tokens_per_s, -served(one)
        ),
        worth=lambda v: (v[0], max(v[1], -all_tokens)) if -v[2] >= demand else None,
        signs=(1, -1), floors=(0, -all_tokens, -demand),
    )  # fmt: skip


def fastest_of_fewest(workload: WorkloadSpec) -> Goal:
    """Return what gpus,latency asks: fewest GPUs that meet the workload, among such plans the least TPOT."""
    slowest = goal("latency", workload)

    def worth(v: Vector) -> tuple[float, float] | None:
        return (v[1], v[0]) if slowest.worth(v) is not None else None

    return replace(slowest, worth=worth)


# -- replicas side by side ----------------------------------------------------------------------------------------


def _packings(
    options: Mapping[Counts, Iterable[Vector]], free: Counts, target: Goal, limits: Vector
) -> tuple[Vector, ...]:
    """Return what sets of replicas on ``free`` GPUs can reach, those that another makes superfluous left out.

    Each step settles one free GPU of the first class that has any: it stays idle, or one of the replicas takes it.
    """
    options, limits = _binding(options, free, limits)
    kept = {used: _undominated(vectors) for used, vectors in options.items()}
    length = len(next(iter(kept.values()))[0]) if kept else 0

    def allowed(vector: Vector) -> bool:
        goals = length - len(limits)
        within = all(promised <= limit for promised, limit in zip(vector[goals:], limits, strict=True))
        return within and target.keeps(vector)

    @cache
    def reach(left: Counts) -> tuple[Vector, ...]:
        first = next((index for index, n in enumerate(left) if n), None)
        if first is None:
            return ((0.0,) * length,)
        ways = list(reach(tuple(n - (index == first) for index, n in enumerate(left))))
        for used, vectors in kept.items():
            if used[first] and all(u <= n for u, n in zip(used, left, strict=True)):
                rest = reach(tuple(n - u for u, n in zip(used, left, strict=True)))
                ways += [s for one in vectors for others in rest if allowed(s := target.together(one, others))]
        return _undominated(ways)

    return reach(free) if kept else ()


def _binding(
    options: Mapping[Counts, Iterable[Vector]], free: Counts, limits: Vector
) -> tuple[dict[Counts, list[Vector]], Vector]:
    """Return options and limits without those boundaries that no set of replicas on ``free`` GPUs can overload."""
    kept = {used: _undominated(vectors) for used, vectors in options.items()}

    def most(entry: int) -> float:
        """Return the largest sum of one entry over all sets of replicas."""
        largest = {used: max(vector[entry] for vector in vectors) for used, vectors in kept.items()}

        @cache
        def reach(left: Counts) -> float:
            fitting = (used for used in largest if all(u <= n for u, n in zip(used, left, strict=True)))
            return max(
                (largest[u] + reach(tuple(n - m for n, m in zip(left, u, strict=True))) for u in fitting), default=0
            )

        return reach(free)

    entries = range(-len(limits), 0)
    binding = [entry for entry in entries if most(entry) > limits[entry]]
    return {
        used: [(*vector[: len(vector) - len(limits)], *(vector[entry] for entry in binding)) for vector in vectors]
        for used, vectors in kept.items()
    }, tuple(limits[entry] for entry in binding)


def _undominated(vectors: Iterable[Vector]) -> tuple[Vector, ...]:
    """Return the vectors that no other is at least as good as in every entry; of equals one."""
    ordered = sorted(set(vectors))
    kept = np.empty((len(ordered), len(ordered[0]) if ordered else 0))
    chosen: list[Vector] = []
    for vector in ordered:
        if not (kept[: len(chosen)] <= vector).all(axis=1).any():
            kept[len(chosen)] = vector
            chosen.append(vector)
    return tuple(chosen)
