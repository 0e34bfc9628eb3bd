"""The model: what its layers are made of, as tagged unions; a new kind fails at type-check time where it matters."""

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from optimizer.inputs.schema import Count, Natural, Record


class Indexer(Record):
    """A sparse-attention indexer (DSA): scores all tokens cheaply, attention then reads ``top_k`` of them."""

    heads: Count
    head_dim: Count
    top_k: Count


class GroupedQuery(Record):
    """Multi-head attention with ``kv_heads`` key and value heads shared by groups of query heads."""

    kind: Literal["gqa"] = "gqa"
    heads: Count
    kv_heads: Count
    head_dim: Count
    v_head_dim: Count | None = None
    """Width of a value head where it differs from ``head_dim``."""
    window: Count | None = None
    """Tokens a query looks back on (sliding window), None for all."""
    chunk: Count | None = None
    """Local attention inside fixed chunks of this many tokens (Llama 4), None for none."""
    qkv_bias: bool = False
    o_bias: bool = False
    qk_norm: Literal["none", "per-head", "full"] = "none"
    sinks: bool = False
    output_gate: bool = False
    values_are_keys: bool = False
    """Values are the keys' projection (Gemma 4): counted once, but engines hold, compute and cache both."""

    @property
    def value_dim(self) -> int:
        """Width of one value head."""
        return self.v_head_dim or self.head_dim

    @property
    def reach(self) -> int | None:
        """Tokens a query can see at most, None for all."""
        return self.window or self.chunk

    @model_validator(mode="after")
    def _groups(self) -> Self:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads: {self.heads} query heads do not form groups over {self.kv_heads} KV heads")
        return self


class Latent(Record):
    """Multi-head latent attention (MLA): one compressed vector per token is cached for all heads."""

    kind: Literal["mla"] = "mla"
    heads: Count
    q_lora_rank: Count | None = None
    """Rank of the query's compression, None when the query is projected directly."""
    kv_lora_rank: Count
    qk_nope_head_dim: Count
    qk_rope_head_dim: Count
    v_head_dim: Count
    indexer: Indexer | None = None
    shared_top_k: Count | None = None
    """Tokens attended to by a layer without an indexer that takes the choice of the last one before it (GLM-5.2)."""

    @property
    def head_dim(self) -> int:
        """Width of a query head before absorption."""
        return self.qk_nope_head_dim + self.qk_rope_head_dim

    @property
    def reach(self) -> int | None:
        """Tokens a query can see at most, None for all."""
        return None


Attention = Annotated[GroupedQuery | Latent, Field(discriminator="kind")]


class Dense(Record):
    """A feed-forward block: gated has three matrices (SwiGLU), plain has two."""

    kind: Literal["dense"] = "dense"
    intermediate: Count
    gated: bool = True
    bias: bool = False


class MixtureOfExperts(Record):
    """A routed feed-forward block: ``top_k`` of ``experts`` per token, plus shared experts that see every token."""

    kind: Literal["moe"] = "moe"
    experts: Count
    top_k: Count
    intermediate: Count
    """Width of one expert."""
    gated: bool = True
    shared_intermediate: Natural = 0
    """Width of all shared experts together, 0 for none."""
    shared_gate: bool = False
    router_bias: bool = False
    """A bias among the router's parameters."""
    correction_bias: bool = False
    """A per-expert score correction held as a buffer, not as a parameter."""
    expert_bias: bool = False
    router_fp32: bool = False
    """Whether the router's matrix is held in 32 bits (MiniMax)."""

    @model_validator(mode="after")
    def _top_k(self) -> Self:
        if self.top_k > self.experts:
            raise ValueError(f"top_k: {self.top_k} of {self.experts} experts cannot be chosen")
        return self


FeedForward = Annotated[Dense | MixtureOfExperts, Field(discriminator="kind")]


class Layer(Record):
    """One decoder layer."""

    attention: Attention
    feed_forward: FeedForward
    norm_parameters: Natural = 2
    """Norm vectors of the model's width in the layer: 2 for pre-norm, 4 with post-norms too, doubled with biases."""


class LayerRun(Layer):
    """``count`` equal layers in a row."""

    count: Count


_MOST_REPEATS = 1000


def _written_out(runs: object) -> object:
    """Return the runs with every ``{repeat: n, runs: [...]}`` written out n times."""
    if not isinstance(runs, list | tuple):
        return runs
    flat: list[object] = []
    for run in runs:
        match run:
            case {"repeat": int(times), "runs": [*inner], **rest} if not rest and 1 <= times <= _MOST_REPEATS:
                flat.extend(inner * times)
            case _:
                flat.append(run)
    return tuple(flat)


LayerRuns = Annotated[tuple[LayerRun, ...], BeforeValidator(_written_out), Field(min_length=1)]
"""Runs in order; ``{repeat: 18, runs: [...]}`` stands for a pattern that returns 18 times."""

Scheme = Literal["bf16", "fp8", "fp8-block", "int8", "int4", "mxfp4", "nvfp4"]
"""How a weight matrix is stored. fp8: a scale per channel or tensor; fp8-block: one per 128x128; int4: by groups."""

Part = Literal["attention", "dense", "experts", "shared", "router", "embedding", "head"]


class Quantization(Record):
    """How the published checkpoint is stored and which parts it leaves in bf16."""

    scheme: Scheme
    kept: tuple[Part, ...] = ("router", "embedding", "head")
    """Parts left in bf16."""
    block: Count | None = None
    """Rows and columns that share a scale (fp8-block), or the group along the input (int4, mxfp4, nvfp4)."""
    symmetric: bool = False
    """Whether groups of int4 have a scale alone, no zero point."""


class ModelSpec(Record):
    """The text part of a model: layers in order, vocabulary, and how its checkpoint is stored."""

    name: str
    hidden: Count
    vocab: Count
    context: Count
    """Longest sequence the model was made for, in tokens."""
    runs: LayerRuns
    tied_embeddings: bool = False
    position_embeddings: Natural = 0
    """Learned positions (rows of the model's width), 0 for rotary or ALiBi."""
    extra_norm_parameters: Natural = 1
    """Norm vectors outside the layers: 1 for a final RMS norm."""
    head_bias: bool = False
    """A bias on the logits (Phi-2)."""
    ends_on_all_stages: bool = False
    """Whether every pipeline stage holds embedding and head, used or not (vLLM's classes of some families)."""
    rotary_numbers: Natural = 0
    """Numbers in the tables of rotary angles that engines keep on every GPU (rows times width), 0 for none."""
    vision_parameters: Natural = 0
    """Parameters of the vision tower and projector that engines load too; no part of the text model's counts."""
    vision_whole: Natural = 0
    """Those of them that tensor parallelism does not cut: positions, norms, biases of what is summed, whole towers."""
    quantization: Quantization | None = None
    """The checkpoint's own scheme, None for 16 bits."""
    max_model_len: Count | None = None
    """Longest sequence to be served, in tokens; None: what the workload needs."""
    weights_path: str | None = None
    """What the engine is given as model (a hub name or a folder), None: ``name``."""
    sources: dict[str, str] = Field(default_factory=dict)

    @property
    def num_layers(self) -> int:
        """Decoder layers."""
        return sum(run.count for run in self.runs)

    def layers(self, first: int, last: int) -> Iterator[tuple[LayerRun, int]]:
        """Yield each run with the number of its layers among layers ``first`` (included) to ``last`` (excluded)."""
        start = 0
        for run in self.runs:
            inside = min(last, start + run.count) - max(first, start)
            if inside > 0:
                yield run, inside
            start += run.count

    @property
    def checkpoint_scheme(self) -> Scheme:
        """How the published weights are stored."""
        return self.quantization.scheme if self.quantization else "bf16"

    @property
    def is_moe(self) -> bool:
        """Whether any layer routes tokens to experts."""
        return any(isinstance(run.feed_forward, MixtureOfExperts) for run in self.runs)

    @model_validator(mode="after")
    def _vision(self) -> Self:
        if self.vision_whole > self.vision_parameters:
            raise ValueError(
                f"vision_whole: {self.vision_whole} is more than all {self.vision_parameters} vision_parameters"
            )
        return self

    @model_validator(mode="after")
    def _max_model_len(self) -> Self:
        if self.max_model_len and self.max_model_len > self.context:
            raise ValueError(
                f"max_model_len: {self.max_model_len} is beyond the model's context of {self.context} tokens; lower it"
            )
        return self
