"""From floats to the solver's integers: the only rounding, and the guard against overflow.

Gains are rounded to the nearest quantum, needs up and capacities down, so that an integer plan is a real one.
"""

import math
from collections.abc import Iterable
from fractions import Fraction

STEPS = 10**6
"""Quanta in the largest gain of a column: the objective is exact to one part in a million of a replica."""

EXACT_STEPS = 10**8
"""Quanta in the largest price or power, where all are whole multiples of a quantum: then sums are exact."""

LARGEST = 2**62
"""CP-SAT's sums must stay below 2**63."""

_SLACK = 1e-9
"""Relative rounding noise of float sums that is not a violation."""

SHARE_STEPS = 10**10
"""Quanta in a whole link or demand."""

_TOLERANCE = 5e-7
"""Relative: what equal parts of a link or demand may miss by rounding each, half of what ``verify`` lets pass.

Without it three thirds, each rounded, would neither fit on a link nor meet a demand.
"""


def gain_quantum(gains: Iterable[float]) -> float:
    """Return the size of one integer step for values like these."""
    largest = max(gains, default=0.0)
    return largest / STEPS if largest > 0 else 1.0


def exact_quantum(amounts: Iterable[float]) -> float:
    """Return the largest step of which all amounts (prices, watts) are whole multiples, up to twelve digits.

    One as for gains where some amount would take more than EXACT_STEPS.
    """
    every = [Fraction(f"{amount:.12g}") for amount in amounts]
    whole = math.lcm(*(amount.denominator for amount in every))
    step = Fraction(math.gcd(*(int(amount * whole) for amount in every)), whole)
    if not step or max(every) > step * EXACT_STEPS:
        return gain_quantum(map(float, every))
    return float(step)


def gain(value: float, quantum: float) -> int:
    """Return a value in quanta, to the nearest."""
    return round(value / quantum)


def need(share: float) -> int:
    """Return a share of a link in steps, rounded up."""
    return math.ceil(share * SHARE_STEPS * (1 - _TOLERANCE))


def part(share: float) -> int:
    """Return which share of a demand a column serves in steps, rounded down; never more than all of it."""
    return min(SHARE_STEPS, math.floor(share * SHARE_STEPS * (1 + _TOLERANCE)))


def capacity(value: float, quantum: float) -> int:
    """Return what a column can carry in quanta, rounded down."""
    return math.floor(value / quantum * (1 + _SLACK))


def requirement(value: float, quantum: float) -> int:
    """Return what must be carried in quanta, rounded up."""
    return math.ceil(value / quantum * (1 - _SLACK))


def guard(largest_sum: int, what: str) -> None:
    """Raise OverflowError when a sum could leave the solver's integers."""
    if largest_sum >= LARGEST:
        raise OverflowError(f"{what}: a sum of {largest_sum} leaves the solver's integers")
