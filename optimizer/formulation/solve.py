"""Build, solve, read back: replicas of each column and what every node holds."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NoReturn

from ortools.sat.python import cp_model

from optimizer.errors import NoAnswerError
from optimizer.formulation.columns import Piece
from optimizer.formulation.fastest import narrowed
from optimizer.formulation.goals import Goal
from optimizer.formulation.instance import Instance
from optimizer.formulation.objectives import additive_weights, goals
from optimizer.formulation.pooled import laid_out
from optimizer.formulation.rules import RULES
from optimizer.formulation.search import Limits, Search
from optimizer.formulation.shared import each_needs_its_own
from optimizer.formulation.variables import Counted, Decisions, Named, Pooled, declare
from optimizer.topology.classes import NodeClass

__all__ = ["Choice", "Held", "Limits", "choose"]


TIE_EFFORT = 1.0
"""Deterministic seconds for each tie-break: what is asked is proven before, and plans need no proof beyond it."""

Held = dict[str, dict[Piece, int]]
"""What each node holds or offers, by node name."""


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


def choose(instance: Instance, limits: Limits, progress: Callable[[str], None]) -> Choice | None:
    """Return the best choice for an instance, None when proven that there is none.

    Objectives are solved one after the other, each among the plans that are best by those before it; last their
    tie-break. NoAnswerError when the time limit (or the user) comes before any plan.
    """
    if not instance.columns:  # those left were of one phase, and no partner of theirs was
        return None
    search = Search(limits, progress)
    whole, narrow = instance, narrowed(instance, search)
    instance = narrow.instance
    model = cp_model.CpModel()
    decisions = declare(model, instance)
    for column, var in zip(instance.columns, decisions.replicas, strict=True) if narrow.known else ():
        model.add_hint(var, narrow.known.get(id(column), 0))
    for rule in RULES:
        rule(model, decisions)
    if len(instance.loads) > 1 and (weights := additive_weights(instance)):
        each_needs_its_own(model, decisions, weights, limits)
    asked = 1 + len(instance.then)
    best: Choice | None = None
    for number, goal in enumerate(goals(model, decisions)):
        solver, status = search.minimize(model, goal, TIE_EFFORT if number >= asked else None)
        if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            if best is None and status != cp_model.INFEASIBLE:
                _give_up(solver, status, interrupted=search.interrupted)
            break
        best = _better(best, solver, decisions, goal, proven=_is_proven(solver, status), tie=number >= asked)
        last = solver
        if not narrow.settled and best.value > instance.slowest_s:
            best = replace(best, proven=False, bound=instance.slowest_s)
            break
        if status != cp_model.OPTIMAL:
            break
        _keep(model, solver, goal)
    if best is None:
        return None
    unsolved = len(best.then_bounds) < len(instance.then)
    held = _held_by_all(last, decisions)
    proven = best.proven and not unsolved
    chosen = dict(zip(map(id, instance.columns), best.replicas, strict=True))
    replicas = tuple(chosen.get(id(column), 0) for column in whole.columns)
    bound = best.value if proven else best.bound
    return replace(best, replicas=replicas, held=held, proven=proven, bound=bound, interrupted=search.interrupted)


def _is_proven(solver: cp_model.CpSolver, status: cp_model.CpSolverStatus) -> bool:
    """Whether the bound equals the value: a search that may stop at a gap calls itself optimal there."""
    return status == cp_model.OPTIMAL and round(solver.best_objective_bound) >= round(solver.objective_value)


def _give_up(solver: cp_model.CpSolver, status: cp_model.CpSolverStatus, *, interrupted: bool) -> NoReturn:
    if interrupted:
        raise NoAnswerError("stopped by the user before any plan was known")
    why = f"the solver stopped ({solver.status_name(status)}) before any plan was known"
    raise NoAnswerError(f"{why}; raise --time-limit")


def _better(
    before: Choice | None, solver: cp_model.CpSolver, decisions: Decisions, goal: Goal, *, proven: bool, tie: bool
) -> Choice:
    """Return the choice after one more goal, and what is proven of all goals so far; what nodes hold is read last."""
    bound = goal.read(solver.best_objective_bound) + goal.hidden
    replicas = tuple(solver.value(var) for var in decisions.replicas)
    if before is None:
        return Choice(replicas, {}, proven, bound, goal.read(solver.objective_value))
    if tie:
        return replace(before, replicas=replicas)
    bounds = (*before.then_bounds, bound)
    return replace(before, replicas=replicas, proven=before.proven and proven, then_bounds=bounds)


def _keep(model: cp_model.CpModel, solver: cp_model.CpSolver, goal: Goal) -> None:
    """Hold a goal at what was reached; the next search starts from there."""
    model.clear_hints()  # type: ignore[no-untyped-call]
    for index in range(len(model.proto.variables)):
        var = model.get_int_var_from_proto_index(index)
        model.add_hint(var, solver.value(var))
    model.add(goal.expression <= round(solver.objective_value))


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
