"""A bound on what flows while a token passes the model in one turn.

A machine that carries x tokens/s with k layers gives k·x layer-tokens/s and takes x·t token-seconds, t being its part
of a turn. A flow F needs L·F layer-tokens, and has F·turn token-seconds, as each token takes a turn at most. So for
every price m ≥ 0 of a token-second:

    sum over machines of max (k - m·t)·x  ≥  L·F - m·F·turn,   x ≤ F, x ≤ what the machine carries in steps of t

The largest F that no price refutes is found by halving. At m = 0 this is ``classes.ceiling``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
import numpy.typing as npt

from optimizer.cost.routed import Priced
from optimizer.formulation.routing.choices import alike

PRICES = 16
"""Prices tried between 0 and layers / turn, from where on they refute nothing."""

HALVINGS = 24

_NOISE = 1e-12
"""Relative: of sums of floats; the bound may be too high by it, never too low."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Class:
    """Equal machines, and what each may do: an entry of each array for each way."""

    count: int
    layers: Floats
    rates: Floats
    seconds: Floats

    def given(self, prices: Floats, flow: float) -> Floats:
        """Return the most that they give at each price."""
        each = np.maximum(0.0, self.layers - prices[:, None] * self.seconds) * np.minimum(self.rates, flow)
        most: Floats = self.count * each.max(axis=1)
        return most


def bound(priced: Priced, least_s: float, most_s: float, known: float = inf) -> float:
    """Return the tokens/s above which nothing flows, whatever the turn between ``least_s`` and ``most_s``.

    KV is counted for the shortest of these turns, and machines may take their part of the longest. ``known``: a bound
    from elsewhere.
    """
    classes = _classes(priced, least_s, most_s)
    if sum(one.count * one.layers.max() for one in classes) < priced.num_layers:
        return 0.0
    low, high = 0.0, min(known, sum(one.count * float((one.layers * one.rates).max()) for one in classes))
    if _refuted(classes, priced.num_layers, most_s, min(float(one.rates.min()) for one in classes)):
        return 0.0  # what machines give grows no faster than the flow, and any way to run them carries so much
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if _refuted(classes, priced.num_layers, most_s, middle) else (middle, high)
    return high


def _refuted(classes: Sequence[_Class], layers: int, turn_s: float, flow: float) -> bool:
    prices = layers / turn_s * np.arange(PRICES) / PRICES
    given = sum((one.given(prices, flow) for one in classes), np.zeros(PRICES))
    return bool((given < (layers - prices * turn_s) * flow * (1 - _NOISE)).any())


def _classes(priced: Priced, least_s: float, most_s: float) -> list[_Class]:
    """Return the machines that may do anything in such turns."""
    found = []
    for one in alike(priced, least_s, most_s):
        ways = [(count, *way) for count in range(1, priced.num_layers + 1) for way in one.anywhere(count)]
        if ways:
            layers, rates, seconds = np.array(ways, dtype=float).T
            found.append(_Class(one.count, layers, rates, seconds))
    return found
