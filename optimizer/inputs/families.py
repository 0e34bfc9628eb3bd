"""Model families of the Hugging Face hub: which layers a configuration of each family means.

Shapes follow the public modelling code (transformers) of each family; the counts are tested to the last parameter.
"""

from collections.abc import Callable
from dataclasses import dataclass

from optimizer.errors import InputError
from optimizer.inputs.fields import Fields
from optimizer.inputs.model import Dense, FeedForward, GroupedQuery, Indexer, Latent, Layer, MixtureOfExperts


@dataclass(frozen=True)
class Body:
    """What a family's configuration says beside vocabulary and context."""

    hidden: int
    layers: tuple[Layer, ...]
    tied_by_default: bool = False
    position_embeddings: int = 0
    extra_norm_parameters: int = 1
    head_bias: bool = False
    rotary_tables: tuple[tuple[int, bool], ...] = ()
    """(width, whether rope scaling applies) of each table of rotary angles."""


def _head_dim(fields: Fields) -> int:
    return fields.optional("head_dim") or fields.count("hidden_size") // fields.count("num_attention_heads")


def _attention(fields: Fields, **extra: object) -> GroupedQuery:
    heads = fields.count("num_attention_heads")
    return GroupedQuery.model_validate({
        "heads": heads,
        "kv_heads": fields.count("num_key_value_heads", default=heads),
        "head_dim": _head_dim(fields),
        **extra,
    })  # fmt: skip


def _rotary(fields: Fields) -> tuple[tuple[int, bool], ...]:
    share = fields.get("partial_rotary_factor")
    width = _head_dim(fields) * (share if isinstance(share, int | float) else 1)
    return ((fields.optional("rotary_dim") or round(width), True),)


def _windows(fields: Fields) -> list[int | None]:
    """Return each layer's sliding window, None where it sees everything."""
    layers, window = fields.count("num_hidden_layers"), fields.optional("sliding_window")
    if window is None or fields.get("use_sliding_window") is False:
        return [None] * layers
    kinds = fields.sequence("layer_types", layers)
    if kinds is not None:
        return [window if kind == "sliding_attention" else None for kind in kinds]
    pattern = fields.optional("sliding_window_pattern")
    if pattern:
        return [None if (index + 1) % pattern == 0 else window for index in range(layers)]
    first = fields.get("max_window_layers") if fields.get("use_sliding_window") else 0
    return [window if index >= (first if isinstance(first, int) else 0) else None for index in range(layers)]


def _uniform(fields: Fields, attention: GroupedQuery, feed_forward: FeedForward, norms: int = 2) -> tuple[Layer, ...]:
    return tuple(
        Layer(attention=attention.model_copy(update={"window": w}), feed_forward=feed_forward, norm_parameters=norms)
        for w in _windows(fields)
    )


def _llama(fields: Fields) -> Body:
    bias = fields.flag("attention_bias", default=False)
    mlp = Dense(intermediate=fields.count("intermediate_size"), bias=fields.flag("mlp_bias", default=False))
    layers = _uniform(fields, _attention(fields, qkv_bias=bias, o_bias=bias), mlp)
    return Body(fields.count("hidden_size"), layers, rotary_tables=_rotary(fields))


def _qwen2(fields: Fields) -> Body:
    mlp = Dense(intermediate=fields.count("intermediate_size"))
    layers = _uniform(fields, _attention(fields, qkv_bias=True), mlp)
    return Body(fields.count("hidden_size"), layers, rotary_tables=_rotary(fields))


def _qwen3_attention(fields: Fields) -> GroupedQuery:
    bias = fields.flag("attention_bias", default=False)
    return _attention(fields, qk_norm="per-head", qkv_bias=bias, o_bias=bias)


def _qwen3(fields: Fields) -> Body:
    layers = _uniform(fields, _qwen3_attention(fields), Dense(intermediate=fields.count("intermediate_size")))
    return Body(fields.count("hidden_size"), layers, rotary_tables=_rotary(fields))


def _qwen3_moe(fields: Fields) -> Body:
    experts = MixtureOfExperts(
        experts=fields.count("num_experts"),
        top_k=fields.count("num_experts_per_tok"),
        intermediate=fields.count("moe_intermediate_size"),
    )
    if fields.get("mlp_only_layers") or fields.count("decoder_sparse_step", default=1) != 1:
        raise InputError(f"{fields.where}: mlp_only_layers: dense layers between Qwen3-MoE layers are not modelled")
    layers = _uniform(fields, _qwen3_attention(fields), experts)
    return Body(fields.count("hidden_size"), layers, rotary_tables=_rotary(fields))


def _mixtral(fields: Fields) -> Body:
    experts = MixtureOfExperts(
        experts=fields.count("num_local_experts"),
        top_k=fields.count("num_experts_per_tok"),
        intermediate=fields.count("intermediate_size"),
    )
    layers = _uniform(fields, _attention(fields), experts)
    return Body(fields.count("hidden_size"), layers, rotary_tables=_rotary(fields))


def _minimax_m2(fields: Fields) -> Body:
    experts = MixtureOfExperts(
        experts=fields.count("num_local_experts"),
        top_k=fields.count("num_experts_per_tok"),
        intermediate=fields.count("intermediate_size"),
        correction_bias=fields.flag("use_routing_bias", default=True),
        router_fp32=True,
        shared_intermediate=fields.optional("shared_intermediate_size") or 0,
    )
    norm = "full" if fields.flag("use_qk_norm", default=True) else "none"
    layers = _uniform(fields, _attention(fields, qk_norm=norm), experts)
    return Body(fields.count("hidden_size"), layers, rotary_tables=_rotary(fields))


def _gpt_oss(fields: Fields) -> Body:
    experts = MixtureOfExperts(
        experts=fields.count("num_local_experts"),
        top_k=fields.count("num_experts_per_tok", "experts_per_token"),
        intermediate=fields.count("intermediate_size"),
        router_bias=True,
        expert_bias=True,
    )
    layers = _uniform(fields, _attention(fields, qkv_bias=True, o_bias=True, sinks=True), experts)
    return Body(fields.count("hidden_size"), layers, rotary_tables=_rotary(fields))


def _latent(fields: Fields) -> Latent:
    indexer = None
    if fields.get("index_n_heads"):
        indexer = Indexer(
            heads=fields.count("index_n_heads"),
            head_dim=fields.count("index_head_dim"),
            top_k=fields.count("index_topk"),
        )
    return Latent(
        heads=fields.count("num_attention_heads"),
        q_lora_rank=fields.optional("q_lora_rank"),
        kv_lora_rank=fields.count("kv_lora_rank"),
        qk_nope_head_dim=fields.count("qk_nope_head_dim"),
        qk_rope_head_dim=fields.count("qk_rope_head_dim"),
        v_head_dim=fields.count("v_head_dim"),
        indexer=indexer,
    )


def _deepseek(fields: Fields) -> Body:
    """DeepSeek V2, V3, V3.2, Kimi K2, GLM-5: MLA; dense layers first, then experts with shared ones."""
    width = fields.count("moe_intermediate_size")
    experts = MixtureOfExperts(
        experts=fields.count("n_routed_experts"),
        top_k=fields.count("num_experts_per_tok"),
        intermediate=width,
        shared_intermediate=(fields.optional("n_shared_experts") or 0) * width,
        correction_bias=fields.get("topk_method") == "noaux_tc",
    )
    if fields.count("moe_layer_freq", default=1) != 1:
        raise InputError(f"{fields.where}: moe_layer_freq: dense layers between experts' layers are not modelled")
    attention, dense = _latent(fields), Dense(intermediate=fields.count("intermediate_size"))
    first = fields.optional("first_k_dense_replace") or 0
    layers = tuple(
        Layer(attention=attention, feed_forward=dense if index < first else experts)
        for index in range(fields.count("num_hidden_layers"))
    )
    return Body(fields.count("hidden_size"), layers, rotary_tables=((attention.qk_rope_head_dim, True),))


def _llama4(fields: Fields) -> Body:
    """Llama 4: three layers in four attend inside chunks, every ``interleave_moe_layer_step``-th has experts."""
    count, width = fields.count("num_hidden_layers"), fields.count("intermediate_size")
    experts = MixtureOfExperts(
        experts=fields.count("num_local_experts"),
        top_k=fields.count("num_experts_per_tok"),
        intermediate=width,
        shared_intermediate=width,
    )
    dense = Dense(intermediate=fields.count("intermediate_size_mlp"))
    # The hub's Maverick files leave the step out in some mirrors; its 128 experts sit in every second layer.
    step = fields.count("interleave_moe_layer_step", default=2 if experts.experts > 16 else 1)
    local = _attention(fields, chunk=fields.count("attention_chunk_size", default=8192))
    everything = local.model_copy(update={"chunk": None})
    layers = tuple(
        Layer(
            attention=everything if (index + 1) % 4 == 0 else local,
            feed_forward=experts if (index + 1) % step == 0 else dense,
        )
        for index in range(count)
    )
    return Body(fields.count("hidden_size"), layers, rotary_tables=_rotary(fields))


def _gemma(fields: Fields, norms: int, **attention: object) -> Body:
    layers = _uniform(
        fields, _attention(fields, **attention), Dense(intermediate=fields.count("intermediate_size")), norms
    )
    return Body(fields.count("hidden_size"), layers, tied_by_default=True, rotary_tables=_rotary(fields))


def _gemma1(fields: Fields) -> Body:
    return _gemma(fields, 2)


def _gemma2(fields: Fields) -> Body:
    """Gemma 2: norms before and after both blocks, every second layer slides."""
    values = {"sliding_window_pattern": 2, **fields.values}
    return _gemma(Fields(values, fields.where), 4)


def _gemma3(fields: Fields) -> Body:
    """Gemma 3: as Gemma 2 with query and key norms; five sliding layers to one, each kind with its own angles."""
    defaults = {
        "sliding_window_pattern": 6, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
        "sliding_window": 4096,
    }  # fmt: skip
    given = {key: value for key, value in fields.values.items() if value is not None}
    full = Fields({**defaults, **given}, fields.where)
    body = _gemma(full, 4, qk_norm="per-head")
    return Body(
        body.hidden, body.layers, tied_by_default=True, rotary_tables=(*_rotary(full), (_head_dim(full), False))
    )


def _bloom(fields: Fields) -> Body:
    """BLOOM: ALiBi, biases everywhere, LayerNorm (weight and bias) also on the embedding; plain 4x feed-forward."""
    hidden, heads = fields.count("hidden_size", "n_embed"), fields.count("n_head", "num_attention_heads")
    attention = GroupedQuery(heads=heads, kv_heads=heads, head_dim=hidden // heads, qkv_bias=True, o_bias=True)
    layer = Layer(
        attention=attention,
        feed_forward=Dense(intermediate=4 * hidden, gated=False, bias=True),
        norm_parameters=4,
    )
    count = fields.count("n_layer", "num_hidden_layers")
    return Body(hidden, (layer,) * count, tied_by_default=True, extra_norm_parameters=4)


def _opt(fields: Fields) -> Body:
    """OPT: learned positions (two rows more than the context), biases everywhere, LayerNorm before each block."""
    hidden = fields.count("hidden_size")
    if fields.count("word_embed_proj_dim", default=hidden) != hidden or not fields.flag(
        "do_layer_norm_before", default=True
    ):
        raise InputError(f"{fields.where}: word_embed_proj_dim: OPT with projected embeddings is not modelled")
    mlp = Dense(intermediate=fields.count("ffn_dim"), gated=False, bias=True)
    layer = Layer(attention=_attention(fields, qkv_bias=True, o_bias=True), feed_forward=mlp, norm_parameters=4)
    return Body(
        hidden,
        (layer,) * fields.count("num_hidden_layers"),
        tied_by_default=True,
        position_embeddings=fields.count("max_position_embeddings") + 2,
        extra_norm_parameters=2,
    )


def _phi(fields: Fields) -> Body:
    """Phi-2: one LayerNorm for both blocks in parallel, biases everywhere, also on the logits."""
    mlp = Dense(intermediate=fields.count("intermediate_size"), gated=False, bias=True)
    layer = Layer(attention=_attention(fields, qkv_bias=True, o_bias=True), feed_forward=mlp, norm_parameters=2)
    layers = (layer,) * fields.count("num_hidden_layers")
    return Body(
        fields.count("hidden_size"), layers, extra_norm_parameters=2, head_bias=True, rotary_tables=_rotary(fields)
    )


FAMILIES: dict[str, Callable[[Fields], Body]] = {
    "llama": _llama, "mistral": _llama, "ministral": _llama, "ministral3": _llama, "granite": _llama, "phi3": _llama,
    "qwen2": _qwen2, "mimo": _qwen2,
    "qwen3": _qwen3, "qwen3_vl_text": _qwen3,
    "qwen3_moe": _qwen3_moe, "qwen3_vl_moe_text": _qwen3_moe,
    "mixtral": _mixtral, "minimax_m2": _minimax_m2, "gpt_oss": _gpt_oss,
    "deepseek_v2": _deepseek, "deepseek_v3": _deepseek, "deepseek_v32": _deepseek, "kimi_k2": _deepseek,
    "glm_moe_dsa": _deepseek,
    "llama4_text": _llama4,
    "gemma": _gemma1, "gemma2": _gemma2, "gemma3_text": _gemma3,
    "bloom": _bloom, "opt": _opt, "phi": _phi,
}  # fmt: skip
"""model_type -> the function that reads it; a new family is one function and one entry."""
