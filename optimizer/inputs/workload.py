"""The traffic, its service objectives, and what may be chosen for it."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from optimizer.errors import InputError
from optimizer.inputs.model import ModelSpec, Scheme
from optimizer.inputs.schema import Bytes, Count, Fraction, PerSecond, Record, Seconds

KvScheme = Literal["bf16", "fp8"]
EngineName = Literal["vllm", "sglang", "trtllm"]
Role = Literal["both", "prefill", "decode"]
"""What a replica does of a request: all of it, its prompt, or its answer; KV moves from the second to the third."""

ROLES: tuple[Role, ...] = ("both", "prefill", "decode")


class Lengths(Record):
    """Tokens of a request: mean and coefficient of variation (0: all equal)."""

    mean: Count
    cv: Annotated[float, Field(ge=0)] = 0.0


def _lengths(value: object) -> object:
    if isinstance(value, dict | Lengths):
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is no number of tokens: write 2048, or {{mean: 2048, cv: 0.5}}")  # noqa: TRY004
    return {"mean": value}


TokenLengths = Annotated[Lengths, BeforeValidator(_lengths)]


class Slo(Record):
    """Bounds that ``percentile`` percent of requests must meet."""

    ttft: Seconds | None = None
    tpot: Seconds | None = None
    percentile: Annotated[float, Field(gt=0, lt=100)] | None = None
    """None: bounds are on the mean."""


class EngineChoice(Record):
    """The engine and what the user wants set rather than decided; None: the engine's default or tpopt's decision."""

    name: EngineName = "vllm"
    version: str | None = None
    gpu_memory_utilization: Fraction | None = None
    max_num_seqs: Count | None = None
    max_num_batched_tokens: Count | None = None
    cuda_graphs: bool = True
    cuda_graph_sizes: tuple[Count, ...] = ()
    """Captured batch sizes; empty: the engine's default list."""
    reserve: Bytes | None = None
    """Memory set aside on every GPU."""
    fragmentation: Fraction | None = None
    """Share of the KV pool lost beyond block rounding; None: the measured one (0 under paging)."""


def _engine(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


def _preset(value: object) -> object:
    """Return the model of a preset's name."""
    if not isinstance(value, str):
        return value
    from optimizer.inputs import presets  # which reads records that need this module

    try:
        return presets.load_model(value)
    except InputError as error:
        raise ValueError(str(error)) from error


class Speculative(Record):
    """Speculative decoding: ``draft_tokens`` are guessed, and checked by one step of the model."""

    method: Literal["draft", "eagle", "mtp", "ngram"]
    """draft: a smaller model; eagle, mtp: one more layer like the model's last; ngram: looked up in the prompt."""
    draft_tokens: Count
    acceptance: Fraction
    """Chance that a draft is kept, those before it being kept: measure it on your own prompts."""
    draft_model: Annotated[ModelSpec | None, BeforeValidator(_preset)] = None
    """A preset's name, or an architecture in full."""

    @model_validator(mode="after")
    def _model_drafts(self) -> Self:
        if (self.method == "draft") != (self.draft_model is not None):
            raise ValueError(
                "draft_model: is missing; name the model that drafts" if self.method == "draft"
                else f"draft_model: {self.method} drafts without one; leave it out, or write method: draft"
            )  # fmt: skip
        return self


class WorkloadSpec(Record):
    """What is asked of the cluster. Neither rate nor concurrency: as much as it can take."""

    isl: TokenLengths = Lengths(mean=1024)
    osl: TokenLengths = Lengths(mean=256)
    request_rate: PerSecond | None = None
    concurrency: Count | None = None
    slo: Slo = Slo()
    weights: tuple[Scheme, ...] | None = None
    """Weight precisions that may be chosen; None: the checkpoint's."""
    kv_cache: tuple[KvScheme, ...] = ("bf16",)
    engine: Annotated[EngineChoice, BeforeValidator(_engine)] = EngineChoice()
    roles: tuple[Role, ...] = ("both",)
    """What replicas may do: [both], [prefill, decode] for the two apart, or all three to let tpopt decide."""
    prefix_cache_hit: Fraction = 0.0
    """Share of the prompt found in the prefix cache."""
    speculative: Speculative | None = None
    """None: one token per sequence and step."""
    margin: Annotated[Fraction, Field(lt=1)] = 0.0
    """Error of prices to be safe against: rates count for so much less, TTFT and TPOT for so much more."""

    @model_validator(mode="after")
    def _one_load(self) -> Self:
        if self.request_rate is not None and self.concurrency is not None:
            raise ValueError("request_rate and concurrency exclude each other: give the one that fits your traffic")
        if self.request_rate == 0:
            raise ValueError("request_rate: 0 requests/s ask for nothing; leave it out for a saturating load")
        return self

    @model_validator(mode="after")
    def _roles_pair(self) -> Self:
        if set(self.roles) not in ({"both"}, {"prefill", "decode"}, {"both", "prefill", "decode"}):
            raise ValueError("roles: prefill needs decode and decode needs prefill; write [both], [prefill, decode], "
                             "or [both, prefill, decode]")  # fmt: skip
        return self

    @model_validator(mode="after")
    def _drafts_together(self) -> Self:
        if self.speculative is not None and self.roles != ("both",):
            raise ValueError("speculative: is not priced with prefill and decode apart; write roles: [both]")
        return self

    @property
    def longest_tokens(self) -> int:
        """Tokens of a long request, prompt and answer: mean plus three standard deviations."""
        return round(self.isl.mean * (1 + 3 * self.isl.cv) + self.osl.mean * (1 + 3 * self.osl.cv))
