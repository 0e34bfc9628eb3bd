"""The few columns that good plans are made of: where columns are many, most can be left out before they are modelled.

The linear relaxation of the rules on replicas alone (GPUs and links of whole classes, demand, limits) takes
milliseconds. It bounds the objective from below by L, and by L + d_k for plans with a replica of column k. A plan of
the columns with the least d_k reaches V: a column with L + d_k > V is then in no plan as good. Where V is within the
gap that was asked for, no other column need be looked at.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from ortools.sat.python import cp_model

from optimizer.formulation.columns import Column, pieces_of
from optimizer.formulation.instance import Instance
from optimizer.formulation.integers import LARGEST, SHARE_STEPS, guard, need
from optimizer.formulation.narrowed import Narrowed
from optimizer.formulation.objectives import OBJECTIVES
from optimizer.formulation.patterns import patterns
from optimizer.formulation.pooled import fill_freely
from optimizer.formulation.relaxed import Relaxation, relaxation
from optimizer.formulation.rules import ON_REPLICAS, each_needs_its_own
from optimizer.formulation.search import Search
from optimizer.formulation.stated import stated
from optimizer.formulation.variables import Decisions, declare_replicas
from optimizer.plan import ObjectiveName

SUMS: tuple[ObjectiveName, ...] = ("throughput", "gpus", "cost", "energy")
"""Objectives that are sums over replicas; of the others a linear relaxation says nothing."""

MANY = 40
"""Columns beyond which it pays to look for the few."""

FEW = 32
"""Columns of the first plan."""

OF_EACH = 3
"""Columns of every model and role that are among them in any case: without any, nothing would be asked of it."""

LARGE = 4000
"""Variables of nodes filled one by one beyond which ties are broken among few columns only."""

EFFORT = 0.2
"""Deterministic seconds for the first plan: it is a start, and need not be the best of its columns."""


def of_core(instance: Instance, search: Search, known: Mapping[int, int]) -> Narrowed:
    """Return an instance with the columns that some best plan may have, and what is known of its first objective.

    ``known``: replicas of a plan by the id of their column, empty if there is none.
    """
    many = len(instance.columns) > MANY and instance.survive is None and instance.objective in SUMS
    relaxed = _relaxed(instance) if many else None
    if relaxed is None:
        return Narrowed(instance, known=known)
    order = sorted(range(len(instance.columns)), key=relaxed.least_with)
    few = _with(instance, order[:FEW], order, known)
    value, known = _first_plan(few, search, known, relaxed.least)
    if _is_close_enough(value, relaxed.least, instance, search):
        left_out = set(map(id, instance.columns)) - set(map(id, few.columns))
        least = (relaxed.least_with(n) for n, c in enumerate(instance.columns) if id(c) in left_out)
        outside = min(least, default=LARGEST)
        return Narrowed(few, known=known, least=relaxed.least, reached=value, outside=outside)
    as_good = _with(instance, [n for n in order if relaxed.least_with(n) <= value], order, known)
    if value <= relaxed.least and not instance.then and _is_large(as_good):
        as_good = few  # only ties are left to be broken, which needs no proof
    return Narrowed(as_good, known=known, least=relaxed.least, reached=value)


def _relaxed(instance: Instance) -> Relaxation | None:
    """Return the relaxation of the first objective; its first variables are the replicas, in the columns' order."""
    model = cp_model.CpModel()
    decisions = declare_replicas(model, instance)
    for rule in (*ON_REPLICAS, each_needs_its_own, _classes_carry_what_is_promised):
        rule(model, decisions)
    model.minimize(OBJECTIVES[instance.objective](model, decisions)[0].expression)
    return relaxation(model)


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


def _with(instance: Instance, chosen: Sequence[int], order: Sequence[int], known: Mapping[int, int]) -> Instance:
    """Return the instance with chosen columns, those of a known plan, and the first of every model and role."""
    kept, seen = set(chosen), Counter[tuple[int, str]]()
    for number in order:
        column = instance.columns[number]
        seen[column.service, column.role] += 1
        if known.get(id(column)) or seen[column.service, column.role] <= OF_EACH:
            kept.add(number)
    return instance.only(tuple(column for n, column in enumerate(instance.columns) if n in kept))


def _first_plan(few: Instance, search: Search, known: Mapping[int, int], least: int) -> tuple[int, Mapping[int, int]]:
    """Return what a plan of few columns reaches and its replicas by the id of their column; else LARGEST, ``known``."""
    model, decisions = stated(few, known)
    goal = OBJECTIVES[few.objective](model, decisions)[0]
    gap = None if search.limits.gap is None else search.limits.gap / 2
    found = search.briefly(EFFORT, gap).minimize(model, goal, between=(least, LARGEST))
    if found.solver is None:
        return LARGEST, known
    pairs = zip(few.columns, decisions.replicas, strict=True)
    return found.value, {id(column): found.solver.value(var) for column, var in pairs}


def _is_large(instance: Instance) -> bool:
    """Whether the nodes of some class would have to be filled one by one, with very many variables."""
    for index, node_class in enumerate(instance.classes):
        pieces = pieces_of(instance.columns, index)
        many = len(node_class.nodes) * len(pieces) > LARGE and not fill_freely(node_class, pieces)
        if many and patterns(node_class, pieces) is None:
            return True
    return False


def _is_close_enough(value: int, least: int, instance: Instance, search: Search) -> bool:
    """Whether a plan is within the gap that was asked for, but not the best: of equal ones any column may be part."""
    gap = search.limits.gap
    return gap is not None and not instance.then and 0 < value - least <= gap * abs(value)
