"""Routed pools: the answer is the best there is, its bound is true, and a plain max-flow agrees."""

import pytest
from formulation.routing.routed_pools import WIDE, best_by_force, drawn, pool, with_ends

from optimizer.cost.pool import Pool, Routing
from optimizer.formulation.routing.solve import route
from optimizer.formulation.solve import Limits
from optimizer.verify import flow


def answer(whole: Pool) -> Routing:
    found = route(whole, Limits())
    assert flow.check(whole, found) == ()
    return found


@pytest.mark.parametrize("seed", range(60))
def test_the_answer_equals_brute_force_and_is_proven(seed: int) -> None:
    whole = drawn(seed)
    found = answer(whole)
    assert found.tokens_per_s == pytest.approx(best_by_force(whole), rel=1e-9)
    assert found.proven


@pytest.mark.parametrize("seed", range(40))
def test_the_answer_equals_brute_force_where_the_ends_of_the_model_weigh_more(seed: int) -> None:
    whole = with_ends(drawn(seed), seed)
    found = answer(whole)
    assert found.tokens_per_s == pytest.approx(best_by_force(whole), rel=1e-9)
    assert found.proven


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1300))
def test_the_answer_of_more_machines_equals_brute_force(seed: int) -> None:
    whole = drawn(seed, most_machines=4)
    assert answer(whole).tokens_per_s == pytest.approx(best_by_force(whole), rel=1e-9)


def test_a_chain_is_as_fast_as_its_slowest_machine() -> None:
    found = answer(pool(5, (1, (9.0, 4.0, 3.0)), (1, (8.0, 5.0))))
    assert found.tokens_per_s == 3.0
    assert {run.machine: run.num_layers for run in found.runs} == {"a0": 3, "b0": 2}


def test_two_slow_machines_share_what_one_fast_one_sends() -> None:
    found = answer(pool(3, (1, (10.0,)), (2, (7.0, 5.0))))
    assert found.tokens_per_s == 10.0


def test_a_machine_may_be_left_out() -> None:
    found = answer(pool(2, (3, (1.0, 6.0))))
    assert found.tokens_per_s == 18.0
    assert len(answer(pool(2, (1, (1.0, 6.0)), (1, (0.5,)))).runs) == 1


def test_what_one_stack_leaves_is_another_lane() -> None:
    """Six machines hold the model each: more than stand side by side in one block."""
    assert answer(pool(2, (6, (1.0, 6.0)))).tokens_per_s == 36.0


def test_lanes_that_join_at_different_layers_are_found() -> None:
    """Four layers, one lane cut after 1 and one after 3: no stack of equal blocks carries as much."""
    found = answer(pool(4, (2, (1.0, 1.0, 5.0)), (2, (5.0,))))
    assert found.tokens_per_s == 10.0
    assert sorted((run.first, run.end) for run in found.runs) in (
        [(0, 1), (0, 3), (1, 4), (3, 4)],
        [(0, 1), (0, 1), (1, 4), (1, 4)],
        [(0, 3), (0, 3), (3, 4), (3, 4)],
    )


def test_nothing_flows_when_the_model_does_not_fit() -> None:
    found = answer(pool(7, (3, (9.0, 4.0))))
    assert (found.tokens_per_s, found.bound_tokens_per_s, found.runs) == (0.0, 0.0, ())
    assert found.proven


@pytest.mark.parametrize(("rate", "carried"), [(4.0, 4.0), (3.9, 3.9)], ids=["just enough", "one short"])
def test_a_link_between_machines_binds(rate: float, carried: float) -> None:
    thin = {("a0", "b0"): rate, ("b0", "a0"): rate}
    assert answer(pool(4, (1, (9.0, 4.0)), (1, (9.0, 5.0)), thin=thin)).tokens_per_s == carried


def test_a_link_from_the_source_binds() -> None:
    thin = {("source", "a0"): 1.0, ("source", "b0"): WIDE}
    found = answer(pool(2, (1, (5.0,)), (1, (5.0,)), thin=thin))
    assert next(run.first for run in found.runs if run.machine == "b0") == 0


def test_flows_add_up_at_every_machine() -> None:
    found = answer(drawn(4))
    for run in found.runs:
        taken = sum(link.tokens_per_s for link in found.flows if link.receiver == run.machine)
        given = sum(link.tokens_per_s for link in found.flows if link.sender == run.machine)
        assert taken == pytest.approx(given)


def test_the_same_pool_gives_the_same_answer() -> None:
    whole = drawn(11)
    assert answer(whole) == answer(whole)


def test_many_equal_machines_are_proven_by_their_worth() -> None:
    """64 machines of 2 kinds, 80 layers: no search is needed, so no time passes with the number of equal machines."""
    found = answer(pool(80, (40, (9.0, 2.0)), (24, (20.0, 9.5, 3.0))))
    assert found.tokens_per_s == 9.0
    assert found.proven
    assert found.worth
