"""Which numbers of requests in flight and of tokens per step a replica may be priced at, and which of them will do."""

from collections.abc import Sequence
from dataclasses import dataclass

from optimizer.cost.quantities import Estimate
from optimizer.inputs.workload import WorkloadSpec

_STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
"""The ladder: powers of two and their halves between, so that neighbours differ by at most a half."""

_MOST_SHARES = 16
"""A given concurrency is also tried in up to so many equal shares, and a rate where latency is sought."""

_FINER = 64
"""Between two steps of the ladder numbers are no further apart than this part of themselves. They are multiples of
powers of two, as are the batches that engines capture."""


def concurrencies(workload: WorkloadSpec, limit: int, *, attention_replicas: int = 1) -> tuple[int, ...]:
    """Return the ladder: numbers of requests in flight, ascending, none above ``limit``.

    A given concurrency adds its equal shares, rounded both ways, so that replicas can split it exactly. Attention
    replicas have equally many each: all wait for the fullest.
    """
    steps = {1} | {attention_replicas * n for n in _STEPS}
    if workload.concurrency:
        shares = range(1, min(workload.concurrency, _MOST_SHARES) + 1)
        steps |= {workload.concurrency // n for n in shares} | {-(-workload.concurrency // n) for n in shares}
    return tuple(sorted(n for n in steps | {limit} if 1 <= n <= limit))


def rate_shares(workload: WorkloadSpec) -> tuple[float, ...]:
    """Return the equal shares of a given request rate, in requests/s: what each of some replicas has to carry."""
    rate = workload.request_rate
    return () if rate is None else tuple(rate / n for n in range(1, _MOST_SHARES + 1))


def between(low: int, high: int, *, attention_replicas: int = 1) -> range:
    """Return the finer numbers between two of the ladder, both left out."""
    each = max(1, low // attention_replicas // _FINER)
    step = attention_replicas << (each.bit_length() - 1)
    return range((low // step + 1) * step, high, step)


def numbers_above(ladder: Sequence[int], most: int, *, attention_replicas: int = 1) -> tuple[int, ...]:
    """Return the numbers above ``most``: the next of the finer ones, then the steps of the ladder."""
    steps = [n for n in ladder if n > most]
    return (*between(most, steps[0], attention_replicas=attention_replicas)[:1], *steps) if steps else ()


def meets_slo(estimate: Estimate, workload: WorkloadSpec) -> bool:
    """Whether a replica at this point keeps the objectives on TTFT and TPOT, at their percentile if they name one."""
    slo = workload.slo
    in_time = slo.ttft is None or estimate.ttft_slo_s <= slo.ttft
    return in_time and (slo.tpot is None or estimate.tpot_slo_s <= slo.tpot)


def lateness(estimate: Estimate, workload: WorkloadSpec) -> float:
    """Return TTFT or TPOT over its objective, whichever is more; 0 where there is none."""
    slo = workload.slo
    ttft = estimate.ttft_slo_s / slo.ttft if slo.ttft else 0.0
    return max(ttft, estimate.tpot_slo_s / slo.tpot if slo.tpot else 0.0)


@dataclass(frozen=True)
class Points:
    """What was priced of a replica."""

    admissible: tuple[Estimate, ...]
    """Points that fit and meet the objectives, ascending."""
    miss: Estimate
    """The first that does not, else the last that does; the latter also where what has no room was not priced."""
    fitting: int
    """Most requests in flight that are known to fit."""
    every: bool = True
    """Whether all of the ladder were priced, not only those near the most requests/s."""


@dataclass(frozen=True)
class Batching:
    """Which other numbers of tokens per step are tried beside the engine's default."""

    ladder: tuple[int, ...] = ()
    everywhere: bool = False
    """Whether at every number of requests in flight, as latency itself is sought; else only where memory or objectives
    end the batch with the default."""


DEFAULT_BATCHING = Batching()

BATCHED_TOKENS = (2048, 8192, 16384, 32768)
"""Tokens per step that are tried: vLLM's defaults for small and large GPUs, and twice and four times as many."""

ROOMY_TOKENS = (1024, 2048)
"""Tokens per step that leave more memory for KV: tried where nothing is asked of latency and memory ends the batch."""
