"""The best pool in operation: of all groupings and all turns on a grid, best bound first, with a proof.

A range of turns is bounded at once (``turns.bound``) and halved until one turn is left; that is routed as a pool whose
KV is kept for such turns, and what the placement really carries is settled.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import count
from math import inf

from optimizer.cost.pool import EQUAL, Routing
from optimizer.cost.routed import Priced, pool_at
from optimizer.formulation.routing.settle import Settled, settled
from optimizer.formulation.routing.solve import route
from optimizer.formulation.routing.turns import bound
from optimizer.formulation.solve import Limits

PER_DOUBLING = 16
"""Turns tried for each doubling: neighbours differ by 4.4 %."""

SHORTEST_S, DOUBLINGS = 0.001, 17
"""From a millisecond to two minutes."""

EFFORTS = (1.0, 4.0, 16.0, 64.0)
"""Deterministic seconds of the search in what the first placements leave open, turn by turn; only the first effort
where no time limit is given."""

PARTS = (1.5, 1.2, 1.0)
"""Where a placement takes longer than the turn, others are sought whose machines take at most so many times the part of
it that their layers are of all."""

MOST_SEARCHED = 2
"""Turns that are searched with each effort, the highest bounds first."""


@dataclass(frozen=True)
class Operated:
    """The best that was found, and what is proven."""

    best: Settled
    grouping: int
    """Its place among the groupings."""
    bound: float
    routed: int
    """Turns that were routed."""


@dataclass(order=True)
class _Range:
    """Turns of one grouping whose bound is not yet below what is reached."""

    key: tuple[float, int]
    grouping: int = field(compare=False)
    first: int = field(compare=False)
    last: int = field(compare=False)
    routed: bool = field(default=False, compare=False)
    """Whether its pool is routed with proof: what is left open is that placements do not keep the turn."""

    @property
    def bound(self) -> float:
        return -self.key[0]


@dataclass
class _State:
    """What is known so far."""

    groupings: Sequence[Priced]
    grids: list[tuple[float, ...]]
    best: Settled | None = None
    grouping: int = 0
    routed: int = 0

    @property
    def value(self) -> float:
        return self.best.tokens_per_s if self.best else 0.0

    def closed(self, bound: float) -> bool:
        return bound <= self.value * (1 + EQUAL)


def turns_of(priced: Priced) -> tuple[float, ...]:
    """Return the turns that are tried, ascending: a grid, and the longest that keeps the objectives."""
    grid = (SHORTEST_S * 2 ** (step / PER_DOUBLING) for step in range(DOUBLINGS * PER_DOUBLING + 1))
    most = priced.longest_turn_s
    return (*(turn for turn in grid if turn < most), *((most,) if 0 < most < float("inf") else ()))


def operate(
    groupings: Sequence[Priced], limits: Limits, progress: Callable[[str], None] = lambda _: None
) -> Operated | None:
    """Return the pool that carries most, with a bound on all groupings and turns; None when none carries anything."""
    start, numbers = time.monotonic(), count()
    state = _State(groupings, [turns_of(priced) for priced in groupings])
    heap: list[_Range] = []
    for grouping, grid in enumerate(state.grids):
        if grid:
            _push(state, heap, numbers, grouping, (0, len(grid) - 1), inf)
    open_turns: list[_Range] = []
    while heap and not state.closed(heap[0].bound) and not _over(limits, start):
        one = heappop(heap)
        if one.first < one.last:
            middle = (one.first + one.last) // 2
            _push(state, heap, numbers, one.grouping, (one.first, middle), one.bound)
            _push(state, heap, numbers, one.grouping, (middle + 1, one.last), one.bound)
            continue
        own = Limits(workers=limits.workers, seed=limits.seed, effort=0.0)
        open_turns.append(_routed(state, one, own, progress))
    for effort in EFFORTS if limits.time_limit_s is not None else EFFORTS[:1]:
        open_turns = _searched(state, open_turns, effort, limits, start, progress)
    if state.best is None:
        return None
    reached = [state.value, *(one.bound for one in (*heap, *open_turns))]
    return Operated(state.best, state.grouping, max(reached), state.routed)


def _over(limits: Limits, start: float) -> bool:
    return limits.time_limit_s is not None and time.monotonic() - start >= limits.time_limit_s


def _push(
    state: _State, heap: list[_Range], numbers: "count[int]", grouping: int, places: tuple[int, int], known: float
) -> None:
    """Keep a range of turns, by their places in the grid, unless its bound is below what is reached."""
    first, last = places
    grid = state.grids[grouping]
    most = bound(state.groupings[grouping], grid[first], grid[last], known)
    if most > 0 and not state.closed(most):
        heappush(heap, _Range((-most, next(numbers)), grouping, first, last))


def _keep(state: _State, grouping: int, found: Settled | None) -> None:
    if found is not None and found.tokens_per_s > state.value:
        state.best, state.grouping = found, grouping


def _searched(
    state: _State,
    open_turns: list[_Range],
    effort: float,
    limits: Limits,
    start: float,
    progress: Callable[[str], None],
) -> list[_Range]:
    """Return what a search leaves open."""
    left: list[_Range] = []
    for number, one in enumerate(sorted(open_turns)):
        if one.routed or state.closed(one.bound) or number >= MOST_SEARCHED or _over(limits, start):
            left.append(one)
            continue
        remaining = None if limits.time_limit_s is None else limits.time_limit_s - (time.monotonic() - start)
        own = Limits(time_limit_s=remaining, workers=limits.workers, seed=limits.seed, effort=effort)
        left.append(_routed(state, one, own, progress))
    return left


def _routed(state: _State, one: _Range, limits: Limits, progress: Callable[[str], None]) -> _Range:
    """Route the pool of one turn, keep what settles best, and return it with the bound that is left."""
    priced, turn_s = state.groupings[one.grouping], state.grids[one.grouping][one.first]
    answer: Routing = route(pool_at(priced, turn_s), limits)
    state.routed += 1
    kept = settled(priced, answer.runs, turn_s) if answer.runs else None
    _keep(state, one.grouping, kept)
    reached = kept.tokens_per_s if kept else 0.0
    for part in PARTS if reached < answer.tokens_per_s * (1 - EQUAL) else ():
        others = route(pool_at(priced, turn_s, part), replace(limits, effort=0.0)).runs
        _keep(state, one.grouping, settled(priced, others, turn_s) if others else None)
    left = min(one.bound, answer.bound_tokens_per_s)
    progress(f"turns of {turn_s:.4g} s: {state.value:.6g} of at most {max(state.value, left):.6g} tokens/s")
    return _Range((-left, one.key[1]), one.grouping, one.first, one.last, answer.proven)
