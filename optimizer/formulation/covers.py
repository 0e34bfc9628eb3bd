"""The replicas of least weight that carry a demand, room not looked at: a knapsack that is filled in few steps."""

import math
from collections import Counter
from collections.abc import Sequence

STEPS = 400
"""Parts of what the last replicas carry; what a replica adds is rounded down to them, so that sums are enough."""

LAST = 8
"""Of the largest replica: beyond so many the best for its weight is taken anyway."""

MOST = 24
"""Columns that are looked at, the best for their weight."""


def cheapest_cover(menu: Sequence[int], amounts: Sequence[int], weights: Sequence[float], asked: int) -> Counter[int]:
    """Return how often to take columns (by their places, best for their weight first) that together add ``asked``."""
    able = [number for number in menu if amounts[number] > 0][:MOST]
    if not able or asked <= 0:
        return Counter()
    first = able[0]
    many = max(0, asked - LAST * max(amounts[number] for number in able)) // amounts[first]
    rest = asked - many * amounts[first]
    found = _last(able, amounts, weights, rest) if rest > 0 else Counter[int]()
    return found + Counter({first: many})


def _last(able: Sequence[int], amounts: Sequence[int], weights: Sequence[float], asked: int) -> Counter[int]:
    step = math.ceil(asked / STEPS)
    parts = [(number, amounts[number] // step) for number in able if amounts[number] >= step]
    least: list[tuple[float, int, int]] = [(0.0, -1, 0)]  # weight, column taken last, what was carried before it
    for carried in range(1, math.ceil(asked / step) + 1):
        ways = ((least[max(0, carried - part)][0] + weights[n], n, max(0, carried - part)) for n, part in parts)
        least.append(min(ways, default=(math.inf, -1, 0)))
    found: Counter[int] = Counter()
    carried = len(least) - 1
    while carried and least[carried][1] >= 0:
        found[least[carried][1]] += 1
        carried = least[carried][2]
    return found
