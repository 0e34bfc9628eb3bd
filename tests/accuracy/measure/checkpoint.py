"""Writes config.json of a preset, for an engine that fills the weights itself: checkpoint.py PRESET... -o DIR.

What decides speed and memory is the preset's: widths, heads, layers, experts, vocabulary. What does not (the base of
rotary angles, norms' epsilon, token ids) is left to the architecture's defaults. Llama and Qwen3, dense and experts.
"""

import argparse
import json
from pathlib import Path

from optimizer.inputs import presets
from optimizer.inputs.model import GroupedQuery, MixtureOfExperts, ModelSpec

Fields = dict[str, object]


def config_of(model: ModelSpec) -> Fields:
    """Return the fields of config.json; raises ValueError for what is neither Llama nor Qwen3."""
    (layers,) = model.runs
    if not isinstance(layers.attention, GroupedQuery):
        raise ValueError(f"{model.name}: no config.json is written for latent attention")  # noqa: TRY004
    qwen = layers.attention.qk_norm == "per-head"
    routed = isinstance(layers.feed_forward, MixtureOfExperts)
    architecture, kind = {
        (False, False): ("LlamaForCausalLM", "llama"),
        (True, False): ("Qwen3ForCausalLM", "qwen3"),
        (True, True): ("Qwen3MoeForCausalLM", "qwen3_moe"),
    }[qwen, routed]
    return {
        "architectures": [architecture],
        "model_type": kind,
        "hidden_size": model.hidden,
        "intermediate_size": layers.feed_forward.intermediate,
        "num_hidden_layers": layers.count,
        "num_attention_heads": layers.attention.heads,
        "num_key_value_heads": layers.attention.kv_heads,
        "head_dim": layers.attention.head_dim,
        "vocab_size": model.vocab,
        "max_position_embeddings": model.context,
        "tie_word_embeddings": model.tied_embeddings,
        "hidden_act": "silu",
        "torch_dtype": "bfloat16",
    } | (experts(layers.feed_forward) if isinstance(layers.feed_forward, MixtureOfExperts) else {})


def experts(block: MixtureOfExperts) -> Fields:
    """Return the fields that say how tokens are routed."""
    return {
        "moe_intermediate_size": block.intermediate,
        "num_experts": block.experts,
        "num_experts_per_tok": block.top_k,
        "norm_topk_prob": True,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
    }


def main() -> None:
    """Write DIR/PRESET/config.json for every preset named."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("presets", nargs="+")
    arguments.add_argument("-o", "--out", type=Path, required=True)
    told = arguments.parse_args()
    for name in told.presets:
        folder: Path = told.out / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config_of(presets.load_model(name)), indent=2) + "\n")


if __name__ == "__main__":
    main()
