"""Several models on one cluster: what each needs by itself bounds from below what it takes in any plan of all.

A plan of all models, looked at for one model alone, is a plan of that model. So the least GPUs, price or power of each
model alone are rows that cut nothing off, but lift the linear relaxation to whole replicas: where models do not get in
each other's way their sum is the optimum.
"""

from collections.abc import Sequence
from dataclasses import replace

from ortools.sat.python import cp_model

from optimizer.formulation.instance import Instance
from optimizer.formulation.rules import RULES
from optimizer.formulation.search import Limits, Search
from optimizer.formulation.variables import Decisions, declare

EFFORT = 0.3
"""Deterministic seconds for each model: a bound that is not proven by then is still a bound."""


def each_needs_its_own(model: cp_model.CpModel, decisions: Decisions, weights: Sequence[int], limits: Limits) -> None:
    """Add for every model that the weights of its replicas are no less than the least it needs alone.

    The search starts from the plans of each alone: together they are best when the GPUs are enough for all.
    """
    instance = decisions.instance
    for service in range(len(instance.loads)):
        own = [place for place, column in enumerate(instance.columns) if column.service == service]
        least, replicas = _alone(instance, own, [weights[place] for place in own], limits)
        taken = cp_model.LinearExpr.weighted_sum(
            [decisions.replicas[place] for place in own], [weights[p] for p in own]
        )
        model.add(taken >= least).with_name(f"alone[{service}]")
        for place, number in zip(own, replicas, strict=False):
            model.add_hint(decisions.replicas[place], number)


def _alone(
    instance: Instance, own: Sequence[int], weights: Sequence[int], limits: Limits
) -> tuple[int, tuple[int, ...]]:
    """Return a proven lower bound on the weights that one model needs, and the replicas of the best plan found."""
    model = cp_model.CpModel()
    columns = tuple(instance.columns[place] for place in own)
    alone = declare(model, replace(instance, columns=columns, replicas=None))
    for rule in RULES:
        rule(model, alone)
    model.minimize(cp_model.LinearExpr.weighted_sum(list(alone.replicas), list(weights)))
    return Search(replace(limits, effort=EFFORT, gap=None), lambda _: None).bounded(model, alone.replicas)
