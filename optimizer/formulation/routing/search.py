"""The search between what is reached and what may be possible, in rounds that ask for different flows."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

from ortools.sat.python import cp_model

from optimizer.cost.pool import EQUAL, Pool, Run
from optimizer.formulation.routing import joints, ladder
from optimizer.formulation.routing.bound import NOISE, least_worths
from optimizer.formulation.routing.classes import MachineClass
from optimizer.formulation.routing.network import carried, quanta
from optimizer.formulation.routing.terms import Goal, at_least, more_than
from optimizer.formulation.solve import Limits

FIRST_EFFORT = 1.0
"""Deterministic seconds of the first rounds; each cycle of rounds gets twice as many."""

Asks = Callable[["State"], tuple[Goal, float]]
"""The goal of a round, and the flow that its cut is for."""


@dataclass(frozen=True)
class Case:
    """A pool as the search sees it."""

    pool: Pool
    classes: Sequence[MachineClass]
    groups: Sequence[Sequence[str]]
    """Inside which no link binds."""


@dataclass(frozen=True)
class State:
    """What is known: a placement, what flows through it, and what may be possible."""

    runs: tuple[Run, ...]
    reached: float
    possible: float

    @property
    def done(self) -> bool:
        """Whether they are equal."""
        return self.possible <= self.reached * (1 + EQUAL)


def most(state: State) -> tuple[Goal, float]:
    """Ask for the whole bound: it is often reached, and often quickly refuted."""
    return at_least(state.possible * (1 - NOISE), state.possible), state.possible * (1 - 2 * NOISE)


def more(state: State) -> tuple[Goal, float]:
    """Ask for anything better: when there is nothing, the placement is proven."""
    return more_than(state.reached, state.possible), state.reached


def half(state: State) -> tuple[Goal, float]:
    """Ask for the middle."""
    middle = (state.reached + state.possible) / 2
    return at_least(middle, state.possible), middle * (1 - NOISE)


def near(state: State) -> tuple[Goal, float]:
    """Ask for what is known or better: neighbours of a known placement are searched only then."""
    return at_least(state.reached, state.possible), state.reached * (1 - 2 * NOISE)


ROUNDS: tuple[Asks, ...] = (most, more, half, near)


def search(case: Case, state: State, limits: Limits, progress: Callable[[str], None]) -> State:
    """Return what is known when it is proven or the limits have come."""
    clock = _Clock(limits)
    for asks, effort in _rounds():
        left = clock.left(effort)
        if state.done or left is None:
            return state
        state = _round(case, state, asks, left)
        clock.spend(effort)
        progress(f"{asks.__name__}: {state.reached:.6g} of at most {state.possible:.6g} tokens/s")
    return state


def _rounds() -> Iterator[tuple[Asks, float]]:
    for cycle in count():
        for asks in ROUNDS:
            yield asks, FIRST_EFFORT * 2**cycle


class _Clock:
    """What is left of the limits: wall time for users, deterministic time for equal answers everywhere."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._start = time.monotonic()
        self._spent = 0.0

    def spend(self, effort: float) -> None:
        """Note the deterministic seconds of a round."""
        self._spent += effort

    def left(self, effort: float) -> Limits | None:
        """Return the limits of the next round; None when nothing is left."""
        wall = self._limits.time_limit_s
        wall = None if wall is None else wall - (time.monotonic() - self._start)
        whole = effort if self._limits.effort is None else min(effort, self._limits.effort - self._spent)
        over = whole <= 0 or (wall is not None and wall <= 0)
        return None if over else replace(self._limits, time_limit_s=wall, effort=whole)


def _round(case: Case, state: State, asks: Asks, limits: Limits) -> State:
    goal, above = asks(state)
    model = _model(case, goal, above)
    model.hint(state.runs, quanta(case.pool, state.runs, goal.whole))
    solver = _solver(limits)
    status = solver.solve(model.model)
    if status == cp_model.INFEASIBLE:
        refuted = state.reached if asks is more else goal.tokens_per_s(goal.least)
        return replace(state, possible=min(state.possible, max(state.reached, refuted)))
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return state
    runs = model.read(solver)
    flow = carried(case.pool, runs).tokens_per_s
    runs, reached = (runs, flow) if flow > state.reached else (state.runs, state.reached)
    possible = min(state.possible, goal.tokens_per_s(solver.best_objective_bound))
    return State(runs, reached, max(reached, possible))


def _model(case: Case, goal: Goal, above: float) -> ladder.Ladder | joints.Joints:
    cut = least_worths(case.classes, case.pool.num_layers, above, [])
    if len(case.groups) == 1:
        return ladder.build(case.classes, case.pool.num_layers, goal, cut)
    return joints.build(case.pool, case.groups, case.classes, goal, cut)


def _solver(limits: Limits) -> cp_model.CpSolver:
    """Return a solver with the limits of a round; one worker gives the same answer every time.

    Not interleaved with more: OR-Tools 9.15 aborts there when one of its searches refutes a model while loading it.
    """
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = limits.workers
    solver.parameters.random_seed = limits.seed
    if limits.effort is not None:
        solver.parameters.max_deterministic_time = limits.effort
    if limits.time_limit_s is not None:
        solver.parameters.max_time_in_seconds = limits.time_limit_s
    return solver
