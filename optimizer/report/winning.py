"""Why the chosen layout won, by how much, and what would change that: sentences from the candidates beside the plan."""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby

from optimizer.compare import service_names
from optimizer.plan import Candidate, Plan
from optimizer.report.candidates import differing, label
from optimizer.report.tables import amount
from optimizer.units import show_number, show_seconds

NEAR = 0.15
"""Of the output tokens: what a layout may give up to be told for its latency."""
SOONER = 0.9
"""Of the chosen layout's seconds: what is told has less."""
LEAST_ERROR = 0.0005
"""What is told as an error with one digit after the point."""


def winning(plan: Plan) -> list[tuple[str, str]]:
    """Return for each model and role what the choice won by, and what would change it."""
    names = service_names(plan.inputs.services)
    found = []
    for (service, role), rows in groupby(plan.candidates, key=lambda one: (one.service, one.role)):
        own = list(rows)
        whose = [*([names[service]] if plan.inputs.more else []), *([role] if role != "both" else [])]
        if own_chosen := [one for one in own if one.chosen]:
            before = f"{', '.join(whose)}: " if whose else ""
            found += [(name, before + told) for name, told in _told(plan, own, own_chosen)]
    return found


def _told(plan: Plan, own: Sequence[Candidate], chosen: Sequence[Candidate]) -> Iterator[tuple[str, str]]:
    named = differing(own)
    others = [one for one in own if one.fits and not one.chosen]
    if len(chosen) > 1 or chosen[0] != own[0]:
        yield "why", _mixed(plan, own[0], chosen)
    elif not others:
        yield "why", f"{label(own[0], named)} is the only one of {len(own)} layouts that fits"
    else:
        first, second = label(own[0], named), label(others[0], named)
        yield "why", f"{first} before the next of {len(own)} layouts, {second}: {others[0].why}"
    changes = [*_demand(plan), *_error(plan, own, chosen), *_sooner(plan, own, chosen)]
    if changes and own[0].role == "both":
        yield "changes", "with " + "; with ".join(changes)


def _mixed(plan: Plan, best: Candidate, chosen: Sequence[Candidate]) -> str:
    """Return what the best layout alone would give, where the plan is not just that."""
    label_of_best = label(best, ())
    if plan.inputs.more or best.role != "both":
        return f"of layouts alone on all GPUs {label_of_best} would be best"
    if not best.meets:
        return "no layout alone serves what is asked"
    ours, theirs = plan.objective.value, _measure(plan, best)
    value = amount(ours, plan.objective.unit)
    if theirs is not None and abs(theirs - ours) <= LEAST_ERROR * abs(ours) and len(chosen) == 1:
        return f"{label(chosen[0], differing([chosen[0], best]))} is as good as {label_of_best} alone: {value}"
    counted = plan.objective.name == "gpus"
    here, there = ("", "") if counted else (f" on {plan.totals.gpus} GPUs", f" on {best.gpus}")
    other = "less" if theirs is None else amount(theirs, plan.objective.unit)
    together = "together" if len(chosen) > 1 else "as placed here"
    return f"{value}{here} {together}; the best layout alone, {label_of_best}, has {other}{there}"


def _demand(plan: Plan) -> Iterator[str]:
    """Yield up to which rate the same replicas serve, where the one model is asked to serve a rate."""
    asked = plan.inputs.workload.request_rate
    able = sum(one.estimate.requests_per_s for one in plan.replicas)
    whole = not plan.inputs.more and plan.survival is None
    if asked and whole and plan.objective.name != "throughput" and able > asked:
        yield f"more than {show_number(able)} requests/s: so many these replicas serve within the objectives"


def _error(plan: Plan, own: Sequence[Candidate], chosen: Sequence[Candidate]) -> Iterator[str]:
    """Yield the error of the two estimates that would swap the chosen layout and the next."""
    second = next((one for one in own[1:] if one.fits and one.meets), None)
    if plan.objective.name not in ("throughput", "latency", "ttft"):
        return  # whole GPUs: no error of an estimate says when they change
    if second is None or len(chosen) > 1 or chosen[0] != own[0]:
        return
    pair = [measured for one in (own[0], second) if (measured := _measure(plan, one))]
    apart = max(pair) / min(pair) - 1 if len(pair) == 2 else 0.0
    if apart >= LEAST_ERROR:
        yield f"an error of {apart:.1%} between the estimates of these two"


def _measure(plan: Plan, one: Candidate) -> float | None:
    """Return what a layout alone has of the objective; None where it has several GPU types, or one without a price."""
    cluster = plan.inputs.cluster
    match plan.objective.name:
        case "throughput":
            return one.output_tokens_per_s
        case "latency":
            return one.tpot_s
        case "ttft":
            return one.ttft_s
        case "gpus":
            return one.gpus
        case "energy":
            return None if one.gpu_types else one.gpus * cluster.gpus[one.gpu_type].tdp
        case "cost":
            price, _ = cluster.prices.get(one.gpu_type, (None, ""))
            return None if one.gpu_types or price is None else one.gpus * price


def _sooner(plan: Plan, own: Sequence[Candidate], chosen: Sequence[Candidate]) -> Iterator[str]:
    """Yield who answers much sooner for few tokens: what a tighter bound may choose instead."""
    totals = plan.totals
    if plan.objective.name != "throughput" or plan.inputs.more:
        return
    least = (1 - NEAR) * totals.output_tokens_per_s
    near = [one for one in own if one.fits and one.meets and (one.output_tokens_per_s or 0.0) >= least]
    for name, key in (("TTFT", "ttft_s"), ("TPOT", "tpot_s")):
        now = getattr(totals if len(chosen) > 1 else chosen[0], key)
        best = min(near, key=lambda one: getattr(one, key) or math.inf, default=None)
        if best is None or not now or (getattr(best, key) or math.inf) >= SOONER * now:
            continue
        lost, more = 1 - (best.output_tokens_per_s or 0.0) / totals.output_tokens_per_s, best.gpus - totals.gpus
        price = f" for {lost:.1%} fewer tokens/s" if lost >= LEAST_ERROR else f" on {best.gpus} GPUs" if more else ""
        yield f"a tighter {name} ({label(best, differing(own))} has {show_seconds(getattr(best, key))}{price})"
