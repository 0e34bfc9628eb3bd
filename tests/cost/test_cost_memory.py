"""Memory per rank against what engines logged and what vLLM's own model classes hold.

Weights: vLLM 0.33's model classes built without data, parameters of one rank in GiB. Pools and ledgers: vLLM 0.24.0
measured on H200 (NVSwitch, NVLS off, utilisation 0.9, 256 sequences, 8,192 batched tokens) and the start-up logs of
vLLM 0.19.0 on H100 that the llm-d planner's accuracy sweep published.
"""

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledgers import GIB, case, decoder, layout

from optimizer.cost.case import Case
from optimizer.cost.kv import rank_kv_bytes_per_token
from optimizer.cost.memory import activation_bytes, kv_pool, ledger, sequences_that_fit
from optimizer.cost.shards import weights_bytes
from optimizer.inputs.model import ModelSpec, Quantization
from optimizer.inputs.presets import load_model
from optimizer.inputs.workload import EngineChoice

FP8_BLOCK = Quantization(scheme="fp8-block", block=128)

RANKS: list[tuple[str, dict[str, Any], int, float]] = [
    # preset, degrees, stage, GiB
    ("llama-3.1-70b", {"tp": 8}, 0, 16.429),
    ("llama-3.1-70b", {"tp": 4}, 0, 32.856),
    ("llama-3.1-70b", {"tp": 16}, 0, 8.372),
    ("llama-3.1-405b", {"tp": 8, "pp": 2}, 0, 47.251),
    ("llama-3.1-405b", {"tp": 8, "pp": 2}, 1, 47.251),
    ("qwen3-235b-a22b-fp8", {"tp": 8}, 0, 27.673),
    ("qwen3-235b-a22b-fp8", {"tp": 8, "ep": 8}, 0, 27.653),
    ("qwen3-235b-a22b-fp8", {"tp": 4}, 0, 55.122),
    ("qwen3-235b-a22b-fp8", {"attn_dp": 8, "ep": 8}, 0, 35.099),
    ("qwen3-235b-a22b", {"tp": 8}, 0, 54.910),
    ("qwen3-32b", {"tp": 16}, 0, 3.893),
    ("qwen3-32b-fp8", {"tp": 8}, 0, 3.997),
    ("qwen3-30b-a3b", {"tp": 8}, 0, 7.153),
    ("qwen3-30b-a3b", {"tp": 8, "weights": "fp8-block"}, 0, 3.674),
    ("qwen3-coder-480b-a35b", {"tp": 8}, 0, 111.895),
    ("gpt-oss-120b", {"tp": 8}, 0, 8.113),
    ("gpt-oss-120b", {"tp": 4}, 0, 16.176),
    ("mixtral-8x22b", {"tp": 8}, 0, 32.746),
    ("deepseek-v3", {"tp": 8}, 0, 79.293),
    ("deepseek-v3", {"tp": 8, "dcp": 8}, 0, 79.293),
    ("deepseek-v3", {"tp": 16}, 0, 40.177),
    ("deepseek-v3", {"attn_dp": 16, "ep": 16}, 0, 55.843),
    ("deepseek-v3", {"tp": 8, "attn_dp": 2, "ep": 16}, 0, 43.303),
    ("deepseek-v3", {"tp": 8, "pp": 3}, 0, 23.501),
    ("deepseek-v3", {"tp": 8, "pp": 3}, 1, 28.466),
    ("deepseek-v3", {"tp": 8, "pp": 3}, 2, 27.326),
    ("kimi-k2", {"tp": 16}, 0, 61.002),
    ("minimax-m2.5", {"tp": 8}, 0, 26.968),
    ("minimax-m2.5", {"tp": 16}, 0, 13.636),
    ("llama-4-scout", {"tp": 8}, 0, 25.207),
]


@pytest.mark.parametrize(("preset", "degrees", "stage", "gib"), RANKS, ids=lambda value: str(value).replace(" ", ""))
def test_a_rank_holds_what_the_engines_own_model_holds(
    preset: str, degrees: dict[str, Any], stage: int, gib: float
) -> None:
    model = load_model(preset)
    assert weights_bytes(model, layout(model, **degrees), stage) / GIB == pytest.approx(gib, rel=0.005)


class Measured(NamedTuple):
    model: ModelSpec
    degrees: dict[str, Any]
    weights_gib: float
    kv_tokens: int


def h200() -> list[Measured]:
    small, big = load_model("llama-3.1-8b"), load_model("llama-3.1-70b")
    return [
        Measured(load_model("deepseek-v2-lite"), {}, 29.34, 3285008),
        Measured(big, {"pp": 2}, 65.74, 378848),
        Measured(small, {"weights": "fp8"}, 8.54, 949584),
        Measured(small, {"kv_cache": "fp8"}, 15.04, 1793328),
        Measured(small, {}, 15.00, 896912),
        Measured(small, {"tp": 2}, 7.54, 1919088),
        Measured(small, {"tp": 4}, 3.79, 3967344),
        Measured(load_model("qwen3-30b-a3b"), {}, 56.88, 735776),
        Measured(load_model("qwen3-32b"), {}, 61.03, 257856),
    ]


def on_h200(row: Measured) -> Case:
    choice = EngineChoice(version="0.24.0", gpu_memory_utilization=0.9, max_num_seqs=256, max_num_batched_tokens=8192)
    model = row.model.model_copy(update={"max_model_len": 10240})
    return case(model, layout(model, **row.degrees), choice=choice)


def errors(rows: Sequence[Measured], cases: Sequence[Case]) -> tuple[list[float], list[float]]:
    """Return relative errors of pool tokens and of the heaviest rank's weights."""
    pools = [kv_pool(c) / row.kv_tokens - 1 for row, c in zip(rows, cases, strict=True)]
    heaviest = [max(rank.weights_bytes for rank in ledger(c, 1, 100.0)[0]) / GIB for c in cases]
    return pools, [w / row.weights_gib - 1 for w, row in zip(heaviest, rows, strict=True)]


def test_pools_and_weights_measured_on_h200_are_met() -> None:
    rows = h200()
    pools, weights = errors(rows, [on_h200(row) for row in rows])
    assert fmean(map(abs, pools)) < 0.0015
    assert max(map(abs, pools)) < 0.0025
    assert max(map(abs, weights)) < 0.01


@pytest.mark.parametrize("left_out", range(9))
def test_the_one_fitted_constant_predicts_runs_it_was_not_fitted_to(left_out: int) -> None:
    """The constant is refitted to the other eight ledgers: the pool of the ninth stays within 0.3 %."""
    rows = h200()
    wanted = [_wanted_overhead(row) for place, row in enumerate(rows) if place != left_out]
    replica = on_h200(rows[left_out])
    facts = replica.facts.model_copy(update={"non_torch_bytes": round(fmean(wanted))})
    assert kv_pool(replace(replica, facts=facts)) == pytest.approx(rows[left_out].kv_tokens, rel=0.003)


def _wanted_overhead(row: Measured) -> float:
    """Return the bytes outside the allocator that would make this row exact."""
    replica = on_h200(row)
    rank = ledger(replica, 1, 100.0)[0][-1]
    grouped = replica.facts.non_torch_bytes_per_group if replica.layout.tp > 1 else 0
    used = rank.weights_bytes + rank.activation_bytes + row.kv_tokens * rank.kv_bytes_per_token
    return rank.capacity_bytes - used - grouped


QWEN7 = ("qwen2", 3584, 28, 28, 4, 18944, 152064)


def h100() -> list[Measured]:
    """Return rows of the sweep: utilisation 0.95, 8,192 batched tokens and context, the server's 1,024 sequences."""
    small = load_model("llama-3.1-8b")
    big = load_model("llama-3.1-70b")
    lite = load_model("deepseek-v2-lite")
    granite = decoder(
        "granite", 4096, 40, 32, 8, 12800, 49159, tie_word_embeddings=True, max_position_embeddings=131072
    )
    phi4 = decoder("phi3", 5120, 40, 40, 10, 17920, 100352, max_position_embeddings=16384)
    kimi_dev = decoder("qwen2", 8192, 80, 64, 8, 29568, 152064, max_position_embeddings=131072)
    qwen = decoder(*QWEN7, max_position_embeddings=32768)
    return [
        Measured(decoder("llama", 4096, 32, 32, 32, 11008, 32016, max_position_embeddings=16384), {}, 12.56, 126256),
        Measured(lite, {}, 29.43, 1505552),
        Measured(big, {"tp": 2, "weights": "fp8"}, 33.88, 244304),
        Measured(big, {"tp": 4, "weights": "fp8"}, 16.96, 708992),
        Measured(qwen, {"weights": "fp8"}, 8.14, 1210304),
        Measured(load_model("gemma-2-9b"), {}, 17.22, 168880),
        Measured(load_model("gemma-3-27b"), {}, 51.45, 36560),
        Measured(granite, {}, 15.25, 384432),
        Measured(phi4, {}, 27.39, 241568),
        Measured(kimi_dev, {"tp": 2}, 67.82, 19776),
        Measured(kimi_dev, {"tp": 4}, 34.01, 481296),
        Measured(load_model("qwen3-30b-a3b"), {}, 56.88, 168288),
        Measured(small, {"weights": "int4"}, 5.38, 554704),
        Measured(small, {"weights": "int8"}, 8.49, 529200),
        Measured(qwen, {"weights": "int8"}, 8.14, 1210272),
        Measured(lite, {"tp": 2}, 14.83, 1948752),
        Measured(lite, {"tp": 4}, 7.51, 2199888),
        Measured(granite, {"tp": 2}, 7.64, 847536),
        Measured(granite, {"tp": 4}, 3.87, 1792912),
        Measured(phi4, {"tp": 2}, 13.77, 606784),
        Measured(load_model("qwen3-30b-a3b"), {"tp": 4}, 14.25, 2454064),
    ]


def on_h100(row: Measured) -> Case:
    choice = EngineChoice(version="0.19.0", gpu_memory_utilization=0.95, max_num_batched_tokens=8192)
    model = row.model.model_copy(update={"max_model_len": 8192})
    placed = layout(model, **row.degrees)
    return case(model, placed, gpu="h100-sxm", memory_bytes=round(79.19 * GIB), choice=choice)


def test_pools_and_weights_logged_on_h100_are_met() -> None:
    rows = h100()
    cases = [on_h100(row) for row in rows]
    pools, weights = errors(rows, cases)
    assert fmean(map(abs, pools)) < 0.006
    assert max(map(abs, pools)) < 0.02
    assert fmean(map(abs, weights)) < 0.006
    assert max(map(abs, weights)) < 0.02


def test_no_configuration_that_ran_is_called_infeasible() -> None:
    for row, replica in [(r, on_h200(r)) for r in h200()] + [(r, on_h100(r)) for r in h100()]:
        assert ledger(replica, 1, 1024.0)[1] == (), row.model.name


def test_deepseek_r1_on_one_h100_is_refused_in_numbers() -> None:
    model = load_model("deepseek-r1")
    replica = case(model, layout(model), gpu="h100-sxm", choice=EngineChoice(gpu_memory_utilization=0.9))
    ranks, (reason,) = ledger(replica, 1, 1024.0)
    assert not ranks[0].fits
    assert reason.startswith("rank 0 (stage 0) needs 63")
    assert "weights 626.9 GiB" in reason
    assert "no sequence fits" in reason


def test_a_context_that_does_not_fit_names_the_longest_that_does() -> None:
    """vLLM refused to start this one: 262,144 tokens of Qwen3-Coder-30B-A3B FP8, 32 of 48 layers on a 16 GiB GPU."""
    model = load_model("qwen3-30b-a3b").model_copy(
        update={"quantization": FP8_BLOCK, "context": 262144, "max_model_len": 262144}
    )
    placed = layout(model, pp=2, layers=(16, 32))
    replica = case(model, placed, memory_bytes=round(15.5 * GIB), choice=EngineChoice(gpu_memory_utilization=0.9))
    ranks, reasons = ledger(replica, 1, 1024.0)
    assert [rank.fits for rank in ranks] == [False, False]
    longest = int(reasons[0].rsplit(" ", 1)[1])
    fitting = replace(replica, engine=replace(replica.engine, max_model_len=longest))
    beyond = replace(replica, engine=replace(replica.engine, max_model_len=longest + 16))
    assert not any("stage 0" in reason for reason in ledger(fitting, 1, 1024.0)[1])
    assert any("stage 0" in reason for reason in ledger(beyond, 1, 1024.0)[1])


def test_more_sequences_than_the_pool_holds_are_counted() -> None:
    model = load_model("llama-3.1-70b")
    replica = case(model, layout(model, tp=2, weights="fp8"))
    fit = sequences_that_fit(replica, 2048.0)
    assert ledger(replica, fit, 2048.0)[1] == ()
    _, (reason,) = ledger(replica, fit + 1, 2048.0)
    assert reason.endswith(f"{fit} sequences fit")
    assert f"KV of {fit + 1} sequences of 2048 tokens" in reason


@pytest.mark.parametrize(("tp", "gib"), [(1, 40960 * 8), (8, 40960), (16, 40960)])
def test_kv_heads_are_split_then_replicated(tp: int, gib: float) -> None:
    model = load_model("llama-3.1-70b")
    each = rank_kv_bytes_per_token(model.runs[0].attention, layout(model, tp=tp))
    assert model.num_layers * each == gib


def test_a_latent_is_whole_on_every_rank_until_decode_context_parallelism_deals_it_out() -> None:
    model = load_model("deepseek-v3")
    attention = model.runs[0].attention
    assert 61 * rank_kv_bytes_per_token(attention, layout(model, tp=8)) == 70272
    assert 61 * rank_kv_bytes_per_token(attention, layout(model, tp=8, dcp=8)) == 70272 / 8


def test_sparse_latents_in_fp8_keep_their_scales_and_rotary_key() -> None:
    model = load_model("deepseek-v3.2")
    each = rank_kv_bytes_per_token(model.runs[0].attention, layout(model, tp=8, kv_cache="fp8"))
    assert each == 656 + 132


def test_decode_context_parallelism_multiplies_the_pool() -> None:
    model = load_model("deepseek-v3")
    alone, dealt = (kv_pool(case(model, layout(model, tp=8, dcp=dcp))) for dcp in (1, 8))
    assert dealt == pytest.approx(8 * alone, rel=0.001)


def test_attention_replicas_add_up_their_pools() -> None:
    model = load_model("deepseek-v3")
    one = case(model, layout(model, tp=8, ep=8))
    two = case(model, layout(model, tp=8, attn_dp=2, ep=16))
    assert kv_pool(two) > 2 * kv_pool(one)
    assert len(ledger(two, 1, 100.0)[0]) == 16


def test_a_sliding_window_holds_its_blocks_however_long_the_sequence() -> None:
    model = load_model("gpt-oss-20b")
    replica = case(model, layout(model), choice=EngineChoice(max_num_batched_tokens=2048))
    rank = ledger(replica, 1, 100.0)[0][0]
    assert rank.kv_bytes_per_token == 12 * 2 * 8 * 64 * 2
    # 128 tokens back: 8 blocks of 16, and one more while the window moves
    assert rank.kv_bytes_per_sequence == 12 * 2 * 8 * 64 * 2 * (128 + 16)


def test_sglang_finds_its_static_share_as_its_own_resolution_does() -> None:
    model = load_model("deepseek-v3")
    assert case(model, layout(model, tp=8), engine="sglang").engine.gpu_memory_utilization == 0.893


def test_sglang_holds_the_tokens_logged_for_deepseek_r1_on_eight_h200() -> None:
    model = load_model("deepseek-r1")
    choice = EngineChoice(name="sglang", gpu_memory_utilization=0.82)
    assert kv_pool(case(model, layout(model, tp=8), engine="sglang", choice=choice)) == pytest.approx(509_000, rel=0.02)


def test_trtllm_takes_its_share_of_what_is_free() -> None:
    model = load_model("llama-3.1-8b")
    replica = case(model, layout(model), engine="trtllm")
    rank = ledger(replica, 1, 100.0)[0][0]
    free = rank.capacity_bytes - rank.weights_bytes - rank.activation_bytes - rank.overhead_bytes
    assert rank.capacity_bytes == replica.gpu.memory
    assert kv_pool(replica) == pytest.approx(0.9 * free / rank.kv_bytes_per_token, abs=32)


def test_activations_outside_the_static_share_must_fit_too() -> None:
    model = load_model("llama-3.1-8b")
    choice = EngineChoice(name="sglang", gpu_memory_utilization=1.0)
    _, reasons = ledger(case(model, layout(model), engine="sglang", choice=choice), 1, 100.0)
    assert reasons
    assert "activations" in reasons[0]


def test_only_the_last_stage_pays_for_the_sampler() -> None:
    model = load_model("llama-3.1-8b")
    replica = case(model, layout(model, pp=2), choice=EngineChoice(max_num_seqs=1024))
    logits = 1024 * model.vocab * replica.facts.sampler_bytes_per_logit
    assert activation_bytes(replica, 0) < logits <= activation_bytes(replica, 1)


def test_the_reserve_comes_off_the_capacity_and_fragmentation_off_the_pool() -> None:
    model = load_model("llama-3.1-8b")
    plain = case(model, layout(model))
    kept = case(model, layout(model), choice=EngineChoice.model_validate({"reserve": "2 GiB"}))
    torn = case(model, layout(model), choice=EngineChoice(fragmentation=0.1))
    assert ledger(plain, 1, 1.0)[0][0].capacity_bytes - ledger(kept, 1, 1.0)[0][0].capacity_bytes == 2 * GIB
    assert kv_pool(torn) == pytest.approx(0.9 * kv_pool(plain), rel=1e-4)


degrees = st.sampled_from([1, 2, 4, 8])


@settings(derandomize=True, deadline=None, max_examples=40)
@given(tp=degrees, pp=st.integers(1, 5), sequences=st.integers(1, 400), tokens=st.floats(16, 8000))
def test_more_sequences_never_fit_where_fewer_do_not(tp: int, pp: int, sequences: int, tokens: float) -> None:
    model = load_model("llama-3.1-70b")
    replica = case(model, layout(model, tp=tp, pp=pp))
    fewer, more = (not ledger(replica, n, tokens)[1] for n in (sequences, sequences + 50))
    assert fewer or not more


@settings(derandomize=True, deadline=None, max_examples=25)
@given(tp=degrees, pp=st.integers(1, 7))
def test_stages_of_a_replica_hold_all_parameters_at_least_once(tp: int, pp: int) -> None:
    model = load_model("qwen3-32b")
    placed = layout(model, tp=tp, pp=pp)
    whole = weights_bytes(model, layout(model), 0)
    held = tp * sum(weights_bytes(model, placed, stage) for stage in range(pp))
    assert whole <= held <= 1.01 * whole
