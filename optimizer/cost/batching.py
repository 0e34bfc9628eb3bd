"""Prompts that arrive at random at a server that computes nothing else, several of them in a step where they fit.

A step of k prompts occupies the server for ``start_s`` + k ``prompt_s``, k up to ``most``. With one prompt a step this
is M/G/1 (Pollaczek-Khinchine, first and second moment); with more, an arrival waits for the rest of the step in
progress and shares the next one with those that came meanwhile, as far as they fit.
"""

from dataclasses import dataclass
from math import exp, sqrt

from optimizer.cost.waiting import kept

_HALVINGS = 24
"""Of the range in which a rate is sought: to 6e-8 of it."""


@dataclass(frozen=True)
class Server:
    """What prompts take of it."""

    start_s: float
    prompt_s: float
    most: float
    """Prompts in a step."""
    isl_cv: float
    """Of the seconds a prompt takes."""

    @property
    def each_s(self) -> float:
        """Seconds per prompt in full steps: the least it can be."""
        return self.step_s(self.most) / self.most

    def step_s(self, prompts: float) -> float:
        """Return the seconds of a step."""
        return self.start_s + prompts * self.prompt_s


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
    load, shared = rate * server.each_s, 1.0 + server.isl_cv**2
    third = shared * (1.0 + 2.0 * server.isl_cv**2)  # E[S^3] / E[S]^3 of gamma lengths
    together = _together(server, rate)
    step_s = server.step_s(together)
    varying = server.prompt_s**2 * (together * server.isl_cv**2 + max(0.0, together - 1.0))
    busy = load
    if server.most > 1.0:
        busy = max(load, step_s / (step_s + exp(-rate * step_s) / rate))
    met_s = step_s + varying / step_s
    rest_s = 0.5 * busy * met_s
    behind_s = load**2 * server.each_s * shared / (2.0 * (1.0 - load))
    variance = busy * met_s**2 / 3.0 - rest_s**2 + _variance_behind(load, server.each_s, shared, third)
    others = min(server.most - 1.0, busy * rate * met_s)
    return Queue(busy, rest_s + behind_s, sqrt(max(0.0, variance)), others)


def _together(server: Server, rate: float) -> float:
    """Return how many prompts a step computes: those that come during one, one at least."""
    growing = 1.0 - rate * server.prompt_s
    if growing <= 0.0:
        return server.most
    return min(server.most, max(1.0, rate * server.start_s / growing))


def _variance_behind(load: float, each_s: float, shared: float, third: float) -> float:
    """Return the variance of an M/G/1 wait without that of the rest of the step in progress."""
    wait_s = load * each_s * shared / (2.0 * (1.0 - load))
    whole = wait_s**2 + load * each_s**2 * third / (3.0 * (1.0 - load))
    return whole - (load * each_s**2 * third / 3.0 - (0.5 * load * each_s * shared) ** 2)


def rate_within(server: Server, places: float, own_s: float, deviations: float) -> float:
    """Return the highest rate at which the prompts in flight stay within ``places``, ``deviations`` above their mean.

    A prompt is in flight while it waits and for ``own_s``; the number of them has mean r T and variance r T + r^2 Var T
    (Little's law for distributions: arrivals during one's own stay, first come first served).
    """
    low, high = 0.0, 1.0 / server.each_s
    for _ in range(_HALVINGS):
        rate = 0.5 * (low + high)
        found = queue(server, rate)
        mean = rate * (found.wait_s + own_s + found.others * server.prompt_s)
        crowded = mean + deviations * sqrt(mean + (rate * found.deviation_s) ** 2)
        low, high = (low, rate) if crowded > places else (rate, high)
    return low
