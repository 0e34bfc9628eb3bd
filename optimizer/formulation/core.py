"""The few columns that good plans are made of: where columns are many, most can be left out before they are modelled.

The linear relaxation of the rules on replicas alone (GPUs and links of whole classes, demand, limits) takes
milliseconds. It bounds the objective from below by L, and by L + d_k for plans with a replica of column k. A plan of
the columns with the least d_k reaches V: a column with L + d_k > V is then in no plan as good. Where V is within the
gap that was asked for, no other column need be looked at.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from optimizer.formulation.bounds import SUMS, bound_of
from optimizer.formulation.columns import pieces_of
from optimizer.formulation.instance import Instance
from optimizer.formulation.integers import LARGEST
from optimizer.formulation.narrowed import Narrowed
from optimizer.formulation.objectives import OBJECTIVES
from optimizer.formulation.patterns import patterns
from optimizer.formulation.pooled import fill_freely
from optimizer.formulation.search import Search
from optimizer.formulation.stated import stated

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


@dataclass(frozen=True)
class Start:
    """A plan that is known before the search."""

    reached: int = LARGEST
    """What its first objective comes to, a sum over replicas; LARGEST where there is no plan."""
    known: Mapping[int, int] = field(default_factory=dict)
    """Its replicas by the id of their column."""


NO_START = Start()


def of_core(instance: Instance, search: Search, known: Mapping[int, int], first: Start = NO_START) -> Narrowed:
    """Return an instance with the columns that some best plan may have, and what is known of its first objective.

    ``known``: replicas to start from by the id of their column, which may be no plan; ``first``: a plan, if any is
    known. With a failure to survive, the bound holds without it, and nothing is left out without a plan.
    """
    many = len(instance.columns) > MANY and instance.survive is None
    bound = bound_of(instance) if instance.objective in SUMS and (many or first.known) else None
    if bound is None:
        return Narrowed(instance, known=known or first.known)
    relaxed = bound.relaxed
    order = sorted(range(len(instance.columns)), key=relaxed.least_with)
    few = _with(instance, order[:FEW], order, {**first.known, **known})
    start = _first_plan(few, search, known or first.known, relaxed.least) if many else NO_START
    value, known = (start.reached, start.known) if start.reached <= first.reached else (first.reached, first.known)
    if _is_close_enough(value, relaxed.least, instance, search):
        left_out = set(map(id, instance.columns)) - set(map(id, few.columns))
        least = (relaxed.least_with(n) for n, c in enumerate(instance.columns) if id(c) in left_out)
        outside = min(least, default=LARGEST)
        return Narrowed(few, known=known, least=relaxed.least, reached=value, outside=outside)
    as_good = _with(instance, [n for n in order if relaxed.least_with(n) <= value], order, known)
    if value <= relaxed.least and not instance.then and _is_large(as_good):
        as_good = few  # only ties are left to be broken, which needs no proof
    return Narrowed(as_good, known=known, least=relaxed.least, reached=value)


def _with(instance: Instance, chosen: Sequence[int], order: Sequence[int], known: Mapping[int, int]) -> Instance:
    """Return the instance with chosen columns, those of a known plan, and the first of every model and role."""
    kept, seen = set(chosen), Counter[tuple[int, str]]()
    for number in order:
        column = instance.columns[number]
        seen[column.service, column.role] += 1
        if known.get(id(column)) or seen[column.service, column.role] <= OF_EACH:
            kept.add(number)
    return instance.only(tuple(column for n, column in enumerate(instance.columns) if n in kept))


def _first_plan(few: Instance, search: Search, known: Mapping[int, int], least: int) -> Start:
    """Return a plan of few columns and what it reaches; where none is found, only ``known``."""
    model, decisions = stated(few, known, search.go_on)
    goal = OBJECTIVES[few.objective](model, decisions)[0]
    gap = None if search.limits.gap is None else search.limits.gap / 2
    found = search.briefly(EFFORT, gap).minimize(model, goal, between=(least, LARGEST))
    if found.solver is None:
        return Start(LARGEST, known)
    pairs = zip(few.columns, decisions.replicas, strict=True)
    return Start(found.value, {id(column): found.solver.value(var) for column, var in pairs})


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
