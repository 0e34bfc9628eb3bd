"""A GPU of the catalogue: what the datasheet says, each number with its source."""

from typing import Literal

from pydantic import Field

from optimizer.inputs.schema import Bytes, BytesPerS, Count, FlopPerS, Record, Watts

Architecture = Literal[
    "volta", "turing", "ampere", "ada", "hopper", "blackwell", "cdna2", "cdna3", "cdna4", "gaudi", "other"
]


class Peak(Record):
    """Dense matrix rates (no sparsity), None where the hardware has no such unit."""

    bf16: FlopPerS
    """Also fp16; on GPUs without bf16 the fp16 rate."""
    fp8: FlopPerS | None = None
    int8: FlopPerS | None = None
    fp4: FlopPerS | None = None


class ScaleUp(Record):
    """The GPU's own links to its peers, per direction."""

    kind: Literal["nvswitch", "mesh", "bridge"]
    bandwidth: BytesPerS
    """All links of one GPU together."""
    pair_bandwidth: BytesPerS | None = None
    """Links to one peer (mesh), None behind a switch."""
    links: Count | None = None


class GpuSpec(Record):
    """One GPU type."""

    id: str
    name: str
    vendor: Literal["nvidia", "amd", "intel"]
    architecture: Architecture
    memory: Bytes
    """What the driver shows (MiB of nvidia-smi), not the marketing figure."""
    memory_bandwidth: BytesPerS
    peak: Peak
    scale_up: ScaleUp | None = None
    pcie_bandwidth: BytesPerS
    """The host link at full width, per direction."""
    peer_to_peer: bool = True
    """Whether GPUs may reach each other over PCIe without the host's memory."""
    tdp: Watts
    sources: dict[str, str] = Field(min_length=1)
    """Where each number comes from; key ``*`` for all that are not named."""
