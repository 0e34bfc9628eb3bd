"""Model families of the Hugging Face hub: which layers a configuration of each family means.

Shapes follow the public modelling code (transformers) of each family; the counts are tested to the last parameter.
"""

from collections.abc import Callable

from optimizer.errors import InputError
from optimizer.inputs.bodies import Body, grouped_query, head_dim, layer_count, rotary, uniform
from optimizer.inputs.families_hybrid import gemma4, mimo_v2
from optimizer.inputs.families_layernorm import bloom, opt, phi
from optimizer.inputs.fields import Fields
from optimizer.inputs.model import Dense, GroupedQuery, Indexer, Latent, Layer, MixtureOfExperts


def _llama(fields: Fields) -> Body:
    bias = fields.flag("attention_bias", default=False)
    mlp = Dense(intermediate=fields.count("intermediate_size"), bias=fields.flag("mlp_bias", default=False))
    layers = uniform(fields, grouped_query(fields, qkv_bias=bias, o_bias=bias), mlp)
    return Body(fields.count("hidden_size"), layers, rotary_tables=rotary(fields))


def _qwen2(fields: Fields) -> Body:
    mlp = Dense(intermediate=fields.count("intermediate_size"))
    layers = uniform(fields, grouped_query(fields, qkv_bias=True), mlp)
    return Body(fields.count("hidden_size"), layers, rotary_tables=rotary(fields))


def _qwen3_attention(fields: Fields) -> GroupedQuery:
    bias = fields.flag("attention_bias", default=False)
    return grouped_query(fields, qk_norm="per-head", qkv_bias=bias, o_bias=bias)


def _qwen3(fields: Fields) -> Body:
    layers = uniform(fields, _qwen3_attention(fields), Dense(intermediate=fields.count("intermediate_size")))
    return Body(fields.count("hidden_size"), layers, rotary_tables=rotary(fields))


def _qwen3_moe(fields: Fields) -> Body:
    experts = MixtureOfExperts(
        experts=fields.count("num_experts"),
        top_k=fields.count("num_experts_per_tok"),
        intermediate=fields.count("moe_intermediate_size"),
    )
    if fields.get("mlp_only_layers") or fields.count("decoder_sparse_step", default=1) != 1:
        raise InputError(f"{fields.where}: mlp_only_layers: dense layers between Qwen3-MoE layers are not modelled")
    layers = uniform(fields, _qwen3_attention(fields), experts)
    return Body(fields.count("hidden_size"), layers, rotary_tables=rotary(fields), ends_on_all_stages=True)


def _mixtral(fields: Fields) -> Body:
    experts = MixtureOfExperts(
        experts=fields.count("num_local_experts"),
        top_k=fields.count("num_experts_per_tok"),
        intermediate=fields.count("intermediate_size"),
    )
    layers = uniform(fields, grouped_query(fields), experts)
    return Body(fields.count("hidden_size"), layers, rotary_tables=rotary(fields), ends_on_all_stages=True)


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
    layers = uniform(fields, grouped_query(fields, qk_norm=norm), experts)
    return Body(fields.count("hidden_size"), layers, rotary_tables=rotary(fields))


def _glm4_moe(fields: Fields) -> Body:
    """GLM-4.5 and 4.6: biased queries, keys and values, dense layers first, then experts with a shared one."""
    width = fields.count("moe_intermediate_size")
    experts = MixtureOfExperts(
        experts=fields.count("n_routed_experts"),
        top_k=fields.count("num_experts_per_tok"),
        intermediate=width,
        shared_intermediate=(fields.optional("n_shared_experts") or 0) * width,
        correction_bias=True,
        router_fp32=True,
    )
    norm = "per-head" if fields.flag("use_qk_norm", default=False) else "none"
    attention = grouped_query(fields, qkv_bias=fields.flag("attention_bias", default=False), qk_norm=norm)
    dense, first = Dense(intermediate=fields.count("intermediate_size")), fields.optional("first_k_dense_replace") or 0
    layers = tuple(
        Layer(attention=attention, feed_forward=dense if index < first else experts)
        for index in range(layer_count(fields))
    )
    return Body(fields.count("hidden_size"), layers, rotary_tables=rotary(fields))


def _gpt_oss(fields: Fields) -> Body:
    experts = MixtureOfExperts(
        experts=fields.count("num_local_experts"),
        top_k=fields.count("num_experts_per_tok", "experts_per_token"),
        intermediate=fields.count("intermediate_size"),
        router_bias=True,
        expert_bias=True,
    )
    pattern = Fields({"sliding_window_pattern": 2, **fields.values}, fields.where)
    layers = uniform(pattern, grouped_query(fields, qkv_bias=True, o_bias=True, sinks=True), experts)
    return Body(fields.count("hidden_size"), layers, rotary_tables=rotary(fields), ends_on_all_stages=True)


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
        Layer(attention=kind, feed_forward=dense if index < first else experts)
        for index, kind in enumerate(_indexed(fields, attention))
    )
    return Body(fields.count("hidden_size"), layers, rotary_tables=((attention.qk_rope_head_dim, True),))


def _indexed(fields: Fields, attention: Latent) -> list[Latent]:
    """Return each layer's attention: layers whose indexer is "shared" have none and take the last choice."""
    layers = layer_count(fields)
    kinds = fields.sequence("indexer_types", layers)
    if kinds is None or attention.indexer is None:
        return [attention] * layers
    if kinds[0] != "full" or not set(map(str, kinds)) <= {"full", "shared"}:
        raise InputError(
            f"{fields.where}: indexer_types: only full and shared are modelled, the first layer being full"
        )
    taking = attention.model_copy(update={"indexer": None, "shared_top_k": attention.indexer.top_k})
    return [attention if kind == "full" else taking for kind in kinds]


def _llama4(fields: Fields) -> Body:
    """Llama 4: three layers in four attend inside chunks, every ``interleave_moe_layer_step``-th has experts."""
    count, width = layer_count(fields), fields.count("intermediate_size")
    experts = MixtureOfExperts(
        experts=fields.count("num_local_experts"),
        top_k=fields.count("num_experts_per_tok"),
        intermediate=width,
        shared_intermediate=width,
    )
    dense = Dense(intermediate=fields.count("intermediate_size_mlp"))
    # The hub's Maverick files leave the step out in some mirrors; its 128 experts sit in every second layer.
    step = fields.count("interleave_moe_layer_step", default=2 if experts.experts > 16 else 1)
    local = grouped_query(fields, chunk=fields.count("attention_chunk_size", default=8192))
    everything = local.model_copy(update={"chunk": None})
    layers = tuple(
        Layer(
            attention=everything if (index + 1) % 4 == 0 else local,
            feed_forward=experts if (index + 1) % step == 0 else dense,
        )
        for index in range(count)
    )
    return Body(fields.count("hidden_size"), layers, rotary_tables=rotary(fields))


def _gemma(fields: Fields, norms: int, **attention: object) -> Body:
    layers = uniform(
        fields, grouped_query(fields, **attention), Dense(intermediate=fields.count("intermediate_size")), norms
    )
    return Body(
        fields.count("hidden_size"),
        layers,
        tied_by_default=True,
        rotary_tables=rotary(fields),
        ends_on_all_stages=True,
    )


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
        body.hidden, body.layers, tied_by_default=True, ends_on_all_stages=True,
        rotary_tables=(*rotary(full), (head_dim(full), False)),
    )  # fmt: skip


FAMILIES: dict[str, Callable[[Fields], Body]] = {
    "llama": _llama, "mistral": _llama, "ministral": _llama, "ministral3": _llama, "granite": _llama, "phi3": _llama,
    "qwen2": _qwen2, "mimo": _qwen2,
    "qwen3": _qwen3, "qwen3_vl_text": _qwen3,
    "qwen3_moe": _qwen3_moe, "qwen3_vl_moe_text": _qwen3_moe,
    "mixtral": _mixtral, "minimax_m2": _minimax_m2, "gpt_oss": _gpt_oss,
    "deepseek_v2": _deepseek, "deepseek_v3": _deepseek, "deepseek_v32": _deepseek, "kimi_k2": _deepseek,
    "glm_moe_dsa": _deepseek, "glm4_moe": _glm4_moe,
    "llama4_text": _llama4,
    "gemma": _gemma1, "gemma2": _gemma2, "gemma3_text": _gemma3, "gemma4_text": gemma4,
    "mimo_v2_flash": mimo_v2,
    "bloom": bloom, "opt": opt, "phi": phi,
}  # fmt: skip
"""model_type -> the function that reads it; a new family is one function and one entry."""
