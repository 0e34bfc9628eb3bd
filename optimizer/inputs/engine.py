"""An inference engine as data: what each version does by default and what its memory ledger holds."""

from typing import Annotated

from pydantic import Field

from optimizer.inputs.schema import Bytes, Count, Fraction, Record
from optimizer.inputs.workload import EngineName

Factor = Annotated[float, Field(ge=0)]


class SizeDefault(Record):
    """Defaults that hold on GPUs with at least ``memory`` visible."""

    memory: Bytes
    max_num_seqs: Count
    max_num_batched_tokens: Count


class EngineVersion(Record):
    """Facts that hold from version ``since`` until the next entry."""

    since: str
    gpu_memory_utilization: Fraction
    """Share of visible memory the engine may hold (vLLM), or its nearest equal."""
    block_tokens: Count
    """Tokens of one KV block."""
    sizes: tuple[SizeDefault, ...] = Field(min_length=1)
    """By visible memory, largest first; the last one holds for all smaller GPUs."""
    graph_batch_limit: Count
    """Largest batch captured by default."""
    graph_prefill_tokens: Count
    """Steps of up to so many tokens run piecewise from captured graphs; larger ones are launched by the host."""
    sampler_bytes_per_logit: Factor
    """Peak bytes of the sampler per running sequence and vocabulary entry."""
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
