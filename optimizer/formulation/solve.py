"""Build, solve, read back: replicas of each column and what every node holds."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NoReturn

from ortools.sat.python import cp_model

from optimizer.errors import NoAnswerError, Stopped
from optimizer.formulation.bounds import goal_of, least, worth
from optimizer.formulation.boxes import Boxes, Held, moved, taken_boxes
from optimizer.formulation.core import Start, of_core
from optimizer.formulation.fastest import narrowed
from optimizer.formulation.first import Built, built
from optimizer.formulation.goals import Goal
from optimizer.formulation.instance import AMOUNTS, Instance
from optimizer.formulation.integers import LARGEST
from optimizer.formulation.narrowed import Narrowed
from optimizer.formulation.objectives import goals
from optimizer.formulation.pooled import laid_out
from optimizer.formulation.reach import within_reach
from optimizer.formulation.search import ANY, Found, Limits, Search
from optimizer.formulation.shared import with_needs
from optimizer.formulation.stated import stated
from optimizer.formulation.variables import Counted, Decisions, Named, Pooled
from optimizer.topology.classes import NodeClass

__all__ = ["Choice", "Held", "Limits", "choose"]


TIE_EFFORT = 1.0
"""Deterministic seconds for each tie-break: what is asked is proven before, and plans need no proof beyond it."""


EQUAL = 1e-12
"""Relative: the seconds of a replica and of the fastest one are sums of the same floats."""

LEAST_TRIED_S = 1.0
"""For the solver where no plan is known when the time limit is over."""

SAME = 1e-9
"""Relative: sums of the same floats in another order are no difference."""


@dataclass(frozen=True)
class Choice:
    """A solved instance."""

    replicas: tuple[int, ...]
    """Of each column."""
    held: Held
    proven: bool
    """All that was asked, in its order, tie-breaks aside."""
    bound: float
    """Of the objective, in the user's unit; equal to the value when proven."""
    value: float
    """Of the objective, up to the solver's quantum."""
    then_bounds: tuple[float, ...] = ()
    """Of the further objectives, as far as they were reached."""
    interrupted: bool = False
    """Whether the user stopped the search."""
    boxes: Boxes = field(default_factory=dict)
    """Where replicas sit whose nodes are named."""


def choose(instance: Instance, limits: Limits, progress: Callable[[str], None]) -> Choice | None:
    """Return the best choice for an instance, None when proven that there is none.

    Objectives are solved one after the other, each among the plans that are best by those before it; last their
    tie-break. NoAnswerError when the time limit (or the user) comes before any plan.
    """
    if not instance.columns:  # those left were of one phase, and no partner of theirs was
        return None
    limited = limits.time_limit_s is not None
    helps = instance.survive is not None or instance.objective in AMOUNTS
    first = built(instance) if helps or limits.anytime or limited else None
    if limited and first is None:  # hard to find, or there is none: not told unless the solver has tried
        limits = replace(limits, time_limit_s=max(limits.time_limit_s or 0.0, LEAST_TRIED_S))
    search, asked = Search(limits, progress), instance if first is None else within_reach(instance, first)
    try:
        search.go_on()
        asked, alone = with_needs(asked, search)
        return _at_least(first, instance, _on_all_nodes(instance, _searched(asked, search, first, alone)))
    except NoAnswerError:
        if first is None:
            raise
    except (KeyboardInterrupt, Stopped):
        if first is None or not limits.anytime:
            raise
        search.stop()
    return _unproven(first, asked, interrupted=search.interrupted)


def _on_all_nodes(instance: Instance, found: Choice | None) -> Choice | None:
    """Return the choice with nothing on the nodes that were out of reach."""
    nothing: Held = {node: {} for node_class in instance.classes for node in node_class.nodes}
    return found and replace(found, held=nothing | found.held)


def _unproven(first: Built, instance: Instance, *, interrupted: bool) -> Choice:
    """Return the plan by construction as a choice, with the bound that is known without any search.

    Where it reaches that bound it is proven, as far as nothing else was asked.
    """
    value, bound = worth(instance, first), least(instance)
    proven = not instance.then and math.isclose(value, bound, rel_tol=EQUAL)
    return Choice(first.replicas, first.held, proven=proven, bound=bound, value=value, interrupted=interrupted)


def _at_least(first: Built | None, instance: Instance, found: Choice | None) -> Choice | None:
    """Return what was found, or the plan by construction where the search ended with a worse one."""
    if first is None or found is None or found.proven:
        return found
    value = worth(instance, first)
    better = value > found.value if instance.objective == "throughput" else value < found.value
    if not better or math.isclose(value, found.value, rel_tol=SAME):
        return found
    return replace(found, replicas=first.replicas, held=first.held, boxes={}, value=value, then_bounds=())


def _searched(instance: Instance, search: Search, first: Built | None, alone: Mapping[int, int]) -> Choice | None:
    """Return the best choice that the solver finds, None when proven that there is none.

    ``alone``: the plans of models by themselves, by the id of their column.
    """
    whole, narrow = instance, _narrowed(instance, search, first, alone)
    instance = narrow.instance
    model, decisions = stated(instance, narrow.known, search.go_on)
    asked = 1 + len(instance.then)
    best: Choice | None = None
    for number, goal in enumerate(goals(model, decisions)):
        between = ANY if number else (narrow.least, narrow.reached)
        found = search.minimize(model, goal, TIE_EFFORT if number >= asked else None, between)
        if found.solver is None:
            if best is None and not found.is_infeasible:
                _give_up(found, interrupted=search.interrupted)
            break
        last = found.solver
        replicas = tuple(map(last.value, decisions.replicas))
        if not number:
            found = replace(found, bound=min(found.bound, narrow.outside))
        best = _better(best, replicas, found, goal, tie=number >= asked)
        if not narrow.settled and best.value > instance.slowest_s:
            best = replace(best, proven=False, bound=instance.slowest_s)
            break
        if not found.is_done:
            break
        model.add(goal.expression <= found.value)
    if best is None:
        return None
    unsolved = len(best.then_bounds) < len(instance.then)
    boxes = taken_boxes(last, decisions.boxes)
    held = moved(_held_by_all(last, decisions), instance.classes, decisions.boxes, boxes)
    proven = best.proven and not unsolved
    chosen = dict(zip(map(id, instance.columns), best.replicas, strict=True))
    replicas = tuple(chosen.get(id(column), 0) for column in whole.columns)
    bound = best.value if proven else best.bound
    return replace(
        best, replicas=replicas, held=held, boxes=boxes, proven=proven, bound=bound, interrupted=search.interrupted
    )


def _narrowed(instance: Instance, search: Search, first: Built | None, alone: Mapping[int, int]) -> Narrowed:
    """Return the instance without columns that no best plan needs, and what was learned on the way.

    The plan by construction is of use where time is short, or a failure is to be survived; elsewhere others are found
    as soon and say more.
    """
    helps = first is not None and (instance.survive is not None or search.limits.time_limit_s is not None)
    known = _by_column(instance, first) if first is not None and helps else {}
    if instance.objective in ("latency", "ttft"):
        return narrowed(instance, search, known)
    reached = goal_of(instance, first) if first is not None and helps else LARGEST
    return of_core(instance, search, alone, Start(reached, known))


def _by_column(instance: Instance, first: Built) -> dict[int, int]:
    return {id(column): n for column, n in zip(instance.columns, first.replicas, strict=True) if n}


def _give_up(found: Found, *, interrupted: bool) -> NoReturn:
    if interrupted:
        raise NoAnswerError("stopped by the user before any plan was known")
    why = f"the solver stopped ({found.status.name}) before any plan was known"
    raise NoAnswerError(f"{why}; raise --time-limit")


def _better(before: Choice | None, replicas: tuple[int, ...], found: Found, goal: Goal, *, tie: bool) -> Choice:
    """Return the choice after one more goal, and what is proven of all goals so far; what nodes hold is read last."""
    proven = found.is_done and found.bound >= found.value  # a search that may stop at a gap is done there
    bound = goal.read(found.bound) + goal.hidden
    if before is None:
        return Choice(replicas, {}, proven, bound, goal.read(found.value))
    if tie:
        return replace(before, replicas=replicas)
    bounds = (*before.then_bounds, bound)
    return replace(before, replicas=replicas, proven=before.proven and proven, then_bounds=bounds)


def _held_by_all(solver: cp_model.CpSolver, decisions: Decisions) -> Held:
    held: Held = {}
    for _, node_class, filling in decisions.classes():
        if isinstance(filling, Pooled):
            held |= laid_out(node_class, {piece: solver.value(decisions.used(piece)) for piece in filling.pieces})
        else:
            held |= _held(solver, node_class, filling)
    return held


def _held(solver: cp_model.CpSolver, node_class: NodeClass, filling: Counted | Named) -> Held:
    """Return what each node of a class holds (or may hold, by its pattern), nodes in their order."""
    if isinstance(filling, Named):
        return {
            node: {piece: n for piece, held in filling.held if (n := solver.value(held[v]))}
            for v, node in enumerate(node_class.nodes)
        }
    followed = [dict(pattern.pieces) for pattern, var in filling.nodes for _ in range(solver.value(var))]
    return {node: (followed[v] if v < len(followed) else {}) for v, node in enumerate(node_class.nodes)}
