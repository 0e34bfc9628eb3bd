"""How many parameters a model has, and how many numbers it caches per token: exact counts, no layout."""

from optimizer.cost.tensors import embedding_tensors, head_tensors, layer_tensors
from optimizer.inputs.model import Attention, GroupedQuery, Layer, MixtureOfExperts, ModelSpec
from optimizer.inputs.workload import KvScheme

CACHE_BYTES: dict[KvScheme, int] = {"bf16": 2, "fp8": 1}
"""Bytes of one cached number."""

_INDEX_SCALE_BYTES = 4  # the indexer caches fp8 keys with one fp32 scale per token, whatever the KV scheme


def layer_parameters(hidden: int, layer: Layer) -> int:
    """Return the parameters of one decoder layer, all experts and score corrections included."""
    return sum(tensor.parameters for tensor in layer_tensors(hidden, layer))


def active_layer_parameters(hidden: int, layer: Layer) -> int:
    """Return the parameters of one decoder layer that one token meets: ``top_k`` experts instead of all."""
    total = layer_parameters(hidden, layer)
    feed_forward = layer.feed_forward
    if not isinstance(feed_forward, MixtureOfExperts):
        return total
    experts = sum(t.parameters for t in layer_tensors(hidden, layer) if t.part == "experts")
    return total - experts + experts // feed_forward.experts * feed_forward.top_k


def _outside(model: ModelSpec) -> int:
    return sum(tensor.parameters for tensor in (*embedding_tensors(model), *head_tensors(model)))


def total_parameters(model: ModelSpec) -> int:
    """Return the model's parameters: layers, embedding, head (counted once when tied) and norms; no vision tower."""
    return _outside(model) + sum(run.count * layer_parameters(model.hidden, run) for run in model.runs)


def active_parameters(model: ModelSpec) -> int:
    """Return the parameters one token meets, embedding and head included."""
    return _outside(model) + sum(run.count * active_layer_parameters(model.hidden, run) for run in model.runs)


def kv_bytes_per_token(attention: Attention, scheme: KvScheme) -> int:
    """Return the bytes one token leaves in the cache of one layer, all KV heads together.

    Grouped query: a key and a value per KV head; latent: the compressed vector and the shared rotary key, plus the
    indexer's own fp8 key with its scale where there is one.
    """
    if isinstance(attention, GroupedQuery):
        return attention.kv_heads * (attention.head_dim + attention.value_dim) * CACHE_BYTES[scheme]
    latent = (attention.kv_lora_rank + attention.qk_rope_head_dim) * CACHE_BYTES[scheme]
    return latent + (attention.indexer.head_dim + _INDEX_SCALE_BYTES if attention.indexer else 0)


def keeps_every_token(attention: Attention) -> bool:
    """Whether the layer's cache grows with the sequence (chunked layers too: engines keep their whole past)."""
    return not (isinstance(attention, GroupedQuery) and attention.window)


def model_kv_bytes_per_token(model: ModelSpec, scheme: KvScheme) -> int:
    """Return the bytes one token leaves in the caches of all layers that keep every token."""
    return sum(
        run.count * kv_bytes_per_token(run.attention, scheme) for run in model.runs if keeps_every_token(run.attention)
    )


def model_window_bytes(model: ModelSpec, scheme: KvScheme) -> int:
    """Return the bytes one long sequence holds in all sliding windows."""
    return sum(
        run.count * kv_bytes_per_token(run.attention, scheme) * run.attention.window
        for run in model.runs
        if isinstance(run.attention, GroupedQuery) and run.attention.window
    )
