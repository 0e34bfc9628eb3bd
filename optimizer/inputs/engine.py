"""An inference engine as data: what each version does by default and what its memory ledger holds."""

from typing import Annotated, Literal

from pydantic import Field

from optimizer.inputs.gpu import Architecture
from optimizer.inputs.schema import Bytes, Count, Fraction, Natural, Record, Seconds
from optimizer.inputs.workload import EngineName

Factor = Annotated[float, Field(ge=0)]


class SizeDefault(Record):
    """Defaults that hold on GPUs with at least ``memory`` visible."""

    memory: Bytes
    max_num_seqs: Count
    max_num_batched_tokens: Count
    except_gpus: tuple[str, ...] = ()
    """Beginnings of catalogue ids for which the entry does not hold."""


class AutoReserve(Record):
    """What an engine leaves free when the user gives no share (SGLang's mem_fraction_static)."""

    base: Bytes
    per_prefill_token: Bytes
    least_prefill_tokens: Count
    per_gpu: Bytes
    """For every GPU of the replica."""
    per_graph_batch: Bytes
    """For every sequence of the largest captured batch."""
    least: Bytes
    least_from_memory: Bytes
    """``least`` holds on GPUs with more memory than this."""


class EngineVersion(Record):
    """Facts that hold from version ``since`` until the next entry."""

    since: str
    gpu_memory_utilization: Fraction
    """Share of visible memory the engine may hold (vLLM), or its nearest equal."""
    share_of: Literal["total", "static", "free"] = "total"
    """What that share counts: everything the engine holds (vLLM); weights and KV only, activations lie outside
    (SGLang); KV only, of what is free after loading (TensorRT-LLM)."""
    auto_reserve: AutoReserve | None = None
    """How the share is found when the user gives none; None: ``gpu_memory_utilization`` itself."""
    block_tokens: Count
    """Tokens of one KV block."""
    sizes: tuple[SizeDefault, ...] = Field(min_length=1)
    """By visible memory, largest first; the last one holds for all smaller GPUs."""
    graph_batch_limit: Count
    """Largest batch captured by default."""
    graph_prefill_tokens: Natural
    """Steps of up to so many tokens run piecewise from captured graphs; larger ones are launched by the host."""
    serial_step: Seconds = 0.0
    """Scheduling, input preparation and output of a step where they wait for the GPU (no asynchronous scheduling)."""
    serial_step_growth: Fraction = 0.0
    """Its growth with every doubling of the TP group, where each worker is told anew; 0: it does not grow."""
    sampler_bytes_per_logit: Factor
    """Peak bytes of the sampler per running sequence and vocabulary entry."""
    keeps_expert_workspace: bool = False
    """Whether the fused-experts kernels' buffers stay allocated beside the sampler's peak."""
    window_pool: Literal["all-layers", "requests"] = "all-layers"
    """How the reported pool counts sliding windows: as if every layer kept every token, or by whole requests."""
    runs_on: tuple[Architecture, ...] = Field(min_length=1)
    """GPU architectures that it runs on."""
    several_gpu_types: bool = False
    """Whether the stages of one pipeline may sit on GPUs of several types of one vendor."""
    non_torch_bytes: Bytes
    """Held outside the allocator on one GPU (context, workspaces, graphs)."""
    non_torch_bytes_per_group: Bytes
    """More of it when the GPU is one of a TP group (communicators)."""
    sources: dict[str, str] = Field(min_length=1)


class EngineSpec(Record):
    """One engine, its versions oldest first."""

    name: EngineName
    versions: tuple[EngineVersion, ...] = Field(min_length=1)
    latest: str
    """The release a plan names when the user names none."""
