"""Families whose sliding layers have other heads than those that see everything: Gemma 4 and MiMo-V2.

Shapes follow the public modelling code (transformers, vLLM) of each family.
"""

from collections.abc import Sequence

from optimizer.errors import InputError
from optimizer.inputs.bodies import Body, grouped_query, head_dim, layer_count, windows
from optimizer.inputs.fields import Fields
from optimizer.inputs.model import Dense, FeedForward, GroupedQuery, Layer, MixtureOfExperts


def gemma4(fields: Fields) -> Body:
    """Gemma 4: five sliding layers to one with wider heads, whose values may be its keys; norms around all blocks.

    Experts stand beside the dense block, as shared ones do elsewhere, with three norms and a scale of their own.
    """
    sliding = grouped_query(fields, qk_norm="per-head")
    everything = sliding.model_copy(
        update={
            "head_dim": fields.count("global_head_dim", default=sliding.head_dim),
            "kv_heads": fields.count("num_global_key_value_heads", default=sliding.kv_heads),
            "values_are_keys": fields.flag("attention_k_eq_v", default=False),
        }
    )
    mlp, norms = _gemma4_block(fields)
    layers = tuple(
        Layer(
            attention=sliding.model_copy(update={"window": window}) if window else everything,
            feed_forward=mlp,
            norm_parameters=norms,
        )
        for window in windows(fields)
    )
    return Body(
        fields.count("hidden_size"), layers, tied_by_default=True, ends_on_all_stages=True,
        rotary_tables=((sliding.head_dim, False), (everything.head_dim, False)),
        modules={"experts": ("experts.0.down_proj",), "shared": ("mlp.down_proj",)},
    )  # fmt: skip


def _gemma4_block(fields: Fields) -> tuple[FeedForward, int]:
    """Return the feed-forward block and how many norm vectors a layer has."""
    width = fields.count("intermediate_size")
    if not fields.flag("enable_moe_block", default=False):
        return Dense(intermediate=width), 4
    experts = MixtureOfExperts(
        experts=fields.count("num_experts"),
        top_k=fields.count("top_k_experts"),
        intermediate=fields.count("moe_intermediate_size", "expert_intermediate_size"),
        shared_intermediate=width,
        correction_bias=True,
    )
    return experts, 8


def mimo_v2(fields: Fields) -> Body:
    """MiMo-V2: sliding layers with more KV heads and sinks, values narrower than keys, experts after a dense layer."""
    everything = grouped_query(fields, v_head_dim=fields.optional("v_head_dim"))
    sinks = {kind: fields.flag(f"add_{kind}_attention_sink_bias", default=False) for kind in ("full", "swa")}
    everything = everything.model_copy(update={"sinks": sinks["full"]})
    sliding = GroupedQuery(
        heads=fields.count("swa_num_attention_heads", default=everything.heads),
        kv_heads=fields.count("swa_num_key_value_heads", default=everything.kv_heads),
        head_dim=fields.count("swa_head_dim", default=everything.head_dim),
        v_head_dim=fields.optional("swa_v_head_dim"),
        window=fields.count("sliding_window"),
        sinks=sinks["swa"],
    )
    dense = Dense(intermediate=fields.count("intermediate_size"))
    experts = _mimo_v2_experts(fields)
    kinds = zip(_marks(fields, "hybrid_layer_pattern"), _marks(fields, "moe_layer_freq"), strict=True)
    layers = tuple(
        Layer(attention=sliding if slides else everything, feed_forward=experts if routed else dense)
        for slides, routed in kinds
    )
    share = fields.get("partial_rotary_factor")
    rotary = round(head_dim(fields) * share) if isinstance(share, float) and 0 < share <= 1 else head_dim(fields)
    return Body(fields.count("hidden_size"), layers, rotary_tables=((rotary, True), (rotary, False)))


def _mimo_v2_experts(fields: Fields) -> MixtureOfExperts:
    width = fields.count("moe_intermediate_size")
    return MixtureOfExperts(
        experts=fields.count("n_routed_experts"),
        top_k=fields.count("num_experts_per_tok"),
        intermediate=width,
        shared_intermediate=(fields.optional("n_shared_experts") or 0) * width,
        correction_bias=fields.get("topk_method") == "noaux_tc",
        router_fp32=True,
    )


def _marks(fields: Fields, name: str) -> Sequence[object]:
    """Return a list of 0 and 1, one per layer."""
    marks = fields.sequence(name, layer_count(fields))
    if marks is None or any(mark not in (0, 1) for mark in marks):
        raise InputError(f"{fields.where}: {name}: needs a 0 or 1 for each of the {layer_count(fields)} layers")
    return marks
