"""The operating points of a replica: how many requests it keeps in flight, found with few prices.

The steps of a ladder are priced, far apart. Where the highest that is admissible ends for want of room or time, the
largest admissible of the finer numbers up to the next step is sought too: of the highest batch every request counts.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from optimizer.cost.options import Points, between, lateness, meets_slo, numbers_above
from optimizer.cost.quantities import Estimate
from optimizer.inputs.workload import WorkloadSpec

HOPELESS = 1.5
"""A replica that misses an objective by half keeps it with no more requests in flight: steps grow with them, and what a
larger batch gains by another kernel or captured size is some percent."""

FALLING = 1.1
"""A replica that carries so much less with fewer requests in flight carries no more with fewer still: what a smaller
batch gains by another kernel or captured size is some percent."""

_GUESSES = 3
"""How often it is guessed where an objective is reached, before the numbers left are halved."""


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

        Admissible ones are taken to come before all others: memory and steps grow with the requests. So memory's end is
        tried first, then what the objectives let through if lateness is linear between those priced on either side.
        """
        left = between(low, high, attention_replicas=self.attention_replicas)
        if not self.has_room(high):
            left = left[: bisect_left(left, True, key=lambda n: not self.has_room(n))]
        guesses = 0
        while left:
            place = len(left) // 2 if guesses == _GUESSES else self._guess(low, high, late, left)
            guesses = min(_GUESSES, guesses + 1)
            if self.keeps(left[place]):
                low, late, left = left[place], self.late(left[place]), left[place + 1 :]
            else:
                high, left = left[place], left[:place]
        return low

    def _guess(self, low: int, high: int, late: float, left: range) -> int:
        if not self.memory_holds(high):
            return len(left) - 1
        later = self.late(high)
        if not self.at(high).fits or later <= late:
            return len(left) // 2
        reached = low + (high - low) * (1.0 - late) / (later - late)
        return min(max(0, bisect_right(left, reached) - 1), len(left) - 1)


def operating_points(
    replica: Replica, ladder: Sequence[int], others: Sequence[Replica] = (), *, everywhere: bool = False
) -> Points:
    """Return the points of a ladder, numbers of requests in flight ascending, at least one, and what fills its end.

    More requests in flight need more memory and time, so the search ends at the first that does not fit or is far too
    slow; of a replica that makes no tokens it ends where more prompts in flight only wait. ``others``: the same replica
    with other tokens per step; ``everywhere``: they count below the end too, where they answer sooner.
    """
    points: list[Estimate] = []
    for n in ladder:
        if points and not replica.has_room(n):
            break
        point = replica.at(n)
        if points and not point.output_tokens_per_s and point.requests_per_s <= points[-1].requests_per_s:
            return _found(replica, ladder, points)
        if replica.keeps(n):
            points.append(point)
        elif replica.is_hopeless(n):
            break
    low = points[-1].concurrency if points else 0
    points += _end(replica, () if everywhere else others, ladder, low)
    if everywhere:
        most = points[-1].concurrency if points else 0
        steps = numbers_above(ladder, most, attention_replicas=replica.attention_replicas)
        more = [
            point for other in others for point in (*_sooner(points, other, replica), *_end(other, (), steps, most))
        ]
        points = sorted((*points, *more), key=lambda point: point.concurrency)
    return _found(replica, ladder, points)


def carrying_most(
    replica: Replica, ladder: Sequence[int], others: Sequence[Replica], near: int, captured: int
) -> Points:
    """Return points among which is that of most requests/s, for a replica of which nothing else counts.

    Rates grow with the requests in flight. So the search starts at the highest step of the ladder that keeps the
    objectives, which is sought from ``near`` on, fills what is left up to the next, and goes down until rates fall; not
    before all decode steps replay graphs (``captured`` requests at most): launched by the host, larger batches may take
    much longer. ``others``: the same replica with other tokens per step.
    """
    top = _last(lambda place: replica.admits(ladder[place]), len(ladder), bisect_right(ladder, near) - 1)
    place = top + 1
    while place < len(ladder) and not replica.is_hopeless(ladder[place]):
        top, place = place if replica.admits(ladder[place]) else top, place + 1
    points = _end(replica, others, ladder, ladder[top] if top >= 0 else 0)
    most = max([point.requests_per_s for point in points], default=0.0)
    for n in reversed(ladder[: top + 1]):
        if replica.admits(n):
            point = replica.at(n)
            points.insert(0, point)
            most = max(most, point.requests_per_s)
            if point.requests_per_s * FALLING < most and n <= captured:
                break
    return replace(_found(replica, ladder, points), every=False)


def _end(replica: Replica, others: Sequence[Replica], ladder: Sequence[int], low: int) -> list[Estimate]:
    """Return the admissible points above ``low``, the highest step of the ladder that is (0: none).

    Where time ends it, with the tokens per step that are least late at the next step: rates differ little with them, so
    that only more requests in flight count. Where memory does, with the engine's own, and with others beyond these.
    """
    steps, found = tuple(n for n in ladder if n > low), low
    if not steps:
        return []  # the engine takes no more
    late = replica.late(low) if low else 0.0
    if low and not replica.has_room(steps[0]):
        found = replica.fill(low, steps[0], late)
        steps = numbers_above(ladder, found, attention_replicas=replica.attention_replicas)
    points = [replica.at(found)] if found > low else []
    best = _least_late(replica, others, steps[0]) if steps else None
    if best is None:
        return points
    end = best.climb(found, steps, late)
    numbers = sorted({n for n in (*ladder, end) if found < n <= end})
    return points + [best.at(n) for n in numbers]


def _least_late(usual: Replica, others: Iterable[Replica], n: int) -> Replica | None:
    """Return the tokens per step with which so many requests are least late, None where none has room for them.

    Lateness is taken to fall and then to rise with the tokens: so more are tried than the usual, and only where those
    are no better fewer.
    """
    ranked = sorted((one for one in others if one.has_room(n)), key=lambda one: one.tokens)
    more = [one for one in ranked if one.tokens > usual.tokens]
    fewer = [one for one in reversed(ranked) if one.tokens < usual.tokens]
    best = usual if usual.has_room(n) else None
    for towards in (more, fewer):
        start = best
        for one in towards:
            if best is not None and one.late(n) >= best.late(n):
                break
            best = one
        if best is not start:
            break
    return best


def _sooner(points: Iterable[Estimate], other: Replica, usual: Replica) -> list[Estimate]:
    """Return the points of another number of tokens per step that answer sooner than the ``usual`` do.

    A step of more tokens where the usual number already holds all prompts at once computes the same and takes more
    memory.
    """
    load, most = other.workload, usual.tokens * usual.attention_replicas
    prompts = max(1.0, load.isl.mean * (1.0 - load.prefix_cache_hit))
    numbers = [point.concurrency for point in points]
    tried = [n for n in numbers if (other.tokens < most or n * (prompts + 1) > most) and other.keeps(n)]
    return [
        other.at(n) for n in tried if other.at(n).ttft_s < usual.at(n).ttft_s or other.at(n).tpot_s < usual.at(n).tpot_s
    ]


def _found(replica: Replica, ladder: Sequence[int], points: Sequence[Estimate]) -> Points:
    """Return what was priced."""
    missed = [replica.known[n] for n in ladder if n in replica.known and not replica.keeps(n)]
    fitting = max([n for n, point in replica.known.items() if point.fits], default=0)
    return Points(tuple(points), (missed[:1] or list(points[-1:]) or [replica.at(ladder[0])])[0], fitting)


def _last(admits: Callable[[int], bool], places: int, near: int) -> int:
    """Return a place that is admitted before one that is not, looked for in growing strides; -1 where the first is not.

    Any that are admitted are taken to come before all others.
    """
    low, high, stride = -1, places, 1
    place = min(max(near, 0), places - 1)
    while low < place < high:
        if admits(place):
            low, place = place, place + stride
        else:
            high, place = place, place - stride
        stride *= 2
    while high - low > 1:
        place = (low + high) // 2
        low, high = (place, high) if admits(place) else (low, place)
    return low
