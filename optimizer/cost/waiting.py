"""How TTFT and TPOT spread over requests: queues of prompts in front of steps, and quantiles of their sums."""

from functools import lru_cache
from math import exp, sqrt
from statistics import NormalDist
from typing import NamedTuple


@lru_cache(maxsize=64)
def normal_quantile(percentile: float) -> float:
    """Return how many standard deviations above the mean ``percentile`` percent of a normal variable stay below."""
    return NormalDist().inv_cdf(percentile / 100.0)


def gamma_quantile(mean: float, deviation: float, percentile: float) -> float:
    """Return the percentile of a gamma variable, 0 or more (Wilson and Hilferty 1931: its cube root is near normal)."""
    if deviation <= 0.0 or mean <= 0.0:
        return mean
    ninth = (deviation / mean) ** 2 / 9.0
    return float(mean * max(0.0, 1.0 - ninth + normal_quantile(percentile) * sqrt(ninth)) ** 3)


def kept(percentile: float | None, least_s: float, mean_s: float, deviation_s: float) -> float:
    """Return what ``percentile`` percent of requests keep, ``least_s`` being what none is below; None: the mean."""
    if percentile is None:
        return mean_s
    return least_s + gamma_quantile(mean_s - least_s, deviation_s, percentile)


class Wait(NamedTuple):
    """Seconds from the engine's door to the first token."""

    least_s: float
    """What all wait: the step that computes the prompt alone; of lengths that vary, the shortest."""
    mean_s: float
    """Beyond it."""
    deviation_s: float


def gated_queue(rate: float, step_s: float, prompt_s: float, isl_cv: float) -> Wait:
    """Return the wait of prompts that arrive at random between steps: those of one step are computed by the next.

    A step takes T = ``step_s`` + K ``prompt_s``, K of them Poisson of the last step's length, so E[T] = step / (1 - u)
    with u = rate x prompt and Var T = rate S^2 E[T] (1 + cv^2) / (1 - u^2). An arrival meets a step in proportion to
    its length, waits for the rest of it, and shares the next one with all that came during it (gated M/G/1).
    """
    load = min(0.95, rate * prompt_s)
    shared = 1.0 + isl_cv**2
    mean = step_s / (1.0 - load)
    variance = load * prompt_s * mean * shared / (1.0 - load**2)
    met = mean + variance / mean
    rest, others = 0.5 * met, load * met
    spread = variance / 3.0 + met**2 / 12.0 + load * prompt_s * met * shared + load**2 * variance + load * variance
    own = prompt_s * min(1.0, isl_cv)
    return Wait(step_s + prompt_s - own, own + rest + others, sqrt(spread + (prompt_s * isl_cv) ** 2))


def autocorrelated(decay: float) -> float:
    """Return the variance of a mean over a window, over that of the variable, which forgets e^-decay meanwhile."""
    if decay < 1e-3:
        return 1.0
    return 2.0 * (decay - 1.0 + exp(-decay)) / decay**2
