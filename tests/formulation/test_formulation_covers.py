"""A cover carries what is asked, and is as light as any where sums are whole parts of it."""

import random
from itertools import product

import pytest

from optimizer.formulation.covers import STEPS, cheapest_cover


@pytest.mark.parametrize("seed", range(40))
def test_a_cover_of_few_parts_is_the_lightest(seed: int) -> None:
    draw = random.Random(seed)
    amounts = [draw.randint(1, 9) for _ in range(3)]
    weights = [draw.choice([1.0, 2.0, 3.5, 4.0]) for _ in amounts]
    asked = draw.randint(1, 30)
    menu = sorted(range(3), key=lambda n: weights[n] / amounts[n])
    found = cheapest_cover(menu, amounts, weights, asked)
    assert sum(amounts[n] * k for n, k in found.items()) >= asked
    least = min(
        sum(w * k for w, k in zip(weights, copies, strict=True))
        for copies in product(range(asked + 1), repeat=3)
        if sum(a * k for a, k in zip(amounts, copies, strict=True)) >= asked
    )
    assert sum(weights[n] * k for n, k in found.items()) == pytest.approx(least)


def test_a_large_demand_is_carried_though_parts_are_rounded_down() -> None:
    amounts, weights = [1_000_003, 700_001], [2.0, 1.5]
    found = cheapest_cover((0, 1), amounts, weights, 10**9 + 7)
    carried = sum(amounts[n] * k for n, k in found.items())
    assert 10**9 + 7 <= carried <= 10**9 + 7 + 8 * 1_000_003 * 2 // STEPS + 1_000_003


def test_nothing_covers_what_no_column_adds_to() -> None:
    assert not cheapest_cover((0,), [0], [1.0], 5)
    assert not cheapest_cover((), [], [], 5)
    assert not cheapest_cover((0,), [3], [1.0], 0)
