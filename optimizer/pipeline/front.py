"""The Pareto front: throughput against TPOT, against GPUs, or against both, every point proven and verified.

Epsilon-constraint: most throughput, among such plans the fewest GPUs; then the same again with every replica strictly
faster than the slowest one so far, until nothing is left. Plans of the same throughput that turn out slower are left
out at the end. Against GPUs as well: for every number of GPUs that makes a difference.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

from optimizer.compare import replica_groups
from optimizer.cost.quantities import pair_ttft_slo_s
from optimizer.curves import TradeOff
from optimizer.errors import InputError
from optimizer.formulation.dominance import essential
from optimizer.formulation.solve import Choice, Limits, choose
from optimizer.inputs.workload import ROLES
from optimizer.pipeline.planned import planned
from optimizer.pipeline.prepare import Prepared, asked_with, prepare
from optimizer.pipeline.request import Progress, Request, silent
from optimizer.plan import Plan, Replica

Axis = Literal["tpot", "gpus"]

SAME = 1e-9
"""Relative: seconds that differ by less are sums of the same floats in another order."""

_QUANTUM = 2e-6
"""Relative: throughput is exact to a millionth of the largest gain of a replica."""


@dataclass(frozen=True)
class _Found:
    """A choice with what decides whether it is on the front."""

    known: Prepared
    choice: Choice
    tokens_per_s: float
    tpot_s: float
    gpus: int
    most_gpus: int
    """The limit it was found under."""


def front(request: Request, axes: frozenset[Axis], progress: Progress = silent) -> tuple[TradeOff, ...]:
    """Return the plans that no other beats in throughput and on every axis, most throughput first."""
    if request.more:
        raise InputError("pareto: the model list names several models: a front is drawn for one; give one of them")
    request = replace(request, objective="throughput", then=())
    known = prepare(request, progress, reuse="all")
    usable = sum(1 for gpu in known.topology.gpus if gpu.placeable)
    most, found = min(request.max_gpus or usable, usable), []
    while most:
        level = list(_level(request, known, most, by_tpot="tpot" in axes))
        progress(f"{len(level)} questions answered on at most {most} GPUs")
        found += level
        most = max((one.gpus for one in level), default=1) - 1 if "gpus" in axes else 0
    return tuple(_trade_off(request, one) for one in _undominated(found, axes))


def _level(request: Request, known: Prepared, most_gpus: int, *, by_tpot: bool) -> Iterator[_Found]:
    """Yield the best plans under ever tighter bounds on TPOT, on so many GPUs."""
    columns = known.columns
    limits = Limits(request.time_limit_s, request.workers, request.seed)
    while columns:
        instance = replace(known.instance, columns=columns, max_gpus=most_gpus)
        instance = replace(instance, columns=essential(instance))
        choice = choose(instance, limits, silent)
        if choice is None:
            return
        found = _measured(replace(known, instance=instance), choice, most_gpus)
        yield found
        columns = tuple(c for c in columns if c.point.tpot_slo_s < found.tpot_s * (1 - SAME)) if by_tpot else ()


def _measured(known: Prepared, choice: Choice, most_gpus: int) -> _Found:
    chosen = [(c, n) for c, n in zip(known.instance.columns, choice.replicas, strict=True) if n]
    slowest_s, used = max(c.point.tpot_slo_s for c, _ in chosen), sum(c.gpus * n for c, n in chosen)
    return _Found(known, choice, choice.value, slowest_s, used, most_gpus)


def _trade_off(request: Request, found: _Found) -> TradeOff:
    """Return a point; its plan is verified as the answer to its own question, bounds on TPOT and GPUs included."""
    slo = request.workload.slo.model_copy(update={"tpot": found.tpot_s})
    workload = request.workload.model_copy(update={"slo": slo})
    asked = replace(request, workload=workload, max_gpus=found.most_gpus)
    known = asked_with(found.known, workload)
    return _of_plan(planned(asked, known, found.choice, alternatives=False), found.tpot_s)


def _of_plan(plan: Plan, slowest_s: float) -> TradeOff:
    objective, totals = plan.objective, plan.totals
    return TradeOff(
        status=plan.status, output_tokens_per_s=objective.value, bound=objective.bound, gap=objective.gap,
        tpot_s=slowest_s, ttft_s=max(_ttfts(plan.replicas)), gpus=totals.gpus,
        cost_per_h=totals.cost_per_h, layout=" + ".join(group.label for group in replica_groups(plan)),
    )  # fmt: skip


def _ttfts(replicas: Sequence[Replica]) -> Iterator[float]:
    """Yield the TTFT of every replica that does both phases, and of every pair of those apart."""
    by_role = {role: [r.estimate for r in replicas if r.role == role] for role in ROLES}
    yield from (whole.ttft_slo_s for whole in by_role["both"])
    for first, then in product(by_role["prefill"], by_role["decode"]):
        yield pair_ttft_slo_s(first, then)


def _undominated(found: list[_Found], axes: frozenset[Axis]) -> list[_Found]:
    """Return what no other is at least as good as on all axes, most throughput first."""
    kept: list[_Found] = []
    for one in sorted(found, key=lambda f: (-f.tokens_per_s, f.tpot_s, f.gpus)):
        rivals = (other for other in found if other is not one and _covers(other, one, axes))
        if not any(not _covers(one, rival, axes) or rival in kept for rival in rivals):
            kept.append(one)
    return kept


def _covers(a: _Found, b: _Found, axes: frozenset[Axis]) -> bool:
    as_fast = "tpot" not in axes or a.tpot_s <= b.tpot_s * (1 + SAME)
    as_small = "gpus" not in axes or a.gpus <= b.gpus
    return as_fast and as_small and a.tokens_per_s >= b.tokens_per_s * (1 - _QUANTUM)
