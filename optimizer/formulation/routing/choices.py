"""What equal machines of a pool may do in one turn: layers, tokens/s, and the seconds that they take of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal, NamedTuple

from optimizer.cost.machine import Kind
from optimizer.cost.machine import Place as Ends
from optimizer.cost.routed import Priced

Place = Literal["whole", "first", "inside", "last"]
"""Of a machine's layers in the model: with all of them, the first, none of the ends, the last."""

PLACES: Mapping[Place, Ends] = {
    "whole": (True, True), "first": (True, False), "inside": (False, False), "last": (False, True)
}  # fmt: skip

_NOISE = 1e-9
"""Relative: a way that carries so little more is none."""


class Way(NamedTuple):
    """One way to run a machine."""

    tokens_per_s: float
    seconds: float
    """Of a turn."""


@dataclass(frozen=True)
class Alike:
    """Machines that nothing tells apart but their links."""

    machines: tuple[str, ...]
    ways: Mapping[Place, tuple[tuple[Way, ...], ...]]
    """By place, then for 1, 2, … layers; each carries more and takes longer than the one before it."""

    @property
    def count(self) -> int:
        """How many they are."""
        return len(self.machines)

    def at(self, place: Place, layers: int) -> tuple[Way, ...]:
        """Return the ways to run one with so many layers; none beyond its memory."""
        known = self.ways[place]
        return known[layers - 1] if layers <= len(known) else ()

    def anywhere(self, layers: int) -> tuple[Way, ...]:
        """Return the best ways with so many layers at any place."""
        return steady(chain.from_iterable(self.at(place, layers) for place in PLACES))


def steady(ways: Iterator[Way] | Sequence[Way]) -> tuple[Way, ...]:
    """Return the ways that carry more than every shorter one, the shortest first."""
    kept: list[Way] = []
    for way in sorted(ways, key=lambda way: (way.seconds, -way.tokens_per_s)):
        if way.tokens_per_s > (kept[-1].tokens_per_s * (1 + _NOISE) if kept else 0.0):
            kept.append(way)
    return tuple(kept)


def alike(priced: Priced, least_s: float, most_s: float) -> tuple[Alike, ...]:
    """Return the machines by what they may do in any turn of ``least_s`` to ``most_s``.

    KV is counted for the shortest of these turns, and what machines take of it is held against the longest.
    """
    found: dict[tuple[Kind, float], list[str]] = {}
    for one in priced.seats:
        found.setdefault((priced.kinds[one.id], priced.ways_out.get(one.id, float("inf"))), []).append(one.id)
    return tuple(
        Alike(tuple(names), {place: tuple(_of(priced, kind, place, way_out, (least_s, most_s))) for place in PLACES})
        for (kind, way_out), names in found.items()
    )


def _of(
    priced: Priced, kind: Kind, place: Place, way_out: float, turns_s: tuple[float, float]
) -> Iterator[tuple[Way, ...]]:
    least_s, most_s = turns_s
    for count, held in enumerate(priced.curves[kind][PLACES[place]], 1):
        kept = priced.kept(held, least_s)
        most = kept if place == "whole" else min(kept, way_out)
        steps = priced.steps(held, count, most_s)
        yield steady([Way(min(step.tokens_per_s, most), priced.seconds(step)) for step in steps])
