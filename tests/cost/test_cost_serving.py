from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ideal import IDEAL, SETTINGS, case, grouped, routed

from optimizer.cost.batch import Batch
from optimizer.cost.bursts import batch_prefill, burst_tpot, closed_loop_tokens_per_s, idle_ttft, turnover
from optimizer.cost.case import Case
from optimizer.cost.serving import batch_seconds, closed_loop, operate
from optimizer.cost.step import decode, prefill, step
from optimizer.inputs import presets
from optimizer.inputs.workload import Lengths, Slo, WorkloadSpec

H200 = presets.load_gpu("h200-sxm")
MEASURED = presets.load_calibration(H200)
LLAMA_8B = presets.load_model("llama-3.1-8b")


def traffic(isl: int = 1024, osl: int = 256, cv: float = 0.0, **more: object) -> WorkloadSpec:
    return WorkloadSpec(isl=Lengths(mean=isl, cv=cv), osl=Lengths(mean=osl, cv=cv), **more)


def real(**layout: object) -> Case:
    return case(LLAMA_8B, calibration=MEASURED, gpu=H200, **layout)  # type: ignore[arg-type]


def test_the_first_token_of_an_idle_engine_takes_front_end_start_and_prefill() -> None:
    host = MEASURED.host
    spent = host.request + 1024 * host.prompt_token + host.step_base + prefill(real(), 1024).total
    assert idle_ttft(real(), traffic()) == pytest.approx(spent)


def test_cached_prompts_are_prefilled_only_where_they_differ() -> None:
    price = idle_ttft(real(), traffic(8192, prefix_cache_hit=0.75))
    host = MEASURED.host
    front = host.request + 8192 * host.prompt_token + host.step_base
    assert price == pytest.approx(front + prefill(real(), 2048, past=6144).total)


def test_long_prompts_go_through_in_chunks_of_the_token_budget() -> None:
    chunked = replace(SETTINGS, max_num_batched_tokens=2048)
    whole = prefill(case(), 8192).total
    parts = sum(prefill(case(settings=chunked), 2048, past=2048 * i).total for i in range(4))
    assert idle_ttft(case(settings=chunked), traffic(8192)) == pytest.approx(parts, rel=0.01)
    assert parts > whole * 0.999


def test_stages_work_on_chunks_at_the_same_time() -> None:
    chunked = replace(SETTINGS, max_num_batched_tokens=1024)
    alone = idle_ttft(case(settings=chunked), traffic(8192))
    piped = idle_ttft(case(pp=2, settings=chunked), traffic(8192))
    # 8 chunks over 2 stages: (8 + 2 - 1) / (8 x 2) of the serial time
    assert piped / alone == pytest.approx(9 / 16, rel=0.02)


def test_prompts_that_come_together_fill_the_budget_after_the_first() -> None:
    one, two = prefill(case(), 4096).total, prefill(case(), 4096, sequences=2).total
    # the first alone, seven times two, and the last
    assert batch_prefill(case(), traffic(4096), 16) == pytest.approx(2 * one + 7 * two)
    assert batch_prefill(case(), traffic(4096), 1) == pytest.approx(one)


def test_prompts_that_do_not_divide_the_budget_fill_it_all_the_same() -> None:
    # 8192 of 5000-token prompts are 1.6384 a step: nine behind the first take five steps, and what is left of them
    step_s = [prefill(case(), 5000, sequences=n).total for n in (1, 1.6384, 9 - 5 * 1.6384)]
    assert batch_prefill(case(), traffic(5000), 10) == pytest.approx(step_s[0] + 5 * step_s[1] + step_s[2])


def test_of_requests_sent_at_once_the_first_decode_while_the_others_are_prefilled() -> None:
    load = traffic(4096, 101)
    alone, prompt_s = decode(case(), 8, 4096 + 50.5).total, prefill(case(), 4096).total
    others_s = batch_prefill(case(), load, 8) - prompt_s
    assert burst_tpot(case(), load, 8) == pytest.approx(alone + others_s / 2 / 100)
    assert burst_tpot(case(), load, 1) == pytest.approx(decode(case(), 1, 4096 + 50.5).total)


def test_a_batch_ends_with_its_last_request_and_those_without_a_place_follow_as_in_a_closed_loop() -> None:
    load = traffic(512, 65)
    at_once = batch_prefill(real(), load, 32) + 64 * decode(real(), 32, 512 + 32.5).total
    assert batch_seconds(real(), load, 32, 100) == pytest.approx(at_once)
    later = 64 / closed_loop(real(), load, 32).requests_per_s
    assert batch_seconds(real(), load, 96, 32) == pytest.approx(at_once + later)


def test_a_closed_loop_obeys_littles_law() -> None:
    load = closed_loop(real(), traffic(), 64)
    life = load.ttft_s + 255 * load.tpot_s
    assert load.requests_per_s * life == pytest.approx(64, rel=0.02)


def test_more_requests_than_the_engine_runs_at_once_wait_for_their_first_token() -> None:
    few = replace(SETTINGS, max_num_seqs=32)
    crowded = closed_loop(real(settings=few), traffic(), 64)
    full = closed_loop(real(settings=few), traffic(), 32)
    assert crowded.requests_per_s == full.requests_per_s
    assert crowded.tpot_s == full.tpot_s
    assert crowded.ttft_s == pytest.approx(full.ttft_s + 32 / full.requests_per_s)


def test_one_request_alone_decodes_without_prefill_between() -> None:
    load = closed_loop(case(), traffic(), 1)
    assert load.tpot_s == pytest.approx(step(case(), Batch(decodes=1, context=1024 + 128)).total, rel=1e-6)


@given(
    concurrency=st.integers(1, 200), more=st.integers(0, 200), cv=st.sampled_from([0.0, 0.3, 1.0]),
    isl=st.integers(16, 8192), osl=st.integers(1, 2048), tp=st.sampled_from([1, 2, 4]), pp=st.sampled_from([1, 2]),
)  # fmt: skip
def test_a_fuller_replica_has_no_shorter_tpot(
    concurrency: int, more: float, cv: float, isl: int, osl: int, tp: int, pp: int
) -> None:
    replica = case(grouped(), tp=tp, pp=pp)
    few = closed_loop(replica, traffic(isl, osl, cv), concurrency)
    many = closed_loop(replica, traffic(isl, osl, cv), concurrency + more)
    if concurrency % pp == 0 and (concurrency + more) % pp == 0:
        assert many.tpot_s >= few.tpot_s * (1 - 1e-3)
    assert few.tpot_s > 0
    assert few.requests_per_s > 0


def test_lengths_that_vary_spread_prefill_over_more_steps() -> None:
    host = IDEAL.host.model_copy(update={"launch": 1e-4})
    slow_host = case(grouped(), calibration=IDEAL.model_copy(update={"host": host}))
    even = turnover(slow_host, traffic(), 64)
    mixed = turnover(slow_host, traffic(cv=0.5), 64)
    assert mixed.mixed_steps > 2 * even.mixed_steps
    assert (
        closed_loop(slow_host, traffic(cv=0.5), 64).requests_per_s
        < closed_loop(slow_host, traffic(), 64).requests_per_s
    )


def simulated(replica: Case, isl: int, osl: int, concurrency: int, requests: int) -> float:
    """Return output tokens/s of a closed loop played step by step, in the steady window of the measurements.

    The window runs from the last first token of the first wave to the first end of the last wave. Prompts are admitted
    first come, first served into the token budget, the first one alone; a finished request is replaced at once.
    """
    budget, clock = replica.engine.max_num_batched_tokens, 0.0
    waiting, sent, identity = [isl] * concurrency, concurrency, 0
    running: dict[int, int] = {}
    firsts: list[float] = []
    ends: list[float] = []
    stamps: list[tuple[float, int]] = []
    while waiting or running:
        room = budget - len(running)
        starting: list[int] = []
        while waiting and room > 0 and not (clock == 0.0 and starting):
            done = min(room, waiting[0])
            room, waiting[0] = room - done, waiting[0] - done
            starting.append(done)
            if waiting[0]:
                break
            waiting.pop(0)
        contexts = list(running.values())
        mean = sum(contexts) / max(1, len(contexts))
        tokens = sum(starting) / max(1, len(starting))
        clock += step(replica, Batch(float(len(starting)), tokens, 0.0, float(len(contexts)), mean)).total
        running = {who: context + 1 for who, context in running.items()}
        for _ in range(len(starting) - (1 if starting and waiting and 0 < waiting[0] < isl else 0)):
            running[identity] = isl + 1
            identity += 1
            firsts.append(clock)
        stamps.append((clock, len(running)))
        finished = [who for who, context in running.items() if context >= isl + osl]
        for who in finished:
            del running[who]
            ends.append(clock)
            if sent < requests:
                waiting.append(isl)
                sent += 1
    low, high = firsts[concurrency - 1], ends[-concurrency]
    return sum(n for at, n in stamps if low < at <= high) / (high - low)


@pytest.mark.parametrize("concurrency", [8, 32, 64])
@pytest.mark.parametrize(("isl", "osl"), [(1024, 256), (512, 128), (2048, 64)])
def test_the_closed_form_stays_near_a_closed_loop_played_step_by_step(isl: int, osl: int, concurrency: int) -> None:
    played = simulated(real(), isl, osl, concurrency, 3 * concurrency)
    form = closed_loop_tokens_per_s(real(), traffic(isl, osl), concurrency, 3 * concurrency)
    assert form == pytest.approx(played, rel=0.04)


def test_the_steady_state_is_that_of_many_waves() -> None:
    many = closed_loop_tokens_per_s(real(), traffic(), 64, 64 * 400)
    assert closed_loop(real(), traffic(), 64).requests_per_s * 256 == pytest.approx(many, rel=0.02)


def rated(percentile: float | None = None, *, isl: int = 1024, osl: int = 256, cv: float = 0.0) -> WorkloadSpec:
    return traffic(isl, osl, cv, request_rate="1 /s", slo=Slo(percentile=percentile))


def test_under_random_arrivals_the_mean_in_flight_leaves_room_for_more() -> None:
    load, full = operate(real(), rated(), 64), closed_loop(real(), traffic(), 64)
    assert 0.5 * 64 < load.running < 64
    assert load.requests_per_s < full.requests_per_s
    # Little: in flight = rate x (TTFT + rest); arrivals that queue make it a little more than the closed loop's
    in_flight = load.requests_per_s * (load.ttft_s + 255 * load.tpot_s)
    assert in_flight == pytest.approx(load.running, rel=0.15)


def test_random_arrivals_never_saturate_a_replica() -> None:
    # one request meets all others and is itself in flight, so that even endless places carry less than a full loop
    for limit in (1, 16, 256):
        busy = replace(SETTINGS, max_num_seqs=limit)
        full = operate(real(settings=busy), traffic(cv=1.0), limit)
        assert operate(real(settings=busy), rated(cv=1.0), limit).requests_per_s < full.requests_per_s


def test_equal_requests_that_come_at_random_are_prefilled_one_by_one() -> None:
    together, apart = turnover(real(), traffic(), 64), turnover(real(), rated(), 64)
    assert apart.mixed_steps > 4 * together.mixed_steps
    assert apart.mixed_s < together.mixed_s


@given(limit=st.integers(1, 256), more=st.integers(1, 64), isl=st.integers(1, 7680), osl=st.integers(1, 1024))
def test_more_places_carry_a_higher_rate_of_random_arrivals(limit: int, more: int, isl: int, osl: int) -> None:
    # prompts that just fill a step of 8,192 tokens need a second one beside more answers in decode; where such steps
    # begin between half the places and all, the straight line between gives some percent less
    few, many = (operate(case(grouped()), rated(isl=isl, osl=osl), n) for n in (limit, limit + more))
    assert many.requests_per_s >= few.requests_per_s * 0.88
    assert 0 < few.running < limit


def test_under_random_arrivals_a_first_token_takes_no_less_than_its_prefill_through_all_stages() -> None:
    for pp in (1, 2, 4):
        load = operate(real(pp=pp), rated(isl=4096), 64)
        assert load.ttft_s > prefill(real(pp=pp), 4096).total


def test_without_a_percentile_bounds_are_on_the_mean() -> None:
    for load in (operate(real(), rated(), 64), closed_loop(real(), traffic(), 64)):
        assert (load.ttft_slo_s, load.tpot_slo_s) == (load.ttft_s, load.tpot_s)


@pytest.mark.parametrize("cv", [0.0, 0.8])
def test_percentiles_grow_and_the_mean_lies_among_them(cv: float) -> None:
    middle, mean, high, highest = (operate(real(), rated(q, cv=cv), 64) for q in (50, None, 90, 99))
    assert middle.ttft_slo_s < mean.ttft_slo_s < high.ttft_slo_s < highest.ttft_slo_s
    assert middle.tpot_slo_s < mean.tpot_slo_s < high.tpot_slo_s < highest.tpot_slo_s
    assert mean.ttft_s == highest.ttft_s


@pytest.mark.parametrize("pp", [1, 2])
@pytest.mark.parametrize("rate", [None, "1 /s"])
def test_what_requests_cost_the_replica_adds_up_to_its_time(pp: int, rate: str | None) -> None:
    load = operate(real(pp=pp), traffic(request_rate=rate), 64)
    assert load.request.total == pytest.approx(1 / load.requests_per_s)
    assert min(load.request.gemm, load.request.attention, load.request.overhead) > 0


def test_collapsed_routing_makes_decode_faster() -> None:
    model = routed(latent=True)
    spread = step(case(model), Batch(decodes=64, context=128)).total
    assert step(case(model), Batch(decodes=64, context=128, distinct=5.0)).total < spread
