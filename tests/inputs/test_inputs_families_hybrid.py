"""Gemma 4 and MiMo-V2: sliding layers with other heads, counts publishers state, what NVFP4 leaves in 16 bits."""

from typing import Any

import pytest
from published_totals import published

from optimizer.cost.parameters import active_parameters, model_kv_bytes_per_token, total_parameters
from optimizer.errors import InputError
from optimizer.inputs.huggingface import from_config
from optimizer.inputs.model import GroupedQuery, MixtureOfExperts, ModelSpec

COMMON: dict[str, Any] = {"tie_word_embeddings": True, "vocab_size": 262144, "max_position_embeddings": 262144}
GEMMA4: dict[str, Any] = COMMON | {
    "model_type": "gemma4_text", "hidden_size": 2816, "num_hidden_layers": 30, "num_attention_heads": 16,
    "num_key_value_heads": 8, "head_dim": 256, "global_head_dim": 512, "num_global_key_value_heads": 2,
    "attention_k_eq_v": True, "intermediate_size": 2112, "enable_moe_block": True, "num_experts": 128,
    "top_k_experts": 8, "moe_intermediate_size": 704, "sliding_window": 1024,
    "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 5,
}  # fmt: skip
GEMMA4_TOWER = {
    "model_type": "gemma4_vision", "hidden_size": 1152, "num_hidden_layers": 27, "num_attention_heads": 16,
    "head_dim": 72, "intermediate_size": 4304, "patch_size": 16, "position_embedding_size": 10240,
}  # fmt: skip
MIMO_V2: dict[str, Any] = {
    "model_type": "mimo_v2_flash", "hidden_size": 4096, "num_hidden_layers": 48, "num_attention_heads": 64,
    "num_key_value_heads": 4, "head_dim": 192, "v_head_dim": 128, "intermediate_size": 16384, "vocab_size": 152576,
    "max_position_embeddings": 262144, "sliding_window": 128, "swa_num_attention_heads": 64,
    "swa_num_key_value_heads": 8, "swa_head_dim": 192, "swa_v_head_dim": 128, "n_routed_experts": 256,
    "num_experts_per_tok": 8, "moe_intermediate_size": 2048, "topk_method": "noaux_tc", "tie_word_embeddings": False,
    "hybrid_layer_pattern": [0, *[1] * 4, *([0, *[1] * 5] * 7), 0], "moe_layer_freq": [0, *[1] * 47],
    "add_swa_attention_sink_bias": True,
}  # fmt: skip


def read(config: dict[str, Any]) -> ModelSpec:
    return from_config(config, name="org/model", where="config.json")


@pytest.mark.parametrize(
    ("name", "config", "active"),
    [
        ("google/gemma-4-26B-A4B", {"model_type": "gemma4", "text_config": GEMMA4, "vision_config": GEMMA4_TOWER}, 3.8),
        ("XiaomiMiMo/MiMo-V2-Flash", MIMO_V2, 15.0),
    ],
)
def test_counts_are_what_the_publisher_states(name: str, config: dict[str, Any], active: float) -> None:
    model, stated = read(config), published(name)
    assert stated is not None
    assert (total_parameters(model) + model.vision_parameters) / 1e9 == pytest.approx(stated[0], rel=0.005)
    assert active_parameters(model) / 1e9 == pytest.approx(active, rel=0.05)


def test_gemma_4_caches_keys_and_values_of_wider_heads_where_it_sees_everything() -> None:
    model = read(GEMMA4)
    assert [(run.attention.reach, run.attention.head_dim, run.count) for run in model.runs[:2]] == [
        (1024, 256, 5),
        (None, 512, 1),
    ]
    assert model_kv_bytes_per_token(model, "bf16") == 5 * 2 * 2 * 512 * 2


def test_mimo_v2_has_more_kv_heads_and_sinks_where_it_slides() -> None:
    kinds = {run.attention for run in read(MIMO_V2).runs if isinstance(run.attention, GroupedQuery)}
    assert {(a.kv_heads, a.window, a.sinks, a.value_dim) for a in kinds} == {(4, None, False, 128), (8, 128, True, 128)}


def test_experts_beside_a_dense_block_are_told_from_it_when_only_the_block_stays_in_16_bits() -> None:
    numbers = {"num_bits": 4, "type": "float", "group_size": 16}
    ignored = [
        f"model.language_model.layers.{n}.{part}" for n in range(30) for part in ("mlp*", "self_attn*", "router*")
    ]
    stored = {"quant_method": "modelopt", "quant_algo": "NVFP4", "config_groups": {"g": {"weights": numbers}}}
    model = read({"model_type": "gemma4", "text_config": GEMMA4, "quantization_config": stored | {"ignore": ignored}})
    assert model.quantization is not None
    assert {"attention", "shared"} <= set(model.quantization.kept)
    assert "experts" not in model.quantization.kept
    assert all(isinstance(run.feed_forward, MixtureOfExperts) for run in model.runs)


@pytest.mark.parametrize("pattern", [None, [0, 1], [2] * 48])
def test_a_layer_pattern_that_is_none_is_refused(pattern: list[int] | None) -> None:
    with pytest.raises(InputError, match="hybrid_layer_pattern"):
        read(MIMO_V2 | {"hybrid_layer_pattern": pattern})


def test_gemma_4_with_embeddings_per_layer_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="per-layer input embeddings"):
        read(GEMMA4 | {"hidden_size_per_layer_input": 256})
