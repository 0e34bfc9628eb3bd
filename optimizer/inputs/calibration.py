"""Measured constants of one GPU type, its links and the host that drives it: how near hardware comes to its peaks.

All shares are of the datasheet's figure (memory bandwidth, dense matrix rate, nominal link rate), so that a GPU without
measurements can be priced with the shares of its nearest kin.
"""

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from optimizer.inputs.gpu import Architecture, GpuSpec
from optimizer.inputs.model import Scheme
from optimizer.inputs.schema import Bytes, Count, Record, Seconds
from optimizer.inputs.workload import KvScheme

Share = Annotated[float, Field(gt=0, le=1)]
"""Achieved over nominal."""
Power = Annotated[float, Field(ge=0.5, le=32)]
Operation = Literal["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "p2p"]
LinkKind = Literal["nvswitch", "mesh", "nvlink", "pcie", "host", "rdma"]


def _by_count(value: object) -> object:
    return {int(key): item for key, item in value.items()} if isinstance(value, dict) else value


class Roofline(Record):
    """One kernel family: t = fixed + ((bytes / memory share)^power + (FLOP / compute share)^power)^(1 / power)."""

    memory: Share
    compute: Share
    power: Power
    """Large: the slower of both decides. Near 1: they hardly overlap."""
    fixed: Seconds = 0.0
    """Beyond the overhead that every kernel of a captured graph has."""


class DecodeAttention(Roofline):
    """Attention of one new token per sequence over its cached context."""

    per_sequence: Seconds = 0.0


class FusedExperts(Roofline):
    """Routed experts: their weights at ``memory``, and the rows that are sorted, passed between and summed."""

    activations: Share
    """Share of memory bandwidth that rows reach, scattered as they are."""


class CollectiveFit(Record):
    """t = base + steps * hop + volume / (efficiency * rate) + ramp * sqrt(message / 1 MB).

    ``volume`` is what a rank sends, and ``own_part`` times 1/n of the message that it copies to itself.
    """

    base: Seconds
    hop: Seconds
    """Per step of the ring: 2(n-1) for all-reduce, n-1 otherwise."""
    efficiency: Share
    ramp: Seconds = 0.0
    """Cost of mid-sized messages."""
    own_part: Annotated[float, Field(ge=0)] = 0.0
    """Time of copying a rank's own part, as a share of that of sending as much: why few ranks reach less."""


class OwnAllReduce(Record):
    """The engine's own all-reduce among so many ranks of one fast domain, as replayed from a graph."""

    base: Seconds
    efficiency: Share
    ramp: Seconds = 0.0
    limit: Bytes
    """Longest message; NCCL takes longer ones."""


class InSwitch(Record):
    """All-reduce inside the switch (NVLS, multimem): each rank sends and receives the message once."""

    min_ranks: Count
    base: Seconds
    efficiency: Share
    ramp: Seconds = 0.0


class Link(Record):
    """What one kind of link reaches."""

    operations: dict[Operation, CollectiveFit]
    own: Annotated[dict[int, OwnAllReduce], BeforeValidator(_by_count)] = Field(default_factory=dict)
    """By ranks; group sizes that are not named use NCCL."""
    in_switch: InSwitch | None = None


class Host(Record):
    """The CPU side. Belongs to a host and an engine version, not to a GPU."""

    launch: Seconds
    """One kernel launched outside a captured graph."""
    piece: Seconds
    """One launch between the captured pieces of a short prefill."""
    step_floor: Seconds
    """Shortest decode step, whatever the GPU does."""
    step_base: Seconds
    """What a step that starts on an idle GPU waits for scheduling and input preparation, per stage."""
    per_sequence: Seconds
    """Sampling and output of one running sequence, per step."""
    request: Seconds
    """Front end, once per request."""
    prompt_token: Seconds
    """Front end, per prompt token."""


class HostFigures(Record):
    """What the hosts of a cluster take, where that was timed; what is left out is as on the host of the calibration."""

    launch: Seconds | None = None
    piece: Seconds | None = None
    step_floor: Seconds | None = None
    step_base: Seconds | None = None
    per_sequence: Seconds | None = None
    request: Seconds | None = None
    prompt_token: Seconds | None = None
    """Text that a front end must tokenize takes about 2 us a token, token ids 0.45."""
    source: str | None = None
    """Who timed it, on what."""


class FitError(Record):
    """How well one family or metric is met."""

    n: Count
    in_sample: float
    """Mean absolute relative error on the points fitted."""
    held_out: float | None = None
    """The same on points or models left out of the fit."""


class Calibration(Record):
    """Everything measured about one GPU type."""

    gpu: str
    engine: str
    """Engine and version whose kernels were measured."""
    date: str
    measured: bool
    """False when some family comes from another GPU; ``borrowed`` says which."""
    borrowed: dict[str, str] = Field(default_factory=dict)
    """Family to where its values come from."""
    gemm: dict[Scheme, Roofline]
    attention_prefill: Roofline
    attention_decode: dict[KvScheme, DecodeAttention]
    mla_prefill: Roofline
    mla_decode: DecodeAttention
    moe: dict[Scheme, FusedExperts]
    elementwise: Share
    """Share of memory bandwidth that norms, activations and copies reach."""
    kernel: Seconds
    """Gap and start of one kernel inside a captured graph."""
    links: dict[LinkKind, Link]
    host: Host
    errors: dict[str, FitError] = Field(default_factory=dict)
    sources: dict[str, str] = Field(min_length=1)


_FAMILY: dict[Architecture, tuple[str, int]] = {
    "volta": ("nvidia", 0), "turing": ("nvidia", 1), "ampere": ("nvidia", 2), "ada": ("nvidia", 3),
    "hopper": ("nvidia", 4), "blackwell": ("nvidia", 5), "cdna2": ("amd", 2), "cdna3": ("amd", 3),
    "cdna4": ("amd", 4), "gaudi": ("intel", 3), "other": ("other", 3),
}  # fmt: skip


def _distance(gpu: GpuSpec, other: GpuSpec) -> tuple[float, ...]:
    """Return how unlike two GPUs are: links, maker, architecture, memory bandwidth, most telling first."""
    maker, order = _FAMILY[gpu.architecture]
    other_maker, other_order = _FAMILY[other.architecture]
    links = float((gpu.scale_up is None) != (other.scale_up is None))
    bandwidth = max(gpu.memory_bandwidth, other.memory_bandwidth) / min(gpu.memory_bandwidth, other.memory_bandwidth)
    return (float(maker != other_maker), abs(order - other_order) + links, links, bandwidth)


def nearest_kin(gpu: GpuSpec, available: Iterable[GpuSpec]) -> str:
    """Return the id among ``available`` whose measured shares suit ``gpu`` best (itself when it is there).

    The same maker first, then the nearest architecture (GPUs with and without links of their own differ by as much as
    one generation), then the most similar memory bandwidth; ties by id.
    """
    return min(available, key=lambda kin: (kin.id != gpu.id, _distance(gpu, kin), kin.id)).id


def on_host(fits: Calibration, timed: HostFigures) -> Calibration:
    """Return the constants of a GPU with what its host was timed to take in place of the calibration's own host."""
    figures = {name: getattr(timed, name) for name in Host.model_fields}
    stated = {name: seconds for name, seconds in figures.items() if seconds is not None}
    return fits.model_copy(
        update={
            "host": fits.host.model_copy(update=stated),
            "borrowed": {family: origin for family, origin in fits.borrowed.items() if family != "host"},
            "sources": {**fits.sources, "host": timed.source or "as the cluster states"},
        }
    )
