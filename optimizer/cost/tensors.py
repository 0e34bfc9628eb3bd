"""What a model's layers hold: every tensor with its shape, its part, and how a rank's share of it is cut.

Shapes follow the published modelling code of each family; the counts are checked to the last parameter in the tests.
"""

from dataclasses import dataclass
from typing import Literal, assert_never

from optimizer.inputs.model import Dense, GroupedQuery, Latent, Layer, MixtureOfExperts, ModelSpec, Part

Split = Literal["outputs", "inputs", "kv", "whole", "experts-outputs", "experts-inputs", "experts-whole", "vocab"]
"""The axis that tensor parallelism cuts; kv: by KV heads, replicated when there are fewer heads than ranks."""


@dataclass(frozen=True)
class Tensor:
    """``copies`` equal matrices of ``inputs`` x ``outputs``; a vector has one input."""

    part: Part | Literal["norm"]
    inputs: int
    outputs: int
    split: Split
    copies: int = 1
    groups: int = 1
    """What is dealt out whole: KV heads along the outputs (split "kv"), experts among the copies."""
    wide: bool = False
    """Held in 32 bits."""
    repeated: bool = False
    """Holds numbers of another tensor again: memory, but no parameters."""

    @property
    def parameters(self) -> int:
        """Numbers in all copies."""
        return 0 if self.repeated else self.copies * self.inputs * self.outputs

    @property
    def is_matrix(self) -> bool:
        """Whether it is multiplied with (and so may be quantised), not added or scaled by."""
        return self.inputs > 1


def _grouped_query(hidden: int, a: GroupedQuery) -> tuple[Tensor, ...]:
    q, k, v = a.heads * a.head_dim, a.kv_heads * a.head_dim, a.kv_heads * a.value_dim
    o = a.heads * a.value_dim
    tensors = [
        Tensor("attention", hidden, q * (2 if a.output_gate else 1), "outputs"),
        Tensor("attention", hidden, k, "kv", groups=a.kv_heads),
        Tensor("attention", hidden, v, "kv", groups=a.kv_heads, repeated=a.values_are_keys),
        Tensor("attention", o, hidden, "inputs"),
    ]
    if a.qkv_bias:
        tensors += [Tensor("attention", 1, q, "outputs"), Tensor("attention", 1, k + v, "kv", groups=a.kv_heads)]
    if a.o_bias:
        tensors.append(Tensor("attention", 1, hidden, "whole"))
    if a.sinks:
        tensors.append(Tensor("attention", 1, a.heads, "outputs"))
    match a.qk_norm:
        case "per-head":
            tensors.append(Tensor("norm", 1, 2 * a.head_dim, "whole"))
        case "full":
            tensors += [Tensor("norm", 1, q, "outputs"), Tensor("norm", 1, k, "kv", groups=a.kv_heads)]
        case "none":
            pass
        case _:
            assert_never(a.qk_norm)
    return tuple(tensors)


def _latent(hidden: int, a: Latent) -> tuple[Tensor, ...]:
    """Compressions and the indexer are whole on every rank; what expands to heads is cut by heads.

    The indexer's keys and head weights are one matrix in 16 bits, as its router (vLLM, deepseek_v2.py).
    """
    query = a.heads * a.head_dim
    kv = a.kv_lora_rank
    tensors = [
        Tensor("attention", hidden, kv + a.qk_rope_head_dim, "whole"),
        Tensor("norm", 1, kv, "whole"),
        Tensor("attention", kv, a.heads * (a.qk_nope_head_dim + a.v_head_dim), "outputs"),
        Tensor("attention", a.heads * a.v_head_dim, hidden, "inputs"),
    ]
    if a.q_lora_rank is None:
        tensors.append(Tensor("attention", hidden, query, "outputs"))
    else:
        tensors += [
            Tensor("attention", hidden, a.q_lora_rank, "whole"),
            Tensor("norm", 1, a.q_lora_rank, "whole"),
            Tensor("attention", a.q_lora_rank, query, "outputs"),
        ]
    if a.indexer:
        i = a.indexer
        tensors += [
            Tensor("attention", a.q_lora_rank or hidden, i.heads * i.head_dim, "whole"),
            Tensor("router", hidden, i.head_dim + i.heads, "whole"),
            Tensor("norm", 1, 2 * i.head_dim, "whole"),
        ]
    return tuple(tensors)


def _dense(hidden: int, f: Dense) -> tuple[Tensor, ...]:
    up = 2 if f.gated else 1
    tensors = [
        Tensor("dense", hidden, f.intermediate, "outputs", copies=up),
        Tensor("dense", f.intermediate, hidden, "inputs"),
    ]
    if f.bias:
        tensors += [Tensor("dense", 1, f.intermediate, "outputs", copies=up), Tensor("dense", 1, hidden, "whole")]
    return tuple(tensors)


def _mixture(hidden: int, f: MixtureOfExperts) -> tuple[Tensor, ...]:
    up = 2 if f.gated else 1
    tensors = [
        Tensor("router", hidden, f.experts, "whole", wide=f.router_fp32),
        Tensor("experts", hidden, f.intermediate, "experts-outputs", copies=up * f.experts, groups=f.experts),
        Tensor("experts", f.intermediate, hidden, "experts-inputs", copies=f.experts, groups=f.experts),
    ]
    if f.router_bias:
        tensors.append(Tensor("router", 1, f.experts, "whole"))
    if f.correction_bias:
        tensors.append(Tensor("router", 1, f.experts, "whole"))
    if f.expert_bias:
        tensors += [
            Tensor("experts", 1, f.intermediate, "experts-outputs", copies=up * f.experts, groups=f.experts),
            Tensor("experts", 1, hidden, "experts-whole", copies=f.experts, groups=f.experts),
        ]
    if f.shared_intermediate:
        tensors += [
            Tensor("shared", hidden, f.shared_intermediate, "outputs", copies=up),
            Tensor("shared", f.shared_intermediate, hidden, "inputs"),
        ]
    if f.shared_gate:
        tensors.append(Tensor("router", hidden, 1, "whole"))
    return tuple(tensors)


def layer_tensors(hidden: int, layer: Layer) -> tuple[Tensor, ...]:
    """Return the tensors of one decoder layer of a model of width ``hidden``."""
    attention = layer.attention
    block = _grouped_query(hidden, attention) if isinstance(attention, GroupedQuery) else _latent(hidden, attention)
    feed_forward = layer.feed_forward
    mlp = _dense(hidden, feed_forward) if isinstance(feed_forward, Dense) else _mixture(hidden, feed_forward)
    return (*block, *mlp, Tensor("norm", 1, layer.norm_parameters * hidden, "whole"))


def embedding_tensors(model: ModelSpec) -> tuple[Tensor, ...]:
    """Return what stands before the layers: token embedding and learned positions."""
    tokens = Tensor("embedding", model.hidden, model.vocab, "vocab")
    if not model.position_embeddings:
        return (tokens,)
    return (tokens, Tensor("embedding", model.hidden, model.position_embeddings, "whole"))


def head_tensors(model: ModelSpec) -> tuple[Tensor, ...]:
    """Return what stands behind the layers: norms outside them and the head unless it is the embedding itself."""
    tensors = [Tensor("norm", 1, model.extra_norm_parameters * model.hidden, "whole")]
    if not model.tied_embeddings:
        tensors.append(Tensor("head", model.hidden, model.vocab, "vocab"))
    if model.head_bias:
        tensors.append(Tensor("head", 1, model.vocab, "vocab"))
    return tuple(tensors)
