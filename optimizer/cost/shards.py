"""Bytes of a rank's share of every tensor: how layouts cut them and how schemes store them."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from math import ceil, gcd
from typing import assert_never

from optimizer.cost.stages import held_by, kinds_of
from optimizer.cost.tensors import Tensor, embedding_tensors, head_tensors, layer_tensors
from optimizer.inputs.identity import Same
from optimizer.inputs.model import ModelSpec, Part, Quantization, Scheme
from optimizer.layout import Layout

VOCAB_ALIGNMENT = 64
"""Engines pad the vocabulary to a multiple of this before they cut it (vLLM, vocab_parallel_embedding.py)."""

MXFP4_ALIGNMENT = 64
"""MXFP4 kernels pad an expert's slice: gpt-oss in 8 slices 360 -> 384 (vLLM, fused_moe/oracle/mxfp4.py, Triton)."""

BLOCKS: dict[Scheme, int] = {"fp8-block": 128, "int4": 128, "mxfp4": 32, "nvfp4": 16}
"""Weights that share a scale where the checkpoint does not say: squares for fp8-block, else along the inputs."""

_ONLINE = Quantization(scheme="fp8").kept


def stored_bytes(scheme: Scheme, block: int, inputs: int, outputs: int, *, symmetric: bool = False) -> int:
    """Return bytes of one matrix, scales included.

    fp8 and int8: an fp32 scale per output; fp8-block: one per block; int4: fp16 scale and 4-bit zero per group
    (no zero if ``symmetric``); mxfp4 and nvfp4: a one-byte scale per group.
    """
    groups = ceil(inputs / block) if block else 1
    match scheme:
        case "bf16":
            return 2 * inputs * outputs
        case "fp8" | "int8":
            return (inputs + 4) * outputs
        case "fp8-block":
            return inputs * outputs + 4 * groups * ceil(outputs / block)
        case "int4":
            return ceil((inputs / 2 + (2.0 if symmetric else 2.5) * groups) * outputs)
        case "mxfp4" | "nvfp4":
            return ceil((inputs / 2 + groups) * outputs)
        case _:
            assert_never(scheme)


def scheme_of(model: ModelSpec, layout: Layout, part: Part) -> Scheme:
    """Return how a part is stored: the checkpoint's own choice, or the engine's when it quantises while loading."""
    own = model.quantization
    kept = own.kept if own and own.scheme == layout.weights else _ONLINE
    return "bf16" if part in kept else layout.weights


def shared_is_whole(layout: Layout) -> bool:
    """Whether every rank holds all shared experts: with expert parallelism over several TP groups."""
    return layout.ep > 1 and layout.tp > 1 and layout.attn_dp > 1


def shard(tensor: Tensor, layout: Layout) -> Tensor:
    """Return the share of the fullest rank of a stage."""
    tp, slices = layout.tp, max(1, layout.ranks_per_stage // layout.ep)
    if tensor.part == "shared" and shared_is_whole(layout):
        return tensor
    match tensor.split:
        case "whole":
            return tensor
        case "outputs":
            return replace(tensor, outputs=ceil(tensor.outputs / tp))
        case "inputs":
            return replace(tensor, inputs=ceil(tensor.inputs / tp))
        case "kv":
            return replace(tensor, outputs=tensor.outputs // tensor.groups * ceil(tensor.groups / tp))
        case "vocab":
            return replace(tensor, outputs=ceil(_aligned(tensor.outputs, VOCAB_ALIGNMENT) / tp))
        case "experts-outputs":
            return replace(_experts(tensor, layout.ep), outputs=ceil(tensor.outputs / slices))
        case "experts-inputs":
            return replace(_experts(tensor, layout.ep), inputs=ceil(tensor.inputs / slices))
        case "experts-whole":
            return _experts(tensor, layout.ep)
        case _:
            assert_never(tensor.split)


def _experts(tensor: Tensor, ep: int) -> Tensor:
    return replace(tensor, copies=tensor.copies // tensor.groups * ceil(tensor.groups / ep))


def _aligned(size: int, to: int) -> int:
    return ceil(size / to) * to


def _padded(share: Tensor, scheme: Scheme) -> Tensor:
    """Return the share as the kernels want it: MXFP4 experts with an aligned slice of their width."""
    if scheme != "mxfp4":
        return share
    match share.split:
        case "experts-outputs":
            return replace(share, outputs=_aligned(share.outputs, MXFP4_ALIGNMENT))
        case "experts-inputs":
            return replace(share, inputs=_aligned(share.inputs, MXFP4_ALIGNMENT))
        case _:
            return share


def _bytes(tensor: Tensor, model: ModelSpec, layout: Layout) -> int:
    """Return bytes of the tensor's share; vectors are never quantised, but padded with MXFP4 experts."""
    part: Part = "router" if tensor.part == "norm" else tensor.part
    scheme = scheme_of(model, layout, part)
    share = _padded(shard(tensor, layout), scheme)
    if not tensor.is_matrix:
        scheme = "bf16"
    symmetric = model.quantization is not None and model.quantization.symmetric
    block = _block(model, scheme, share)
    size = stored_bytes(scheme, block, share.inputs, share.outputs, symmetric=symmetric)
    return share.copies * size * (2 if tensor.wide else 1)


def _block(model: ModelSpec, scheme: Scheme, share: Tensor) -> int:
    """Return weights per scale; vLLM shrinks the squares of experts whose slice is no multiple of them."""
    own = model.quantization
    block = own.block if own and own.block and own.scheme == scheme else BLOCKS.get(scheme, 0)
    if scheme == "fp8-block" and share.part == "experts":
        return gcd(block, share.outputs if share.split == "experts-outputs" else share.inputs)
    return block


def weights_bytes(model: ModelSpec, layout: Layout, stage: int) -> int:
    """Return the bytes of parameters on the fullest rank of ``stage``.

    That is its layers, the embedding on the first stage, and the head on the last, or both on every stage where the
    engine's class builds them so. A tied embedding is held by both ends. Left out: buffers (see ``buffer_bytes``) and
    multi-token prediction layers.
    """
    key, alone = Same(model), replace(layout, pp=1, layers_per_stage=(model.num_layers,), dcp=1, kv_cache="bf16")
    first = sum(layout.layers_per_stage[:stage])
    held = held_by(key, first, first + layout.layers_per_stage[stage])
    total = sum([count * _layer_bytes(key, kind, alone) for kind, count in enumerate(held) if count])
    everywhere = model.ends_on_all_stages
    is_first, is_last = everywhere or stage == 0, everywhere or stage == layout.pp - 1
    if is_first or (is_last and model.tied_embeddings):
        total += _end_bytes(key, alone, embedding_tensors)
    if is_last:
        total += _end_bytes(key, alone, head_tensors)
    return total


@lru_cache(maxsize=8192)
def _layer_bytes(model: Same[ModelSpec], kind: int, layout: Layout) -> int:
    tensors = layer_tensors(model.value.hidden, kinds_of(model)[0][kind])
    return sum(_bytes(tensor, model.value, layout) for tensor in tensors)


@lru_cache(maxsize=1024)
def _end_bytes(model: Same[ModelSpec], layout: Layout, tensors: Callable[[ModelSpec], tuple[Tensor, ...]]) -> int:
    return sum(_bytes(tensor, model.value, layout) for tensor in tensors(model.value))


def vision_bytes(model: ModelSpec, layout: Layout, stage: int) -> int:
    """Return bytes of a rank's share of the vision tower, which the first stage holds in 16 bits."""
    if stage:
        return 0
    return 2 * (model.vision_whole + ceil((model.vision_parameters - model.vision_whole) / layout.tp))


def buffer_bytes(model: ModelSpec, layout: Layout, stage: int) -> int:
    """Return bytes loaded beside the text model's parameters: tables of rotary angles, and the vision tower."""
    return 2 * model.rotary_numbers + vision_bytes(model, layout, stage)
