"""Placements that keep a turn: blocks of machines side by side, stacked in the least time for a flow.

A *block* is at most ``WIDEST`` machines on the same layers, each in steps of at most the block's time, that together
carry the flow. For every number of layers and of machines of each class the least time of a stack is known from that
of stacks of fewer layers (dynamic programming), so a flow is possible for blocks when the whole model takes no longer
than the turn. The largest is found by halving.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement

import numpy as np
import numpy.typing as npt

from optimizer.cost.pool import Run
from optimizer.formulation.routing.choices import PLACES, Alike, Place

WIDEST = 4
"""Machines side by side at most."""

HALVINGS = 14

Floats = npt.NDArray[np.float64]
Counts = tuple[int, ...]


@dataclass(frozen=True)
class Timed:
    """A machine with its layers, and how long of the turn its steps may take."""

    run: Run
    within_s: float
    lane: int = 0
    """What flows keeps to a lane: others may be slower."""


@dataclass(frozen=True)
class _Block:
    """Machines of each class on some layers."""

    place: Place
    layers: int
    machines: Counts
    seconds: float


@dataclass(frozen=True)
class Stacks:
    """The stacks of some machines."""

    classes: tuple[Alike, ...]
    num_layers: int
    turn_s: float

    @property
    def shape(self) -> Counts:
        """Return how many numbers of machines there are of each class, none among them."""
        return tuple(one.count + 1 for one in self.classes)

    @cached_property
    def sides(self) -> tuple[Counts, ...]:
        """Return the machines of each class that may stand side by side, fewer ones first."""
        picked = (
            members for width in range(1, WIDEST + 1)
            for members in combinations_with_replacement(range(len(self.classes)), width)
        )  # fmt: skip
        counts = (tuple(members.count(index) for index in range(len(self.classes))) for members in picked)
        return tuple(c for c in counts if all(n <= one.count for n, one in zip(c, self.classes, strict=True)))

    @cached_property
    def carried(self) -> dict[tuple[Place, int], tuple[Floats, Floats]]:
        """Return the times of steps with so many layers, and what all that may stand side by side carry in each."""
        counts = np.array(self.sides, dtype=float)
        found = {}
        for place in PLACES:
            for layers in range(1, self.num_layers + 1):
                seconds, rates = self._rates(place, layers)
                if seconds.size:
                    able = (counts @ (rates[:, -1:] <= 0)) == 0
                    found[place, layers] = seconds, np.where(able, counts @ rates, 0.0)
        return found

    def _rates(self, place: Place, layers: int) -> tuple[Floats, Floats]:
        """Return the times of all steps, ascending, and what a machine of each class carries in steps as long."""
        known = [one.at(place, layers) for one in self.classes]
        seconds = np.array(sorted({way.seconds for ways in known for way in ways}))
        rates = np.zeros((len(known), len(seconds)))
        for index, ways in enumerate(known):
            for way in ways:
                rates[index, np.searchsorted(seconds, way.seconds) :] = way.tokens_per_s
        return seconds, rates

    def blocks(self, flow: float) -> Iterator[_Block]:
        """Yield the blocks that carry a flow in the least time; those that need not all their machines left out."""
        for (place, layers), (seconds, carried) in self.carried.items():
            able = carried >= flow
            times = np.where(able.any(axis=1), seconds[able.argmax(axis=1)], np.inf)
            least: dict[Counts, float] = {}
            for machines, time in zip(self.sides, times.tolist(), strict=True):
                fewer = min((least.get(other, np.inf) for other in _fewer(machines)), default=np.inf)
                least[machines] = min(time, fewer)
                if time < fewer:
                    yield _Block(place, layers, machines, time)

    def fastest(self, flow: float) -> tuple[Floats, Floats, list[_Block]]:
        """Return the least seconds of stacks that do not end the model, by layers and machines, and of whole models."""
        blocks = list(self.blocks(flow))
        open_s = np.full((self.num_layers + 1, *self.shape), np.inf)
        whole_s = np.full(self.shape, np.inf)
        for block in blocks:
            if block.place == "first" and block.layers < self.num_layers:
                open_s[block.layers, *block.machines] = min(open_s[block.layers, *block.machines], block.seconds)
            if block.place == "whole" and block.layers == self.num_layers:
                whole_s[block.machines] = min(whole_s[block.machines], block.seconds)
        self._stacked(open_s, blocks)
        for block in blocks:
            if block.place == "last" and block.layers < self.num_layers:
                onto, under = shifted(block.machines, self.shape)
                below = open_s[self.num_layers - block.layers][under] + block.seconds
                whole_s[onto] = np.minimum(whole_s[onto], below)
        return open_s, whole_s, blocks

    def _stacked(self, open_s: Floats, blocks: Sequence[_Block]) -> None:
        """Put blocks on stacks, from few layers to many."""
        alike: dict[Counts, list[_Block]] = {}
        for block in blocks:
            if block.place == "inside":
                alike.setdefault(block.machines, []).append(block)
        sides = [
            (shifted(machines, self.shape), np.array([b.layers for b in same]), np.array([b.seconds for b in same]))
            for machines, same in alike.items()
        ]
        for layers in range(1, self.num_layers - 1):
            if not np.isfinite(open_s[layers]).any():
                continue
            for (onto, under), more, seconds in sides:
                fit = int(np.searchsorted(more, self.num_layers - layers))
                if fit:
                    taller = open_s[layers][under][None] + seconds[:fit].reshape(-1, *(1 for _ in self.shape))
                    view = open_s[:, *onto]
                    view[more[:fit] + layers] = np.minimum(view[more[:fit] + layers], taller)

    def stack(self, flow: float) -> tuple[_Block, ...]:
        """Return the blocks of a stack that carries a flow in time, the first layers' first; nothing when none does."""
        open_s, whole_s, blocks = self.fastest(flow)
        machines = np.unravel_index(int(whole_s.argmin()), self.shape)
        seconds, layers = float(whole_s[machines]), self.num_layers
        if seconds > self.turn_s:
            return ()
        held = tuple(int(n) for n in machines)
        found: list[_Block] = []
        while layers:
            block = next(b for b in blocks if _ends(b, layers, held, seconds, open_s, last=not found))
            found.append(block)
            layers -= block.layers
            held = tuple(n - used for n, used in zip(held, block.machines, strict=True))
            seconds = float(open_s[layers, *held]) if layers else 0.0
        return tuple(reversed(found))


def _fewer(machines: Counts) -> Iterator[Counts]:
    return ((*machines[:i], n - 1, *machines[i + 1 :]) for i, n in enumerate(machines) if n)


def shifted(machines: Counts, shape: Counts) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return the numbers of machines after and before some are added."""
    after = tuple(slice(n, None) for n in machines)
    return after, tuple(slice(0, most - n) for n, most in zip(machines, shape, strict=True))


def _ends(block: _Block, layers: int, held: Counts, seconds: float, open_s: Floats, *, last: bool) -> bool:
    """Return whether a stack of so many layers and machines, as fast as this, ends with a block."""
    below = layers - block.layers
    if below < 0 or any(used > n for used, n in zip(block.machines, held, strict=True)):
        return False
    if block.place != (("last" if below else "whole") if last else ("inside" if below else "first")):
        return False
    under = float(open_s[below, *(n - used for used, n in zip(block.machines, held, strict=True))]) if below else 0.0
    return under + block.seconds <= seconds * (1 + 1e-12)


def tallest(stacks: Stacks, above: float, most: float) -> tuple[tuple[_Block, ...], float]:
    """Return the stack that carries most between two flows, and what it carries; nothing when not even the least."""
    low, high = above, most
    best = stacks.stack(low) if low > 0 else ()
    if low > 0 and not best:
        return (), 0.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        found = stacks.stack(middle)
        low, high, best = (middle, high, found) if found else (low, middle, best)
    return best, low if best else 0.0


def seated(stacks: Stacks, blocks: Sequence[_Block], used: dict[int, int], lane: int) -> Iterator[Timed]:
    """Yield the machines of blocks; ``used`` of each class are taken, and counted on."""
    first = 0
    for block in blocks:
        for index, count in enumerate(block.machines):
            start = used.get(index, 0)
            for name in stacks.classes[index].machines[start : start + count]:
                yield Timed(Run(name, first, first + block.layers), block.seconds, lane)
            used[index] = start + count
        first += block.layers
