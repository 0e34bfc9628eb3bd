"""From floats to integers: what is exact, what is rounded, and the guard."""

import pytest
from formulation.instances import column, instance, nodes, point, workload

from optimizer.formulation.integers import (
    LARGEST,
    SHARE_STEPS,
    exact_quantum,
    gain,
    gain_quantum,
    guard,
    need,
    part,
    requirement,
)
from optimizer.formulation.solve import Limits, choose


@pytest.mark.parametrize(
    ("amounts", "step"),
    [([3.5, 7.0, 0.9 * 8], 0.1), ([3.1 * 3, 6.2], 3.1), ([700.0, 2 * 350.0, 400.0], 100.0), ([448.0, 1.0001], 1e-4)],
)
def test_prices_are_whole_multiples_of_their_step(amounts: list[float], step: float) -> None:
    quantum = exact_quantum(amounts)
    assert quantum == pytest.approx(step, rel=1e-12)
    assert [gain(amount, quantum) * quantum for amount in amounts] == pytest.approx(amounts, rel=1e-12)


def test_amounts_without_a_step_are_rounded_as_gains_are() -> None:
    assert exact_quantum([3.14159265358, 1e6]) == gain_quantum([1e6])
    assert exact_quantum([0.0, 0.0]) == exact_quantum([]) == 1.0


def test_a_replica_that_is_cheaper_by_a_hundredth_of_a_cent_is_the_cheapest() -> None:
    """A millionth of the largest replica's price, which is not chosen, would hide the difference."""
    cheap, dear = column((1,), gives=point(1.0), price=1.0), column((1,), gives=point(1.1), price=1.0001)
    large = column((128,), gives=point(1000.0), price=448.0)
    asked = instance(nodes(1, 128), dear, cheap, large, objective="cost", load=workload(request_rate="1 /s"))
    choice = choose(asked, Limits(), lambda _: None)
    assert choice is not None
    assert choice.replicas == (0, 1, 0)
    assert choice.bound == 1.0


def test_needs_are_rounded_up_and_parts_down() -> None:
    assert 3 * need(1 / 3) <= SHARE_STEPS < 3 * need(1 / 3 + 1e-6)
    assert 3 * part(1 / 3) >= SHARE_STEPS > 3 * part(1 / 3 - 1e-6)
    assert part(7.0) == SHARE_STEPS
    assert requirement(2.5, 1.0) == 3
    assert requirement(3 * 0.1, 0.1) == 3


def test_sums_beyond_the_integers_of_the_solver_are_refused() -> None:
    guard(LARGEST - 1, "just fits")
    with pytest.raises(OverflowError, match="one more"):
        guard(LARGEST, "one more")
