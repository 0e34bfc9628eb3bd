"""One search: bounded in time and effort, stopped by the user without losing what is known, telling how far it is."""

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ortools.sat.python import cp_model

from optimizer.errors import NoAnswerError
from optimizer.formulation.goals import Goal

TELL_EVERY_S = 1.0
"""Searches that take longer tell incumbent, bound and gap so often."""

LINEARIZATION = 2
"""All rules go into the linear relaxation, those with Booleans too: without them a bound may stay open for minutes."""

_ROUNDING = 1e-6
"""Of whole numbers that the solver tells as floats."""

LEAST_S = 0.01
"""Left to a search when the time is already over: enough to read its hint."""


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


@dataclass
class Search:
    """Searches of one model, one goal after the other."""

    limits: Limits
    progress: Callable[[str], None]
    interrupted: bool = False
    """Whether the user has stopped it."""
    _start_s: float = field(default_factory=time.monotonic)

    def minimize(
        self, model: cp_model.CpModel, goal: Goal, effort: float | None = None
    ) -> tuple[cp_model.CpSolver, cp_model.CpSolverStatus]:
        """Return the solver and its status after one goal; ``effort``: less than the limits allow, where it may."""
        model.minimize(goal.expression)
        if fault := model.validate():
            raise OverflowError(f"the model is not valid: {fault}")
        solver = self._solver(effort)
        status = self._run(solver, model, goal)
        self.progress(f"{solver.status_name(status).lower()} after {solver.wall_time:.2f} s")
        return solver, status

    def bounded(self, model: cp_model.CpModel, variables: Sequence[cp_model.IntVar]) -> tuple[int, tuple[int, ...]]:
        """Return what the objective is proven not to go below and the best values found; 0 and none of either."""
        solver = self._solver(None)
        status = solver.solve(model)
        found = status in (cp_model.OPTIMAL, cp_model.FEASIBLE)
        least = math.ceil(solver.best_objective_bound - _ROUNDING) if found or status == cp_model.UNKNOWN else 0
        return max(0, least), tuple(solver.value(var) for var in variables) if found else ()

    def _solver(self, effort: float | None) -> cp_model.CpSolver:
        limits, solver = self.limits, cp_model.CpSolver()
        efforts = [seconds for seconds in (effort, limits.effort) if seconds is not None]
        solver.parameters.num_workers = limits.workers
        solver.parameters.random_seed = limits.seed
        solver.parameters.interleave_search = limits.workers > 1
        solver.parameters.catch_sigint_signal = False
        solver.parameters.linearization_level = LINEARIZATION
        solver.parameters.presolve_inclusion_work_limit = 0  # else 9.15 may prove a wrong optimum (or-tools issue 5293)
        if limits.gap is not None:
            solver.parameters.relative_gap_limit = limits.gap
        if efforts:
            solver.parameters.max_deterministic_time = min(efforts)
        solver.parameters.max_time_in_seconds = max(LEAST_S, self._left_s())
        return solver

    def _left_s(self) -> float:
        """Return the seconds left: inf without a limit, none once the user has stopped it."""
        if self.interrupted:
            return 0.0
        limit_s = self.limits.time_limit_s
        return math.inf if limit_s is None else limit_s - (time.monotonic() - self._start_s)

    def _run(self, solver: cp_model.CpSolver, model: cp_model.CpModel, goal: Goal) -> cp_model.CpSolverStatus:
        """Solve in a thread of its own, so that this one hears signals and tells how far it is."""
        news, done = _News(goal), threading.Event()
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
        except (KeyboardInterrupt, NoAnswerError):
            solver.stop_search()
            done.wait()  # not Thread.join: once a signal has interrupted it, it no longer waits
            if not self.limits.anytime:
                raise
            self.interrupted = True
        return found[0]


class _News(cp_model.CpSolverSolutionCallback):
    """The best value and bound so far."""

    def __init__(self, goal: Goal) -> None:
        super().__init__()
        self._goal = goal
        self._value: float | None = None
        self._bound: float | None = None

    def on_solution_callback(self) -> None:
        """Keep the value of a new best solution."""
        self._value, self._bound = self.objective_value, self.best_objective_bound

    def on_bound(self, bound: float) -> None:
        """Keep a new bound."""
        self._bound = bound

    @property
    def line(self) -> str:
        """Incumbent, bound and gap in the user's unit."""
        bound = None if self._bound is None else self._goal.read(self._bound)
        told = "unknown" if bound is None else f"{bound:,.6g}"
        if self._value is None:
            return f"no plan yet, bound {told}"
        value = self._goal.read(self._value)
        gap = f", gap {abs(bound - value) / abs(value):.2%}" if bound is not None and value else ""
        return f"best {value:,.6g}, bound {told}{gap}"
