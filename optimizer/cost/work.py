"""What one rank does in a step, as constants of (model, layout, GPU, calibration): computed once, then only multiplied.

Layers of a kind are priced once for all stages.
"""

from dataclasses import dataclass
from functools import lru_cache

from optimizer.cost.case import Case
from optimizer.cost.operators import Experts, Matrix, Rate
from optimizer.cost.projections import (
    ACTIVATION_BYTES,
    Matrices,
    Rates,
    attention_matrices,
    feed_forward_matrices,
    kv_values,
    matrix,
    rates_on,
)
from optimizer.cost.shards import scheme_of
from optimizer.cost.stages import StageWork, held_by_stages, kinds_of, stage_work
from optimizer.inputs.calibration import Calibration
from optimizer.inputs.gpu import GpuSpec
from optimizer.inputs.identity import Same
from optimizer.inputs.model import Dense, GroupedQuery, Latent, Layer, MixtureOfExperts, ModelSpec
from optimizer.layout import Layout


@dataclass(frozen=True, slots=True)
class AttentionWork:
    """Attention of one layer on one rank, its projections included."""

    matrices: Matrices
    prefill_matrices: Matrices
    """Beyond ``matrices`` in prefill: MLA's expansion of keys and values."""
    decode_matrices: Matrices
    """Beyond ``matrices`` in decode: MLA's absorption of queries and values."""
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
    """Cached tokens a query attends to at most: a window, or the indexer's choice."""
    index_bytes_per_token: float = 0.0
    """The indexer reads so much of every cached token, whatever attention reads then."""
    index_flop_per_token: float = 0.0


@dataclass(frozen=True, slots=True)
class LayerWork:
    """One layer on one rank."""

    attention: AttentionWork
    """The same object in all kinds of layers that have the same."""
    matrices: Matrices
    """Of the feed-forward block, experts apart."""
    experts: Experts | None
    elementwise_bytes_per_token: float
    kernels: int
    """Of a decode step."""
    launches: int
    """Of a host-launched prefill step."""
    pieces: int
    """Launches that stay with the host when a short prefill runs piecewise from graphs."""
    all_reduces: int
    """Over the TP group, of the rows of one attention replica."""
    exchanges: int
    """Gather and scatter of the rows of all who share the experts (MoE under attention DP or prefill CP)."""


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """All a replica does, per rank; compared by identity, as it is made once."""

    layout: Layout
    kinds: tuple[LayerWork, ...]
    shapes: tuple[StageWork, ...]
    """Stages that differ."""
    order: tuple[int, ...]
    """The shape of every stage."""
    head: Matrix
    hidden_bytes: float
    """Activations of one token between layers."""
    query_bytes: float
    """Queries of one token as attention over cached tokens takes them, all heads (what DCP gathers)."""
    output_bytes: float
    """What that attention gives for one token, all heads (what DCP reduces)."""
    weight_bytes: float
    """Logarithms of the sums of its exponentials, all heads (by which DCP weighs what it reduces)."""
    gathers_kv: bool
    """Whether prompts gather what is cached (MLA) rather than reduce what they attend to."""
    kv_written_bytes: float
    """KV of one token and layer that a rank holds (what PCP gathers)."""
    logit_bytes: float
    """Logits of one row, whole vocabulary."""
    elementwise_bytes_per_s: float


@lru_cache(maxsize=256)
def work(case: Case) -> Work:
    """Return the replica's constants, from the cache when model, layout, GPU and calibration are the same objects."""
    return _work(Same(case.model), case.layout, Same(case.gpu), Same(case.calibration), case.wiring.speed_factor)


@lru_cache(maxsize=8192)
def _work(
    model: Same[ModelSpec], layout: Layout, gpu: Same[GpuSpec], calibration: Same[Calibration], speed: float
) -> Work:
    spec, rates = model.value, rates_on(gpu, calibration, speed)
    runs = kinds_of(model)[0]
    attentions = {one: _attention(spec, one, layout, rates) for one in dict.fromkeys(run.attention for run in runs)}
    kinds = tuple(_layer(spec, run, attentions[run.attention], layout, rates) for run in runs)
    stages = [
        stage_work(kinds, held, is_first=stage == 0, is_last=stage == layout.pp - 1)
        for stage, held in enumerate(held_by_stages(model, layout.layers_per_stage))
    ]
    shapes = tuple(dict.fromkeys(stages))
    first = spec.runs[0].attention
    return Work(
        layout=layout,
        kinds=kinds,
        shapes=shapes,
        order=tuple(map(shapes.index, stages)),
        head=matrix(spec.hidden, spec.vocab / layout.tp, scheme_of(spec, layout, "head"), rates),
        hidden_bytes=spec.hidden * ACTIVATION_BYTES,
        query_bytes=first.heads * _cached_widths(first)[0] * ACTIVATION_BYTES,
        output_bytes=first.heads * _cached_widths(first)[1] * ACTIVATION_BYTES,
        weight_bytes=4.0 * first.heads,
        gathers_kv=isinstance(first, Latent),
        kv_written_bytes=kv_values(first, layout.tp) * _kv_bytes(layout),
        logit_bytes=spec.vocab * ACTIVATION_BYTES,
        elementwise_bytes_per_s=calibration.value.elementwise * gpu.value.memory_bandwidth * speed,
    )


def _layer(model: ModelSpec, layer: Layer, at: AttentionWork, layout: Layout, rates: Rates) -> LayerWork:
    attention, block = layer.attention, layer.feed_forward
    dense, experts = feed_forward_matrices(model, block, layout, rates)
    shares = experts is not None and layout.attn_dp * layout.pcp > 1
    reduces = (1 if shares and layout.ep > 1 and layout.attn_dp > 1 else 2) if layout.tp > 1 else 0
    fp8_kv = int(layout.kv_cache == "fp8")
    quantised = sum(m.weight_bytes / m.flop_per_row < 1.0 for m in (*at.matrices, *dense))
    kernels = _attention_kernels(attention) + _feed_forward_kernels(block) + quantised + reduces + fp8_kv
    latent = isinstance(attention, Latent)
    return LayerWork(
        attention=at,
        matrices=dense,
        experts=experts,
        elementwise_bytes_per_token=_elementwise(model, layer, layout),
        kernels=kernels,
        launches=kernels + _eager_launches(reduces, routed=experts is not None, latent=latent),
        pieces=_PIECES + fp8_kv + (_MLA_PIECES if latent else 0),
        all_reduces=reduces,
        exchanges=1 if shares else 0,
    )


def _eager_launches(reduces: int, *, routed: bool, latent: bool) -> int:
    """Return what the host launches in a layer beyond a graph's kernels.

    The input of each all-reduce is copied into the buffer that peers read (vLLM's custom all-reduce). Fused experts
    clear their counts and pad the sorted rows. MLA prefill expands, concatenates and pads keys and values.
    """
    return reduces + (_EXPERT_LAUNCHES if routed else 0) + (_MLA_PREFILL_LAUNCHES if latent else 0)


_EXPERT_LAUNCHES, _MLA_PREFILL_LAUNCHES = 2, 18

_PIECES = 3
"""The next captured piece, the cache write, attention."""

_MLA_PIECES = 4
"""Expanding, splitting, joining and padding keys and values around attention."""


def _attention_kernels(attention: GroupedQuery | Latent) -> int:
    """Return the kernels of attention in a captured decode step.

    GQA: norm, QKV, rotary, cache write, attention, output. MLA: norm, query, KV down, its norm, rotary, cache write,
    absorb, attention and its merge, values, output; two more for a compressed query, four for an indexer.
    """
    if isinstance(attention, GroupedQuery):
        return 6 + (attention.qk_norm != "none")
    return 11 + (2 if attention.q_lora_rank else 0) + (4 if attention.indexer else 0)


def _feed_forward_kernels(block: Dense | MixtureOfExperts) -> int:
    """Return the kernels of a feed-forward block in a captured decode step.

    Dense: norm, gate and up, activation, down. Routed: norm, router, top-k, two to sort, up, activation, down, sum;
    shared experts: up, activation, down, add.
    """
    if isinstance(block, Dense):
        return 4
    return 9 + (4 if block.shared_intermediate else 0)


def _cached_widths(attention: GroupedQuery | Latent) -> tuple[int, int]:
    """Return the numbers per head that go into attention over cached tokens, and that come out: MLA stays absorbed."""
    if isinstance(attention, GroupedQuery):
        return attention.head_dim, attention.value_dim
    return attention.kv_lora_rank + attention.qk_rope_head_dim, attention.kv_lora_rank


def _kv_bytes(layout: Layout) -> float:
    return 1.0 if layout.kv_cache == "fp8" else 2.0


def _attention(model: ModelSpec, attention: GroupedQuery | Latent, layout: Layout, rates: Rates) -> AttentionWork:
    matrices, expand, absorb = attention_matrices(model, attention, layout, rates)
    heads, fits = attention.heads / layout.tp, rates.calibration
    kv_bytes = kv_values(attention, layout.tp) * _kv_bytes(layout) / layout.dcp
    # DCP inside TP gathers the queries of its ranks: fewer tokens for more heads; over PCP each keeps its own heads
    spread = layout.dcp if layout.pcp > 1 else 1
    if isinstance(attention, GroupedQuery):
        width = heads * (attention.head_dim + attention.value_dim)
        return AttentionWork(
            matrices=matrices,
            prefill_matrices=expand,
            decode_matrices=absorb,
            prefill=rates.of(fits.attention_prefill, "bf16"),
            decode=rates.of(fits.attention_decode[layout.kv_cache], "bf16"),
            flop_per_pair=2.0 * width,
            flop_per_cached=2.0 * width / spread,
            kv_bytes_per_token=kv_bytes,
            io_bytes_per_token=(width + kv_values(attention, layout.tp)) * ACTIVATION_BYTES,
            reach=attention.reach,
        )
    width = heads * (attention.head_dim + attention.v_head_dim)
    index = attention.indexer
    return AttentionWork(
        matrices=matrices,
        prefill_matrices=expand,
        decode_matrices=absorb,
        prefill=rates.of(fits.mla_prefill, "bf16"),
        decode=rates.of(fits.mla_decode, "bf16"),
        flop_per_pair=2.0 * width,
        flop_per_cached=2.0 * heads * (2 * attention.kv_lora_rank + attention.qk_rope_head_dim) / spread,
        kv_bytes_per_token=kv_bytes,
        io_bytes_per_token=(2.0 * width + _joined(attention, heads)) * ACTIVATION_BYTES,
        reach=index.top_k if index else attention.shared_top_k,
        index_bytes_per_token=float(index.head_dim) if index else 0.0,
        index_flop_per_token=2.0 * index.heads * index.head_dim if index else 0.0,
    )


def _joined(attention: Latent, heads: float) -> float:
    """Return the values per token that MLA prefill moves around attention: keys joined, the output put in its place.

    Expanded keys and the rotary part that all heads share are read, whole keys written (vLLM v1, mla/common.py,
    _concat_k_nope_k_pe); the output is copied. Values are not padded, as FlashAttention 3 takes heads of two widths.
    """
    read = heads * attention.qk_nope_head_dim + attention.qk_rope_head_dim
    return read + heads * (attention.head_dim + 2.0 * attention.v_head_dim)


def _elementwise(model: ModelSpec, layer: Layer, layout: Layout) -> float:
    """Return bytes per token that norms, rotary embedding and activation move: each reads and writes its operand.

    Two norms with their residual (4 hidden each), rotary and cache write over queries, keys and values, norms of
    queries and keys where a model has them, activation.
    """
    attention, block = layer.attention, layer.feed_forward
    values = 4.0 * layer.norm_parameters * model.hidden
    values += 2.0 * (attention.heads * attention.head_dim / layout.tp + kv_values(attention, layout.tp))
    if isinstance(attention, GroupedQuery) and attention.qk_norm != "none":
        values += 2.0 * (attention.heads / layout.tp + max(1.0, attention.kv_heads / layout.tp)) * attention.head_dim
    wide = block.intermediate if isinstance(block, Dense) else block.shared_intermediate
    values += (3.0 if block.gated else 2.0) * wide / layout.tp
    return values * ACTIVATION_BYTES
