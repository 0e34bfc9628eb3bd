"""Queues of prompts, beside the textbook."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.cost.batching import Curve, Server, queue, rate_within

ONE = Curve((1.0,), (0.1,))
EIGHT = Curve((1.0, 3.0, 8.0), (0.02, 0.03, 0.08))


@pytest.mark.parametrize("load", [0.2, 0.5, 0.9])
def test_one_prompt_a_step_is_m_d_1(load: float) -> None:
    # W = load S / 2 (1 - load); Var W = W^2 + load S^2 / 3 (1 - load)
    found = queue(Server(ONE, 0.0), load / 0.1)
    wait_s = load * 0.1 / (2 * (1 - load))
    assert found.wait_s == pytest.approx(wait_s)
    assert found.deviation_s**2 == pytest.approx(wait_s**2 + load * 0.01 / (3 * (1 - load)))
    assert found.busy == pytest.approx(load)
    assert found.others == 0.0


def test_prompts_as_varied_as_an_exponential_wait_as_in_m_m_1() -> None:
    assert queue(Server(ONE, 1.0), 5.0).wait_s == pytest.approx(0.5 * 0.1 / (1 - 0.5))


def test_of_m_m_1_the_wait_that_a_percentile_keeps_is_exponential_behind_those_that_do_not_wait() -> None:
    found = queue(Server(ONE, 1.0), 5.0)
    # P(W > t) = 1/2 exp(-t / 0.2)
    assert found.kept_s(40.0) == 0.0
    assert found.kept_s(90.0) == pytest.approx(0.2 * 1.6094, rel=0.03)
    assert found.kept_s(99.0) == pytest.approx(0.2 * 3.912, rel=0.03)
    assert found.kept_s(None) == found.wait_s


def test_sizes_between_are_read_off_the_line_between_their_neighbours() -> None:
    assert EIGHT.at(1.0) == 0.02
    assert EIGHT.at(2.0) == pytest.approx(0.025)
    assert EIGHT.at(8.0) == EIGHT.at(20.0) == pytest.approx(0.08)
    assert EIGHT.slope(5.0) == pytest.approx(0.01)


def test_a_busy_server_settles_where_as_many_prompts_come_as_it_computes() -> None:
    assert EIGHT.meets(10.0) == 1.0, "one is done in 20 ms, the next comes in 100 ms"
    together = EIGHT.meets(90.0)
    assert 90.0 * EIGHT.at(together) == pytest.approx(together)
    assert EIGHT.meets(101.0) == 8.0, "more than 100/s come in any step"


@given(
    places=st.integers(1, 2000), cv=st.sampled_from([0.0, 0.5, 1.0]), curve=st.sampled_from([ONE, EIGHT]),
    deviations=st.sampled_from([0.0, 2.33]),
)  # fmt: skip
def test_the_rate_within_places_is_the_one_that_fills_them(
    places: int, cv: float, curve: Curve, deviations: float
) -> None:
    server = Server(curve, cv)
    rate = rate_within(server, curve, places, deviations)
    assert 0.0 < rate < 1.0 / server.each_s
    found = queue(server, rate)
    mean = rate * (found.wait_s + curve.at(1.0 + found.others))
    assert mean + deviations * (mean + (rate * found.deviation_s) ** 2) ** 0.5 == pytest.approx(places, rel=1e-6)


@given(low=st.floats(0.01, 0.98), more=st.floats(0.0, 0.01), curve=st.sampled_from([ONE, EIGHT]))
def test_more_prompts_wait_longer(low: float, more: float, curve: Curve) -> None:
    server = Server(curve, 0.3)
    few, many = queue(server, low / server.each_s), queue(server, (low + more) / server.each_s)
    assert many.wait_s >= few.wait_s * (1 - 1e-9)
    assert many.busy >= few.busy * (1 - 1e-9)
