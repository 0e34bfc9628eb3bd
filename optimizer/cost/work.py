"""What one rank does in a step, as constants of (model, layout, GPU, calibration): computed once, then only multiplied.

Layers of a kind are priced once for all stages. Shapes follow the engines: query, key and value in one matrix, gate and
up in one, KV heads replicated when TP exceeds them, MLA's down-projections and routers replicated, MLA absorbed in
decode and expanded in prefill.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, TypeVar, assert_never

from optimizer.cost.case import Case
from optimizer.cost.operators import Experts, Matrix, Rate, rate
from optimizer.inputs.calibration import Calibration, Roofline
from optimizer.inputs.gpu import GpuSpec
from optimizer.inputs.model import (
    Dense,
    GroupedQuery,
    Latent,
    Layer,
    MixtureOfExperts,
    ModelSpec,
    Part,
    Quantization,
    Scheme,
)  # fmt: skip
from optimizer.layout import Layout

BYTES_PER_WEIGHT: dict[Scheme, float] = {
    "bf16": 2.0, "fp8": 1.0, "fp8-block": 1.0 + 4 / 128**2, "int8": 1.0,
    "int4": 0.5 + 2 / 128, "mxfp4": 0.5 + 1 / 32, "nvfp4": 0.5 + 1 / 16,
}  # fmt: skip
"""Scales included: one fp32 per 128x128 (fp8-block), fp16 per 128 (int4), 1 byte per 32 (mxfp4) or 16 (nvfp4)."""

ACTIVATION_BYTES = 2.0
"""Activations stay in 16 bits between kernels."""

_KEPT = Quantization(scheme="fp8").kept


@dataclass(frozen=True, slots=True)
class AttentionWork:
    """Attention of one layer on one rank."""

    prefill: Rate
    decode: Rate
    flop_per_pair: float
    """Prefill, per (query, key)."""
    flop_per_cached: float
    """Decode, per cached token of a sequence."""
    kv_bytes_per_token: float
    """Read per cached token by one decode step."""
    io_bytes_per_token: float
    """Prefill: queries, keys, values in and out."""
    reach: int | None
    index_top_k: int | None
    index_bytes_per_token: float
    index_flop_per_token: float


@dataclass(frozen=True, slots=True)
class LayerWork:
    """One layer on one rank."""

    attention: AttentionWork
    matrices: tuple[Matrix, ...]
    prefill_matrices: tuple[Matrix, ...]
    """Beyond ``matrices`` in prefill: MLA's expansion of keys and values."""
    decode_matrices: tuple[Matrix, ...]
    """Beyond ``matrices`` in decode: MLA's absorption of queries and values."""
    experts: Experts | None
    top_k: int
    elementwise_bytes_per_token: float
    kernels: int
    """Of a decode step."""
    launches: int
    """Of a host-launched prefill step."""
    all_reduces: int
    """Over the TP group, of the rows of one attention replica."""
    exchanges: int
    """Gather and scatter of all rows over all attention replicas (MoE under DP attention)."""


@dataclass(frozen=True, slots=True)
class Work:
    """All a replica does, per rank."""

    kinds: tuple[LayerWork, ...]
    counts: tuple[tuple[int, ...], ...]
    """Layers of each kind, per stage."""
    head: Matrix
    hidden_bytes: float
    """Activations of one token between layers."""
    query_bytes: float
    """Queries of one token, all heads (what DCP exchanges)."""
    kv_written_bytes: float
    """KV of one token and layer, all heads (what PCP exchanges)."""
    logit_bytes: float
    """Logits of one row, whole vocabulary."""
    elementwise_bytes_per_s: float


T = TypeVar("T")


class Same(Generic[T]):
    """A cache key that compares a value by identity: hashing a whole model spec would cost more than a price."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.value is other.value


@dataclass(frozen=True)
class _Rates:
    """Rates of one GPU by what is computed."""

    gpu: GpuSpec
    calibration: Calibration
    speed: float

    def of(self, fit: Roofline, scheme: Scheme) -> Rate:
        return rate(fit, self.gpu.memory_bandwidth, compute_peak(self.gpu, scheme), speed=self.speed)

    def gemm(self, scheme: Scheme) -> Rate:
        return self.of(family(self.calibration.gemm, scheme), scheme)


def compute_peak(gpu: GpuSpec, scheme: Scheme) -> float:
    """Return the dense matrix rate weights of a scheme compute at: 16 bits where the GPU must expand them."""
    match scheme:
        case "fp8" | "fp8-block":
            return gpu.peak.fp8 or gpu.peak.bf16
        case "int8":
            return gpu.peak.int8 or gpu.peak.bf16
        case "nvfp4" | "mxfp4":
            return gpu.peak.fp4 or gpu.peak.bf16
        case "bf16" | "int4":
            return gpu.peak.bf16
        case _:
            assert_never(scheme)


def family(fits: dict[Scheme, Roofline], scheme: Scheme) -> Roofline:
    """Return the measured family of a scheme, or that of 16 bits, which every calibration has."""
    return fits.get(scheme) or fits["bf16"]


def part_scheme(model: ModelSpec, weights: Scheme, part: Part) -> Scheme:
    """Return how a part is stored: parts that the checkpoint (or a quantising engine) leaves alone stay in 16 bits."""
    own = model.quantization
    kept = own.kept if own is not None and own.scheme == weights else _KEPT
    return "bf16" if part in kept else weights


def work(case: Case) -> Work:
    """Return the replica's constants, from the cache when model, layout, GPU and calibration are the same objects."""
    return _work(Same(case.model), case.layout, Same(case.gpu), Same(case.calibration), case.wiring.speed_factor)


@lru_cache(maxsize=8192)
def _work(
    model: Same[ModelSpec], layout: Layout, gpu: Same[GpuSpec], calibration: Same[Calibration], speed: float
) -> Work:
    spec, rates = model.value, _Rates(gpu.value, calibration.value, speed)
    kinds = tuple(_layer(spec, run, layout, rates) for run in spec.runs)
    first = spec.runs[0].attention
    return Work(
        kinds=kinds,
        counts=_counts(spec, layout),
        head=_matrix(spec.hidden, spec.vocab / layout.tp, part_scheme(spec, layout.weights, "head"), rates),
        hidden_bytes=spec.hidden * ACTIVATION_BYTES,
        query_bytes=first.heads * first.head_dim * ACTIVATION_BYTES,
        kv_written_bytes=_kv_values(first, 1) * _kv_bytes(layout),
        logit_bytes=spec.vocab * ACTIVATION_BYTES,
        elementwise_bytes_per_s=calibration.value.elementwise * gpu.value.memory_bandwidth * speed,
    )


def _counts(model: ModelSpec, layout: Layout) -> tuple[tuple[int, ...], ...]:
    """Return how many layers of each run every stage holds."""
    stages, start = [], 0
    for layers in layout.layers_per_stage:
        inside = {id(run): count for run, count in model.layers(start, start + layers)}
        stages.append(tuple(inside.get(id(run), 0) for run in model.runs))
        start += layers
    return tuple(stages)


def _matrix(k: float, n: float, scheme: Scheme, rates: _Rates) -> Matrix:
    return Matrix(
        weight_bytes=k * n * BYTES_PER_WEIGHT[scheme],
        flop_per_row=2.0 * k * n,
        io_bytes_per_row=(k + n) * ACTIVATION_BYTES,
        rate=rates.gemm(scheme),
    )


def _layer(model: ModelSpec, layer: Layer, layout: Layout, rates: _Rates) -> LayerWork:
    attention, feed_forward = layer.attention, layer.feed_forward
    matrices, expand, absorb = _attention_matrices(model, attention, layout, rates)
    ffn, experts, top_k = _feed_forward(model, feed_forward, layout, rates)
    spread = experts is not None and layout.attn_dp > 1
    quantised = sum(m.weight_bytes / m.flop_per_row < 1.0 for m in matrices + ffn)
    kernels = _kernels(attention, feed_forward) + quantised
    return LayerWork(
        attention=_attention(attention, layout, rates),
        matrices=matrices + ffn,
        prefill_matrices=expand,
        decode_matrices=absorb,
        experts=experts,
        top_k=top_k,
        elementwise_bytes_per_token=_elementwise(model, layer, layout),
        kernels=kernels,
        launches=kernels + (_MLA_PREFILL_LAUNCHES if isinstance(attention, Latent) else 0),
        all_reduces=(1 if spread else 2) if layout.tp > 1 else 0,
        exchanges=1 if spread else 0,
    )


_MLA_PREFILL_LAUNCHES = 20
"""Expanding, concatenating and padding keys and values takes so many small operations more (traced by op count)."""


def _kernels(attention: GroupedQuery | Latent, feed_forward: Dense | MixtureOfExperts) -> int:
    """Return the kernels of one layer in a captured decode step, collectives apart.

    GQA: norm, QKV, rotary, cache write, attention, output. MLA: norm, Q, KV down, its norm, rotary, cache write,
    absorb, attention and its merge, values, output. Dense: norm, gate and up, activation, down. Routed: norm, router,
    top-k, two to sort, up, activation, down, sum; shared experts: up, activation, down, add.
    """
    if isinstance(attention, GroupedQuery):
        ours = 6 + (attention.qk_norm != "none")
    else:
        ours = 11 + (2 if attention.q_lora_rank else 0) + (4 if attention.indexer else 0)
    if isinstance(feed_forward, Dense):
        return ours + 4
    return ours + 9 + (4 if feed_forward.shared_intermediate else 0)


def _kv_bytes(layout: Layout) -> float:
    return 1.0 if layout.kv_cache == "fp8" else 2.0


def _kv_values(attention: GroupedQuery | Latent, tp: int) -> float:
    """Return numbers cached per token and layer on one rank."""
    if isinstance(attention, Latent):
        return attention.kv_lora_rank + attention.qk_rope_head_dim
    return max(1.0, attention.kv_heads / tp) * (attention.head_dim + attention.value_dim)


def _attention(attention: GroupedQuery | Latent, layout: Layout, rates: _Rates) -> AttentionWork:
    heads, fits = attention.heads / layout.tp, rates.calibration
    kv_bytes = _kv_values(attention, layout.tp) * _kv_bytes(layout) / layout.dcp
    per_pair = 2.0 * heads * (attention.head_dim + _value_dim(attention))
    io_bytes = heads * (attention.head_dim + _value_dim(attention)) * ACTIVATION_BYTES
    if isinstance(attention, GroupedQuery):
        return AttentionWork(
            prefill=rates.of(fits.attention_prefill, "bf16"),
            decode=rates.of(fits.attention_decode[layout.kv_cache], "bf16"),
            flop_per_pair=per_pair, flop_per_cached=per_pair / layout.dcp, kv_bytes_per_token=kv_bytes,
            io_bytes_per_token=io_bytes + _kv_values(attention, layout.tp) * ACTIVATION_BYTES,
            reach=attention.reach, index_top_k=None, index_bytes_per_token=0.0, index_flop_per_token=0.0,
        )  # fmt: skip
    indexer = attention.indexer
    return AttentionWork(
        prefill=rates.of(fits.mla_prefill, "bf16"),
        decode=rates.of(fits.mla_decode, "bf16"),
        flop_per_pair=per_pair,
        flop_per_cached=2.0 * heads * (2 * attention.kv_lora_rank + attention.qk_rope_head_dim) / layout.dcp,
        kv_bytes_per_token=kv_bytes, io_bytes_per_token=2 * io_bytes,
        reach=None, index_top_k=indexer.top_k if indexer else None,
        index_bytes_per_token=float(indexer.head_dim) if indexer else 0.0,
        index_flop_per_token=2.0 * indexer.heads * indexer.head_dim if indexer else 0.0,
    )  # fmt: skip


def _value_dim(attention: GroupedQuery | Latent) -> int:
    return attention.value_dim if isinstance(attention, GroupedQuery) else attention.v_head_dim


Matrices = tuple[Matrix, ...]


def _attention_matrices(
    model: ModelSpec, attention: GroupedQuery | Latent, layout: Layout, rates: _Rates
) -> tuple[Matrices, Matrices, Matrices]:
    """Return the projections of both phases, those of prefill only, and those of decode only."""
    scheme = part_scheme(model, layout.weights, "attention")
    heads, hidden = attention.heads / layout.tp, model.hidden
    if isinstance(attention, GroupedQuery):
        gate = 2 if attention.output_gate else 1
        qkv = gate * heads * attention.head_dim + _kv_values(attention, layout.tp)
        return (
            _matrix(hidden, qkv, scheme, rates), _matrix(heads * attention.value_dim, hidden, scheme, rates)
        ), (), ()  # fmt: skip
    rank, latent = attention.q_lora_rank, attention.kv_lora_rank
    down = _matrix(hidden, latent + attention.qk_rope_head_dim + (rank or 0), scheme, rates)
    query = _matrix(rank or hidden, heads * attention.head_dim, scheme, rates)
    output = _matrix(heads * attention.v_head_dim, hidden, scheme, rates)
    expand = _matrix(latent, heads * (attention.qk_nope_head_dim + attention.v_head_dim), scheme, rates)
    absorb = tuple(
        _matrix(width, heads * latent, "bf16", rates) for width in (attention.qk_nope_head_dim, attention.v_head_dim)
    )
    index: Matrices = ()
    if attention.indexer is not None:
        wide = attention.indexer.heads * attention.indexer.head_dim
        index = (
            _matrix(rank or hidden, wide, scheme, rates),
            _matrix(hidden, attention.indexer.head_dim + attention.indexer.heads, scheme, rates),
        )
    return (down, query, output, *index), (expand,), absorb


def _feed_forward(
    model: ModelSpec, block: Dense | MixtureOfExperts, layout: Layout, rates: _Rates
) -> tuple[Matrices, Experts | None, int]:
    """Return dense matrices (shared experts and router included), routed experts and top-k of a feed-forward block."""
    hidden, up = model.hidden, 2 if block.gated else 1

    def mlp(width: float, scheme: Scheme) -> Matrices:
        return _matrix(hidden, up * width, scheme, rates), _matrix(width, hidden, scheme, rates)

    if isinstance(block, Dense):
        return mlp(block.intermediate / layout.tp, part_scheme(model, layout.weights, "dense")), None, 0
    dense: Matrices = (_matrix(hidden, block.experts, "bf16", rates),)
    if block.shared_intermediate:
        dense += mlp(block.shared_intermediate / layout.tp, part_scheme(model, layout.weights, "shared"))
    return dense, _experts(model, block, layout, rates), block.top_k


def _experts(model: ModelSpec, block: MixtureOfExperts, layout: Layout, rates: _Rates) -> Experts:
    scheme = part_scheme(model, layout.weights, "experts")
    sliced = layout.tp * layout.attn_dp / layout.ep
    width = (3 if block.gated else 2) * model.hidden * block.intermediate / sliced
    share = block.top_k / layout.ep
    up = 2 if block.gated else 1
    return Experts(
        local=block.experts / layout.ep,
        hit_share=block.top_k / block.experts,
        expert_bytes=width * BYTES_PER_WEIGHT[scheme],
        flop_per_token=2.0 * width * share,
        io_bytes_per_token=share * (2 * model.hidden + (up + 1) * block.intermediate / sliced) * ACTIVATION_BYTES,
        ranks=layout.ep,
        rate=rates.of(family(rates.calibration.moe, scheme), scheme),
    )


def _elementwise(model: ModelSpec, layer: Layer, layout: Layout) -> float:
    """Return bytes per token that norms, rotary embedding and activation move: each reads and writes its operand.

    Two norms with their residual (4 hidden each), rotary and cache write over queries, keys and values, activation.
    """
    attention, block = layer.attention, layer.feed_forward
    values = 4.0 * layer.norm_parameters * model.hidden
    values += 2.0 * (attention.heads * attention.head_dim / layout.tp + _kv_values(attention, layout.tp))
    wide = block.intermediate if isinstance(block, Dense) else block.shared_intermediate
    values += (3.0 if block.gated else 2.0) * wide / layout.tp
    if isinstance(block, MixtureOfExperts):
        values += (block.top_k + 1.0) * model.hidden
    return values * ACTIVATION_BYTES
