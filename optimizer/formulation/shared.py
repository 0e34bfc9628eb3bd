"""Several models on one cluster: what each needs by itself bounds from below what it takes in any plan of all.

A plan of all models, looked at for one model alone, is a plan of that model. So the least GPUs, price or power of each
model alone are rows that cut nothing off, but lift the linear relaxation to whole replicas: where models do not get in
each other's way their sum is the optimum.
"""

from collections.abc import Sequence
from dataclasses import replace

from ortools.sat.python import cp_model

from optimizer.formulation.columns import Column
from optimizer.formulation.goals import Goal
from optimizer.formulation.instance import Instance
from optimizer.formulation.integers import LARGEST
from optimizer.formulation.objectives import additive_weights
from optimizer.formulation.search import Search
from optimizer.formulation.stated import stated

EFFORT = 0.3
"""Deterministic seconds for each model: a bound that is not proven by then is still a bound."""


def with_needs(instance: Instance, search: Search) -> tuple[Instance, dict[int, int]]:
    """Return an instance that knows what each of its models needs alone, and their plans side by side.

    Together these are best when the GPUs are enough for all; replicas by the id of their column. Nothing is new where
    there is one model, or the objective is no sum to be kept small, and of models that there is no time for.
    """
    weights, services = additive_weights(instance), range(len(instance.loads))
    if weights is None or len({column.service for column in instance.columns}) < 2:
        return instance, {}
    needs: list[int] = []
    known: dict[int, int] = {}
    for service in services:
        if search.is_over:
            needs.append(0)
            continue
        own = [(c, weight) for c, weight in zip(instance.columns, weights, strict=True) if c.service == service]
        least, replicas = _alone(instance, own, search)
        needs.append(least)
        known |= {id(column): number for (column, _), number in zip(own, replicas, strict=False)}
    return replace(instance, needs=tuple(needs)), known


def _alone(instance: Instance, own: Sequence[tuple[Column, int]], search: Search) -> tuple[int, tuple[int, ...]]:
    """Return a proven lower bound on the weights that one model needs, and the replicas of the best plan found."""
    model, alone = stated(replace(instance, columns=tuple(column for column, _ in own), replicas=None))
    weights = cp_model.LinearExpr.weighted_sum(list(alone.replicas), [weight for _, weight in own])
    found = search.briefly(EFFORT).minimize(model, Goal(weights, float), between=(0, LARGEST))
    replicas = () if found.solver is None else tuple(map(found.solver.value, alone.replicas))
    return found.bound or 0, replicas
