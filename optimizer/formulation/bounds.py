"""What no plan can beat, known before any search, and what a plan by construction comes to in the same integers."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ortools.sat.python import cp_model

from optimizer.formulation.columns import Column
from optimizer.formulation.failures import loss_of
from optimizer.formulation.first import Built
from optimizer.formulation.goals import Goal
from optimizer.formulation.instance import AMOUNTS, Instance
from optimizer.formulation.integers import SHARE_STEPS, guard, need
from optimizer.formulation.objectives import OBJECTIVES, additive_weights, as_tokens, tokens_of, value
from optimizer.formulation.pairs import NS, nanoseconds, services_apart
from optimizer.formulation.partners import OTHER
from optimizer.formulation.relaxed import Relaxation, relaxation
from optimizer.formulation.rules import ON_REPLICAS, each_needs_its_own
from optimizer.formulation.variables import Decisions, declare_replicas
from optimizer.plan import ObjectiveName

SUMS: tuple[ObjectiveName, ...] = ("throughput", *AMOUNTS)
"""Objectives that are sums over replicas; of the others a linear relaxation says nothing."""


@dataclass(frozen=True)
class Bound:
    """What the first objective is proven not to go below, and how its integers read."""

    goal: Goal
    relaxed: Relaxation
    """Its first variables are the replicas, in the columns' order."""

    @property
    def value(self) -> float:
        """In the user's unit, with what rounding may hide."""
        return self.goal.read(self.relaxed.least) + self.goal.hidden


def bound_of(instance: Instance) -> Bound | None:
    """Return a bound on an objective that is a sum over replicas; no failure lets a plan do better."""
    model, safe = cp_model.CpModel(), replace(instance, survive=None)
    decisions = declare_replicas(model, safe)
    for rule in (*ON_REPLICAS, each_needs_its_own, _classes_carry_what_is_promised):
        rule(model, decisions)
    goal = OBJECTIVES[instance.objective](model, decisions)[0]
    model.minimize(goal.expression)
    relaxed = relaxation(model)
    return None if relaxed is None else Bound(goal, relaxed)


def least(instance: Instance) -> float:
    """Return what no plan's first objective beats, in the user's unit."""
    if instance.objective not in SUMS:
        return max(_soonest(instance))
    found = bound_of(instance)
    if found is not None:
        return found.value
    return math.inf if instance.objective == "throughput" else 0.0


def worth(instance: Instance, built: Built) -> float:
    """Return what a plan's first objective comes to, in the user's unit."""
    if instance.objective == "throughput":
        return as_tokens(instance)(goal_of(instance, built))
    once = instance.objective not in SUMS
    pairs = zip(instance.columns, built.replicas, strict=True)
    return value(instance, instance.objective, [c for c, n in pairs for _ in range(min(n, 1) if once else n)])


def _soonest(instance: Instance) -> Iterator[float]:
    """Yield the seconds of the fastest replica of each phase, or of a pair, as the goal counts them."""
    apart = services_apart(instance.columns) if instance.objective == "ttft" else ()
    for phase in instance.phases:
        if phase.service not in apart:
            seconds = min(instance.seconds(column) for column in instance.columns if phase.covers(column))
            yield nanoseconds(seconds) / NS if apart else seconds
    for service in apart:
        own = [column for column in instance.columns if column.service == service]
        whole = [nanoseconds(c.point.ttft_s) for c in own if c.role == "both"]
        pair = sum(min(nanoseconds(c.point.ttft_s) for c in own if c.role == role) for role in OTHER)
        yield min([*whole, pair]) / NS


def goal_of(instance: Instance, built: Built) -> int:
    """Return what a plan comes to in the integers of the first objective, a sum over replicas."""
    weights = additive_weights(instance)
    if weights is not None:
        return sum(weight * n for weight, n in zip(weights, built.replicas, strict=True))
    used = [number for number, n in enumerate(built.replicas) if n]

    def lost(own: Sequence[int]) -> int:
        return 0 if instance.survive is None else loss_of(instance, used, built.held, own)

    return tokens_of(instance, built.replicas, lost)


def _classes_carry_what_is_promised(model: cp_model.CpModel, decisions: Decisions) -> None:
    """No boundary is promised beyond its capacity, summed over the equal nodes of a class."""
    instance = decisions.instance
    for index, node_class in enumerate(instance.classes):
        promised = [_shares(column, index) for column in instance.columns]
        for place in dict.fromkeys(place for shares in promised for place in shares):
            weights = [shares[place] for shares in promised]
            guard(sum(w * n for w, n in zip(weights, instance.most, strict=True)), f"{place} of a class")
            total = cp_model.LinearExpr.weighted_sum(list(decisions.replicas), weights)
            model.add(total <= SHARE_STEPS * len(node_class.nodes))


def _shares(column: Column, node_class: int) -> Counter[str]:
    """Return what a replica sets aside of each boundary, over all its nodes of a class, in steps."""
    taken: Counter[str] = Counter()
    for piece in column.pieces:
        if piece.node_class == node_class:
            taken.update({place: need(share) for place, share in piece.shares if share > 0})
    return taken
