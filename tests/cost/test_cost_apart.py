"""Replicas of one phase, on hardware at its datasheet's rates and on measured ones."""

from dataclasses import replace
from itertools import pairwise
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ideal import H100, IDEAL, LLAMA_70B, SETTINGS, case, grouped, routed

from optimizer.cost.apart import MOST_OF_A_LINK, transfer_s
from optimizer.cost.case import Case
from optimizer.cost.estimate import estimate
from optimizer.cost.options import concurrencies
from optimizer.cost.parameters import active_parameters, model_kv_bytes_per_token
from optimizer.cost.points import operating_points
from optimizer.cost.replica import Replica
from optimizer.cost.shards import weights_bytes
from optimizer.cost.step import decode, prefill
from optimizer.errors import InputError
from optimizer.inputs import presets
from optimizer.inputs.model import ModelSpec
from optimizer.inputs.workload import Lengths, Role, Slo, WorkloadSpec
from optimizer.topology.wiring import GroupPath, HopPath

H200 = presets.load_gpu("h200-sxm")
MEASURED = presets.load_calibration(H200)
PHASES: tuple[Role, ...] = ("prefill", "decode")


def traffic(isl: int = 1024, osl: int = 256, cv: float = 0.0, **more: object) -> WorkloadSpec:
    return WorkloadSpec(isl=Lengths(mean=isl, cv=cv), osl=Lengths(mean=osl, cv=cv), **more)


def leaving(found: Case, bytes_per_s: float = 50e9) -> Case:
    """Return the replica with a NIC for each rank."""
    way = HopPath("rdma", bytes_per_s, found.layout.world_size)
    return replace(found, wiring=replace(found.wiring, exit=way))


def real(model: ModelSpec = LLAMA_70B, **layout: object) -> Case:
    return leaving(case(model, calibration=MEASURED, gpu=H200, **layout))  # type: ignore[arg-type]


# -- KV on its way -------------------------------------------------------------------------------------------------


def test_the_kv_of_4096_tokens_of_llama_70b_takes_27_ms_of_one_nic() -> None:
    # 4096 x 80 layers x 2 x 8 heads x 128 x 2 B = 1.342 GB at 50 GB/s
    kv = 4096 * model_kv_bytes_per_token(LLAMA_70B, "bf16")
    assert kv == 1_342_177_280
    assert transfer_s(leaving(case()), traffic(4096)) == pytest.approx(kv / 50e9)
    assert transfer_s(leaving(case(tp=4)), traffic(4096)) == pytest.approx(kv / 200e9)
    assert transfer_s(leaving(case(tp=2, kv_cache="fp8")), traffic(4096)) == pytest.approx(kv / 200e9)
    assert transfer_s(leaving(case(pp=2)), traffic(4096)) == pytest.approx(kv / 100e9)


def test_a_latent_that_every_rank_holds_is_moved_by_each() -> None:
    one, eight = (transfer_s(leaving(case(routed(latent=True), tp=tp)), traffic(4096)) for tp in (1, 8))
    assert eight == one == pytest.approx(4096 * 4 * (512 + 64) * 2 / 50e9)


def test_of_a_window_only_what_it_looks_back_on_is_moved() -> None:
    short = transfer_s(leaving(case(grouped(window=1024))), traffic(512))
    assert transfer_s(leaving(case(grouped(window=1024))), traffic(8192)) == pytest.approx(2 * short)


def test_a_prompt_from_the_prefix_cache_is_moved_as_a_whole() -> None:
    cached = traffic(4096, prefix_cache_hit=0.9)
    assert transfer_s(leaving(case()), cached) == transfer_s(leaving(case()), traffic(4096))
    assert estimate(real(), cached, 1, "prefill").ttft_s < 0.3 * estimate(real(), traffic(4096), 1, "prefill").ttft_s


@pytest.mark.parametrize("role", PHASES)
def test_without_a_way_out_a_phase_has_no_price(role: Role) -> None:
    with pytest.raises(InputError, match="no way for KV to others"):
        estimate(case(), traffic(), 1, role)


def test_more_kv_than_a_nic_moves_on_average_does_not_fit() -> None:
    found = real(tp=4)
    price = estimate(leaving(found, 1e8), traffic(4096, 16), 8, "prefill")
    assert not price.fits
    assert "a rank moves" in price.reasons[-1]
    assert "more than 80% of its 0.1 GB/s" in price.reasons[-1]
    moved = price.requests_per_s * 1_342_177_280
    assert price.crossing_bytes_per_s == pytest.approx(moved)
    just = moved / 4 / MOST_OF_A_LINK
    assert estimate(leaving(found, just * 1.001), traffic(4096, 16), 8, "prefill").fits
    assert not estimate(leaving(found, just * 0.999), traffic(4096, 16), 8, "prefill").fits


def test_inside_the_only_node_nothing_crosses_its_boundary() -> None:
    found = case(calibration=MEASURED, gpu=H200)
    inside = replace(found, wiring=replace(found.wiring, exit=HopPath("nvswitch", 450e9, 1)))
    assert estimate(inside, traffic(), 4, "prefill").crossing_bytes_per_s == 0.0


def test_each_node_sends_the_kv_that_its_ranks_hold() -> None:
    one_node = real(tp=2, pp=2)
    hops = (HopPath("rdma", 50e9, 2),)
    two_nodes = replace(one_node, wiring=replace(one_node.wiring, hops=hops))
    together, apart = (estimate(found, traffic(4096), 2, "prefill") for found in (one_node, two_nodes))
    kv = 1_342_177_280
    assert together.crossing_bytes_per_s == pytest.approx(together.requests_per_s * kv)
    # the half of the layers on a node, and hidden state with residual of every token to the other
    own = apart.requests_per_s * 4096 * 2 * 8192 * 2
    assert apart.crossing_bytes_per_s == pytest.approx(apart.requests_per_s * kv / 2 + own)


def test_a_group_over_two_nodes_leaves_each_with_half_of_its_kv() -> None:
    over_two = real(tp=4)
    group = GroupPath(4, 2, "nvswitch", 450e9, "rdma", 100e9)
    over_two = replace(over_two, wiring=replace(over_two.wiring, group=group))
    price = estimate(over_two, traffic(4096), 1, "prefill")
    own = price.requests_per_s * 4096 * 80 * 2 * 1.0 * 8192 * 2
    assert price.crossing_bytes_per_s == pytest.approx(price.requests_per_s * 1_342_177_280 / 2 + own, rel=0.01)


# -- prompts -------------------------------------------------------------------------------------------------------


def test_one_prompt_in_flight_takes_front_end_start_and_its_steps() -> None:
    price, host = estimate(real(), traffic(4096), 1, "prefill"), MEASURED.host
    alone_s = host.request + 4096 * host.prompt_token + host.step_base + prefill(real(), 4096).total
    assert price.ttft_s == pytest.approx(alone_s)
    assert price.requests_per_s == pytest.approx(1 / alone_s)
    assert (price.tpot_s, price.tpot_slo_s, price.output_tokens_per_s) == (0.0, 0.0, 0.0)


def test_prompts_in_flight_obey_littles_law_and_then_wait() -> None:
    prices = [estimate(real(), traffic(4096), n, "prefill") for n in (1, 2, 4, 8, 64)]
    for price in prices:
        assert price.requests_per_s * price.ttft_s == pytest.approx(price.concurrency)
    assert (
        prices[-1].requests_per_s == prices[-2].requests_per_s == pytest.approx(2 / prefill(real(), 4096, 0, 2).total)
    )


def test_stages_compute_different_prompts_at_the_same_time() -> None:
    one, two = (estimate(leaving(case(pp=pp)), traffic(8192), 64, "prefill") for pp in (1, 2))
    assert two.requests_per_s / one.requests_per_s == pytest.approx(2.0, rel=0.02)


def test_short_prompts_share_a_step() -> None:
    few, many = (estimate(real(), traffic(64), n, "prefill").requests_per_s for n in (1, 64))
    assert many > 3 * few


def test_a_prefill_replica_holds_prompts_only() -> None:
    price = estimate(leaving(case(tp=4)), traffic(4096, 4000), 64, "prefill")
    both = estimate(leaving(case(tp=4)), traffic(4096, 4000), 64)
    assert price.fits
    assert not both.fits


def test_random_prompts_wait_for_each_other_and_those_of_a_percentile_longer() -> None:
    load = traffic(4096, request_rate="1 /s")
    prices = [estimate(real(), load, n, "prefill") for n in (1, 4, 16, 64)]
    rates, waits = [p.requests_per_s for p in prices], [p.ttft_s for p in prices]
    assert rates == sorted(rates)
    assert waits == sorted(waits)
    assert rates[-1] < estimate(real(), traffic(4096), 64, "prefill").requests_per_s
    assert prices[0].ttft_slo_s == prices[0].ttft_s
    kept = [
        estimate(real(), load.model_copy(update={"slo": Slo(percentile=q)}), 16, "prefill").ttft_slo_s
        for q in (50, 90, 99)
    ]
    assert kept == sorted(kept)
    assert kept[1] > prices[2].ttft_s


def test_points_end_where_more_prompts_only_wait() -> None:
    load = traffic(4096)
    replica = Replica(lambda n: estimate(real(), load, n, "prefill"), lambda _: True, load)
    points = operating_points(replica, concurrencies(load, 1024)).admissible
    rates = [point.requests_per_s for point in points]
    assert rates == sorted(set(rates))
    assert len(points) < 6


def test_points_of_random_prompts_lie_well_below_and_near_saturation() -> None:
    load = traffic(4096, request_rate="1 /s")
    steps = concurrencies(load, 64)
    replica = Replica(lambda n: estimate(real(tp=2), load, n, "prefill"), lambda _: True, load)
    points = operating_points(replica, steps).admissible
    top = estimate(real(tp=2), traffic(4096), 64, "prefill").requests_per_s
    shares = [point.requests_per_s / top for point in points]
    assert shares[0] < 0.2
    assert shares[-1] > 0.9
    assert max(b - a for a, b in pairwise(shares)) < 0.25


# -- answers -------------------------------------------------------------------------------------------------------


def test_a_decode_replica_steps_without_prompts_between() -> None:
    price = estimate(real(tp=4), traffic(4096), 32, "decode")
    step_s = decode(real(tp=4), 32, 4096 + 128).total
    assert price.tpot_s == price.tpot_slo_s == pytest.approx(step_s)
    assert price.output_tokens_per_s == pytest.approx(price.requests_per_s * 256)
    stay_s = 1.5 * step_s + 255 * step_s
    assert price.requests_per_s == pytest.approx(32 / stay_s)
    host = MEASURED.host
    assert price.ttft_s == pytest.approx(host.request + 4096 * host.prompt_token + 1.5 * step_s)


def test_answers_beyond_what_the_engine_runs_wait_for_a_place() -> None:
    few = replace(SETTINGS, max_num_seqs=16)
    full, crowded = (estimate(leaving(case(settings=few)), traffic(), n, "decode") for n in (16, 32))
    assert crowded.requests_per_s == full.requests_per_s
    assert crowded.ttft_s == pytest.approx(full.ttft_s + 16 / full.requests_per_s)


def test_random_arrivals_leave_room_below_the_places() -> None:
    load = traffic(4096, request_rate="1 /s", slo=Slo(percentile=90))
    price, full = estimate(real(tp=4), load, 64, "decode"), estimate(real(tp=4), traffic(4096), 64, "decode")
    stay_s = price.tpot_s * 256.5
    assert price.requests_per_s * stay_s < 64 - 2.3 * (price.requests_per_s * stay_s) ** 0.5 + 1
    assert price.tpot_s < full.tpot_s
    assert price.tpot_slo_s > price.tpot_s


@pytest.mark.parametrize("role", PHASES)
@pytest.mark.parametrize("rate", [None, "1 /s"])
def test_what_a_request_costs_adds_up_to_the_rate(role: Role, rate: str | None) -> None:
    price = estimate(real(tp=2, pp=2), traffic(4096, request_rate=rate), 16, role)
    assert price.breakdown.request.total == pytest.approx(1 / price.requests_per_s)


@pytest.mark.parametrize("role", PHASES)
def test_a_margin_makes_every_figure_worse(role: Role) -> None:
    plain, safe = (estimate(real(), traffic(margin=margin), 8, role) for margin in (0.0, 0.1))
    assert safe.requests_per_s == pytest.approx(0.9 * plain.requests_per_s)
    for name in ("ttft_s", "ttft_slo_s", "tpot_s", "transfer_s"):
        assert getattr(safe, name) == pytest.approx(1.1 * getattr(plain, name))


def test_links_that_kv_takes_are_among_the_notes() -> None:
    named = "links rdma not measured"
    assert any(named in note for note in estimate(real(), traffic(), 1, "decode").notes)
    assert not any(named in note for note in estimate(case(calibration=MEASURED, gpu=H200), traffic(), 1).notes)


# -- bounds --------------------------------------------------------------------------------------------------------

MODELS = (grouped(), grouped(window=512), routed(), routed(latent=True))
LOADS = st.tuples(
    st.integers(16, 4096), st.integers(2, 1024), st.sampled_from([0.0, 0.5]), st.sampled_from([None, 1.0])
)


def load_of(drawn: tuple[int, int, float, float | None]) -> WorkloadSpec:
    isl, osl, cv, rate = drawn
    return traffic(isl, osl, cv).model_copy(update={"request_rate": rate})


@given(
    model=st.sampled_from(MODELS), tp=st.sampled_from([1, 2, 4]), pp=st.sampled_from([1, 2]),
    batch=st.integers(1, 256), drawn=LOADS, ideal=st.booleans(),
)  # fmt: skip
def test_no_phase_is_faster_than_its_bytes_and_its_operations(
    model: ModelSpec, tp: int, pp: int, batch: int, drawn: tuple[int, int, float, float | None], *, ideal: bool
) -> None:
    load = load_of(drawn)
    found = leaving(case(model, tp=tp, pp=pp, gpu=H100 if ideal else H200, calibration=IDEAL if ideal else MEASURED))
    answers, prompts = (estimate(found, load, batch, role) for role in ("decode", "prefill"))
    if not any(hasattr(run.feed_forward, "experts") for run in model.runs):
        held = sum(weights_bytes(model, found.layout, stage) for stage in range(pp))
        embedding = model.vocab * model.hidden * 2
        assert answers.tpot_s >= (held - embedding) / found.gpu.memory_bandwidth * (1 - 1e-9)
    flop = 2 * (active_parameters(model) - 2 * model.vocab * model.hidden) * load.isl.mean
    peak = found.gpu.peak.bf16 * found.layout.world_size
    assert 1 / prompts.requests_per_s >= flop / peak * (1 - 1e-9)
    assert prompts.ttft_s >= flop / peak * (1 - 1e-9)
    assert prompts.ttft_slo_s > 0 < answers.ttft_slo_s < inf


@given(
    model=st.sampled_from(MODELS), tp=st.sampled_from([1, 2, 4]), pp=st.sampled_from([1, 2]), batch=st.integers(1, 256),
    isl=st.integers(16, 4096), osl=st.integers(2, 1024), cv=st.sampled_from([0.0, 0.5]),
)  # fmt: skip
def test_apart_a_token_takes_no_longer_and_prompts_are_no_fewer_than_together(
    model: ModelSpec, tp: int, pp: int, batch: int, isl: int, osl: int, cv: float
) -> None:
    found = leaving(case(model, tp=tp, pp=pp, gpu=H200, calibration=MEASURED))
    both, answers, prompts = (
        estimate(found, traffic(isl, osl, cv), batch, role) for role in ("both", "decode", "prefill")
    )
    assert answers.tpot_s <= both.tpot_s * (1 + 1e-9)
    assert prompts.tpot_s == 0.0
    assert answers.requests_per_s >= both.requests_per_s * (1 - 1.0 / osl) * (1 - 1e-9)
