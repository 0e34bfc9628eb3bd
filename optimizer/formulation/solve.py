"""Build, solve, read back: replicas of each column and what every node holds."""

from collections.abc import Callable
from dataclasses import dataclass

from ortools.sat.python import cp_model

from optimizer.errors import NoAnswerError
from optimizer.formulation.columns import Piece
from optimizer.formulation.instance import Instance
from optimizer.formulation.objectives import OBJECTIVES, Goal
from optimizer.formulation.rules import RULES
from optimizer.formulation.variables import Counted, Decisions, Named, declare
from optimizer.topology.classes import NodeClass


@dataclass(frozen=True)
class Limits:
    """How the solver may run; one worker and a seed give the same answer every time."""

    time_limit_s: float | None = None
    workers: int = 1
    seed: int = 0
    effort: float | None = None
    """Deterministic seconds after which to stop, the same on every machine; None: until proven."""


Held = dict[str, dict[Piece, int]]
"""What each node holds or offers, by node name."""


@dataclass(frozen=True)
class Choice:
    """A solved instance."""

    replicas: tuple[int, ...]
    """Of each column."""
    held: Held
    proven: bool
    bound: float
    """Of the objective, in the user's unit; equal to the value when proven."""


def choose(instance: Instance, limits: Limits, progress: Callable[[str], None]) -> Choice | None:
    """Return the best choice for an instance, None when proven that there is none.

    The objective is solved first, then its tie-break among the plans that reach it. NoAnswerError when the time limit
    comes before any plan.
    """
    model = cp_model.CpModel()
    decisions = declare(model, instance)
    for rule in RULES:
        rule(model, decisions)
    first, *ties = OBJECTIVES[instance.objective](model, decisions)
    solver = _solver(limits)
    status = _minimize(model, solver, first, progress)
    if status == cp_model.INFEASIBLE:
        return None
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        raise NoAnswerError(
            f"the solver stopped ({solver.status_name(status)}) before any plan was known; raise --time-limit"
        )
    proven, bound = status == cp_model.OPTIMAL, first.read(solver.best_objective_bound)
    choice = _read(solver, decisions, proven, bound)
    for tie in ties if proven else ():
        choice = _refine(model, first, solver, tie, decisions, limits, progress) or choice
    return choice


def _solver(limits: Limits) -> cp_model.CpSolver:
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = limits.workers
    solver.parameters.random_seed = limits.seed
    solver.parameters.interleave_search = limits.workers > 1
    if limits.effort is not None:
        solver.parameters.max_deterministic_time = limits.effort
    if limits.time_limit_s is not None:
        solver.parameters.max_time_in_seconds = limits.time_limit_s
    return solver


def _minimize(
    model: cp_model.CpModel, solver: cp_model.CpSolver, goal: Goal, progress: Callable[[str], None]
) -> cp_model.CpSolverStatus:
    model.minimize(goal.expression)
    if fault := model.validate():
        raise OverflowError(f"the model is not valid: {fault}")
    status = solver.solve(model)
    progress(f"{solver.status_name(status).lower()} after {solver.wall_time:.2f} s")
    return status


def _refine(
    model: cp_model.CpModel,
    first: Goal,
    solver: cp_model.CpSolver,
    tie: Goal,
    decisions: Decisions,
    limits: Limits,
    progress: Callable[[str], None],
) -> Choice | None:
    """Return the best choice by the tie-break among those that keep the first goal, starting from the known one."""
    reached = round(solver.objective_value)
    bound = first.read(solver.best_objective_bound)
    model.clear_hints()  # type: ignore[no-untyped-call]
    for var in decisions.replicas:
        model.add_hint(var, solver.value(var))
    model.add(first.expression <= reached)
    again = _solver(limits)
    status = _minimize(model, again, tie, progress)
    return _read(again, decisions, True, bound) if status in (cp_model.OPTIMAL, cp_model.FEASIBLE) else None


def _read(solver: cp_model.CpSolver, decisions: Decisions, proven: bool, bound: float) -> Choice:
    held: Held = {}
    for _, node_class, filling in decisions.classes():
        held |= _held(solver, node_class, filling)
    return Choice(tuple(solver.value(var) for var in decisions.replicas), held, proven, bound)


def _held(solver: cp_model.CpSolver, node_class: NodeClass, filling: Counted | Named) -> Held:
    """Return what each node of a class holds (or may hold, by its pattern), nodes in their order."""
    if isinstance(filling, Named):
        return {
            node: {piece: n for piece, held in filling.held if (n := solver.value(held[v]))}
            for v, node in enumerate(node_class.nodes)
        }
    followed = [dict(pattern.pieces) for pattern, var in filling.nodes for _ in range(solver.value(var))]
    return {node: (followed[v] if v < len(followed) else {}) for v, node in enumerate(node_class.nodes)}
