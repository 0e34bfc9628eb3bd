"""Layouts an engine admits: each rule in a pair, one layout that it lets pass and one that it does not."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledgers import layout

from optimizer.inputs.presets import load_model
from optimizer.inputs.workload import EngineName, Role
from optimizer.layout import RULES, Layout, layouts, parse_label, refusals, refuses_hand_over, split_layers

PAIRS: list[tuple[str, str, EngineName, dict[str, Any], dict[str, Any]]] = [
    # rule, preset, engine, passes, refused
    ("query_heads_divide", "qwen2.5-32b", "vllm", {"tp": 8}, {"tp": 16}),
    ("query_heads_divide", "llama-4-scout", "vllm", {"tp": 8}, {"tp": 16}),
    ("query_heads_divide", "mixtral-8x22b", "vllm", {"tp": 16}, {"tp": 32}),
    ("kv_heads_split_or_replicate", "llama-3.1-70b", "vllm", {"tp": 16}, {"tp": 6}),
    ("kv_heads_split_or_replicate", "gpt-oss-120b", "vllm", {"tp": 8}, {"tp": 16}),
    ("vocabulary_divides", "llama-3.1-8b", "vllm", {"tp": 2}, {"tp": 5}),
    ("feed_forward_divides", "qwen3-30b-a3b", "vllm", {"tp": 4}, {"tp": 5}),
    ("scale_blocks_stay_whole", "qwen3-32b-fp8", "vllm", {"tp": 8}, {"tp": 16}),
    ("scale_blocks_stay_whole", "qwen3-235b-a22b-fp8", "sglang", {"tp": 4}, {"tp": 8}),
    ("scale_blocks_stay_whole", "llama-3.1-8b", "vllm", {"tp": 8, "weights": "int4"}, {"tp": 32, "weights": "int4"}),
    ("stages_have_layers", "llama-3.1-8b", "vllm", {"pp": 32}, {"pp": 33, "layers": (*[1] * 32, 0)}),
    ("stages_have_layers", "llama-3.1-8b", "vllm", {"pp": 2, "layers": (20, 12)}, {"pp": 2, "layers": (20, 13)}),
    ("stages_have_layers", "llama-3.1-8b", "vllm", {"pp": 2, "layers": (31, 1)}, {"pp": 2, "layers": (32, 0)}),
    ("experts_spread", "mixtral-8x7b", "vllm", {"tp": 8, "ep": 8}, {"tp": 16, "ep": 16}),
    ("experts_spread", "llama-3.1-8b", "vllm", {"tp": 2}, {"tp": 2, "ep": 2}),
    ("experts_spread", "deepseek-v3", "vllm", {"tp": 8, "attn_dp": 2, "ep": 16}, {"tp": 8, "attn_dp": 2, "ep": 8}),
    ("experts_spread", "deepseek-v3", "sglang", {"tp": 8, "ep": 4}, {"tp": 8, "ep": 3}),
    ("attention_replicas_share_experts", "llama-3.1-8b", "vllm", {"tp": 2}, {"tp": 2, "attn_dp": 2}),
    ("attention_replicas_share_experts", "qwen3-30b-a3b", "sglang", {"attn_dp": 2}, {"attn_dp": 2, "pp": 2}),
    ("attention_replicas_share_experts", "qwen3-30b-a3b", "trtllm", {"attn_dp": 4}, {"tp": 2, "attn_dp": 2}),
    ("decode_context_divides", "deepseek-v3", "vllm", {"tp": 8, "dcp": 8}, {"tp": 8, "dcp": 3}),
    ("decode_context_divides", "llama-3.1-70b", "vllm", {"tp": 16, "dcp": 2}, {"tp": 8, "dcp": 2}),
    ("decode_context_divides", "qwen3-235b-a22b", "vllm", {"tp": 16, "dcp": 4}, {"tp": 8, "dcp": 4}),
    ("decode_context_divides", "deepseek-v3", "trtllm", {"tp": 8}, {"tp": 8, "dcp": 2}),
    ("decode_context_divides", "gemma-3-27b", "vllm", {"tp": 16}, {"tp": 32, "dcp": 2}),
    ("prefill_context_fits", "deepseek-v3", "vllm", {"tp": 4, "pcp": 2}, {"tp": 4, "pcp": 2, "pp": 2}),
    ("prefill_context_fits", "deepseek-v3", "vllm", {"tp": 4, "pcp": 2, "dcp": 2}, {"tp": 4, "pcp": 2, "dcp": 8}),
    ("prefill_context_fits", "deepseek-v3", "sglang", {"tp": 4}, {"tp": 4, "pcp": 2}),
    ("prefill_context_fits", "llama-3.1-70b", "vllm", {"tp": 4}, {"tp": 4, "pcp": 2}),
]


@pytest.mark.parametrize(("rule", "preset", "engine", "passes", "refused"), PAIRS)
def test_a_rule_lets_one_pass_and_names_why_it_stops_the_other(
    rule: str, preset: str, engine: EngineName, passes: dict[str, Any], refused: dict[str, Any]
) -> None:
    model = load_model(preset)
    check = next(function for function in RULES if getattr(function, "__name__", "") == rule)
    assert check(model, layout(model, **passes), engine) is None
    reason = check(model, layout(model, **refused), engine)
    assert reason
    assert reason in refusals(model, layout(model, **refused), engine)


@pytest.mark.parametrize(
    ("layers", "pp", "split"),
    [(61, 3, (20, 21, 20)), (126, 2, (63, 63)), (32, 5, (6, 6, 7, 7, 6)), (80, 3, (27, 27, 26)), (7, 1, (7,))],
)
def test_what_does_not_divide_goes_to_the_stages_before_the_last(layers: int, pp: int, split: tuple[int, ...]) -> None:
    assert split_layers(layers, pp) == split


def test_stages_may_be_odd_and_degrees_follow_the_heads() -> None:
    found = layouts(load_model("llama-3.1-8b"), 8, weights=("bf16",), kv=("bf16",), engine="vllm")
    assert {one.pp for one in found} == set(range(1, 9))
    assert {one.tp for one in found} == {1, 2, 4, 8}


def test_a_degree_need_not_be_a_power_of_two() -> None:
    bloom = load_model("bloom-176b")  # 112 heads, width 14336 = 2**11 * 7, vocabulary 250880 = 2**10 * 5 * 7**2
    degrees = {one.tp for one in layouts(bloom, 16, weights=("bf16",), kv=("bf16",), engine="vllm")}
    assert degrees == {1, 2, 4, 7, 8, 14, 16}


def offered(preset: str, gpus: int, engine: EngineName = "vllm", **fixed: int) -> tuple[Layout, ...]:
    model = load_model(preset)
    return layouts(model, gpus, weights=(model.checkpoint_scheme,), kv=("bf16",), engine=engine, fixed=fixed)


def test_experts_are_offered_sliced_and_spread() -> None:
    found = offered("qwen3-30b-a3b", 4, attn_dp=1)
    assert {(one.tp, one.ep) for one in found} == {(1, 1), (2, 1), (2, 2), (4, 1), (4, 4)}


def test_vllm_is_offered_experts_over_a_whole_stage_others_over_any_part_of_it() -> None:
    spread = {one.ep for one in offered("qwen3-30b-a3b", 8, tp=8, pp=1)}
    between = {one.ep for one in offered("qwen3-30b-a3b", 8, "sglang", tp=8, pp=1)}
    assert (spread, between) == ({1, 8}, {1, 2, 4, 8})


def test_attention_replicas_are_offered_in_any_number_with_whole_experts() -> None:
    found = [one for one in offered("qwen3-30b-a3b", 8) if one.attn_dp > 1]
    assert {one.attn_dp for one in found if one.tp == 1} == {2, 3, 4, 5, 6, 7, 8}
    assert all(one.ep == one.tp * one.attn_dp for one in found)


def test_large_stages_with_attention_replicas_have_few_odd_factors_unless_fixed() -> None:
    large = {one.ranks_per_stage for one in offered("deepseek-v3", 72) if one.ranks_per_stage > 16}
    assert large == {24, 32, 48, 64, 72}
    assert {one.attn_dp for one in offered("deepseek-v3", 72, attn_dp=20)} == {20}


def test_decode_context_is_offered_where_ranks_hold_copies_and_to_dense_models_when_asked() -> None:
    assert {one.dcp for one in offered("deepseek-v3", 8, tp=8, pp=1)} == {1, 2, 4, 8}
    assert {one.dcp for one in offered("qwen3-30b-a3b", 8, tp=8)} == {1, 2}
    assert {one.dcp for one in offered("llama-3.1-70b", 16, tp=16)} == {1}
    assert {one.label for one in offered("llama-3.1-70b", 16, tp=16, dcp=2)} == {"tp16dcp2"}


def test_prefill_context_is_offered_for_latent_attention_on_vllm_alone() -> None:
    assert {one.pcp for one in offered("deepseek-v2-lite", 8)} == {1, 2, 4, 8}
    assert {one.pcp for one in offered("qwen3-30b-a3b", 8)} == {1}
    assert {one.pcp for one in offered("deepseek-v2-lite", 8, "sglang")} == {1}


def test_a_dense_model_is_offered_tp_and_pp_alone() -> None:
    found = offered("llama-3.1-70b", 16)
    assert [(one.tp, one.pp) for one in found] == [
        (tp, pp) for world in range(1, 17) for pp in range(1, 17) for tp in (1, 2, 4, 8, 16) if tp * pp == world
    ]
    assert all((one.ep, one.dcp, one.pcp, one.attn_dp) == (1, 1, 1, 1) for one in found)


@pytest.mark.parametrize("label", ["tp8", "tp4pp2", "tp1attndp8ep8", "tp4pp2ep4dcp2", "tp2ep4pcp2"])
def test_a_label_names_a_layout_and_is_read_back(label: str) -> None:
    degrees = parse_label(label)
    assert degrees is not None
    given: dict[str, Any] = dict(degrees)
    assert Layout(**given, layers_per_stage=(1,) * degrees["pp"]).label == label


def test_a_label_may_name_degrees_in_any_order_and_nothing_else() -> None:
    assert parse_label("ep8tp1attndp8pp1") == parse_label("tp1attndp8ep8")
    assert [parse_label(text) for text in ("tp8tp8", "pp2", "tp8x2", "tp0", "")] == [None] * 5


def test_every_scheme_and_cache_is_offered_in_the_order_given() -> None:
    found = layouts(load_model("llama-3.1-8b"), 1, weights=("fp8", "bf16"), kv=("fp8", "bf16"), engine="vllm")
    assert [(one.weights, one.kv_cache) for one in found] == [
        ("fp8", "fp8"), ("fp8", "bf16"), ("bf16", "fp8"), ("bf16", "bf16"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("engine", "refused"), [("vllm", ["prefill", "decode"]), ("sglang", ["decode"]), ("trtllm", [])]
)
def test_kv_is_handed_over_only_between_stages_that_the_engine_joins(engine: EngineName, refused: list[str]) -> None:
    roles: tuple[Role, ...] = ("both", "prefill", "decode")
    assert [role for role in roles if refuses_hand_over(Layout(1, 2, (1, 1)), engine, role)] == refused
    assert not any(refuses_hand_over(Layout(2, 1, (2,)), engine, role) for role in roles)


presets = st.sampled_from(["llama-3.1-70b", "qwen3-235b-a22b", "gpt-oss-20b", "deepseek-v2-lite", "mixtral-8x7b"])
engines: st.SearchStrategy[EngineName] = st.sampled_from(["vllm", "sglang", "trtllm"])


@settings(derandomize=True, deadline=None, max_examples=40)
@given(preset=presets, engine=engines, gpus=st.integers(1, 40))
def test_what_is_offered_is_admissible_different_and_small_enough(preset: str, engine: EngineName, gpus: int) -> None:
    model = load_model(preset)
    found = layouts(model, gpus, weights=(model.checkpoint_scheme,), kv=("bf16", "fp8"), engine=engine)
    assert len(set(found)) == len(found)
    assert all(one.world_size <= gpus and not refusals(model, one, engine) for one in found)
    assert found == layouts(model, gpus, weights=(model.checkpoint_scheme,), kv=("bf16", "fp8"), engine=engine)
    sizes = [one.world_size for one in found]
    assert sizes == sorted(sizes)
