"""The operating points at which a replica is priced: how many requests it keeps in flight."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Points:
    """What was priced of a replica."""

    admissible: tuple[Estimate, ...]
    """Points that fit and meet the objectives, ascending."""
    miss: Estimate
    """The first that does not, else the last that does."""
    fitting: int
    """Most requests in flight that fit."""


def operating_points(price: Callable[[int], Estimate], workload: WorkloadSpec, steps: Iterable[int]) -> Points:
    """Return what is priced of ``steps``, ascending numbers of requests in flight, at least one.

    More requests in flight need more memory, so the search ends at the first that does not fit; of a replica that makes
    no tokens it ends where more prompts in flight only wait.
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
        if not estimate.fits:
            break
    return Points(tuple(points), miss or points[-1], fitting)
