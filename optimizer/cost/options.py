"""The operating points at which a replica is priced: how many requests it keeps in flight."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from optimizer.cost.quantities import Estimate
from optimizer.inputs.workload import WorkloadSpec

_STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
"""Powers of two and their halves between: neighbours differ by at most a half, like the engines' captured sizes."""

_MOST_SHARES = 16
"""A given concurrency is also tried in up to so many equal shares."""


def concurrencies(workload: WorkloadSpec, limit: int, *, attention_replicas: int = 1) -> tuple[int, ...]:
    """Return the numbers of requests in flight that are priced, ascending, none above ``limit``.

    A given concurrency adds its equal shares, rounded both ways, so that replicas can split it exactly. Attention
    replicas have equally many each: all wait for the fullest.
    """
    steps = {1} | {attention_replicas * n for n in _STEPS}
    if workload.concurrency:
        shares = range(1, min(workload.concurrency, _MOST_SHARES) + 1)
        steps |= {workload.concurrency // n for n in shares} | {-(-workload.concurrency // n) for n in shares}
    return tuple(sorted(n for n in steps | {limit} if 1 <= n <= limit))


def meets_slo(estimate: Estimate, workload: WorkloadSpec) -> bool:
    """Whether a replica at this point keeps the objectives on TTFT and TPOT, at their percentile if they name one."""
    slo = workload.slo
    in_time = slo.ttft is None or estimate.ttft_slo_s <= slo.ttft
    return in_time and (slo.tpot is None or estimate.tpot_slo_s <= slo.tpot)


HOPELESS = 1.5
"""A replica that misses an objective by half keeps it with no more requests in flight: steps grow with them, and what a
larger batch gains by another kernel or captured size is some percent."""


def _is_hopeless(estimate: Estimate, workload: WorkloadSpec) -> bool:
    """Whether an objective is missed so far that more requests in flight need not be looked at."""
    slo = workload.slo
    late = slo.ttft is not None and estimate.ttft_slo_s > HOPELESS * slo.ttft
    return late or (slo.tpot is not None and estimate.tpot_slo_s > HOPELESS * slo.tpot)


@dataclass(frozen=True)
class Points:
    """What was priced of a replica."""

    admissible: tuple[Estimate, ...]
    """Points that fit and meet the objectives, ascending."""
    miss: Estimate
    """The first that does not, else the last that does; the latter also where what has no room was not priced."""
    fitting: int
    """Most requests in flight that fit."""
    every: bool = True
    """Whether all were priced, not only those near the most requests/s."""

    def stops_at_memory(self, steps: Sequence[int]) -> bool:
        """Whether more requests in flight than the admissible, the next of ``steps``, have no room."""
        most = max((point.concurrency for point in self.admissible), default=0)
        place = bisect_right(steps, most)
        return place == len(steps) or steps[place] > self.fitting


def operating_points(price: Callable[[int], Estimate], workload: WorkloadSpec, steps: Iterable[int]) -> Points:
    """Return what is priced of ``steps``, ascending numbers of requests in flight, at least one.

    More requests in flight need more memory and time, so the search ends at the first that does not fit or is far too
    slow; of a replica that makes no tokens it ends where more prompts in flight only wait.
    """
    points: list[Estimate] = []
    miss: Estimate | None = None
    fitting = 0
    for concurrency in steps:
        estimate = price(concurrency)
        fitting = concurrency if estimate.fits else fitting
        if points and not estimate.output_tokens_per_s and estimate.requests_per_s <= points[-1].requests_per_s:
            break
        if estimate.fits and meets_slo(estimate, workload):
            points.append(estimate)
            continue
        miss = miss or estimate
        if not estimate.fits or _is_hopeless(estimate, workload):
            break
    return Points(tuple(points), miss or points[-1], fitting)


FALLING = 1.1
"""A replica that carries so much less with fewer requests in flight carries no more with fewer still: what a smaller
batch gains by another kernel or captured size is some percent."""


def carrying_most(
    price: Callable[[int], Estimate],
    fits: Callable[[int], bool],
    workload: WorkloadSpec,
    steps: Sequence[int],
    near: int,
    captured: int,
) -> Points:
    """Return points among which is that of most requests/s, for a replica of which nothing else counts.

    Rates grow with the requests in flight. So the search starts at the highest number that keeps the objectives, which
    is sought from ``near`` on, and goes down until rates fall; not before all decode steps replay graphs (``captured``
    requests at most): launched by the host, larger batches may take much longer.
    """
    known: dict[int, Estimate | None] = {}

    def at(place: int) -> Estimate | None:
        """Return the point at a place, None where it has no room."""
        if place not in known:
            known[place] = price(steps[place]) if fits(steps[place]) else None
        return known[place]

    def admits(place: int) -> bool:
        point = at(place)
        return point is not None and meets_slo(point, workload)

    def goes_on(place: int) -> bool:
        point = at(place)
        return point is not None and not _is_hopeless(point, workload)

    top = _last(admits, len(steps), bisect_right(steps, near) - 1)
    end = top + 1
    while end < len(steps) and (admits(end) or goes_on(end)):
        top, end = end if admits(end) else top, end + 1
    most = 0.0
    for place in range(top, -1, -1):
        point = at(place)
        if point is not None and admits(place):
            most = max(most, point.requests_per_s)
            if point.requests_per_s * FALLING < most and steps[place] <= captured:
                break
    tried = [point for place in sorted(known) if place <= end and (point := known[place]) is not None]
    points = [point for point in tried if meets_slo(point, workload)]
    miss = next((point for point in tried if not meets_slo(point, workload)), None) or (points or [price(steps[0])])[-1]
    return Points(tuple(points), miss, max([point.concurrency for point in tried], default=0), every=False)


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


@dataclass(frozen=True)
class Batching:
    """Which other numbers of tokens per step are tried beside the engine's default."""

    ladder: tuple[int, ...] = ()
    everywhere: bool = False
    """Whether at every number of requests in flight, as latency itself is sought; else only where the objectives on it
    stop the default."""


DEFAULT_BATCHING = Batching()

BATCHED_TOKENS = (2048, 8192, 16384, 32768)
"""Tokens per step that are tried: vLLM's defaults for small and large GPUs, and twice and four times as many."""


def rebatched(
    found: Points,
    price: Callable[[int], Estimate],
    workload: WorkloadSpec,
    steps: Sequence[int],
    batching: Batching,
    tokens: int,
    usual: int,
) -> Points:
    """Return the points with those added that another number of tokens per step gives; ``price``: with ``tokens``.

    What is left out can be no better: a step of more tokens where the ``usual`` number already holds all prompts at
    once computes the same and takes more memory. Where latency is not itself the objective, rates differ little with
    the tokens per step: only more requests in flight than the points found so far count.
    """
    if tokens == usual:
        return found
    added: list[Estimate] = []
    if batching.everywhere:
        prompts = max(1.0, workload.isl.mean * (1.0 - workload.prefix_cache_hit))
        for point in found.admissible:
            if point.batched_tokens is None and (tokens < usual or point.concurrency * (prompts + 1) > usual):
                other = price(point.concurrency)
                faster = other.ttft_s < point.ttft_s or other.tpot_s < point.tpot_s
                added += [other] if faster and other.fits and meets_slo(other, workload) else []
    most = max((point.concurrency for point in found.admissible), default=0)
    for concurrency in steps[bisect_right(steps, most) :]:
        other = price(concurrency)
        if not (other.fits and meets_slo(other, workload)):
            break
        added.append(other)
    points = sorted((*found.admissible, *added), key=lambda point: point.concurrency)
    return replace(found, admissible=tuple(points)) if added else found
