"""One search: bounded in time and effort, stopped by the user without losing what is known, telling how far it is.

How long a search takes is luck: of equal models some are proven in a tenth of a second and some not in a minute, by the
order in which things are tried. So several ways take turns, each round longer than the one before, and go on from the
best plan and bound so far: the whole takes a few times what the luckiest of them needs.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import product

from ortools.sat.python import cp_model

from optimizer.errors import NoAnswerError, Stopped
from optimizer.formulation.goals import Goal
from optimizer.formulation.integers import LARGEST

TELL_EVERY_S = 1.0
"""Searches that take longer tell incumbent, bound and gap so often."""

FIRST_TURN = 0.2
"""Deterministic seconds of each turn of the first round."""

LONGER = 4
"""How much longer the turns of a round are than those of the one before: presolve is done again in each."""

TIME_IS_OVER = "the time limit was over"

_ROUNDING = 1e-6
"""Of whole numbers that the solver tells as floats."""

LEAST_S = 0.01
"""Left to a search when the time is already over, or the user has stopped it: enough to read its hint."""


@dataclass(frozen=True)
class Limits:
    """How the solver may run; one worker and a seed give the same answer every time."""

    time_limit_s: float | None = None
    """For all searches of one choice together."""
    workers: int = 1
    seed: int = 0
    effort: float | None = None
    """Deterministic seconds after which to stop, the same on every machine; None: until proven."""
    gap: float | None = None
    """Stop when bound and value are proven to differ by no more than this part; None: only when they are equal."""
    anytime: bool = False
    """Whether Ctrl-C ends the search with the best plan known instead of ending the command."""


Range = tuple[int, int]
"""The least and the most that a goal can come to."""

ANY: Range = (-LARGEST, LARGEST)


@dataclass(frozen=True)
class Turn:
    """One way to search."""

    linearization: int
    """2: all rules go into the linear relaxation, those with Booleans too, else bounds may stay open; 1: not all."""
    seed: int
    """Added to the user's."""
    effort: float
    """Deterministic seconds, the same on every machine."""


def _turns(workers: int) -> Iterator[Turn]:
    """Yield ways to search in their order; several workers are ways enough by themselves."""
    effort = FIRST_TURN if workers == 1 else math.inf
    while True:
        for seed, linearization in product((0, 1), (2, 1)):
            yield Turn(linearization, seed, effort)
        effort *= LONGER


@dataclass(frozen=True)
class Found:
    """What a search came to."""

    solver: cp_model.CpSolver | None
    """That of the best plan, None when there is none."""
    bound: int
    """What the goal is proven not to go below; -LARGEST where nothing is."""
    status: cp_model.CpSolverStatus

    @property
    def is_done(self) -> bool:
        """Whether the plan is proven to be the best, or within the gap that is allowed."""
        return self.status == cp_model.OPTIMAL

    @property
    def is_infeasible(self) -> bool:
        """Whether it is proven that there is no plan."""
        return self.status == cp_model.INFEASIBLE

    @property
    def value(self) -> int:
        """Of the goal; LARGEST where there is no plan."""
        return LARGEST if self.solver is None else round(self.solver.objective_value)


@dataclass(frozen=True)
class Search:
    """Searches that share their time, one goal after the other."""

    limits: Limits
    progress: Callable[[str], None]
    _start_s: float = field(default_factory=time.monotonic)
    _stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def interrupted(self) -> bool:
        """Whether the user has stopped it."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """End it, as the user has asked for: what is still to be searched gets no time."""
        self._stopped.set()

    @property
    def is_over(self) -> bool:
        """Whether the time limit is over."""
        return self.limits.time_limit_s is not None and self._left_s() <= 0

    def go_on(self) -> None:
        """Raise NoAnswerError once the time limit is over: what takes long beside the solver asks now and then."""
        if self.is_over:
            raise NoAnswerError(f"{TIME_IS_OVER} before any plan was known; raise --time-limit")

    def minimize(self, model: cp_model.CpModel, goal: Goal, effort: float | None = None, between: Range = ANY) -> Found:
        """Return what one goal comes to; ``effort``: less than the limits allow, ``between``: what is known of it.

        The model keeps the best plan as its hint.
        """
        model.minimize(goal.expression)
        if fault := model.validate():
            raise OverflowError(f"the model is not valid: {fault}")
        efforts = [seconds for seconds in (effort, self.limits.effort) if seconds is not None]
        left, found, start_s = (
            min(efforts, default=math.inf),
            Found(None, between[0], cp_model.UNKNOWN),
            time.monotonic(),
        )
        for turn in _turns(self.limits.workers):
            _hold_between(model, found.bound, min(found.value, between[1]))
            spent, found = self._take(replace(turn, effort=min(turn.effort, left)), model, goal, found)
            left -= spent
            ended_early = spent < turn.effort / 2  # by the time, by the user, or as nothing is left to be done
            if found.status not in (cp_model.FEASIBLE, cp_model.UNKNOWN) or ended_early or left <= 0:
                break
        if (took_s := time.monotonic() - start_s) >= TELL_EVERY_S:
            self.progress(f"{found.status.name.lower()} after {took_s:.1f} s")
        return found

    def briefly(self, effort: float, gap: float | None = None) -> "Search":
        """Return a part of this search that is bounded in effort and tells nothing."""
        return replace(self, limits=replace(self.limits, effort=effort, gap=gap), progress=lambda _: None)

    def _take(self, turn: Turn, model: cp_model.CpModel, goal: Goal, before: Found) -> tuple[float, Found]:
        """Return the deterministic seconds of a turn, and what is found after it."""
        solver, news = self._solver(turn), _News(goal, before)
        status = self._run(solver, model, news)
        spent, bound = solver.response_proto.deterministic_time, news.bound
        if status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            start_from(model, solver)
            bound = math.ceil(solver.best_objective_bound - _ROUNDING)
            return spent, Found(solver, bound, status)
        if status == cp_model.UNKNOWN and before.solver is not None:
            return spent, Found(before.solver, bound, cp_model.FEASIBLE)
        return spent, Found(None, bound, status)

    def _solver(self, turn: Turn) -> cp_model.CpSolver:
        limits, solver = self.limits, cp_model.CpSolver()
        solver.parameters.num_workers = limits.workers
        solver.parameters.random_seed = limits.seed + turn.seed
        solver.parameters.interleave_search = limits.workers > 1
        solver.parameters.catch_sigint_signal = False
        solver.parameters.linearization_level = turn.linearization
        solver.parameters.presolve_inclusion_work_limit = 0  # else 9.15 may prove a wrong optimum (or-tools issue 5293)
        if limits.gap is not None:
            solver.parameters.relative_gap_limit = limits.gap
        if turn.effort < math.inf:
            solver.parameters.max_deterministic_time = turn.effort
        if limits.time_limit_s is not None or self.interrupted:
            solver.parameters.max_time_in_seconds = max(LEAST_S, self._left_s())
        return solver

    def _left_s(self) -> float:
        """Return the seconds until the time limit; none once the user has stopped the search."""
        if self.interrupted or self.limits.time_limit_s is None:
            return 0.0
        return self.limits.time_limit_s - (time.monotonic() - self._start_s)

    def _run(self, solver: cp_model.CpSolver, model: cp_model.CpModel, news: "_News") -> cp_model.CpSolverStatus:
        """Solve in a thread of its own, so that this one hears signals and tells how far it is."""
        done = threading.Event()
        solver.best_bound_callback = news.on_bound
        found: list[cp_model.CpSolverStatus] = []

        def work() -> None:
            try:
                found.append(solver.solve(model, news))
            finally:
                done.set()

        threading.Thread(target=work, daemon=True).start()
        try:
            while not done.wait(TELL_EVERY_S):
                self.progress(news.line)
        except (KeyboardInterrupt, Stopped):
            solver.stop_search()
            done.wait()  # not Thread.join: once a signal has interrupted it, it no longer waits
            if not self.limits.anytime:
                raise
            self._stopped.set()
        return found[0]


def start_from(model: cp_model.CpModel, solver: cp_model.CpSolver) -> None:
    """Let the next search of a model start from a solver's plan."""
    model.clear_hints()  # type: ignore[no-untyped-call]
    for index in range(len(model.proto.variables)):
        var = model.get_int_var_from_proto_index(index)
        model.add_hint(var, solver.value(var))


def _hold_between(model: cp_model.CpModel, low: int, high: int) -> None:
    """Let the objective be no less than is proven and no more than is found."""
    objective = model.proto.objective
    objective.domain.clear()
    if len(objective.vars) and (low, high) != ANY:
        offset = round(objective.offset)
        objective.domain.extend([low - offset, high - offset])


class _News(cp_model.CpSolverSolutionCallback):
    """The best value and bound so far."""

    def __init__(self, goal: Goal, before: Found) -> None:
        super().__init__()
        self._goal = goal
        self._value = float(before.value) if before.solver else None
        self._bound = float(before.bound)

    def on_solution_callback(self) -> None:
        """Keep the value of a new best solution."""
        self._value, self._bound = self.objective_value, max(self._bound, self.best_objective_bound)

    def on_bound(self, bound: float) -> None:
        """Keep a new bound."""
        self._bound = max(self._bound, bound)

    @property
    def bound(self) -> int:
        """What the goal is known not to go below."""
        return math.ceil(self._bound - _ROUNDING)

    @property
    def line(self) -> str:
        """Incumbent, bound and gap in the user's unit."""
        bound = self._goal.read(self._bound) if self._bound > -LARGEST else None
        told = "unknown" if bound is None else f"{bound:,.6g}"
        if self._value is None:
            return f"no plan yet, bound {told}"
        value = self._goal.read(self._value)
        gap = f", gap {abs(bound - value) / abs(value):.2%}" if bound is not None and value else ""
        return f"best {value:,.6g}, bound {told}{gap}"
