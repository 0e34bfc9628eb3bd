"""What families of the Hugging Face hub have in common: the body of a model, and the usual fields of attention."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from optimizer.errors import InputError
from optimizer.inputs.fields import Fields
from optimizer.inputs.model import FeedForward, GroupedQuery, Layer, Part

_MOST_LAYERS = 4096
"""A configuration that asks for more is a mistake, and would fill memory before it is noticed."""

_LAYER_KINDS = {"full_attention", "sliding_attention", "chunked_attention", "deepseek_sparse_attention"}

_OPT_IN = {"qwen2", "qwen3", "qwen3_moe", "qwen3_vl_text", "qwen3_vl_moe_text", "mimo"}
"""Families whose window counts only when use_sliding_window says so."""


@dataclass(frozen=True)
class Body:
    """What a family's configuration says beside vocabulary and context."""

    hidden: int
    layers: tuple[Layer, ...]
    tied_by_default: bool = False
    position_embeddings: int = 0
    extra_norm_parameters: int = 1
    head_bias: bool = False
    ends_on_all_stages: bool = False
    rotary_tables: tuple[tuple[int, bool], ...] = ()
    """(width, whether rope scaling applies) of each table of rotary angles."""
    modules: Mapping[Part, tuple[str, ...]] = field(default_factory=dict)
    """Modules that stand for a part inside a layer, where the family's names are not the usual ones."""


def head_dim(fields: Fields) -> int:
    """Return the width of a query head: given, or the model's width dealt out to the heads."""
    return fields.optional("head_dim") or fields.count("hidden_size") // fields.count("num_attention_heads")


def grouped_query(fields: Fields, **extra: object) -> GroupedQuery:
    """Return grouped-query attention by the usual names, with what the family adds."""
    heads = fields.count("num_attention_heads")
    return GroupedQuery.model_validate({
        "heads": heads,
        "kv_heads": fields.count("num_key_value_heads", default=heads),
        "head_dim": head_dim(fields),
        **extra,
    })  # fmt: skip


def rotary(fields: Fields) -> tuple[tuple[int, bool], ...]:
    """Return the one table of rotary angles most families have."""
    share = fields.get("partial_rotary_factor")
    if not isinstance(share, int | float) or not 0 < share <= 1:
        share = 1.0
    return ((fields.optional("rotary_dim") or round(head_dim(fields) * share), True),)


def layer_count(fields: Fields) -> int:
    """Return the number of decoder layers; InputError beyond any that was ever built."""
    layers = fields.count("num_hidden_layers", "n_layer")
    if layers > _MOST_LAYERS:
        raise InputError(f"{fields.where}: num_hidden_layers: {layers} layers; at most {_MOST_LAYERS} are read")
    return layers


def windows(fields: Fields) -> list[int | None]:
    """Return each layer's sliding window, None where it sees everything; InputError on layers of another kind."""
    layers, window = layer_count(fields), fields.optional("sliding_window")
    kinds = fields.sequence("layer_types", layers)
    odd = sorted({str(kind) for kind in kinds or ()} - _LAYER_KINDS)
    if odd:
        raise InputError(f"{fields.where}: layer_types: {', '.join(odd)} is not modelled")
    if window is None or not fields.flag("use_sliding_window", default=fields.get("model_type") not in _OPT_IN):
        return [None] * layers
    if kinds is not None:
        return [window if kind == "sliding_attention" else None for kind in kinds]
    pattern = fields.optional("sliding_window_pattern")
    if pattern:
        return [None if (index + 1) % pattern == 0 else window for index in range(layers)]
    first = fields.optional("max_window_layers") if fields.get("use_sliding_window") else None
    return [window if index >= (first or 0) else None for index in range(layers)]


def uniform(fields: Fields, attention: GroupedQuery, feed_forward: FeedForward, norms: int = 2) -> tuple[Layer, ...]:
    """Return equal layers that differ in their sliding window alone."""
    return tuple(
        Layer(attention=attention.model_copy(update={"window": w}), feed_forward=feed_forward, norm_parameters=norms)
        for w in windows(fields)
    )
