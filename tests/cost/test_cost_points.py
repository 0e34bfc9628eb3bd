"""Operating points: the end of the ladder is filled, and tokens per step count where latency is asked for."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
from handmade import estimate
from hypothesis import given
from hypothesis import strategies as st
from typed_plans import MODEL, WORKLOAD, cluster

from optimizer.cost.options import Points, between, concurrencies
from optimizer.cost.points import operating_points
from optimizer.cost.replica import Replica
from optimizer.inputs.workload import EngineChoice, Slo, WorkloadSpec
from optimizer.pipeline import Request, solve
from optimizer.verify import check

STEPS = (1, 2, 4, 8)
LADDER = concurrencies(WorkloadSpec(), 1024)
ASKED = WorkloadSpec(slo=Slo(ttft="1 s"))


def priced(seconds: Callable[[int], float], *, fit: int = 8, tokens: int = 8192, load: WorkloadSpec = ASKED) -> Replica:
    """Return a replica by requests in flight: TTFT as given, memory for ``fit``."""
    one = estimate(1, 1)
    return Replica(
        lambda n: replace(one, concurrency=n, ttft_s=seconds(n), ttft_slo_s=seconds(n), fits=n <= fit),
        lambda n: n <= fit, load, tokens=tokens,
    )  # fmt: skip


def numbers(found: Points) -> list[int]:
    return [point.concurrency for point in found.admissible]


def test_the_search_ends_where_memory_does_and_says_how_many_fit() -> None:
    found = operating_points(priced(lambda n: 0.1 * n, fit=4), STEPS)
    assert (numbers(found), found.fitting, found.miss.concurrency) == ([1, 2, 4], 4, 4)


def test_what_memory_holds_between_two_steps_is_found_with_one_price() -> None:
    replica = priced(lambda n: 0.0, fit=942)
    assert numbers(operating_points(replica, LADDER))[-2:] == [768, 936]
    assert sorted(replica.known)[-2:] == [768, 936]


def test_what_an_objective_lets_through_between_two_steps_is_found_with_few_prices() -> None:
    replica = priced(lambda n: 0.2 + 0.8 * n / 181, fit=1024)
    assert numbers(operating_points(replica, LADDER))[-2:] == [128, 180]
    assert sorted(n for n in replica.known if n > 128) == [180, 182, 192, 256, 384]


@given(fit=st.integers(1, 1100), full=st.integers(1, 1100), power=st.floats(0.3, 3.0), least=st.floats(0.0, 0.99))
def test_the_largest_admissible_number_is_found_however_lateness_grows(
    fit: int, full: int, power: float, least: float
) -> None:
    replica = priced(lambda n: least + (1 - least) * (n / full) ** power, fit=fit)
    found = numbers(operating_points(replica, LADDER))
    every = {*LADDER, *(n for low, high in pairwise(LADDER) for n in between(low, high))}
    assert found[-1] == max(n for n in every if n <= fit and replica.keeps(n))


def test_other_tokens_per_step_take_more_requests_where_the_objectives_stop_the_default() -> None:
    usual = priced(lambda n: 0.4 * n)
    assert numbers(operating_points(usual, STEPS)) == [1, 2]
    assert numbers(operating_points(usual, STEPS, (priced(lambda n: 0.25 * n, tokens=2048),))) == [1, 2, 4]
    assert numbers(operating_points(usual, STEPS, (priced(lambda n: 0.35 * n, tokens=2048),))) == [1, 2]
    assert numbers(operating_points(usual, STEPS, (priced(lambda n: 0.3 * n, tokens=2048),))) == [1, 2, 3]


def test_the_tokens_that_are_least_late_fill_the_end() -> None:
    usual = priced(lambda n: n / 100, fit=1024)
    others = [priced(lambda n, m=m: n / m, fit=1024, tokens=t) for t, m in ((2048, 90), (16384, 110), (32768, 120))]  # type: ignore[misc]
    assert numbers(operating_points(usual, LADDER, others))[-2:] == [96, 120]
    assert not others[0].known


def test_fewer_tokens_leave_room_for_more_requests_than_memory_holds_otherwise() -> None:
    usual, fewer = priced(lambda n: 0.1, fit=100), priced(lambda n: 0.1, fit=150, tokens=2048)
    assert numbers(operating_points(usual, LADDER, (fewer,)))[-3:] == [100, 128, 150]


def test_where_the_engine_takes_no_more_tokens_that_carry_more_at_its_limit_count() -> None:
    usual, more = priced(lambda n: 0.1, fit=1024), priced(lambda n: 0.1, fit=1024, tokens=16384)
    faster = replace(more, price=lambda n: replace(more.at(n), requests_per_s=1e3), known={})
    assert numbers(operating_points(usual, STEPS, (faster,))) == [1, 2, 4, 8, 8]
    assert numbers(operating_points(usual, STEPS, (more,))) == [1, 2, 4, 8]


def test_where_no_tokens_take_more_requests_those_that_carry_more_count() -> None:
    usual, more = (priced(lambda n: 0.1 if n <= 4 else 2.0, tokens=tokens) for tokens in (8192, 16384))
    faster = replace(more, price=lambda n: replace(more.at(n), requests_per_s=1e3), known={})
    assert numbers(operating_points(usual, STEPS, (faster,))) == [1, 2, 4, 4]


@given(share=st.floats(0.5, 900.0), full=st.floats(1.0, 2000.0))
def test_shares_of_a_rate_are_carried_by_the_fewest_requests_in_flight(share: float, full: float) -> None:
    usual = priced(lambda n: 0.1, fit=1024)
    replica = replace(usual, price=lambda n: replace(usual.at(n), requests_per_s=n * 1000 / (full + n)), known={})
    found = operating_points(replica, LADDER, rates=(share,)).admissible
    able = [point.concurrency for point in found if point.requests_per_s >= share]
    every = {*LADDER, *(n for low, high in pairwise(LADDER) for n in between(low, high))}
    assert able[:1] == sorted(n for n in every if n * 1000 / (full + n) >= share)[:1]
    assert set(LADDER) <= set(numbers(operating_points(replica, LADDER))) <= {point.concurrency for point in found}


def test_where_latency_is_sought_every_point_is_tried_and_the_faster_kept() -> None:
    usual, faster = priced(lambda n: 0.2 * n), priced(lambda n: 0.1 if n == 1 else 0.3 * n, tokens=2048)
    assert numbers(operating_points(usual, STEPS, (faster,), everywhere=True)) == [1, 1, 2, 4, 5]


def test_more_tokens_than_all_prompts_have_change_nothing() -> None:
    usual = priced(lambda n: 0.1 * n, tokens=8200)  # prompts of 1024: eight and their next fill 8200
    more = priced(lambda n: 0.0, tokens=16384)
    assert operating_points(usual, STEPS, (more,), everywhere=True) == operating_points(usual, STEPS)
    assert not more.known


@pytest.mark.parametrize("objective", ["throughput", "ttft", "latency"])
def test_a_plan_chooses_tokens_per_step_says_so_and_is_no_worse_for_it(objective: str) -> None:
    slo = {"ttft": "300 ms", "tpot": "40 ms"} if objective == "throughput" else {}
    chosen = WorkloadSpec.model_validate({"isl": 3000, "osl": 32, "slo": slo, "concurrency": 8})
    usual = chosen.model_copy(update={"engine": EngineChoice(max_num_batched_tokens=2048)})
    free, held = (
        solve(Request(cluster(1, 2, memory="24 GB"), MODEL, load, objective=objective)).plan  # type: ignore[arg-type]
        for load in (chosen, usual)
    )
    assert check(free) == check(held) == ()
    gain = (free.objective.value - held.objective.value) * (1 if objective == "throughput" else -1)
    assert gain >= 0
    for replica in free.replicas:
        assert replica.engine.max_num_batched_tokens == (replica.estimate.batched_tokens or 2048)
    assert all(replica.estimate.batched_tokens is None for replica in held.replicas)


def test_nothing_is_tried_where_the_workload_sets_the_tokens_or_asks_nothing_of_latency() -> None:
    for load in (WORKLOAD, WorkloadSpec(isl=512, osl=64)):
        plan = solve(Request(cluster(1, 1), MODEL, load)).plan
        assert all(replica.estimate.batched_tokens is None for replica in plan.replicas)
