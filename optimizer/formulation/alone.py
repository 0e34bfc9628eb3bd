"""The best plan whose replicas all have one layout, in bounded effort."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from optimizer.errors import NoAnswerError
from optimizer.formulation.columns import Column
from optimizer.formulation.dominance import essential, merits, undominated
from optimizer.formulation.instance import Instance
from optimizer.formulation.objectives import value
from optimizer.formulation.packing import packed
from optimizer.formulation.partners import Partners
from optimizer.formulation.solve import Choice, Limits, choose
from optimizer.inputs.workload import WorkloadSpec

EFFORT = 0.02
"""Deterministic seconds for a candidate that is not plain: it is context, not the answer, and needs no proof."""


@dataclass(frozen=True)
class Alone:
    """The best plan whose replicas all have one layout."""

    copies: tuple[tuple[Column, int], ...]
    """How many replicas of each column."""
    meets: bool
    """Whether they serve all that is asked; if not, they are as many as give most tokens."""
    tokens_per_s: float
    """Never more than the demand."""
    value: float
    """Of the objective."""

    @cached_property
    def replicas(self) -> int:
        """All of them."""
        return sum(n for _, n in self.copies)

    @cached_property
    def gpus(self) -> int:
        """GPUs of all replicas."""
        return sum(column.gpus * n for column, n in self.copies)

    @property
    def column(self) -> Column:
        """The first replica, standing for all."""
        return self.copies[0][0]


def alone(instance: Instance, options: Sequence[Column], until_s: float) -> Alone | None:
    """Return the best plan of one layout; when it cannot serve all that is asked, the one with most tokens.

    NoAnswerError when neither is known by ``until_s`` (monotonic).
    """
    if (plain := packed(instance, options)) is not None:
        return _summed(instance, plain.copies, None, meets=plain.is_enough)
    for of, meets in ((instance, True), (_without_demand(instance), False)):
        kept = _essential(replace(of, columns=tuple(options)))
        choice = _solved(replace(of, columns=kept), until_s)
        if choice is not None:
            copies = tuple((column, n) for column, n in zip(kept, choice.replicas, strict=True) if n)
            return _summed(instance, copies, choice if of.survive else None, meets=meets)
    return None


def _essential(instance: Instance) -> tuple[Column, ...]:
    """Return the columns that matter; a phase by itself has no partners, without which none would be essential."""
    if instance.columns[0].role == "both":
        return essential(instance)
    return undominated(instance.columns, merits(instance, Partners({}, {})))


def _solved(instance: Instance, until_s: float) -> Choice | None:
    """Return the best choice found in little effort; more effort only until any is known."""
    for effort in (EFFORT, 10 * EFFORT, 100 * EFFORT):
        try:
            return choose(instance, Limits(_left_s(until_s), effort=effort), lambda _: None)
        except NoAnswerError:
            continue
    return choose(instance, Limits(_left_s(until_s)), lambda _: None)


def _left_s(until_s: float) -> float | None:
    return None if math.isinf(until_s) else max(0.0, until_s - time.monotonic())


def _without_demand(instance: Instance) -> Instance:
    """Return the question of most tokens under saturating load."""
    loads = tuple(replace(one, workload=_saturating(one.workload)) for one in instance.loads)
    return replace(instance, objective="throughput", then=(), survive=None, loads=loads)


def _saturating(load: WorkloadSpec) -> WorkloadSpec:
    return WorkloadSpec(isl=load.isl, osl=load.osl, slo=load.slo)


def _summed(instance: Instance, copies: tuple[tuple[Column, int], ...], left: Choice | None, *, meets: bool) -> Alone:
    load = instance.loads[copies[0][0].service]
    rate = load.workload.request_rate
    asked = None if rate is None else rate * load.workload.osl.mean
    tokens = sum(column.point.requests_per_s * n for column, n in copies) * load.workload.osl.mean
    if left is not None and instance.objective == "throughput":
        tokens = left.value  # after the worst failure
    tokens = tokens if asked is None else min(tokens, asked)
    if asked is not None and tokens < asked * (1 - 1e-6):
        meets = False
    worth = tokens if instance.objective == "throughput" else _worth(instance, copies)
    return Alone(copies, meets, tokens, worth)


def _worth(instance: Instance, copies: Sequence[tuple[Column, int]]) -> float:
    """Return the objective, where it is no throughput: of the slowest, or the sum of all."""
    if instance.objective in ("latency", "ttft"):
        return value(instance, instance.objective, [column for column, _ in copies])
    return sum(value(instance, instance.objective, [column]) * n for column, n in copies)
