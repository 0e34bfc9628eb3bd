"""Placements in lanes: machines parted among stacks beside each other, each of which keeps the turn by itself.

What every part of the machines carries in a stack is known from a few flows, and the parts that add up to most are
stacked again as high as they go.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod

import numpy as np
import numpy.typing as npt

from optimizer.cost.routed import Priced
from optimizer.formulation.routing.choices import Alike, alike
from optimizer.formulation.routing.timed import Counts, Floats, Stacks, Timed, seated, shifted, tallest

MOST_STATES = 5000
"""Numbers of machines of each class that are told apart at most; where there are more, other placements must do."""

LANE_FLOWS = 16
"""Flows at which it is found which machines carry them in a lane of their own."""

MOST_LANES = 4

LONGEST_S = 120.0
"""No turn is longer."""

FEW = 3
"""Machines of which nothing but stacks and lanes can be made."""

EXACT_HALVINGS = 26
"""Of what a few machines carry: to a third of ``pool.EQUAL`` in all lanes together."""

LEAST = 1e-8
"""Of the most that flows: less in a lane is nothing."""


def too_many(classes: Sequence[Alike]) -> bool:
    """Return whether there are more kinds and machines than stacks are found for."""
    return prod(one.count + 1 for one in classes) > MOST_STATES


def placed(classes: Sequence[Alike], num_layers: int, turn_s: float, above: float, most: float) -> tuple[Timed, ...]:
    """Return who holds what in one stack, or in lanes, so that more than ``above`` tokens/s flow, at most ``most``.

    Nothing when no such placement carries so much in turns of at most ``turn_s``.
    """
    if too_many(classes):
        return ()
    whole = Stacks(tuple(classes), num_layers, turn_s)
    blocks, flow = tallest(whole, above, most)
    best = tuple(seated(whole, blocks, {}, 0))
    for lanes in _lanes(whole, max(above, flow), most):
        beside, carried = _beside_each_other(whole, lanes, most)
        if carried > max(above, flow):
            best, flow = beside, carried
    return best


def few(classes: Sequence[Alike]) -> bool:
    """Return whether every placement of so few machines is a stack, or lanes of stacks."""
    return sum(one.count for one in classes) <= FEW


def most_of_few(classes: Sequence[Alike], num_layers: int, turn_s: float, most: float) -> float:
    """Return tokens/s, at most ``most``, above which nothing flows through a few machines where no link binds.

    Where all paths pass one boundary the machines before it and behind it are placed apart. Without such a boundary two
    machines hold the same layers; three hold the same, or one holds the model beside the two others.
    """
    shape = tuple(one.count + 1 for one in classes)
    alone = {machines: _alone(classes, machines, num_layers, turn_s, most) for machines in np.ndindex(*shape)}
    best = dict(alone)
    for machines in sorted(alone, key=sum):
        for lane in alone:
            rest = tuple(n - used for n, used in zip(machines, lane, strict=True))
            if sum(lane) and min(rest) >= 0 and sum(rest):
                best[machines] = max(best[machines], alone[lane] + best[rest])
    return min(most, max(best.values()))


def _alone(classes: Sequence[Alike], machines: Counts, num_layers: int, turn_s: float, most: float) -> float:
    """Return the least flow that is known to be more than a stack of some machines carries."""
    own = tuple(replace(one, machines=one.machines[:n]) for one, n in zip(classes, machines, strict=True) if n)
    stacks = Stacks(own, num_layers, turn_s)
    if not own or not _carry(stacks, most * LEAST):
        return 0.0 if not own else most * LEAST
    low, high = most * LEAST, most
    for _ in range(EXACT_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _carry(stacks, middle) else (low, middle)
    return high


def _carry(stacks: Stacks, flow: float) -> bool:
    return bool((stacks.fastest(flow)[1] <= stacks.turn_s).any())


def _beside_each_other(stacks: Stacks, lanes: Sequence[Counts], most: float) -> tuple[tuple[Timed, ...], float]:
    """Return the tallest stacks of the machines of each lane, and what they carry together."""
    used: dict[int, int] = {}
    found: list[Timed] = []
    carried = 0.0
    for number, machines in enumerate(lanes):
        part = zip(stacks.classes, machines, strict=True)
        own = tuple(replace(one, machines=one.machines[:n]) for one, n in part)
        blocks, flow = tallest(Stacks(own, stacks.num_layers, stacks.turn_s), 0.0, most)
        found += seated(stacks, blocks, used, number)
        carried += flow
    return tuple(found), carried


def _lanes(stacks: Stacks, above: float, most: float) -> Iterator[tuple[Counts, ...]]:
    """Yield the machines of 2, 3, … lanes that carry most together, where that may be more than ``above``."""
    alone = np.zeros(stacks.shape)
    for part in range(1, LANE_FLOWS + 1):
        flow = most * part / LANE_FLOWS
        _, whole_s, _ = stacks.fastest(flow)
        alone[_filled_up(whole_s <= stacks.turn_s)] = flow
    best, rests = alone, list[npt.NDArray[np.int64]]()
    top = tuple(n - 1 for n in stacks.shape)
    for lanes in range(2, MOST_LANES + 1):
        more, rest = _beside(alone, best)
        rests.append(rest)
        if more[top] > best[top] and more[top] + lanes * most / LANE_FLOWS > above:
            yield tuple(_parted(top, rests, stacks.shape))
        best = more


def _parted(top: Counts, rests: Sequence[npt.NDArray[np.int64]], shape: Counts) -> Iterator[Counts]:
    """Yield the machines of each lane, the last that was put beside the others first."""
    left = top
    for rest in reversed(rests):
        lane = tuple(int(n) for n in np.unravel_index(int(rest[left]), shape))
        yield lane
        left = tuple(n - used for n, used in zip(left, lane, strict=True))
    yield left


def _filled_up(able: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return the machines that suffice, as some among them do."""
    for axis in range(able.ndim):
        able = np.logical_or.accumulate(able, axis=axis)
    return able


def _beside(alone: Floats, others: Floats) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Return what one more lane beside others carries at best, and its machines, by all machines."""
    best, lane = others.copy(), np.zeros(alone.shape, dtype=np.int64)
    for number, machines in enumerate(np.ndindex(*alone.shape)):
        if not alone[machines]:
            continue
        onto, under = shifted(machines, tuple(alone.shape))
        more = others[under] + alone[machines]
        better = more > best[onto]
        best[onto] = np.where(better, more, best[onto])
        lane[onto] = np.where(better, number, lane[onto])
    return best, lane


def shortest_turn_s(priced: Priced) -> float:
    """Return the seconds of the shortest path through all layers, hardly anything flowing; inf when none is known."""
    classes = alike(priced, LONGEST_S, LONGEST_S)
    if too_many(classes):
        return float("inf")
    carried = [ways[0].tokens_per_s for one in classes for known in one.ways.values() for ways in known if ways]
    _, whole_s, _ = Stacks(classes, priced.num_layers, LONGEST_S).fastest(min(carried, default=1.0))
    return float(whole_s.min())
