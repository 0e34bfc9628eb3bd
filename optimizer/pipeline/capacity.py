"""What a cluster carries: GPUs and cost against request rate, and the largest rate, all from prices made once."""

from collections.abc import Sequence
from dataclasses import replace

from optimizer.compare import replica_groups
from optimizer.curves import Capacity, Need
from optimizer.errors import InputError
from optimizer.formulation.dominance import essential
from optimizer.formulation.solve import Limits, choose
from optimizer.pipeline.planned import planned
from optimizer.pipeline.prepare import Prepared, asked_with, prepare
from optimizer.pipeline.request import Progress, Request, in_steps, silent
from optimizer.plan import Plan

SAME = 1e-9
"""Relative: a rate that exceeds the largest by less is that rate."""


def capacity(request: Request, rates: Sequence[float], progress: Progress = silent) -> Capacity:
    """Return what each rate needs, every plan proven (unless time-limited) and verified, and the largest rate.

    Prices do not depend on the rate, so they are made once. InfeasibleError when no layout is admissible at all.
    """
    if request.more:
        raise InputError("capacity: the model list names several models: a rate is asked of one; give one of them")
    request = _at(request, rates[0])
    known = prepare(request, progress, reuse="rates")
    largest = _largest(request, known)
    points = tuple(
        _needs(request, known, rate)
        if rate <= largest.requests_per_s * (1 + SAME)
        else Need(requests_per_s=rate, status="beyond")
        for rate in in_steps(rates, progress, "rates answered")
    )
    currencies = {currency for _, currency in request.cluster.prices.values()}
    currency = currencies.pop() if len(currencies) == 1 else None
    return Capacity(objective=request.objective, points=points, largest=largest, currency=currency)


def _at(request: Request, rate: float) -> Request:
    """Return the question at one request rate."""
    workload = request.workload.model_copy(update={"request_rate": rate, "concurrency": None})
    return replace(request, workload=workload)


def _largest(request: Request, known: Prepared) -> Need:
    """Return the most of a rate that no plan carries: arrivals are random as at all rates, and never limit it."""
    beyond = max(c.point.requests_per_s / c.gpus for c in known.columns) * 2 * len(known.topology.gpus)
    most = replace(_at(request, beyond), objective="throughput", then=())
    asked = asked_with(known, most.workload)
    instance = replace(asked.instance, columns=known.columns, objective="throughput", then=())
    plan = _plan(most, replace(asked, instance=replace(instance, columns=essential(instance))))
    if plan is None:
        raise InputError(f"cluster {request.cluster.name}: carries no rate at all: fewer replicas fit than were fixed")
    return _need(plan, plan.objective.value / request.workload.osl.mean)


def _needs(request: Request, known: Prepared, rate: float) -> Need:
    asked = _at(request, rate)
    plan = _plan(asked, asked_with(known, asked.workload))
    return _beyond(rate) if plan is None else _need(plan, rate)


def _beyond(rate: float) -> Need:
    return Need(requests_per_s=rate, status="beyond")


def _plan(request: Request, known: Prepared) -> Plan | None:
    limits = Limits(request.time_limit_s, request.workers, request.seed, gap=request.gap)
    choice = choose(known.instance, limits, silent)
    return None if choice is None else planned(request, known, choice, alternatives=False)


def _need(plan: Plan, rate: float) -> Need:
    objective, totals = plan.objective, plan.totals
    layout = " + ".join(group.label for group in replica_groups(plan))
    return Need(
        requests_per_s=rate, status=plan.status, gpus=totals.gpus, cost_per_h=totals.cost_per_h, power_w=totals.power_w,
        value=objective.value, bound=objective.bound, gap=objective.gap, ttft_s=totals.ttft_s, tpot_s=totals.tpot_s,
        layout=layout,
    )  # fmt: skip
