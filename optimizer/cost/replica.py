"""A replica whose operating points are sought: numbers of requests in flight, priced once and only where needed."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf

from optimizer.cost.options import between, lateness, meets_slo
from optimizer.cost.quantities import Estimate
from optimizer.inputs.workload import WorkloadSpec

HOPELESS = 1.5
"""A replica that misses an objective by half keeps it with no more requests in flight: steps grow with them, and what a
larger batch gains by another kernel or captured size is some percent."""

_GUESSES = 3
"""How often it is guessed where a value is reached, before the numbers left are halved."""


@dataclass(frozen=True)
class Replica:
    """A replica whose points are sought, each priced once."""

    price: Callable[[int], Estimate]
    """Of so many requests in flight."""
    memory_holds: Callable[[int], bool]
    """Whether so many have room, which is told without a price."""
    workload: WorkloadSpec
    attention_replicas: int = 1
    tokens: int = 0
    """Of a step at most, in each of them."""
    known: dict[int, Estimate] = field(default_factory=dict)
    """What was priced so far."""

    @property
    def is_asked(self) -> bool:
        """Whether there are objectives on latency."""
        slo = self.workload.slo
        return slo.ttft is not None or slo.tpot is not None

    def at(self, n: int) -> Estimate:
        """Return the point with so many requests in flight."""
        if n not in self.known:
            self.known[n] = self.price(n)
        return self.known[n]

    def has_room(self, n: int) -> bool:
        """Whether so many requests fit, as far as is known: fewer need less."""
        if n in self.known:
            return self.known[n].fits
        return any(m > n and point.fits for m, point in self.known.items()) or self.memory_holds(n)

    def keeps(self, n: int) -> bool:
        """Whether the point with so many requests fits and keeps the objectives."""
        point = self.at(n)
        return point.fits and meets_slo(point, self.workload)

    def admits(self, n: int) -> bool:
        """Whether so many requests have room and keep the objectives; not priced where there are none."""
        return self.has_room(n) and (not self.is_asked or self.keeps(n))

    def late(self, n: int) -> float:
        """Return the seconds of so many requests over those of the objectives, whichever are missed most."""
        return lateness(self.at(n), self.workload) if self.is_asked else 0.0

    def is_hopeless(self, n: int) -> bool:
        """Whether more than so many requests need not be looked at."""
        return not self.has_room(n) or self.late(n) > HOPELESS or not self.at(n).fits

    def climb(self, low: int, steps: Sequence[int], late: float) -> int:
        """Return the largest admissible number, priced: the last of ``steps`` that is, and what fills up to the next.

        ``low`` where none is; it comes before them and is ``late`` by so much.
        """
        for n in steps:
            if not self.admits(n):
                return self.fill(low, n, late)
            low, late = n, self.late(n)
        return low

    def fill(self, low: int, high: int, late: float) -> int:
        """Return the largest admissible of the finer numbers above ``low``, priced, else ``low``; ``high`` is not.

        Admissible ones are taken to come before all others: memory and steps grow with the requests. ``late``: by how
        much ``low`` is, with whatever tokens per step.
        """
        left = self._between(low, high)
        if not self.has_room(high):
            left = left[: bisect_left(left, True, key=lambda n: not self.has_room(n))]

        def how_late(n: int) -> float:
            if n == low:
                return late
            return self.late(n) if self.has_room(n) and self.at(n).fits else inf

        return _parted(left, low, high, how_late, self.keeps)[0]

    def carrying(self, rate: float, low: int, high: int) -> int:
        """Return the fewest requests in flight, priced, that carry ``rate`` requests/s; ``low`` do not, ``high`` do."""

        def carried(n: int) -> float:
            return self.at(n).requests_per_s / rate

        return _parted(self._between(low, high), low, high, carried, lambda n: carried(n) < 1.0)[1]

    def _between(self, low: int, high: int) -> range:
        return between(low, high, attention_replicas=self.attention_replicas)


def _parted(
    left: range, low: int, high: int, value: Callable[[int], float], is_below: Callable[[int], bool]
) -> tuple[int, int]:
    """Return the last number below and the first above: ``low``, ``high`` or one of ``left``, which are between.

    ``value`` is taken to grow and to pass 1 there. It is guessed where that is if it were linear between the numbers
    known on either side; the last number is tried where nothing is known of ``high`` but that it is too much.
    """
    guesses = 0
    while left:
        small, large = (value(low), value(high)) if guesses < _GUESSES else (0.0, 0.0)
        place = len(left) // 2
        if large == inf:
            place = len(left) - 1
        elif large > small:
            place = bisect_right(left, low + (high - low) * (1.0 - small) / (large - small)) - 1
        place, guesses = min(max(place, 0), len(left) - 1), guesses + 1
        if is_below(left[place]):
            low, left = left[place], left[place + 1 :]
        else:
            high, left = left[place], left[:place]
    return low, high
