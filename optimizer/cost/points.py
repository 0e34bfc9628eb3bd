"""The operating points of a replica: how many requests it keeps in flight, found with few prices.

The steps of a ladder are priced, far apart. Where the highest that is admissible ends for want of room or time, the
largest admissible of the finer numbers up to the next step is sought too: of the highest batch every request counts.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

from optimizer.cost.options import Points, numbers_above
from optimizer.cost.quantities import Estimate
from optimizer.cost.replica import Replica

FALLING = 1.1
"""A replica that carries so much less with fewer requests in flight carries no more with fewer still: what a smaller
batch gains by another kernel or captured size is some percent."""


def operating_points(
    replica: Replica,
    ladder: Sequence[int],
    others: Sequence[Replica] = (),
    rates: Sequence[float] = (),
    *,
    everywhere: bool = False,
) -> Points:
    """Return the points of a ladder, numbers of requests in flight ascending, at least one, and what fills its end.

    ``others``: the same replica with other tokens per step; ``everywhere``: they count below the end too, where they
    answer sooner. ``rates``: requests/s of which the points that just carry them are sought too.
    """
    points, ends = _scanned(replica, ladder)
    if ends:
        points += _end(replica, () if everywhere else others, ladder, _most(points))
    points += _just_carrying(replica, points, rates)
    if everywhere:
        most = _most(points)
        steps = numbers_above(ladder, most, attention_replicas=replica.attention_replicas)
        for other in others:
            points += [*_sooner(points, other, replica), *_end(other, (), steps, most)]
    return _found(replica, ladder, sorted(points, key=lambda point: point.concurrency))


def _scanned(replica: Replica, ladder: Sequence[int]) -> tuple[list[Estimate], bool]:
    """Return the admissible steps of a ladder, and whether they end because more have no room or are too late.

    More requests in flight need more memory and time, so the search ends at the first that does not fit or is far too
    slow. Of a replica that makes no tokens it ends where more prompts in flight only wait.
    """
    points: list[Estimate] = []
    for n in ladder:
        if points and not replica.has_room(n):
            break
        point = replica.at(n)
        if points and not point.output_tokens_per_s and point.requests_per_s <= points[-1].requests_per_s:
            return points, False
        if replica.keeps(n):
            points.append(point)
        elif replica.is_hopeless(n):
            break
    return points, True


def _most(points: Iterable[Estimate]) -> int:
    return max([point.concurrency for point in points], default=0)


def _just_carrying(replica: Replica, points: Sequence[Estimate], rates: Iterable[float]) -> list[Estimate]:
    """Return the points of fewest requests in flight that carry some rate, between those that do not and do."""
    known = {point.concurrency for point in points}
    found = {
        replica.carrying(rate, less.concurrency, more.concurrency)
        for rate in rates
        for less, more in pairwise(points)
        if less.requests_per_s < rate <= more.requests_per_s
    }
    return [replica.at(n) for n in sorted(found - known) if replica.keeps(n)]


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

    Where time ends it, with the tokens per step that are least late at the next step. Where memory does, with the
    engine's own, and with others beyond these; with each of them where nothing is asked of latency. Rates differ little
    with the tokens per step: so where something is, those of other tokens at ``low`` count only if nothing above does.
    """
    steps, found = tuple(n for n in ladder if n > low), low
    if not steps:  # the engine takes no more
        return _carrying_more(replica, others, low)
    late = replica.late(low) if low else 0.0
    if low and not replica.has_room(steps[0]):
        found = replica.fill(low, steps[0], late)
        steps = numbers_above(ladder, found, attention_replicas=replica.attention_replicas)
    points = [replica.at(found)] if found > low else []
    if others and not replica.is_asked:
        points += [point for n in {low, found} for point in _carrying_more(replica, others, n)]
        return sorted(points + _roomiest(others, found, steps), key=lambda point: point.concurrency)
    best = _least_late(replica, others, steps[0]) if steps else None
    if best is None:
        return points
    end = best.climb(found, steps, late)
    if end == low:
        return _carrying_more(replica, others, low)
    return points + _up_to(best, end, found, ladder)


def _roomiest(others: Iterable[Replica], low: int, steps: Sequence[int]) -> list[Estimate]:
    """Return the points above ``low`` of each of other tokens per step."""
    return [point for one in others for point in _up_to(one, one.climb(low, steps, 0.0), low, steps)]


def _up_to(replica: Replica, end: int, low: int, steps: Iterable[int]) -> list[Estimate]:
    """Return the points above ``low``: at the steps before the end, and there."""
    return [replica.at(n) for n in sorted({n for n in (*steps, end) if low < n <= end})]


def _carrying_more(usual: Replica, others: Iterable[Replica], n: int) -> list[Estimate]:
    """Return the points of other tokens per step that carry more than the usual with so many requests in flight."""
    rivals = [one for one in others if one is not usual and n and one.keeps(n)]
    return [one.at(n) for one in rivals if one.at(n).requests_per_s > usual.at(n).requests_per_s]


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
    numbers = [point.concurrency for point in points if usual.known.get(point.concurrency) is point]
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
