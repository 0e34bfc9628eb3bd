"""Prompts that arrive at random at a server that computes nothing else, several of them in a step where they fit.

With one prompt a step this is M/G/1 (Pollaczek-Khinchine, first and second moment); with more, an arrival waits for the
rest of the step in progress and shares the next one with those that came meanwhile, as far as they fit.
"""

from bisect import bisect_right
from dataclasses import dataclass
from math import exp, sqrt

from optimizer.cost.waiting import kept

_TRIES = 20
_CLOSE = 1e-9
"""A rate is sought until the prompts in flight are as near to the places, relative to them."""


@dataclass(frozen=True)
class Curve:
    """Seconds by prompts in a step, linear between the sizes that were priced."""

    sizes: tuple[float, ...]
    seconds: tuple[float, ...]

    def at(self, prompts: float) -> float:
        """Return the seconds of a step of so many prompts, at most the largest size."""
        place = self._segment(prompts)
        return self.seconds[place] + (min(prompts, self.sizes[-1]) - self.sizes[place]) * self.slope(prompts)

    def slope(self, prompts: float) -> float:
        """Return what one prompt more adds; all of it where a step takes one only."""
        place = self._segment(prompts)
        if len(self.sizes) == 1:
            return self.seconds[0]
        more_s = self.seconds[place + 1] - self.seconds[place]
        return max(0.0, more_s) / (self.sizes[place + 1] - self.sizes[place])

    def meets(self, rate: float) -> float:
        """Return the step in which as many prompts come as it computes; the smallest where fewer come in all."""
        for place, (size, seconds) in enumerate(zip(self.sizes, self.seconds, strict=True)):
            if rate * seconds <= size:
                if place == 0:
                    return size
                before, slope = self.sizes[place - 1], self.slope(self.sizes[place - 1])
                return rate * (self.seconds[place - 1] - before * slope) / (1.0 - rate * slope)
        return self.sizes[-1]

    def _segment(self, prompts: float) -> int:
        return max(0, min(bisect_right(self.sizes, prompts) - 1, len(self.sizes) - 2))


@dataclass(frozen=True)
class Server:
    """What prompts take of it."""

    steps: Curve
    isl_cv: float
    """Of the seconds a prompt takes."""

    @property
    def most(self) -> float:
        """Prompts in a full step."""
        return self.steps.sizes[-1]

    @property
    def each_s(self) -> float:
        """Seconds per prompt in full steps."""
        return self.steps.seconds[-1] / self.most


@dataclass(frozen=True)
class Queue:
    """How prompts wait at some rate."""

    busy: float
    """Share of time in which a step is running."""
    wait_s: float
    """Mean seconds from arrival until the prompt's own step starts."""
    deviation_s: float
    others: float
    """Mean number of prompts that share the own step."""

    def kept_s(self, percentile: float | None) -> float:
        """Return the wait that ``percentile`` percent keep: none at an idle server, else gamma; None: the mean."""
        if percentile is None or self.wait_s <= 0.0:
            return self.wait_s
        met = 1.0 - (1.0 - percentile / 100.0) / self.busy
        if met <= 0.0:
            return 0.0
        mean = self.wait_s / self.busy
        square = (self.deviation_s**2 + self.wait_s**2) / self.busy
        return kept(100.0 * met, 0.0, mean, sqrt(max(0.0, square - mean**2)))


def queue(server: Server, rate: float) -> Queue:
    """Return the wait at ``rate`` prompts/s, which must stay below 1 / each_s."""
    load, spread = rate * server.each_s, server.isl_cv**2
    together = server.steps.meets(rate)
    step_s, prompt_s = server.steps.at(together), server.steps.slope(together)
    varying = prompt_s**2 * (together * server.isl_cv**2 + max(0.0, together - 1.0))
    busy = load
    if server.most > 1.0:
        busy = max(load, step_s / (step_s + exp(-rate * step_s) / rate))
    met_s, rest_s2 = step_s + varying / step_s, busy * _cubed(varying / step_s**2) * step_s**2 / 3.0
    rest_s = 0.5 * busy * met_s
    behind_s = load**2 * server.each_s * (1.0 + spread) / (2.0 * (1.0 - load))
    variance = rest_s2 - rest_s**2 + _variance_behind(load, server.each_s, spread)
    others = min(server.most - 1.0, busy * rate * met_s)
    return Queue(busy, rest_s + behind_s, sqrt(max(0.0, variance)), others)


def _cubed(spread: float) -> float:
    """Return E[S^3] / E[S]^3 of a gamma variable with this cv^2."""
    return (1.0 + spread) * (1.0 + 2.0 * spread)


def _variance_behind(load: float, each_s: float, spread: float) -> float:
    """Return the variance of an M/G/1 wait without that of the rest of the step in progress."""
    rest_s = 0.5 * load * each_s * (1.0 + spread)
    rest_s2 = load * each_s**2 * _cubed(spread) / 3.0
    wait_s, whole = rest_s / (1.0 - load), rest_s2 / (1.0 - load)
    return wait_s**2 + whole - (rest_s2 - rest_s**2)


def rate_within(server: Server, ways: Curve, places: float, deviations: float) -> float:
    """Return the highest rate at which the prompts in flight stay within ``places``, ``deviations`` above their mean.

    A prompt is in flight while it waits and on its own way (``ways``: seconds by prompts that share it). The number of
    them has mean r T and variance r T + r^2 Var T (Little's law for distributions: arrivals during one's own stay,
    first come first served). The search is false position with halved ends (Illinois).
    """
    low, high, below, above = 0.0, 1.0 / server.each_s, -0.5, 0.5
    rate, last = 0.5 * high, 0.0
    for _ in range(_TRIES):
        rate = (low * above - high * below) / (above - below)
        crowded = _crowded(server, ways, rate, deviations)
        excess = crowded / (crowded + places) - 0.5
        if abs(excess) < _CLOSE:
            break
        again = excess * last > 0.0
        if excess > 0.0:
            high, above, below = rate, excess, below * (0.5 if again else 1.0)
        else:
            low, below, above = rate, excess, above * (0.5 if again else 1.0)
        last = excess
    return rate


def _crowded(server: Server, ways: Curve, rate: float, deviations: float) -> float:
    found = queue(server, rate)
    mean = rate * (found.wait_s + ways.at(1.0 + found.others))
    return mean + deviations * sqrt(mean + (rate * found.deviation_s) ** 2)
