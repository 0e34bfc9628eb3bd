"""config.json of many architectures: facts of published configurations, as far as weights and caches depend on them."""

from typing import Any

from configs import CONFIGS

Config = dict[str, Any]

BLOCKS = {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128]}


def _unrouted(layers: int) -> Config:
    return BLOCKS | {"modules_to_not_convert": ["lm_head", *(f"model.layers.{n}.mlp.gate" for n in range(layers))]}


def _nvfp4(ignored: list[str]) -> Config:
    numbers = {"dynamic": False, "num_bits": 4, "type": "float", "group_size": 16}
    groups = {"group_0": {"input_activations": numbers, "weights": numbers, "targets": ["Linear"]}}
    return {"config_groups": groups, "ignore": ignored, "quant_algo": "NVFP4", "quant_method": "modelopt"}


def _int4(group: int, ignored: list[str]) -> Config:
    weights: Config = {
        "actorder": None, "block_structure": None, "dynamic": False, "group_size": group, "num_bits": 4,
        "observer": "minmax", "observer_kwargs": {}, "strategy": "group", "symmetric": True, "type": "int",
    }  # fmt: skip
    empty = {"input_activations": None, "output_activations": None}
    return {
        "config_groups": {"group_0": {**empty, "targets": ["Linear"], "weights": weights}}, "format": "pack-quantized",
        "ignore": ignored, "kv_cache_scheme": None, "quant_method": "compressed-tensors",
        "quantization_status": "compressed",
    }  # fmt: skip


def _decoder(
    architecture: str, kind: str, hidden: int, layers: int, heads: int, kv_heads: int, mlp: int, vocab: int,
    context: int, **more: object,
) -> Config:  # fmt: skip
    return {
        "architectures": [architecture], "model_type": kind, "hidden_size": hidden, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "intermediate_size": mlp, "vocab_size": vocab,
        "max_position_embeddings": context, "hidden_act": "silu", "rms_norm_eps": 1e-6, "torch_dtype": "bfloat16",
        "tie_word_embeddings": False, **more,
    }  # fmt: skip


def _latent(
    architecture: str, kind: str, hidden: int, layers: int, heads: int, mlp: int, vocab: int, context: int,
    *, ranks: tuple[int | None, int], widths: tuple[int, int, int], experts: tuple[int, int, int, int], dense: int,
    **more: object,
) -> Config:  # fmt: skip
    query, compressed = ranks
    count, chosen, width, shared = experts
    nope, rotary, value = widths
    return _decoder(architecture, kind, hidden, layers, heads, heads, mlp, vocab, context) | {
        "q_lora_rank": query, "kv_lora_rank": compressed, "qk_nope_head_dim": nope, "qk_rope_head_dim": rotary,
        "v_head_dim": value, "n_routed_experts": count, "num_experts_per_tok": chosen, "moe_intermediate_size": width,
        "n_shared_experts": shared, "first_k_dense_replace": dense, "moe_layer_freq": 1, "n_group": 1, "topk_group": 1,
        "norm_topk_prob": True, "scoring_func": "sigmoid", "topk_method": "noaux_tc", "routed_scaling_factor": 2.5,
        "rope_theta": 10000, "attention_bias": False, **more,
    }  # fmt: skip


def _qwen3_moe(kind: str = "qwen3_moe", **more: object) -> Config:
    return _decoder("Qwen3MoeForCausalLM", kind, 2048, 48, 32, 4, 6144, 151936, 262144, head_dim=128) | {
        "moe_intermediate_size": 768, "num_experts": 128, "num_experts_per_tok": 8, "norm_topk_prob": True,
        "decoder_sparse_step": 1, "mlp_only_layers": [], "attention_bias": False, "rope_theta": 1000000, **more,
    }  # fmt: skip


def _qwen3_vl(architecture: str, kind: str, text: Config, out: int) -> Config:
    vision = {
        "model_type": kind, "depth": 27, "hidden_act": "gelu_pytorch_tanh", "hidden_size": 1152, "in_channels": 3,
        "intermediate_size": 4304, "num_heads": 16, "num_position_embeddings": 2304, "out_hidden_size": out,
        "patch_size": 16, "spatial_merge_size": 2, "temporal_patch_size": 2, "deepstack_visual_indexes": [8, 16, 24],
    }  # fmt: skip
    tokens = {"image_token_id": 151655, "video_token_id": 151656, "vision_start_token_id": 151652}
    return {
        "architectures": [architecture], "model_type": kind, "text_config": text, "vision_config": vision,
        "tie_word_embeddings": False, **tokens, "vision_end_token_id": 151653,
    }  # fmt: skip


def _minimax(**more: object) -> Config:
    return _decoder("MiniMaxM2ForCausalLM", "minimax_m2", 3072, 62, 48, 8, 1536, 200064, 196608, head_dim=128) | {
        "num_local_experts": 256, "num_experts_per_tok": 8, "rotary_dim": 64, "use_qk_norm": True,
        "qk_norm_type": "per_layer", "use_routing_bias": True, "shared_intermediate_size": 0,
        "scoring_func": "sigmoid", "rope_theta": 5000000, **more,
    }  # fmt: skip


def _glm5(**more: object) -> Config:
    return _latent(
        "GlmMoeDsaForCausalLM", "glm_moe_dsa", 6144, 78, 64, 12288, 154880, 202752, ranks=(2048, 512),
        widths=(192, 64, 256), experts=(256, 8, 2048, 1), dense=3, index_head_dim=128, index_n_heads=32,
        index_topk=2048,
        rope_parameters={"rope_theta": 1000000, "rope_type": "default"}, **more,
    )  # fmt: skip


def _gpt_oss(layers: int, experts: int) -> Config:
    return _decoder("GptOssForCausalLM", "gpt_oss", 2880, layers, 64, 8, 2880, 201088, 131072, head_dim=64) | {
        "attention_bias": True, "sliding_window": 128, "num_local_experts": experts, "num_experts_per_tok": 4,
        "layer_types": ["sliding_attention", "full_attention"] * (layers // 2), "rope_theta": 150000,
        "swiglu_limit": 7.0, "initial_context_length": 4096,
        "rope_scaling": {"beta_fast": 32.0, "beta_slow": 1.0, "factor": 32.0, "rope_type": "yarn",
                         "original_max_position_embeddings": 4096, "truncate": False},
        "quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": [
            "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]},
    }  # fmt: skip


def _llama4(context: int, step: int, experts: int) -> Config:
    text = _decoder("Llama4ForCausalLM", "llama4_text", 5120, 48, 40, 8, 8192, 202048, context, head_dim=128) | {
        "attention_chunk_size": 8192, "intermediate_size_mlp": 16384, "interleave_moe_layer_step": step,
        "num_experts_per_tok": 1, "num_local_experts": experts, "rope_theta": 500000.0, "use_qk_norm": True,
        "attention_bias": False, "rms_norm_eps": 1e-5,
    }  # fmt: skip
    return {"architectures": ["Llama4ForConditionalGeneration"], "model_type": "llama4", "text_config": text}


def _gemma3() -> Config:
    text = _decoder("", "gemma3_text", 5376, 62, 32, 16, 21504, 262208, 131072, head_dim=128) | {
        "sliding_window": 1024, "query_pre_attn_scalar": 168, "hidden_activation": "gelu_pytorch_tanh",
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "tie_word_embeddings": True,
    }  # fmt: skip
    vision = {
        "model_type": "siglip_vision_model", "hidden_size": 1152, "image_size": 896, "intermediate_size": 4304,
        "num_attention_heads": 16, "num_hidden_layers": 27, "patch_size": 14, "vision_use_head": False,
    }  # fmt: skip
    return {
        "architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "text_config": text,
        "vision_config": vision, "image_token_index": 262144, "boi_token_index": 255999, "eoi_token_index": 256000,
        "mm_tokens_per_image": 256, "tie_word_embeddings": True,
    }  # fmt: skip


def _gemma4(text: Config, **more: object) -> Config:
    layers = text["num_hidden_layers"]
    common = {
        "attention_bias": False, "attention_k_eq_v": True, "head_dim": 256, "global_head_dim": 512,
        "hidden_activation": "gelu_pytorch_tanh", "hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0,
        "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * (layers // 6), "sliding_window": 1024,
        "final_logit_softcapping": 30.0, "use_bidirectional_attention": "vision", "tie_word_embeddings": True,
        "rope_parameters": {
            "full_attention": {"partial_rotary_factor": 0.25, "rope_theta": 1e6, "rope_type": "proportional"},
            "sliding_attention": {"rope_theta": 1e4, "rope_type": "default"},
        },
    }  # fmt: skip
    vision = {
        "model_type": "gemma4_vision", "hidden_size": 1152, "num_hidden_layers": 27, "num_attention_heads": 16,
        "num_key_value_heads": 16, "head_dim": 72, "global_head_dim": 72, "intermediate_size": 4304, "patch_size": 16,
        "position_embedding_size": 10240, "pooling_kernel_size": 3, "standardize": True,
        "hidden_activation": "gelu_pytorch_tanh", "rope_parameters": {"rope_theta": 100.0, "rope_type": "default"},
    }  # fmt: skip
    return {
        "architectures": ["Gemma4ForConditionalGeneration"], "model_type": "gemma4", "tie_word_embeddings": True,
        "text_config": text | common, "vision_config": vision, "audio_config": None, **more,
    }  # fmt: skip


_INDEXER: Config = {"index_head_dim": 128, "index_n_heads": 64, "index_topk": 2048}
_KIMI: Config = {"ranks": (1536, 512), "widths": (128, 64, 128), "experts": (384, 8, 2048, 1), "dense": 1}
_QWEN3_VL_TEXT = _decoder("", "qwen3_vl_text", 4096, 36, 32, 8, 12288, 151936, 262144, head_dim=128)
_MIMO_V2_SLIDING = [0, *[1] * 4, *([0, *[1] * 5] * 7), 0]
_GEMMA4_MOE = _decoder("", "gemma4_text", 2816, 30, 16, 8, 2112, 262144, 262144) | {
    "enable_moe_block": True, "moe_intermediate_size": 704, "num_experts": 128, "top_k_experts": 8,
    "num_global_key_value_heads": 2,
}  # fmt: skip
_GEMMA4_DENSE = _decoder("", "gemma4_text", 5376, 60, 32, 16, 21504, 262144, 262144) | {
    "enable_moe_block": False, "num_experts": None, "num_global_key_value_heads": 4,
}  # fmt: skip

ARCHITECTURES: dict[str, Config] = CONFIGS | {
    "meta-llama/Meta-Llama-3.1-405B": _decoder("LlamaForCausalLM", "llama", 16384, 126, 128, 8, 53248, 128256, 131072),
    "mistralai/Devstral-2-123B-Instruct": _decoder(
        "Ministral3ForCausalLM", "ministral3", 12288, 88, 96, 8, 28672, 131072, 262144, head_dim=128,
        quantization_config={"quant_method": "fp8", "activation_scheme": "static", "weight_block_size": None},
    ),
    "ibm-granite/granite-3.3-8b": _decoder(
        "GraniteForCausalLM", "granite", 4096, 40, 32, 8, 12800, 49159, 131072, tie_word_embeddings=True,
        attention_multiplier=0.0078125, embedding_multiplier=12.0, residual_multiplier=0.22, logits_scaling=16.0,
    ),
    "microsoft/phi-4": _decoder("Phi3ForCausalLM", "phi3", 5120, 40, 40, 10, 17920, 100352, 16384, pad_token_id=0),
    "microsoft/phi-2": _decoder(
        "PhiForCausalLM", "phi", 2560, 32, 32, 32, 10240, 51200, 2048, hidden_act="gelu_new",
        partial_rotary_factor=0.4, qk_layernorm=False, layer_norm_eps=1e-5,
    ),
    "facebook/opt-66b": _decoder("OPTForCausalLM", "opt", 9216, 64, 72, 72, 36864, 50272, 2048) | {
        "ffn_dim": 36864, "word_embed_proj_dim": 9216, "do_layer_norm_before": True, "activation_function": "relu",
        "tie_word_embeddings": True,
    },
    "google/gemma-2-27b": _decoder(
        "Gemma2ForCausalLM", "gemma2", 4608, 46, 32, 16, 36864, 256000, 8192, head_dim=128, sliding_window=4096,
        tie_word_embeddings=True, query_pre_attn_scalar=144, hidden_activation="gelu_pytorch_tanh",
    ),
    "google/gemma-3-27b": _gemma3(),
    "google/gemma-4-26B-A4B": _gemma4(_GEMMA4_MOE),
    "nvidia/Gemma-4-31B-IT-NVFP4": _gemma4(_GEMMA4_DENSE, quantization_config=_nvfp4(
        ["lm_head", "model.embed_vision*", "model.vision_tower*",
         *(f"model.language_model.layers.{layer}.self_attn*" for layer in range(60))]
    )),
    "Qwen/Qwen2.5-32B-Instruct": _decoder("Qwen2ForCausalLM", "qwen2", 5120, 64, 40, 8, 27648, 152064, 131072),
    "XiaomiMiMo/MiMo-7B-Base": _decoder(
        "MiMoForCausalLM", "mimo", 4096, 36, 32, 8, 11008, 151680, 32768, head_dim=128, attention_bias=True
    ),
    "Qwen/Qwen3-0.6B": _decoder(
        "Qwen3ForCausalLM", "qwen3", 1024, 28, 16, 8, 3072, 151936, 40960, head_dim=128, tie_word_embeddings=True
    ),
    "Qwen/Qwen3-32B": _decoder("Qwen3ForCausalLM", "qwen3", 5120, 64, 64, 8, 25600, 151936, 40960, head_dim=128),
    "Qwen/Qwen3-32B-FP8": _decoder(
        "Qwen3ForCausalLM", "qwen3", 5120, 64, 64, 8, 25600, 151936, 40960, head_dim=128, quantization_config=BLOCKS
    ),
    "Qwen/Qwen3-235B-A22B-FP8": CONFIGS["Qwen/Qwen3-235B-A22B-FP8"] | {"quantization_config": _unrouted(94)},
    "Qwen/Qwen3-30B-A3B": _qwen3_moe(),
    "Qwen/Qwen3-30B-A3B-FP8": _qwen3_moe(quantization_config=_unrouted(48)),
    "Qwen/Qwen3-VL-8B-Instruct": _qwen3_vl("Qwen3VLForConditionalGeneration", "qwen3_vl", _QWEN3_VL_TEXT, 4096),
    "Qwen/Qwen3-VL-30B-A3B-Instruct": _qwen3_vl(
        "Qwen3VLMoeForConditionalGeneration", "qwen3_vl_moe", _qwen3_moe("qwen3_vl_moe_text"), 2048
    ),
    "mistralai/Mixtral-8x22B-v0.1": _decoder(
        "MixtralForCausalLM", "mixtral", 6144, 56, 48, 8, 16384, 32000, 65536, num_local_experts=8,
        num_experts_per_tok=2, sliding_window=None,
    ),
    "zai-org/GLM-4.6": _decoder("Glm4MoeForCausalLM", "glm4_moe", 5120, 92, 96, 8, 12288, 151552, 202752) | {
        "head_dim": 128, "attention_bias": True, "use_qk_norm": True, "n_routed_experts": 160, "n_shared_experts": 1,
        "num_experts_per_tok": 8, "moe_intermediate_size": 1536, "first_k_dense_replace": 3, "n_group": 1,
        "topk_group": 1, "norm_topk_prob": True, "routed_scaling_factor": 2.5, "partial_rotary_factor": 0.5,
    },
    "openai/gpt-oss-20b": _gpt_oss(24, 32),
    "openai/gpt-oss-120b": _gpt_oss(36, 128),
    "MiniMaxAI/MiniMax-M2.5": _minimax(
        quantization_config=BLOCKS | {"modules_to_not_convert": ["gate", "e_score_correction_bias", "lm_head"]}
    ),
    "nvidia/MiniMax-M2.5-NVFP4": _minimax(quantization_config=_nvfp4(
        ["lm_head", *(f"model.layers.{layer}.{part}" for layer in range(62)
                      for part in ("block_sparse_moe.gate", "self_attn*"))]
    )),
    "meta-llama/Llama-4-Scout-17B-16E-Instruct": _llama4(10485760, 1, 16),
    "meta-llama/Llama-4-Maverick-17B-128E-Instruct": _llama4(1048576, 2, 128),
    "XiaomiMiMo/MiMo-V2-Flash": _decoder(
        "MiMoV2FlashForCausalLM", "mimo_v2_flash", 4096, 48, 64, 4, 16384, 152576, 262144, head_dim=192, v_head_dim=128,
    ) | {
        "sliding_window": 128, "sliding_window_size": 128, "swa_num_attention_heads": 64,
        "swa_num_key_value_heads": 8, "swa_head_dim": 192,
        "swa_v_head_dim": 128, "hybrid_layer_pattern": _MIMO_V2_SLIDING, "moe_layer_freq": [0, *[1] * 47],
        "moe_intermediate_size": 2048, "n_routed_experts": 256, "n_shared_experts": None, "num_experts_per_tok": 8,
        "norm_topk_prob": True, "scoring_func": "sigmoid", "n_group": 1, "topk_group": 1, "topk_method": "noaux_tc",
        "routed_scaling_factor": None, "layernorm_epsilon": 1e-5, "attention_bias": False, "rope_theta": 5000000,
        "swa_rope_theta": 10000, "partial_rotary_factor": 0.334, "attention_value_scale": 0.707,
        "attention_chunk_size": 128, "add_swa_attention_sink_bias": True, "add_full_attention_sink_bias": False,
        "quantization_config": BLOCKS,
    },
    "deepseek-ai/DeepSeek-V2-Lite": _latent(
        "DeepseekV2ForCausalLM", "deepseek_v2", 2048, 27, 16, 10944, 102400, 163840, ranks=(None, 512),
        widths=(128, 64, 128), experts=(64, 6, 1408, 2), dense=1, topk_method="greedy", scoring_func="softmax",
        norm_topk_prob=False, routed_scaling_factor=1.0,
    ),
    "deepseek-ai/DeepSeek-V3.2": CONFIGS["deepseek-ai/DeepSeek-V3"] | _INDEXER | {
        "architectures": ["DeepseekV32ForCausalLM"], "model_type": "deepseek_v32",
    },
    "moonshotai/Kimi-K2-Instruct": _latent(
        "DeepseekV3ForCausalLM", "kimi_k2", 7168, 61, 64, 18432, 163840, 131072, **_KIMI, quantization_config=BLOCKS
    ),
    "moonshotai/Kimi-K2.5 (text)": _latent(
        "DeepseekV3ForCausalLM", "kimi_k2", 7168, 61, 64, 18432, 163840, 262144, **_KIMI, quantization_config=_int4(
            32, ["lm_head", "re:.*self_attn.*", "re:.*shared_experts.*", r"re:.*mlp\.(gate|up|gate_up|down)_proj.*"]
        ),
    ),
    "zai-org/GLM-5-FP8": _glm5(quantization_config=BLOCKS),
    "zai-org/GLM-5.2-FP8": _glm5(
        indexer_types=["full"] * 2 + ["full", "shared", "shared", "shared"] * 19, index_topk_freq=4,
        index_skip_topk_offset=3, index_topk_pattern=None, quantization_config=BLOCKS,
    ),
    "nvidia/GLM-5.1-NVFP4": _glm5(quantization_config=_nvfp4(
        ["lm_head", *(f"model.layers.{layer}.*" for layer in range(3)),
         *(f"model.layers.{layer}.{part}" for layer in range(3, 78) for part in ("self_attn*", "mlp.shared_experts*"))]
    )),
}  # fmt: skip
"""By hub name, or the text part of what has that name."""
