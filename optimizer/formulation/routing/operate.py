"""The best pool in operation: of all groupings and all turns on a grid, best bound first, with a proof.

A range of turns is bounded at once (``turns.bound``) and halved until one turn is left. A turn in which more than what
is known may flow (``paced.refuted``) is given a placement (``lanes.placed``), and what that really carries is settled.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf

from optimizer.cost.pool import EQUAL, Routing
from optimizer.cost.routed import Priced, pool_at
from optimizer.errors import NoAnswerError, Stopped
from optimizer.formulation.routing import lanes, paced
from optimizer.formulation.routing.choices import Alike, alike
from optimizer.formulation.routing.classes import groups
from optimizer.formulation.routing.settle import Settled, settled
from optimizer.formulation.routing.solve import first_placement, route
from optimizer.formulation.routing.turns import bound
from optimizer.formulation.solve import Limits

PER_DOUBLING = 16
"""Turns tried for each doubling: neighbours differ by 4.4 %."""

SHORTEST_S, DOUBLINGS = 0.001, 17
"""From a millisecond to two minutes."""

EFFORTS = (1.0, 4.0, 16.0, 64.0)
"""Deterministic seconds of the search in what the first placements leave open, turn by turn. Where no time limit is
given only the first, and only where links bind: elsewhere it seldom finds more than stacks in lanes."""

MOST_SEARCHED = 2
"""Turns that are searched with each effort, the highest bounds first."""

HALVINGS = 8
"""Of what a turn may carry more than is reached: its bound to a 256th of that."""


@dataclass(frozen=True)
class Operated:
    """The best that was found, and what is proven."""

    best: Settled
    grouping: int
    """Its place among the groupings."""
    bound: float
    routed: int
    """Turns that were routed."""
    stopped: bool = False
    """Whether the user stopped the search."""


@dataclass(order=True)
class _Range:
    """Turns of one grouping whose bound is not yet below what is reached."""

    key: tuple[float, int]
    grouping: int = field(compare=False)
    first: int = field(compare=False)
    last: int = field(compare=False)
    bounded: bool = field(default=False, compare=False)
    """Whether covers gave the bound of its only turn."""
    routed: bool = field(default=False, compare=False)
    """Whether its pool is routed with proof: what is left open is that placements do not keep the turn."""

    @property
    def bound(self) -> float:
        return -self.key[0]

    def below(self, most: float) -> "_Range":
        """Return the same with another bound, if that is lower."""
        return replace(self, key=(max(self.key[0], -most), self.key[1]))


@dataclass
class _State:
    """What is known so far."""

    groupings: Sequence[Priced]
    grids: list[tuple[float, ...]]
    best: Settled | None = None
    grouping: int = 0
    routed: int = 0
    most: float = inf
    """Nothing carries more, whenever it is asked."""

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
    state = _State(groupings, [turns_of(priced) for priced in groupings])
    stopped = False
    try:
        _explored(state, limits, time.monotonic(), progress)
    except (KeyboardInterrupt, Stopped):
        if state.best is None:
            raise
        stopped = True
    if state.best is None:
        if state.most > 0:
            raise NoAnswerError(
                f"no routed pool was found, though up to {state.most:,.4g} tokens/s are not ruled out; "
                "give it a longer --time-limit, or leave the objectives (slo) more room"
            )
        return None
    return Operated(state.best, state.grouping, max(state.value, state.most), state.routed, stopped)


def _explored(state: _State, limits: Limits, start: float, progress: Callable[[str], None]) -> None:
    """Place, bound and search the turns until the best is proven or the limits have come."""
    heap, numbers = list[_Range](), count()
    for grouping, grid in enumerate(state.grids):
        if grid:
            _push(state, heap, numbers, grouping, (0, len(grid) - 1), inf)
    open_turns: list[_Range] = []
    while heap and not state.closed(heap[0].bound) and not (state.routed and _over(limits, start)):
        one = heappop(heap)
        state.most = max([one.bound, *(other.bound for other in open_turns)])
        if one.first < one.last:
            middle = (one.first + one.last) // 2
            _push(state, heap, numbers, one.grouping, (one.first, middle), one.bound)
            _push(state, heap, numbers, one.grouping, (middle + 1, one.last), one.bound)
        elif not _refuted(state, one):
            open_turns.append(one)
            _place(state, one)
            _tell(state, one, progress)
    open_turns = _bounded(state, [*heap, *open_turns], limits, start, progress)
    for effort in _efforts(state, limits):
        state.most = max((one.bound for one in open_turns), default=0.0)
        open_turns = _searched(state, open_turns, effort, limits, start, progress)
    state.most = max((one.bound for one in open_turns), default=0.0)


def _efforts(state: _State, limits: Limits) -> Sequence[float]:
    if limits.time_limit_s is not None:
        return EFFORTS
    return EFFORTS[:1] if any(_binding(priced, state.most) for priced in state.groupings) else ()


def _binding(priced: Priced, flow: float) -> bool:
    """Return whether a link carries less than may flow."""
    return any(link.tokens_per_s < flow for link in priced.links)


def _tell(state: _State, one: _Range, progress: Callable[[str], None]) -> None:
    most = max(state.most, state.value)
    gap = f", gap {most / state.value - 1:.2%}" if state.best else ""
    turn_s = state.grids[one.grouping][one.first]
    progress(f"turns of {turn_s:.4g} s: {state.value:.6g} of at most {most:.6g} tokens/s{gap}")


def _alike(state: _State, one: _Range) -> tuple[Alike, ...]:
    grid = state.grids[one.grouping]
    return alike(state.groupings[one.grouping], grid[one.first], grid[one.last])


def _refuted(state: _State, one: _Range) -> bool:
    """Return whether no more flows in any of these turns than what is reached."""
    layers, most_s = state.groupings[one.grouping].num_layers, state.grids[one.grouping][one.last]
    flow = state.value * (1 + EQUAL / 2)
    return flow > 0 and paced.refuted(paced.case_of(_alike(state, one), layers), layers, most_s, flow)


def _most(state: _State, one: _Range) -> float:
    """Return a bound of the only turn: of a few machines what they carry, of more what covers refute."""
    priced, turn_s, classes = state.groupings[one.grouping], state.grids[one.grouping][one.last], _alike(state, one)
    if _refuted(state, one):
        return state.value
    if lanes.few(classes) and not _binding(priced, one.bound):
        return lanes.most_of_few(classes, priced.num_layers, turn_s, one.bound)
    return paced.bound(classes, priced.num_layers, turn_s, state.value, one.bound, HALVINGS)


def _place(state: _State, one: _Range) -> None:
    """Find placements for one turn, and keep the best: stacks in time and, where links bind, stacks of each group."""
    priced, turn_s = state.groupings[one.grouping], state.grids[one.grouping][one.first]
    state.routed += 1
    classes, before = _alike(state, one), -1.0
    while state.value > before:
        before = state.value
        found = lanes.placed(classes, priced.num_layers, turn_s, before * (1 + EQUAL), one.bound)
        for seats in (found, [replace(seat, lane=0) for seat in found] if any(seat.lane for seat in found) else ()):
            kept = {seat.run.machine: seat for seat in seats}
            runs = [seat.run for seat in seats]
            _keep(state, one.grouping, settled(priced, runs, turn_s, kept) if kept else None)
    if lanes.too_many(classes) or _binding(priced, one.bound):
        pool = pool_at(priced, turn_s)
        beside = first_placement(pool, groups(pool, one.bound))
        _keep(state, one.grouping, settled(priced, beside, turn_s) if beside else None)


def _bounded(
    state: _State, ranges: list[_Range], limits: Limits, start: float, progress: Callable[[str], None]
) -> list[_Range]:
    """Return the turns that stay open; the highest of their bounds comes from covers when there is time."""
    heapify(ranges)
    while ranges and not ranges[0].bounded and not state.closed(ranges[0].bound) and not _over(limits, start):
        one = heappop(ranges)
        most = one.bound if one.first < one.last else _most(state, one)
        heappush(ranges, replace(one.below(most), bounded=True))
        state.most = max(state.value, ranges[0].bound)
        _tell(state, one, progress)
    return [one for one in ranges if not state.closed(one.bound)]


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
        if (
            one.routed
            or one.first < one.last
            or state.closed(one.bound)
            or number >= MOST_SEARCHED
            or _over(limits, start)
        ):
            left.append(one)
            continue
        remaining = None if limits.time_limit_s is None else limits.time_limit_s - (time.monotonic() - start)
        own = Limits(time_limit_s=remaining, workers=limits.workers, seed=limits.seed, effort=effort)
        left.append(_routed(state, one, own, progress))
    return left


def _routed(state: _State, one: _Range, limits: Limits, progress: Callable[[str], None]) -> _Range:
    """Search the pool of one turn, keep what settles best, and return it with the bound that is left."""
    priced, turn_s = state.groupings[one.grouping], state.grids[one.grouping][one.first]
    answer: Routing = route(pool_at(priced, turn_s), limits)
    _keep(state, one.grouping, settled(priced, answer.runs, turn_s) if answer.runs else None)
    left = one.below(answer.bound_tokens_per_s)
    _tell(state, one, progress)
    return replace(left, routed=answer.proven)
