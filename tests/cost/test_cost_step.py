from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ideal import FACTS, H100, IDEAL, SETTINGS, case, grouped, routed

from optimizer.cost.batch import Batch
from optimizer.cost.case import Case
from optimizer.cost.projections import compute_peak
from optimizer.cost.shards import weights_bytes
from optimizer.cost.step import decode, prefill, stations, step
from optimizer.inputs import presets
from optimizer.inputs.calibration import Calibration
from optimizer.inputs.gpu import GpuSpec
from optimizer.inputs.model import ModelSpec
from optimizer.inputs.workload import EngineName
from optimizer.layout import refusals
from optimizer.topology.wiring import HopPath


def host(**changes: float) -> Calibration:
    return IDEAL.model_copy(update={"host": IDEAL.host.model_copy(update=changes)})


def test_1024_tokens_of_a_70b_are_142_teraflop_and_a_fifth_of_a_second_on_one_h100() -> None:
    # layers: 2 x 855,638,016 weights x 80 x 1024 = 1.4019e14; attention: 2 x 64 x 256 x 80 x 1024 x 1025 / 2 = 1.38e12;
    # head, for the last row only: 2.1e9. Together 1.4156e14 FLOP at 989e12 /s = 0.1431 s at the peak.
    price = prefill(case(), 1024)
    assert (price.gemm + price.attention) * 989e12 == pytest.approx(1.416e14, rel=0.005)
    measured = presets.load_calibration(presets.load_gpu("h100-sxm"))
    assert 0.19 < prefill(case(calibration=measured), 1024).total < 0.23


def test_one_token_of_a_70b_takes_as_long_as_reading_its_weights() -> None:
    # 80 x 855,638,016 + head 8192 x 128256 = 69.50e9 weights of 2 bytes at 3.35 TB/s = 41.5 ms; no KV to speak of
    assert decode(case(), 1, 1).gemm == pytest.approx(69.50e9 * 2 / 3.35e12, rel=1e-3)


def test_kv_of_long_contexts_is_read_once_per_step() -> None:
    # 327,680 B a token x 32 sequences x 8192 = 85.9 GB at 3.35 TB/s = 25.6 ms
    assert decode(case(), 32, 8192).attention == pytest.approx(327680 * 32 * 8192 / 3.35e12, rel=1e-3)


def test_two_ranks_halve_the_weights_and_pay_two_all_reduces_a_layer() -> None:
    # one row: 160 all-reduces of 8192 x 2 B and one for the embedding, each S / 450 GB/s among two, and logits gathered
    alone, pair = decode(case(), 1, 1), decode(case(tp=2), 1, 1)
    assert pair.gemm == pytest.approx(alone.gemm / 2, rel=1e-3)
    assert pair.collectives == pytest.approx((161 * 16384 + 128256 * 2 / 2) / 450e9, rel=1e-6)
    assert alone.collectives == 0.0


def test_kv_heads_are_replicated_when_tp_exceeds_them() -> None:
    model = grouped(heads=16, kv_heads=2)
    assert decode(case(model, tp=4), 8, 4096).attention == decode(case(model, tp=2), 8, 4096).attention


def test_two_stages_take_turns_so_a_token_takes_no_less() -> None:
    whole, halves = decode(case(), 8, 1024), decode(case(pp=2), 8, 1024)
    assert halves.gemm == pytest.approx(whole.gemm, rel=0.01)
    # hidden state and residual of 4 rows: 4 x 2 x 8192 x 2 B over 450 GB/s; the last stage, which has the head of
    # 8192 x 128256 x 2 B, is the slower one: the other micro-batch waits for it, half the head's 0.63 ms on each side
    head_s = 8192 * 128256 * 2 / 3.35e12
    hop_s = 4 * 2 * 16384 / 450e9
    assert halves.pipeline == pytest.approx(head_s, rel=0.01)
    assert step(case(pp=2), Batch(decodes=4, context=1024)).pipeline == pytest.approx(hop_s)


def test_a_pipeline_turns_as_fast_as_its_slowest_station_lets_all_micro_batches_pass() -> None:
    # 79 layers and 1: the first stage takes 79/80 of 80 layers, and four micro-batches all pass it
    uneven = case(pp=4)
    uneven = replace(uneven, layout=replace(uneven.layout, layers_per_stage=(77, 1, 1, 1)))
    slowest = max(stations(uneven, Batch(decodes=2, context=1024)).seconds)
    assert decode(uneven, 8, 1024).total == pytest.approx(4 * slowest)
    assert decode(uneven, 1, 1024).total == pytest.approx(step(uneven, Batch(decodes=1, context=1024)).total)


def test_a_slow_link_between_stages_is_a_station() -> None:
    slow = case(pp=2)
    slow = replace(slow, wiring=replace(slow.wiring, hops=(HopPath("rdma", 1e6, 1),)))
    # 4 rows of hidden state and residual, 32768 B each, over 1 MB/s: 131 ms for each of two micro-batches
    assert decode(slow, 8, 1024).total == pytest.approx(2 * 4 * 32768 / 1e6)


def test_what_shares_a_link_with_collectives_is_one_station_with_them() -> None:
    pair = case(tp=2, pp=2)
    batch = Batch(decodes=4, context=1024)
    assert len(stations(pair, batch).in_order) == 2
    apart = replace(pair, wiring=replace(pair.wiring, hops=(HopPath("rdma", 50e9, 2),)))
    assert len(stations(apart, batch).in_order) == 3


def test_a_decode_step_is_never_shorter_than_the_hosts_floor() -> None:
    price = decode(case(grouped(), calibration=host(step_floor=3e-3)), 1, 16)
    assert price.total == pytest.approx(3e-3)
    assert price.overhead > 0.9 * 3e-3


def test_a_prefill_beyond_the_captured_sizes_is_launched_by_the_host() -> None:
    # 4 layers x 10 kernels x 1 ms
    slow = case(grouped(), calibration=host(launch=1e-3, piece=1e-4))
    assert prefill(slow, 1024).total == pytest.approx(40e-3)
    # up to 512 tokens run in pieces: 4 layers x 3 launches x 0.1 ms
    assert prefill(slow, 512).total == pytest.approx(1.2e-3)


def test_an_engine_that_tells_every_worker_anew_takes_longer_under_tp() -> None:
    slow = FACTS.model_copy(update={"serial_step": 10e-3, "serial_step_growth": 0.5})
    free, bound = case(tp=4), replace(case(tp=4), facts=slow)
    assert decode(bound, 1, 1).total - decode(free, 1, 1).total == pytest.approx(20e-3)


def test_decode_is_padded_to_the_captured_batch() -> None:
    sizes = replace(SETTINGS, cuda_graph_sizes=(1, 8, 16))
    nine, sixteen = decode(case(settings=sizes), 9, 1), decode(case(settings=sizes), 16, 1)
    assert nine.overhead == sixteen.overhead
    # the head alone is not padded: 7 rows of logits
    assert sixteen.gemm - nine.gemm == pytest.approx(7 * (8192 + 128256) * 2 / 3.35e12, rel=0.01)
    assert decode(case(settings=sizes), 8, 1).overhead < nine.overhead


def test_without_graphs_the_host_launches_decode_too() -> None:
    eager = replace(SETTINGS, cuda_graphs=False)
    assert decode(case(grouped(), calibration=host(launch=1e-3), settings=eager), 1, 1).total == pytest.approx(40e-3)


def test_a_window_bounds_what_decode_reads() -> None:
    windowed = grouped(window=1024)
    assert decode(case(windowed), 4, 8192).attention == decode(case(windowed), 4, 1024).attention
    assert decode(case(grouped()), 4, 8192).attention > decode(case(windowed), 4, 8192).attention


def test_latent_attention_caches_one_vector_for_all_heads() -> None:
    # 4 layers x (512 + 64) x 2 B x 16 x 4096 tokens / 3.35 TB/s = 90.1 us; 2 x 16 x 1088 FLOP a token take less
    model = routed(latent=True)
    assert decode(case(model), 16, 4096).attention == pytest.approx(4 * 1152 * 16 * 4096 / 3.35e12, rel=0.01)


def test_latent_prefill_joins_its_keys_and_puts_its_output_in_place() -> None:
    # 16 heads a token: queries, keys and values in and out 2 x 5120; keys of 128 and 64 shared read, 192 written;
    # values of 128 copied. 4 layers x 16 tokens in 16 bits at 3.35 TB/s: far fewer FLOP than bytes
    moved = 2 * 16 * (192 + 128) + (16 * 128 + 64) + 16 * 192 + 2 * 16 * 128
    assert prefill(case(routed(latent=True)), 16).attention == pytest.approx(4 * 16 * moved * 2 / 3.35e12)


def test_norms_of_queries_and_keys_read_and_write_them() -> None:
    # 4 layers x 1024 tokens x (16 + 4) heads x 128, read and written in 16 bits, at 3.35 TB/s
    plain, normed = (prefill(case(grouped(qk_norm=norm)), 1024) for norm in ("none", "per-head"))
    assert normed.overhead - plain.overhead == pytest.approx(4 * 1024 * 20 * 128 * 2 * 2 / 3.35e12)
    assert (normed.gemm, normed.attention) == (plain.gemm, plain.attention)


def test_replicas_of_attention_share_the_experts_and_exchange_their_rows() -> None:
    shared = decode(case(routed(), tp=1, attn_dp=4, ep=4), 64, 1024)
    assert shared.collectives > 0
    assert shared.attention == pytest.approx(decode(case(routed()), 16, 1024).attention)


def test_context_parallel_decode_reads_a_part_of_the_cache() -> None:
    model = grouped(kv_heads=1)
    halved = decode(case(model, tp=2, dcp=2), 8, 8192).attention
    assert halved == pytest.approx(decode(case(model, tp=2), 8, 8192).attention / 2, rel=0.01)


def test_fp8_on_a_gpu_without_fp8_computes_in_16_bits() -> None:
    a100 = presets.load_gpu("a100-80-sxm")
    assert compute_peak(a100, "fp8") == a100.peak.bf16
    assert compute_peak(H100, "fp8") == H100.peak.fp8


CALIBRATED = ("h200-sxm", "h100-sxm", "a100-80-sxm", "b200-sxm", "l40s", "rtx-pro-6000-bw-server", "mi300x")
MODELS = (grouped(), grouped(window=512), routed(), routed(latent=True), routed(latent=True, heads=128))
DEGREES: tuple[dict[str, Any], ...] = (
    {"tp": 1}, {"tp": 2}, {"tp": 4}, {"pp": 2}, {"tp": 2, "pp": 2}, {"weights": "fp8"}, {"weights": "int4", "tp": 2},
    {"kv_cache": "fp8"}, {"tp": 4, "ep": 4}, {"tp": 8, "ep": 2}, {"tp": 8, "ep": 4},
    {"tp": 2, "attn_dp": 2, "ep": 4}, {"attn_dp": 3, "ep": 3}, {"attn_dp": 8, "ep": 8}, {"tp": 2, "attn_dp": 2},
    {"attn_dp": 4, "ep": 2}, {"attn_dp": 2, "ep": 2, "pp": 2}, {"tp": 8, "dcp": 2}, {"tp": 8, "dcp": 8, "ep": 8},
    {"tp": 4, "dcp": 2, "attn_dp": 2, "ep": 8}, {"tp": 4, "dcp": 4, "pp": 2}, {"pcp": 2, "ep": 2},
    {"tp": 2, "pcp": 4, "ep": 8}, {"tp": 2, "pcp": 2, "dcp": 2, "ep": 4}, {"tp": 2, "pcp": 2},
)  # fmt: skip
ENGINES: tuple[EngineName, ...] = ("vllm", "sglang", "trtllm")
CASES = st.sampled_from([
    (model, degrees)
    for model in MODELS
    for degrees in DEGREES
    if any(not refusals(model, case(model, **degrees).layout, engine) for engine in ENGINES)
])  # fmt: skip
BATCHES = st.builds(
    Batch,
    prompts=st.integers(0, 8).map(float), tokens=st.integers(1, 4096).map(float), past=st.integers(0, 4096).map(float),
    decodes=st.integers(1, 300).map(float), context=st.integers(1, 16384).map(float),
    distinct=st.none(), everyone=st.none(),
)  # fmt: skip


@given(gpu=st.sampled_from(CALIBRATED), replica=CASES, batch=BATCHES)
def test_no_step_is_faster_than_its_bytes_its_flop_and_its_messages_and_its_parts_add_up(
    gpu: str, replica: tuple[ModelSpec, dict[str, Any]], batch: Batch
) -> None:
    (model, degrees), spec = replica, presets.load_gpu(gpu)
    priced = case(model, gpu=spec, calibration=presets.load_calibration(spec), **degrees)
    price = step(priced, batch)
    assert price.total == pytest.approx(
        sum((price.gemm, price.attention, price.collectives, price.pipeline, price.overhead))
    )
    cached, attended = attention_of(priced, batch)
    assert price.attention >= max(cached / spec.memory_bandwidth, attended / spec.peak.bf16) * (1 - 1e-9)
    n_bytes, flop = cached + bytes_of(priced), attended + flop_of(priced, batch)
    least = max(n_bytes / spec.memory_bandwidth, flop / peak_of(spec))
    assert price.total >= (least + messages_of(priced, batch) / 450e9) * (1 - 1e-9)
    assert sum(stations(priced, batch).sum) <= price.total * (1 + 1e-9)


def peak_of(gpu: GpuSpec) -> float:
    return max(gpu.peak.bf16, gpu.peak.fp8 or 0, gpu.peak.fp4 or 0)


def bytes_of(priced: Case) -> float:
    """Return bytes of weights that a mean rank must read: those of dense layers, or of a token's experts."""
    layout, model, block = priced.layout, priced.model, priced.model.runs[0].feed_forward
    if block.kind == "dense":
        head = model.vocab * model.hidden * 2 / layout.tp
        return sum(weights_bytes(model, layout, s) for s in range(layout.pp)) - head
    each = 3 * model.hidden * block.intermediate / (2 if layout.weights == "int4" else 1)
    return model.num_layers * block.top_k * each / layout.ranks_per_stage


def flop_of(priced: Case, batch: Batch) -> float:
    """Return FLOP of a mean rank beside attention: projections of its rows, its part of the experts of all rows."""
    layout, model, block = priced.layout, priced.model, priced.model.runs[0].feed_forward
    new = batch.prompts * batch.tokens
    rows = (new / layout.pcp + batch.decodes) / layout.attn_dp
    per_row = 2 * model.hidden * model.hidden / layout.tp
    if block.kind == "dense":
        per_row += 6 * model.hidden * block.intermediate / layout.tp
    else:
        chosen = 6 * model.hidden * block.intermediate * block.top_k / layout.ranks_per_stage
        per_row += chosen * (new + batch.decodes) / rows
    return per_row * rows * model.num_layers


def attention_of(priced: Case, batch: Batch) -> tuple[float, float]:
    """Return bytes of the KV cache that a mean rank must read, and FLOP of its attention over cached and new tokens.

    Decode context ranks inside TP each have fewer tokens for more heads, those over prefill context their own heads.
    """
    layout, model, attention = priced.layout, priced.model, priced.model.runs[0].attention
    seen = min(batch.context, attention.reach or batch.context)
    values = max(1, 4 / layout.tp) * 2 * 128 if attention.kind == "gqa" else 576
    width = 1 if layout.kv_cache == "fp8" else 2
    cached = batch.decodes / layout.attn_dp * seen * values * width / layout.dcp
    heads = attention.heads / layout.tp / layout.attn_dp
    per_cached = 4 * 128 if attention.kind == "gqa" else 2 * (2 * 512 + 64)
    over = layout.dcp if layout.pcp > 1 else 1
    attended = heads * per_cached * batch.decodes * seen / over
    pairs = batch.prompts * min(batch.tokens**2 / 2, batch.tokens * (attention.reach or batch.tokens) / 2)
    attended += heads * 4 * 128 * pairs / layout.pcp
    return cached * model.num_layers, attended * model.num_layers


def messages_of(priced: Case, batch: Batch) -> float:
    """Return bytes that a mean rank must receive: rows of others for the experts, and their sums."""
    layout, model = priced.layout, priced.model
    others = layout.attn_dp * layout.pcp
    if model.runs[0].feed_forward.kind == "dense" or others == 1:
        return 0.0
    every = batch.prompts * batch.tokens + batch.decodes
    return 2 * every * (others - 1) / others * model.hidden * 2 * model.num_layers


@given(replica=CASES, batch=BATCHES, more=st.floats(1, 4))
def test_a_step_is_never_slower_on_faster_memory_with_a_shorter_context_or_fewer_sequences(
    replica: tuple[ModelSpec, dict[str, Any]], batch: Batch, more: float
) -> None:
    calibration = presets.load_calibration(H100)
    base = case(replica[0], calibration=calibration, **replica[1])
    total = step(base, batch).total
    faster = replace(base, gpu=H100.model_copy(update={"memory_bandwidth": H100.memory_bandwidth * more}))
    assert step(faster, batch).total <= total * (1 + 1e-9)
    assert step(base, batch._replace(context=batch.context / more)).total <= total * (1 + 1e-9)
    if base.layout.attn_dp == 1:
        assert step(base, batch._replace(decodes=batch.decodes / more)).total <= total * (1 + 1e-9)


def test_the_price_of_a_slow_gpu_is_that_of_its_share_of_speed() -> None:
    slow = case()
    slow = replace(slow, wiring=replace(slow.wiring, speed_factor=0.5))
    assert decode(slow, 1, 1).gemm == pytest.approx(2 * decode(case(), 1, 1).gemm)
