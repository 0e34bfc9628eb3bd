"""Which layouts an engine admits for a model: one function for each rule."""

from collections.abc import Callable, Iterable
from functools import lru_cache
from math import ceil
from typing import TypeVar

from optimizer.inputs.identity import Same
from optimizer.inputs.model import (
    Attention,
    Dense,
    FeedForward,
    GroupedQuery,
    Latent,
    MixtureOfExperts,
    ModelSpec,
    Part,
    Quantization,
    Scheme,
)
from optimizer.inputs.workload import EngineName, Role
from optimizer.layout.degrees import Layout

_VOCAB_ALIGNMENT = 64  # vLLM pads the vocabulary to it before TP cuts it
_SCALE_BLOCKS: dict[Scheme, int] = {"fp8-block": 128, "int4": 128, "nvfp4": 16}
_KEPT_ONLINE = Quantization(scheme="fp8").kept

T = TypeVar("T")

Rule = Callable[[ModelSpec, Layout, EngineName], str | None]
"""Says why an engine refuses the layout for the model, None when it does not."""


def kinds(model: ModelSpec) -> tuple[Attention, ...]:
    """Return the attentions of the model, each once, in order."""
    return _attentions(Same(model))


@lru_cache(maxsize=64)
def _attentions(model: Same[ModelSpec]) -> tuple[Attention, ...]:
    return _each_once(run.attention for run in model.value.runs)


def _blocks(model: ModelSpec) -> tuple[FeedForward, ...]:
    return _feed_forwards(Same(model))


@lru_cache(maxsize=64)
def _feed_forwards(model: Same[ModelSpec]) -> tuple[FeedForward, ...]:
    return _each_once(run.feed_forward for run in model.value.runs)


def _each_once(parts: Iterable[T]) -> tuple[T, ...]:
    found: list[T] = []
    for part in parts:
        if part not in found:
            found.append(part)
    return tuple(found)


def _experts(model: ModelSpec) -> tuple[MixtureOfExperts, ...]:
    return tuple(block for block in _blocks(model) if isinstance(block, MixtureOfExperts))


def _expert_slices(layout: Layout) -> int:
    """Return into how many slices each expert is cut."""
    return max(1, layout.ranks_per_stage // layout.ep)


def query_heads_divide(model: ModelSpec, layout: Layout, _engine: EngineName) -> str | None:
    """Every rank has equally many query heads."""
    odd = next((kind.heads for kind in kinds(model) if kind.heads % layout.tp), None)
    return f"tp {layout.tp} does not divide {odd} query heads" if odd else None


def kv_heads_split_or_replicate(model: ModelSpec, layout: Layout, engine: EngineName) -> str | None:
    """KV heads are dealt out evenly, or each is on equally many ranks; with sinks vLLM only deals them out."""
    for kind in kinds(model):
        if not isinstance(kind, GroupedQuery):
            continue
        if kind.sinks and engine == "vllm" and kind.kv_heads % layout.tp:
            return f"tp {layout.tp} does not divide {kind.kv_heads} KV heads, which vLLM wants of attention with sinks"
        if kind.kv_heads % layout.tp and layout.tp % kind.kv_heads:
            return f"tp {layout.tp} and {kind.kv_heads} KV heads: neither divides the other"
    return None


def vocabulary_divides(model: ModelSpec, layout: Layout, _engine: EngineName) -> str | None:
    """The vocabulary, padded to 64, is cut evenly."""
    padded = ceil(model.vocab / _VOCAB_ALIGNMENT) * _VOCAB_ALIGNMENT
    return f"tp {layout.tp} does not divide the padded vocabulary of {padded}" if padded % layout.tp else None


def feed_forward_divides(model: ModelSpec, layout: Layout, _engine: EngineName) -> str | None:
    """Dense blocks and shared experts are cut evenly by TP, experts by what expert parallelism leaves."""
    for block in _blocks(model):
        whole = block.intermediate if isinstance(block, Dense) else block.shared_intermediate
        if whole % layout.tp:
            return f"tp {layout.tp} does not divide the intermediate width {whole}"
    slices = _expert_slices(layout)
    odd = next((block.intermediate for block in _experts(model) if block.intermediate % slices), None)
    return f"experts of width {odd} cannot be cut into {slices} slices" if odd else None


def _row_cuts(model: ModelSpec, layout: Layout, *, with_experts: bool) -> Iterable[tuple[Part, int]]:
    """Yield (part, width) of what one rank holds along an axis that TP cuts."""
    for kind in kinds(model):
        value_dim = kind.value_dim if isinstance(kind, GroupedQuery) else kind.v_head_dim
        yield "attention", kind.heads * value_dim // layout.tp
    for block in _blocks(model):
        if isinstance(block, Dense):
            yield "dense", block.intermediate // layout.tp
        elif block.shared_intermediate:
            yield "shared", block.shared_intermediate // layout.tp
    if with_experts:
        yield from (("experts", block.intermediate // _expert_slices(layout)) for block in _experts(model))


def scale_blocks_stay_whole(model: ModelSpec, layout: Layout, engine: EngineName) -> str | None:
    """No shard cuts through weights that share a scale; vLLM adapts the scales of fp8 experts, all pad MXFP4."""
    block = _block(model, layout)
    if block is None or layout.weights == "mxfp4":
        return None
    adapts = engine == "vllm" and layout.weights == "fp8-block"
    own = model.quantization
    kept = own.kept if own and own.scheme == layout.weights else _KEPT_ONLINE
    for part, width in _row_cuts(model, layout, with_experts=not adapts):
        if part not in kept and width % block:
            return f"a shard of {width} ({part}) is no multiple of the {block} weights that share a scale"
    return None


def _block(model: ModelSpec, layout: Layout) -> int | None:
    own = model.quantization
    given = own.block if own and own.scheme == layout.weights else None
    return given or _SCALE_BLOCKS.get(layout.weights)


def stages_have_layers(model: ModelSpec, layout: Layout, _engine: EngineName) -> str | None:
    """Every stage holds a layer, and all layers have a stage."""
    split = layout.layers_per_stage
    if len(split) != layout.pp or min(split) < 1:
        return f"pp {layout.pp} needs {layout.pp} stages of at least one layer, given {list(split)}"
    if sum(split) != model.num_layers:
        return f"layers_per_stage adds up to {sum(split)}, the model has {model.num_layers}"
    return None


def experts_spread(model: ModelSpec, layout: Layout, engine: EngineName) -> str | None:
    """Expert parallelism: only of experts, at most one GPU per expert, over the group the engine spreads them on."""
    if layout.ep == 1:
        return None
    experts = _experts(model)
    if not experts:
        return f"ep {layout.ep}: the model has no experts"
    fewest = min(block.experts for block in experts)
    if layout.ep > fewest:
        return f"ep {layout.ep} exceeds {fewest} experts: some GPUs would hold none"
    group = layout.ranks_per_stage
    if engine == "vllm" and layout.ep != group:
        return f"ep {layout.ep}: vLLM spreads experts over all {group} GPUs of a stage or over none"
    if group % layout.ep:
        return f"ep {layout.ep} does not divide the {group} GPUs of a stage"
    if engine != "vllm" and any(block.experts % layout.ep for block in experts):
        return f"ep {layout.ep} does not divide {fewest} experts"
    return None


def attention_replicas_share_experts(model: ModelSpec, layout: Layout, engine: EngineName) -> str | None:
    """Attention data parallelism exists to share experts; dense models run as separate replicas instead."""
    if layout.attn_dp == 1:
        return None
    if not model.is_moe:
        return f"attention dp {layout.attn_dp}: a dense model gains nothing; run separate replicas"
    if engine == "trtllm" and layout.tp > 1:
        return f"attention dp {layout.attn_dp} with tp {layout.tp}: TensorRT-LLM has one or the other"
    return "attention dp with pipeline stages is not served" if engine != "vllm" and layout.pp > 1 else None


def decode_context_divides(model: ModelSpec, layout: Layout, engine: EngineName) -> str | None:
    """Decode context parallelism takes ranks of the TP group that would hold copies of the same KV heads."""
    if layout.dcp == 1 or layout.pcp > 1:
        return None
    if engine == "trtllm":
        return f"dcp {layout.dcp}: not known for TensorRT-LLM"
    if layout.tp % layout.dcp:
        return f"dcp {layout.dcp} does not divide tp {layout.tp}"
    for kind in kinds(model):
        if not isinstance(kind, GroupedQuery):
            continue
        if kind.window is not None:
            return f"dcp {layout.dcp}: sliding windows are not spread over ranks"
        copies = layout.tp // kind.kv_heads
        if copies < 2 or layout.dcp > copies:
            return f"dcp {layout.dcp} needs as many copies of each KV head; tp {layout.tp} makes {max(1, copies)}"
        if (kind.heads // kind.kv_heads) % layout.dcp:
            return f"dcp {layout.dcp} does not divide the {kind.heads // kind.kv_heads} query heads of a KV head"
    return None


def prefill_context_fits(model: ModelSpec, layout: Layout, engine: EngineName) -> str | None:
    """Prefill context parallelism: vLLM, latent attention, one stage, decode context spread over none or all of it.

    vLLM 0.33: config/parallel.py, and PCPManager.validate_config of its second model runner.
    """
    if layout.pcp == 1:
        return None
    if engine != "vllm":
        return f"pcp {layout.pcp}: only known for vLLM"
    if not all(isinstance(kind, Latent) for kind in kinds(model)) or model.vision_parameters:
        return f"pcp {layout.pcp}: vLLM has it for text models with latent attention only"
    if layout.pp > 1 or layout.attn_dp > 1:
        return f"pcp {layout.pcp}: goes neither with pipeline stages nor with attention replicas"
    return (
        None if layout.dcp in (1, layout.pcp) else f"pcp {layout.pcp} needs dcp 1 or {layout.pcp}, given {layout.dcp}"
    )


RULES: tuple[Rule, ...] = (
    query_heads_divide, kv_heads_split_or_replicate, vocabulary_divides, feed_forward_divides,
    scale_blocks_stay_whole, stages_have_layers, experts_spread, attention_replicas_share_experts,
    decode_context_divides, prefill_context_fits,
)  # fmt: skip
"""All rules; one more is one function and one entry. Sources: vLLM 0.33 (config and model code), SGLang 0.5.23
(model code: its start-up checks catch few of them), TensorRT-LLM's LlmArgs."""


def refusals(model: ModelSpec, layout: Layout, engine: EngineName) -> tuple[str, ...]:
    """Return why the engine would refuse the layout, empty when it is admissible."""
    return tuple(reason for rule in RULES if (reason := rule(model, layout, engine)) is not None)


def refuses_hand_over(layout: Layout, engine: EngineName, role: Role) -> str | None:
    """Say why the engine moves no KV out of (or into) a layout whose prefill and decode are apart, None when it does.

    vLLM's NixlConnector moves none of pipeline stages (vllm-project/vllm issue 52913: it raises at the handshake);
    SGLang's pipelines prefill for decode servers of one stage (sgl-project/sglang issue 11857).
    """
    if role == "both" or layout.pp == 1 or engine == "trtllm" or (engine == "sglang" and role == "prefill"):
        return None
    return f"pp {layout.pp}: {engine} hands over no KV {'from' if role == 'prefill' else 'to'} pipeline stages"


_OF_TP_ALONE: tuple[Rule, ...] = (query_heads_divide, kv_heads_split_or_replicate, vocabulary_divides)


def refuses_tp(model: ModelSpec, tp: int, engine: EngineName) -> bool:
    """Whether the engine refuses a TP degree whatever the other degrees are."""
    alone = Layout(tp, 1, (model.num_layers,))
    return any(rule(model, alone, engine) is not None for rule in _OF_TP_ALONE)
