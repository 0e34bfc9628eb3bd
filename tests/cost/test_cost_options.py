"""Operating points: requests in flight, and tokens per step where latency is asked for."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from handmade import estimate
from typed_plans import MODEL, WORKLOAD, cluster

from optimizer.cost.options import Batching, Points, concurrencies, operating_points, rebatched
from optimizer.cost.quantities import Estimate
from optimizer.inputs.workload import EngineChoice, Slo, WorkloadSpec
from optimizer.pipeline import Request, solve
from optimizer.verify import check

STEPS = (1, 2, 4, 8)
ASKED = WorkloadSpec(slo=Slo(ttft="1 s"))
EVERYWHERE = Batching((2048,), everywhere=True)


def priced(seconds: Callable[[int], float], *, fit: int = 8) -> Callable[[int], Estimate]:
    """Return prices by requests in flight: TTFT as given, memory for ``fit``."""
    one = estimate(1, 1)
    return lambda n: replace(one, concurrency=n, ttft_s=seconds(n), ttft_slo_s=seconds(n), fits=n <= fit)


def numbers(found: Points) -> list[int]:
    return [point.concurrency for point in found.admissible]


def test_attention_replicas_have_equally_many_requests_each() -> None:
    steps = concurrencies(WorkloadSpec(), 12, attention_replicas=3)
    assert steps == (1, 3, 6, 9, 12)


def test_the_search_ends_where_memory_does_and_says_how_many_fit() -> None:
    found = operating_points(priced(lambda n: 0.1 * n, fit=4), ASKED, STEPS)
    assert (numbers(found), found.fitting, found.miss.concurrency) == ([1, 2, 4], 4, 8)


def test_other_tokens_per_step_take_more_requests_where_the_objectives_stop_the_default() -> None:
    usual = operating_points(priced(lambda n: 0.4 * n), ASKED, STEPS)
    assert numbers(usual) == [1, 2]
    more = rebatched(usual, priced(lambda n: 0.25 * n), ASKED, STEPS, Batching((2048,)), 2048, 8192)
    assert numbers(more) == [1, 2, 4]
    assert rebatched(usual, priced(lambda n: 0.5 * n), ASKED, STEPS, Batching((2048,)), 2048, 8192) == usual


def test_where_latency_is_sought_every_point_is_tried_and_the_faster_kept() -> None:
    usual = operating_points(priced(lambda n: 0.2 * n), ASKED, STEPS)
    faster = priced(lambda n: 0.1 if n == 1 else 0.3 * n)
    assert numbers(rebatched(usual, faster, ASKED, STEPS, EVERYWHERE, 2048, 8192)) == [1, 1, 2, 4]


def test_more_tokens_than_all_prompts_have_change_nothing() -> None:
    def never(_: int) -> Estimate:
        raise AssertionError("priced in vain")

    usual = operating_points(priced(lambda n: 0.1 * n), ASKED, STEPS)  # prompts of 1024: eight and their next fill 8200
    assert rebatched(usual, never, ASKED, STEPS, EVERYWHERE, 16384, 8200) == usual
    assert rebatched(usual, never, ASKED, STEPS, EVERYWHERE, 8192, 8192) == usual


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
