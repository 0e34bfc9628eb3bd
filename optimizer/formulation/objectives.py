"""What is best: one function per objective, each with its tie-break; OBJECTIVES names them all."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import mul

from ortools.sat.python import cp_model

from optimizer.formulation.columns import Column
from optimizer.formulation.failures import largest_loss
from optimizer.formulation.goals import Goal
from optimizer.formulation.instance import AMOUNTS, Instance, Load, Phase
from optimizer.formulation.integers import exact_quantum, gain, gain_quantum, guard, requirement
from optimizer.formulation.pairs import NS, mean_s, nanoseconds, services_apart, slowest_pair, slowest_pair_s
from optimizer.formulation.variables import Decisions, at_least_if_chosen
from optimizer.plan import ObjectiveName

Objective = Callable[[cp_model.CpModel, Decisions], tuple[Goal, ...]]


@dataclass(frozen=True)
class _Tokens:
    """Weighted output tokens/s that come of what each column carries, in quanta."""

    gains: tuple[int, ...]
    quantum: float

    @property
    def read(self) -> Callable[[float], float]:
        """What the solver minimises, as tokens/s."""
        return lambda n: -n * self.quantum


def _tokens(instance: Instance) -> _Tokens:
    quantum = gain_quantum(_largest_counted(instance.whole, _worth(instance.whole)))
    return _Tokens(tuple(gain(one, quantum) for one in _worth(instance)), quantum)


def _worth(instance: Instance) -> list[float]:
    return [c.point.requests_per_s * instance.loads[c.service].tokens for c in instance.columns]


def _largest_counted(instance: Instance, worth: Sequence[float]) -> Iterator[float]:
    """Yield the most that a column of each model can add to what counts: no more than its slower phase, or its rate.

    A prefill replica may make many times the prompts that are ever answered; steps as large would hide what is.
    """
    for number, load in enumerate(instance.loads):
        own = [phase for phase in instance.phases if phase.service == number]
        by_phase = (
            max(one for one, column in zip(worth, instance.columns, strict=True) if phase.covers(column))
            for phase in own
        )
        yield min((*by_phase, (load.workload.request_rate or math.inf) * load.tokens)) if own else 0.0


def throughput(model: cp_model.CpModel, decisions: Decisions) -> tuple[Goal, ...]:
    """Most output tokens/s, after the worst failure if any is to be survived, not beyond the demand; fewest GPUs."""
    tokens = _tokens(decisions.instance)
    services = [_served(model, decisions, n, tokens, load) for n, load in enumerate(decisions.instance.loads)]
    hidden = tokens.quantum / 2 * max(decisions.instance.whole.most)  # of each replica no more than half a quantum
    return Goal(-cp_model.LinearExpr.sum(services), tokens.read, hidden), fewest_gpus(decisions)


def _served(
    model: cp_model.CpModel, decisions: Decisions, service: int, tokens: _Tokens, load: Load | None = None
) -> cp_model.LinearExprT:
    """Return what a model is served: what each of its phases carries, never more than its load demands if given."""
    instance, gains = decisions.instance, tokens.gains
    carried = [_carried(model, decisions, phase, gains) for phase in instance.phases if phase.service == service]
    rate = load and load.workload.request_rate
    if rate is None and len(carried) < 2:
        return cp_model.LinearExpr.sum(carried)
    most = sum(g * n for g, n, c in zip(gains, instance.most, instance.columns, strict=True) if c.service == service)
    demand = requirement(rate * load.tokens, tokens.quantum) if load and rate else most
    counted = model.new_int_var(0, demand, f"served[{service}]")
    for phase_sum in carried:
        model.add(counted <= phase_sum)
    return counted


def _carried(model: cp_model.CpModel, decisions: Decisions, phase: Phase, gains: Sequence[int]) -> cp_model.LinearExprT:
    """Return what the replicas of a phase carry, less what the worst failure takes if one is to be survived."""
    instance = decisions.instance
    own = [g if phase.covers(column) else 0 for g, column in zip(gains, instance.columns, strict=True)]
    total = _weighted(decisions, own)
    if instance.survive is None or instance.objective != "throughput":
        return total
    return total - largest_loss(model, decisions, own)


def as_tokens(instance: Instance) -> Callable[[float], float]:
    """Return how the integers of the goal of most tokens read as tokens/s."""
    return _tokens(instance).read


def tokens_of(instance: Instance, replicas: Sequence[int], lost: Callable[[Sequence[int]], int]) -> int:
    """Return what the goal of most tokens comes to, negated as it is minimised; ``lost``: to the worst failure."""
    tokens, total = _tokens(instance), 0
    for number, load in enumerate(instance.loads):
        carried = []
        for phase in (phase for phase in instance.phases if phase.service == number):
            own = [g if phase.covers(column) else 0 for g, column in zip(tokens.gains, instance.columns, strict=True)]
            carried.append(sum(map(mul, own, replicas)) - lost(own))
        rate = load.workload.request_rate
        asked = [] if rate is None else [requirement(rate * load.tokens, tokens.quantum)]
        total += min([*carried, *asked]) if carried else 0
    return -total


def latency(model: cp_model.CpModel, decisions: Decisions) -> tuple[Goal, ...]:
    """Least TPOT of the slowest replica; then fewest GPUs."""
    seconds = [c.point.tpot_s for c in decisions.instance.columns]
    return _slowest(model, decisions, "latency", seconds), fewest_gpus(decisions)


def ttft(model: cp_model.CpModel, decisions: Decisions) -> tuple[Goal, ...]:
    """Least TTFT of the slowest replica, or pair of replicas where prefill and decode are apart; then fewest GPUs."""
    columns = decisions.instance.columns
    apart = services_apart(columns)
    if not apart:
        return _slowest(model, decisions, "ttft", [c.point.ttft_s for c in columns]), fewest_gpus(decisions)
    most = 3 * math.ceil(NS * max(c.point.ttft_s + c.point.transfer_s for c in columns))
    slowest = model.new_int_var(0, most, "slowest_ttft")
    for service in apart:
        for total in slowest_pair(model, decisions, service, mean_s):
            model.add(slowest >= total)
    for column, var in zip(columns, decisions.replicas, strict=True):
        if column.role == "both":
            at_least_if_chosen(model, slowest, var, nanoseconds(column.point.ttft_s))
    return Goal(slowest, lambda n: n / NS), fewest_gpus(decisions)


def gpus(model: cp_model.CpModel, decisions: Decisions) -> tuple[Goal, ...]:
    """Fewest GPUs; then most output tokens/s."""
    return fewest_gpus(decisions), *_most_tokens(model, decisions)


def cost(model: cp_model.CpModel, decisions: Decisions) -> tuple[Goal, ...]:
    """Least price per hour; then most output tokens/s."""
    return _least(decisions, AMOUNTS["cost"]), *_most_tokens(model, decisions)


def energy(model: cp_model.CpModel, decisions: Decisions) -> tuple[Goal, ...]:
    """Least power limits of all GPUs used; then most output tokens/s, so least energy per token at that power."""
    return _least(decisions, AMOUNTS["energy"]), *_most_tokens(model, decisions)


def _least(decisions: Decisions, amount: Callable[[Column], float]) -> Goal:
    instance = decisions.instance
    quantum, quanta = _in_quanta(instance, amount)
    off = max(abs(gain(amount(c), quantum) * quantum - amount(c)) for c in instance.whole.columns)
    hidden = -off * max(instance.whole.most)
    return Goal(_weighted(decisions, quanta), lambda n: n * quantum, hidden)


def _in_quanta(instance: Instance, amount: Callable[[Column], float]) -> tuple[float, list[int]]:
    """Return the step that an amount is counted in, and how many of them each column has."""
    quantum = exact_quantum(map(amount, instance.whole.columns))
    return quantum, [gain(amount(column), quantum) for column in instance.columns]


def additive_weights(instance: Instance) -> list[int] | None:
    """Return what each column adds to the first objective where that is a sum to be kept small, else None."""
    if instance.objective == "gpus":
        return [column.gpus for column in instance.columns]
    amount = AMOUNTS.get(instance.objective)
    return None if amount is None else _in_quanta(instance, amount)[1]


def fewest_gpus(decisions: Decisions) -> Goal:
    """Return the number of GPUs used."""
    return Goal(_weighted(decisions, [column.gpus for column in decisions.instance.columns]), float)


def fewest_crossings(decisions: Decisions) -> Goal:
    """Return how often replicas go on to one more node: of equal plans the compact one is taken."""
    return Goal(_weighted(decisions, [len(column.pieces) - 1 for column in decisions.instance.columns]), float)


def _most_tokens(model: cp_model.CpModel, decisions: Decisions) -> Iterator[Goal]:
    """Yield most tokens/s of those that are asked for, where that differs from plan to plan; then most in any case.

    A model with a rate gets it in every plan. Beside one without, what it could carry beyond counts for nothing.
    """
    loads, tokens = decisions.instance.loads, _tokens(decisions.instance)
    rated = sum(load.workload.request_rate is not None for load in loads)
    asked = [tuple(loads)] if 0 < rated < len(loads) else []
    for limits in (*asked, (None,) * len(loads)):
        services = [_served(model, decisions, n, tokens, load) for n, load in enumerate(limits)]
        yield Goal(-cp_model.LinearExpr.sum(services), tokens.read)


def _slowest(model: cp_model.CpModel, decisions: Decisions, name: ObjectiveName, seconds: Sequence[float]) -> Goal:
    """Return the largest of the chosen replicas' seconds, as its place among all different ones: exact, no quantum.

    Seconds that agree to twelve digits are one place: sums of the same floats in another order are no difference.
    """
    least_s = decisions.instance.slowest_s if name == decisions.instance.objective else 0.0
    same = {value: float(f"{value:.12g}") for value in seconds}
    places = sorted(set(same.values()))
    number = {rounded: place for place, rounded in enumerate(places)}
    place_of = {value: number[rounded] for value, rounded in same.items()}
    last = max(len(places) - 1, 0)
    slowest = model.new_int_var(min(last, sum(place < least_s for place in places)), last, "slowest")
    for var, value in zip(decisions.replicas, seconds, strict=True):
        if place_of[value]:
            at_least_if_chosen(model, slowest, var, place_of[value])
    return Goal(slowest, lambda n: places[max(0, min(round(n), len(places) - 1))])


def _weighted(decisions: Decisions, weights: Sequence[int]) -> cp_model.LinearExpr:
    guard(sum(w * m for w, m in zip(weights, decisions.instance.most, strict=True)), "objective")
    return cp_model.LinearExpr.weighted_sum(list(decisions.replicas), list(weights))


OBJECTIVES: dict[ObjectiveName, Objective] = {
    "throughput": throughput,
    "latency": latency,
    "ttft": ttft,
    "gpus": gpus,
    "cost": cost,
    "energy": energy,
}


def goals(model: cp_model.CpModel, decisions: Decisions) -> tuple[Goal, ...]:
    """Return what is asked, in its order, then the tie-break of the last, then replicas on as few nodes as can be."""
    found = [OBJECTIVES[name](model, decisions) for name in decisions.instance.objectives]
    return (*(asked[0] for asked in found), *found[-1][1:], fewest_crossings(decisions))


def value(instance: Instance, objective: ObjectiveName, chosen: Sequence[Column]) -> float:
    """Return the objective of chosen replicas of an instance in floats, in the user's unit."""
    match objective:
        case "throughput":
            served = (served_per_s(instance, chosen, number) for number in range(len(instance.loads)))
            return sum(rate * load.tokens for rate, load in zip(served, instance.loads, strict=True))
        case "latency":
            return max(column.point.tpot_s for column in chosen)
        case "ttft":
            pairs = [slowest_pair_s(chosen, service) for service in services_apart(chosen)]
            return max([*pairs, *(c.point.ttft_s for c in chosen if not pairs or c.role == "both")])
        case "gpus" | "cost" | "energy":
            return float(sum(map(AMOUNTS[objective], chosen)))


def served_per_s(instance: Instance, chosen: Sequence[Column], service: int) -> float:
    """Return the requests/s of a model that chosen replicas serve: the least of its phases, never beyond its rate."""
    own = [phase for phase in instance.phases if phase.service == service]
    least = min((sum(c.point.requests_per_s for c in chosen if phase.covers(c)) for phase in own), default=0.0)
    return min(least, instance.loads[service].workload.request_rate or least)
