"""What is best: one function per objective, each with its tie-break; OBJECTIVES names them all."""

from collections.abc import Callable, Sequence

from ortools.sat.python import cp_model

from optimizer.formulation.columns import Column
from optimizer.formulation.failures import largest_loss
from optimizer.formulation.goals import Goal
from optimizer.formulation.integers import capacity, gain, gain_quantum, guard, requirement
from optimizer.formulation.variables import Decisions
from optimizer.plan import ObjectiveName

Objective = Callable[[cp_model.CpModel, Decisions], tuple[Goal, ...]]


def throughput(model: cp_model.CpModel, decisions: Decisions) -> tuple[Goal, ...]:
    """Most output tokens/s, after the worst failure if any is to be survived, not beyond the demand; fewest GPUs."""
    rates = [column.point.output_tokens_per_s for column in decisions.instance.columns]
    quantum = gain_quantum(rates)
    gains = [gain(rate, quantum) for rate in rates]
    served = _weighted(decisions, gains)
    if decisions.instance.survive is not None:
        served -= largest_loss(model, decisions, gains)
    workload = decisions.instance.workload
    if workload.request_rate is not None:
        demand = requirement(workload.request_rate * workload.osl.mean, quantum)
        counted = model.new_int_var(0, demand, "counted")
        model.add(counted <= served)
        return Goal(-counted, lambda n: -n * quantum), fewest_gpus(decisions)
    return Goal(-served, lambda n: -n * quantum), fewest_gpus(decisions)


def latency(model: cp_model.CpModel, decisions: Decisions) -> tuple[Goal, ...]:
    """Least TPOT of the slowest replica; then fewest GPUs."""
    return _slowest(model, decisions, [c.point.tpot_s for c in decisions.instance.columns]), fewest_gpus(decisions)


def ttft(model: cp_model.CpModel, decisions: Decisions) -> tuple[Goal, ...]:
    """Least TTFT of the slowest replica; then fewest GPUs."""
    return _slowest(model, decisions, [c.point.ttft_s for c in decisions.instance.columns]), fewest_gpus(decisions)


def gpus(_: cp_model.CpModel, decisions: Decisions) -> tuple[Goal, ...]:
    """Fewest GPUs; then most output tokens/s."""
    return fewest_gpus(decisions), _most_tokens(decisions)


def cost(_: cp_model.CpModel, decisions: Decisions) -> tuple[Goal, ...]:
    """Least price per hour; then most output tokens/s."""
    prices = [column.price_per_h or 0.0 for column in decisions.instance.columns]
    quantum = gain_quantum(prices)
    paid = _weighted(decisions, [gain(price, quantum) for price in prices])
    return Goal(paid, lambda n: n * quantum), _most_tokens(decisions)


def energy(_: cp_model.CpModel, decisions: Decisions) -> tuple[Goal, ...]:
    """Least power limits of all GPUs used; then most output tokens/s, so least energy per token at that power."""
    watts = [column.power_w for column in decisions.instance.columns]
    quantum = gain_quantum(watts)
    drawn = _weighted(decisions, [gain(power, quantum) for power in watts])
    return Goal(drawn, lambda n: n * quantum), _most_tokens(decisions)


def fewest_gpus(decisions: Decisions) -> Goal:
    """Return the number of GPUs used."""
    return Goal(_weighted(decisions, [column.gpus for column in decisions.instance.columns]), float)


def fewest_crossings(decisions: Decisions) -> Goal:
    """Return how often replicas go on to one more node: of equal plans the compact one is taken."""
    return Goal(_weighted(decisions, [len(column.pieces) - 1 for column in decisions.instance.columns]), float)


def _most_tokens(decisions: Decisions) -> Goal:
    rates = [column.point.output_tokens_per_s for column in decisions.instance.columns]
    quantum = gain_quantum(rates)
    return Goal(-_weighted(decisions, [capacity(rate, quantum) for rate in rates]), lambda n: -n * quantum)


def _slowest(model: cp_model.CpModel, decisions: Decisions, seconds: Sequence[float]) -> Goal:
    """Return the largest of the chosen replicas' seconds, as its place among all different ones: exact, no quantum.

    Seconds that agree to twelve digits are one place: sums of the same floats in another order are no difference.
    """
    same = {value: float(f"{value:.12g}") for value in seconds}
    places = sorted(set(same.values()))
    number = {rounded: place for place, rounded in enumerate(places)}
    place_of = {value: number[rounded] for value, rounded in same.items()}
    slowest = model.new_int_var(0, max(len(places) - 1, 0), "slowest")
    for var, value in zip(decisions.replicas, seconds, strict=True):
        if place_of[value]:
            chosen = model.new_bool_var(f"chosen[{var.name}]")
            model.add(var == 0).only_enforce_if(~chosen)
            model.add(slowest >= place_of[value]).only_enforce_if(chosen)
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


def value(objective: ObjectiveName, chosen: Sequence[Column], demand_tokens_per_s: float | None) -> float:
    """Return the objective of chosen replicas in floats, in the user's unit."""
    match objective:
        case "throughput":
            served = sum(column.point.output_tokens_per_s for column in chosen)
            return served if demand_tokens_per_s is None else min(served, demand_tokens_per_s)
        case "latency":
            return max(column.point.tpot_s for column in chosen)
        case "ttft":
            return max(column.point.ttft_s for column in chosen)
        case "gpus":
            return float(sum(column.gpus for column in chosen))
        case "cost":
            return sum(column.price_per_h or 0.0 for column in chosen)
        case "energy":
            return sum(column.power_w for column in chosen)
