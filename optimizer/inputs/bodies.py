"""What families of the Hugging Face hub have in common: the body of a model, and the usual fields of attention."""

from dataclasses import dataclass

from optimizer.inputs.fields import Fields
from optimizer.inputs.model import FeedForward, GroupedQuery, Layer


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
    width = head_dim(fields) * (share if isinstance(share, int | float) else 1)
    return ((fields.optional("rotary_dim") or round(width), True),)


def windows(fields: Fields) -> list[int | None]:
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


def uniform(fields: Fields, attention: GroupedQuery, feed_forward: FeedForward, norms: int = 2) -> tuple[Layer, ...]:
    """Return equal layers that differ in their sliding window alone."""
    return tuple(
        Layer(attention=attention.model_copy(update={"window": w}), feed_forward=feed_forward, norm_parameters=norms)
        for w in windows(fields)
    )
