"""Layouts: the degrees of one replica, and which of them an engine admits for a model."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import product
from math import ceil

from optimizer.inputs.model import (
    Attention,
    Dense,
    FeedForward,
    GroupedQuery,
    MixtureOfExperts,
    ModelSpec,
    Part,
    Quantization,
    Scheme,
)
from optimizer.inputs.workload import EngineName, KvScheme

_VOCAB_ALIGNMENT = 64  # vLLM pads the vocabulary to it before TP cuts it
_SCALE_BLOCKS: dict[Scheme, int] = {"fp8-block": 128, "int4": 128, "nvfp4": 16}
_KEPT_ONLINE = Quantization(scheme="fp8").kept


@dataclass(frozen=True, order=True)
class Layout:
    """How one replica splits the model, without seats.

    Ranks are numbered stage by stage, TP fastest: rank = stage * ranks_per_stage + index in the stage.
    """

    tp: int
    pp: int
    layers_per_stage: tuple[int, ...]
    weights: Scheme = "bf16"
    kv_cache: KvScheme = "bf16"
    ep: int = 1
    """GPUs over which whole experts are spread: 1 (experts are sliced by TP) or tp * attn_dp."""
    dcp: int = 1
    """Decode context parallel degree, inside the TP group."""
    pcp: int = 1
    """Prefill context parallel degree."""
    attn_dp: int = 1
    """Attention replicas that share one set of experts; each has ``tp`` ranks per stage."""

    @property
    def ranks_per_stage(self) -> int:
        """GPUs that hold one run of layers."""
        return self.tp * self.attn_dp * self.pcp

    @property
    def world_size(self) -> int:
        """GPUs of the replica."""
        return self.ranks_per_stage * self.pp

    @property
    def label(self) -> str:
        """Short name: "tp4pp2", with ep, dcp, pcp and dp (attention) where they exceed 1."""
        named: Iterable[tuple[str, int]] = (
            ("tp", self.tp), ("pp", self.pp), ("ep", self.ep),
            ("dcp", self.dcp), ("pcp", self.pcp), ("attndp", self.attn_dp),
        )  # fmt: skip
        return "".join(f"{name}{degree}" for name, degree in named if degree > 1 or name == "tp")


def split_layers(num_layers: int, pp: int) -> tuple[int, ...]:
    """Return layers per stage by vLLM's rule: what does not divide goes one each to stages pp-2, pp-3, ...

    The last stage never gets one, since it holds the head (vllm/distributed/utils.py, get_pp_indices).
    """
    least, rest = divmod(num_layers, pp)
    return tuple(least + (1 if pp - 1 - rest <= stage < pp - 1 else 0) for stage in range(pp))


Rule = Callable[[ModelSpec, Layout, EngineName], str | None]
"""Says why an engine refuses the layout for the model, None when it does not."""


def _kinds(model: ModelSpec) -> tuple[Attention, ...]:
    """Return the attentions of the model, each once, in order."""
    kinds: list[Attention] = []
    for run in model.runs:
        if run.attention not in kinds:
            kinds.append(run.attention)
    return tuple(kinds)


def _blocks(model: ModelSpec) -> tuple[FeedForward, ...]:
    blocks: list[FeedForward] = []
    for run in model.runs:
        if run.feed_forward not in blocks:
            blocks.append(run.feed_forward)
    return tuple(blocks)


def _experts(model: ModelSpec) -> tuple[MixtureOfExperts, ...]:
    return tuple(block for block in _blocks(model) if isinstance(block, MixtureOfExperts))


def _expert_slices(layout: Layout) -> int:
    """Return into how many slices each expert is cut."""
    return max(1, layout.ranks_per_stage // layout.ep)


def query_heads_divide(model: ModelSpec, layout: Layout, _engine: EngineName) -> str | None:
    """Every rank has equally many query heads."""
    odd = next((kind.heads for kind in _kinds(model) if kind.heads % layout.tp), None)
    return f"tp {layout.tp} does not divide {odd} query heads" if odd else None


def kv_heads_split_or_replicate(model: ModelSpec, layout: Layout, engine: EngineName) -> str | None:
    """KV heads are dealt out evenly, or each is on equally many ranks; with sinks vLLM only deals them out."""
    for kind in _kinds(model):
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
    for kind in _kinds(model):
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
    return "attention dp with pipeline stages is not served" if engine != "vllm" and layout.pp > 1 else None


def decode_context_divides(model: ModelSpec, layout: Layout, engine: EngineName) -> str | None:
    """Decode context parallelism takes ranks of the TP group that would hold copies of the same KV heads."""
    if layout.dcp == 1:
        return None
    if engine == "trtllm":
        return f"dcp {layout.dcp}: not known for TensorRT-LLM"
    if layout.tp % layout.dcp:
        return f"dcp {layout.dcp} does not divide tp {layout.tp}"
    for kind in _kinds(model):
        if not isinstance(kind, GroupedQuery):
            continue
        copies = layout.tp // kind.kv_heads
        if copies < 2 or layout.dcp > copies:
            return f"dcp {layout.dcp} needs as many copies of each KV head; tp {layout.tp} makes {max(1, copies)}"
        if (kind.heads // kind.kv_heads) % layout.dcp:
            return f"dcp {layout.dcp} does not divide the {kind.heads // kind.kv_heads} query heads of a KV head"
    return None


def prefill_context_fits(_model: ModelSpec, layout: Layout, engine: EngineName) -> str | None:
    """Prefill context parallelism goes with a decode degree of 1, its own or the whole group's, on vLLM only."""
    if layout.pcp == 1:
        return None
    if engine != "vllm":
        return f"pcp {layout.pcp}: only known for vLLM"
    allowed = sorted({1, layout.pcp, layout.tp * layout.pcp})
    return None if layout.dcp in allowed else f"pcp {layout.pcp} needs dcp among {allowed}, given {layout.dcp}"


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


def layouts(
    model: ModelSpec, gpus: int, *, weights: tuple[Scheme, ...], kv: tuple[KvScheme, ...], engine: EngineName
) -> tuple[Layout, ...]:
    """Return all admissible layouts of up to ``gpus`` GPUs: fewest GPUs first, then fewest stages, then as given.

    Degrees need not be powers of two: tp is any number the model's heads allow, pp any up to the layers.
    """
    found: list[Layout] = []
    for tp in range(1, min(gpus, max(kind.heads for kind in _kinds(model))) + 1):
        for scheme, ep in product(weights, (1, tp) if model.is_moe and tp > 1 else (1,)):
            base = Layout(tp, 1, (model.num_layers,), scheme, kv[0], ep)
            if refusals(model, base, engine):
                continue  # no rule on these degrees depends on the stages or the cache
            stages = range(1, min(gpus // tp, model.num_layers) + 1)
            found += [
                replace(base, pp=pp, layers_per_stage=split_layers(model.num_layers, pp), kv_cache=cache)
                for pp, cache in product(stages, kv)
            ]
    order = {scheme: place for place, scheme in enumerate(weights)}
    caches = {scheme: place for place, scheme in enumerate(kv)}
    return tuple(sorted(found, key=lambda x: (x.world_size, x.pp, x.ep, order[x.weights], caches[x.kv_cache])))
