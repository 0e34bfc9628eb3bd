"""config.json of the hub: fields typed from published files; families read, quantisation told apart, gaps refused."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.cost.parameters import active_parameters, model_kv_bytes_per_token, total_parameters
from optimizer.errors import InputError
from optimizer.inputs.huggingface import from_config
from optimizer.inputs.model import GroupedQuery, Latent, MixtureOfExperts, ModelSpec, Quantization

LLAMA: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256, "max_position_embeddings": 131072,
    "tie_word_embeddings": False,
}  # fmt: skip
QWEN2 = LLAMA | {
    "model_type": "qwen2", "hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28,
    "num_key_value_heads": 4, "intermediate_size": 18944, "vocab_size": 152064, "use_sliding_window": False,
    "sliding_window": 131072, "max_window_layers": 28,
}  # fmt: skip
QWEN3_MOE = LLAMA | {
    "model_type": "qwen3_moe", "hidden_size": 2048, "num_hidden_layers": 48, "num_key_value_heads": 4,
    "head_dim": 128, "intermediate_size": 6144, "vocab_size": 151936, "num_experts": 128, "num_experts_per_tok": 8,
    "moe_intermediate_size": 768, "mlp_only_layers": [], "decoder_sparse_step": 1,
}  # fmt: skip
DEEPSEEK_V3: dict[str, Any] = {
    "model_type": "deepseek_v3", "hidden_size": 7168, "num_hidden_layers": 61, "num_attention_heads": 128,
    "num_key_value_heads": 128, "intermediate_size": 18432, "moe_intermediate_size": 2048, "n_routed_experts": 256,
    "n_shared_experts": 1, "num_experts_per_tok": 8, "first_k_dense_replace": 3, "moe_layer_freq": 1,
    "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
    "topk_method": "noaux_tc", "vocab_size": 129280, "max_position_embeddings": 163840, "tie_word_embeddings": False,
}  # fmt: skip
GPT_OSS: dict[str, Any] = {
    "model_type": "gpt_oss", "hidden_size": 2880, "num_hidden_layers": 24, "num_attention_heads": 64,
    "num_key_value_heads": 8, "head_dim": 64, "intermediate_size": 2880, "num_local_experts": 32,
    "num_experts_per_tok": 4, "sliding_window": 128, "vocab_size": 201088, "max_position_embeddings": 131072,
    "layer_types": ["sliding_attention", "full_attention"] * 12, "tie_word_embeddings": False,
}  # fmt: skip
GEMMA3_TEXT: dict[str, Any] = {
    "model_type": "gemma3_text", "hidden_size": 3840, "num_hidden_layers": 48, "num_attention_heads": 16,
    "num_key_value_heads": 8, "head_dim": 256, "intermediate_size": 15360, "sliding_window": 1024,
    "vocab_size": 262208, "max_position_embeddings": 131072, "rope_scaling": {"rope_type": "linear", "factor": 8.0},
}  # fmt: skip


def read(config: dict[str, Any], name: str = "org/model") -> ModelSpec:
    return from_config(config, name=name, where="config.json")


@pytest.mark.parametrize(
    ("config", "total", "active"),
    [
        (LLAMA, 8030261248, 8030261248),
        (QWEN2, 7615616512, 7615616512),
        (QWEN3_MOE, 30532122624, 3353032704),
        (DEEPSEEK_V3, 671026419200, 37552297472),
        (GPT_OSS, 20914757184, 4187440704),
    ],
    ids=["llama", "qwen2", "qwen3-moe", "deepseek-v3", "gpt-oss"],
)
def test_a_published_configuration_gives_the_published_counts(config: dict[str, Any], total: int, active: int) -> None:
    model = read(config)
    assert (total_parameters(model), active_parameters(model)) == (total, active)


def test_the_text_part_of_a_multimodal_configuration_is_read_with_its_vision_tower_beside() -> None:
    vision = {
        "model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "patch_size": 14,
        "image_size": 896, "num_hidden_layers": 27,
    }  # fmt: skip
    model = read({"model_type": "gemma3", "text_config": GEMMA3_TEXT, "vision_config": vision})
    # Gemma 3 12B, safetensors index: 12,187,325,040 of text and vision; its embedding is tied and has 262,208 rows
    assert total_parameters(model) + model.vision_parameters == 12187325040
    assert model.tied_embeddings


def test_a_vision_tower_that_cannot_be_counted_is_said_to_be_missing() -> None:
    model = read({"text_config": LLAMA, "vision_config": {"model_type": "unheard_of"}})
    assert "missing" in model.sources["vision_parameters"]


def test_linear_rope_scaling_stretches_the_table_of_angles_of_global_layers_alone() -> None:
    assert read(GEMMA3_TEXT).rotary_numbers == (8 + 1) * 131072 * 256


def test_five_gemma_layers_slide_and_the_sixth_sees_everything() -> None:
    model = read(GEMMA3_TEXT)
    assert [(run.attention.reach, run.count) for run in model.runs[:2]] == [(1024, 5), (None, 1)]


def test_a_window_that_is_switched_off_is_none() -> None:
    assert {run.attention.reach for run in read(QWEN2).runs} == {None}


def test_a_window_from_a_given_layer_on_is_read() -> None:
    model = read(QWEN2 | {"use_sliding_window": True, "sliding_window": 4096, "max_window_layers": 20})
    assert [(run.attention.reach, run.count) for run in model.runs] == [(None, 20), (4096, 8)]


def test_first_deepseek_layers_are_dense_and_the_rest_has_a_shared_expert() -> None:
    dense, mixed = read(DEEPSEEK_V3).runs
    assert (dense.count, mixed.count) == (3, 58)
    assert isinstance(mixed.feed_forward, MixtureOfExperts)
    assert mixed.feed_forward.shared_intermediate == 2048
    assert isinstance(mixed.attention, Latent)


def test_an_indexer_is_read_where_there_is_one() -> None:
    config = DEEPSEEK_V3 | {
        "model_type": "deepseek_v32", "index_n_heads": 64, "index_head_dim": 128, "index_topk": 2048,
    }  # fmt: skip
    attention = read(config).runs[0].attention
    assert isinstance(attention, Latent)
    assert attention.indexer is not None
    assert attention.indexer.top_k == 2048


def test_llama4_interleaves_dense_layers_and_chunks() -> None:
    config = {
        "model_type": "llama4_text", "hidden_size": 5120, "num_hidden_layers": 48, "num_attention_heads": 40,
        "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 8192, "intermediate_size_mlp": 16384,
        "num_local_experts": 128, "num_experts_per_tok": 1, "interleave_moe_layer_step": 2, "vocab_size": 202048,
        "attention_chunk_size": 8192, "max_position_embeddings": 1048576,
    }  # fmt: skip
    model = read({"model_type": "llama4", "text_config": config})
    assert total_parameters(model) == 400711848960
    assert [run.feed_forward.kind for run in model.runs[:4]] == ["dense", "moe", "dense", "moe"]
    chunks = [run.attention.chunk for run in model.runs[:4] if isinstance(run.attention, GroupedQuery)]
    assert chunks == [8192, 8192, 8192, None]


KEPT = ("router", "embedding", "head")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, ("fp8-block", KEPT, 128)),
        ({"quant_method": "fp8", "activation_scheme": "static", "weight_block_size": None}, ("fp8", KEPT, None)),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, ("int4", KEPT, 128)),
        ({"quant_method": "awq", "bits": 4, "group_size": 64}, ("int4", KEPT, 64)),
        ({"quant_algo": "FP8", "ignore": ["lm_head"]}, ("fp8", KEPT, None)),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"]}, ("nvfp4", KEPT, 16)),
        (
            {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head", "model.layers.*.self_attn*"]},
            ("nvfp4", ("attention", *KEPT), 16),
        ),
        (
            {
                "quant_method": "compressed-tensors", "ignore": ["lm_head", "re:.*self_attn.*"],
                "config_groups": {"g": {"weights": {"type": "int", "num_bits": 4, "group_size": 32}}},
            },
            ("int4", ("attention", *KEPT), 32),
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"g": {"weights": {"type": "float", "num_bits": 8, "strategy": "channel"}}},
            },
            ("fp8", KEPT, None),
        ),
    ],
)  # fmt: skip
def test_stored_schemes_are_told_apart(config: dict[str, Any], expected: tuple[str, tuple[str, ...], int]) -> None:
    stored = read(LLAMA | {"quantization_config": config}).quantization
    assert stored is not None
    assert (stored.scheme, stored.kept, stored.block) == expected


def test_mxfp4_experts_leave_attention_in_16_bits() -> None:
    ignored = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]
    stored = read(GPT_OSS | {"quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": ignored}})
    assert stored.quantization == Quantization(scheme="mxfp4", kept=("attention", *KEPT), block=32)


def test_a_head_that_is_not_ignored_is_quantised_too() -> None:
    config = {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["model.layers.*.self_attn*"]}
    stored = read(LLAMA | {"quantization_config": config}).quantization
    assert stored is not None
    assert "head" not in stored.kept


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model_type": "nemotron_h"}, "Mamba"),
        ({"model_type": "deepseek_v4"}, "compressed sparse attention"),
        ({"model_type": "qwen3_5_text"}, "linear attention"),
        ({"model_type": "surely_new"}, "surely_new"),
        ({"linear_attn_config": {"num_heads": 4}}, "linear attention"),
        ({"num_kv_shared_layers": 10}, "num_kv_shared_layers"),
        ({"block_configs": [{}]}, "irregular width"),
        ({"hidden_size": None}, "hidden_size"),
        ({"hidden_size": "4096"}, "hidden_size"),
        ({"num_key_value_heads": 5}, "groups"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "bitsandbytes"),
        ({"quantization_config": {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}}, "MIXED_PRECISION"),
        ({"quantization_config": {"quant_method": "fp8", "weight_block_size": [1, 128]}}, "square"),
        (
            {"quantization_config": {"quant_method": "fp8", "modules_to_not_convert": ["model.layers.0.self_attn"]}},
            "1 of 32 layers",
        ),
    ],
)
def test_what_is_not_modelled_is_refused_by_name(change: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named) as caught:
        read(LLAMA | change)
    assert str(caught.value).startswith("config.json: ")


DSA = DEEPSEEK_V3 | {"model_type": "glm_moe_dsa", "index_n_heads": 32, "index_head_dim": 128, "index_topk": 2048}


def test_layers_that_share_an_indexer_have_none_of_their_own_and_cache_no_index_keys() -> None:
    own, shared = read(DSA), read(DSA | {"indexer_types": ["full"] * 3 + ["shared"] * 58})
    one_indexer = 1536 * 32 * 128 + 7168 * 128 + 2 * 128 + 7168 * 32
    assert total_parameters(own) - total_parameters(shared) == 58 * one_indexer
    assert model_kv_bytes_per_token(own, "bf16") - model_kv_bytes_per_token(shared, "bf16") == 58 * 132
    last = shared.runs[-1].attention
    assert isinstance(last, Latent)
    assert last.shared_top_k == 2048


def test_an_indexer_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(InputError, match="indexer_types"):
        read(DSA | {"indexer_types": ["shared"] * 61})


def test_a_quantised_name_without_a_quantization_config_is_refused() -> None:
    with pytest.raises(InputError, match="hf_quant_config"):
        read(LLAMA, name="nvidia/Llama-3.1-8B-Instruct-NVFP4")


def test_a_window_of_qwen_counts_only_when_it_is_asked_for() -> None:
    config = {key: value for key, value in QWEN2.items() if key != "use_sliding_window"}
    assert {run.attention.reach for run in read(config).runs} == {None}


def test_gpt_oss_alternates_even_when_its_layers_are_not_listed() -> None:
    config = {key: value for key, value in GPT_OSS.items() if key != "layer_types"}
    assert read(config) == read(GPT_OSS)


def test_layers_of_an_unknown_kind_are_refused() -> None:
    with pytest.raises(InputError, match="hyper_attention is not modelled"):
        read(LLAMA | {"layer_types": ["full_attention", "hyper_attention"] * 16})


def test_more_layers_than_any_model_has_are_refused_before_they_fill_memory() -> None:
    with pytest.raises(InputError, match="num_hidden_layers"):
        read(LLAMA | {"num_hidden_layers": 10**9})


scalars = st.none() | st.booleans() | st.integers(-2, 10**7) | st.floats() | st.text(max_size=4)
anything = st.recursive(
    scalars, lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=4), x, max_size=3)
)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(
    base=st.sampled_from([LLAMA, QWEN2, QWEN3_MOE, DEEPSEEK_V3, GPT_OSS, GEMMA3_TEXT]),
    data=st.data(),
    value=anything,
)
def test_any_configuration_is_read_or_refused_with_an_input_error(
    base: dict[str, Any], data: st.DataObject, value: Any
) -> None:
    more = [
        "quantization_config",
        "rope_scaling",
        "partial_rotary_factor",
        "rotary_dim",
        "attention_bias",
        "text_config",
    ]
    key = data.draw(st.sampled_from([*base, *more]))
    try:
        model = read(base | {key: value})
    except InputError:
        return
    assert total_parameters(model) > 0
