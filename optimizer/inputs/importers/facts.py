"""What one operator's file says, before files are merged: partial, with findings in words."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Level = Literal["read", "guessed", "missing", "broken"]
Transport = Literal["infiniband", "roce", "efa", "tcp"]
Pair = tuple[int, int]
MAX_GPUS = 128
"""In one node; no server holds more, and every pair is looked at."""


@dataclass(frozen=True)
class Finding:
    """One sentence of the import report."""

    level: Level
    message: str


@dataclass(frozen=True)
class Pasted:
    """One file as text, with its JSON value when it is JSON."""

    where: str
    """The file's name, for messages."""
    text: str
    value: object = None


@dataclass(frozen=True)
class GpuFacts:
    """One GPU, as far as the file knows it."""

    index: int
    product: str | None = None
    """The name or PCI device ("10de:2335") that the file gives."""
    bus_id: str | None = None
    uuid: str | None = None
    memory_bytes: int | None = None
    switch_links: int | None = None
    """NVLinks into a switch; 0: none although the file knows NVLinks; None: the file does not tell."""
    pcie_share: float | None = None
    """Of its full PCIe link, when it runs below it."""
    state: Literal["lost"] | None = None
    reason: str | None = None


@dataclass(frozen=True)
class NicFacts:
    """One NIC that serves GPUs; ``bytes_per_s`` is per direction, None when the file does not tell."""

    name: str
    bytes_per_s: float | None = None
    is_down: bool = False


@dataclass(frozen=True)
class NodeFacts:
    """The inside of one node."""

    where: str
    kind: str
    """The format's name."""
    host: str | None = None
    gpus: tuple[GpuFacts, ...] = ()
    nics: tuple[NicFacts, ...] = ()
    nearest: tuple[int, ...] = ()
    """The NIC of each GPU, as a position in ``nics``; empty when unknown."""
    pairs: Mapping[Pair, int] = field(default_factory=dict)
    """Links of each pair of GPUs that is wired directly or looks so (``NV#`` cells, xGMI)."""
    is_mesh: bool = False
    """Whether the pairs are xGMI."""
    counts_links: bool = False
    """Whether links are counted (``NV18``), not only known to be there."""
    knows_links: bool = False
    """Whether the file would show GPU links if there were any."""
    pair_bytes_per_s: Mapping[Pair, float] = field(default_factory=dict)
    switch_bytes_per_s: float | None = None
    """Per GPU and direction into the scale-up switch, when the file gives a rate."""
    pcie_bytes_per_s: float | None = None
    pcie_groups: tuple[tuple[int, ...], ...] = ()
    """GPUs under one PCIe switch."""
    sockets: tuple[tuple[int, ...], ...] = ()
    socket_bytes_per_s: float | None = None
    transport: Transport | None = None
    machine: str | None = None


@dataclass(frozen=True)
class HostFacts:
    """A node as its cluster knows it: name, kind, place in the fabric, state."""

    name: str
    product: str | None = None
    memory_bytes: int | None = None
    gpus: int | None = None
    lost: int = 0
    """GPUs of ``gpus`` that cannot be used."""
    machine: str | None = None
    """Instance or machine type."""
    state: Literal["cordoned", "drained", "down"] | None = None
    reason: str | None = None
    leaf: str | None = None
    pod: str | None = None
    domain: str | None = None
    """The NVLink domain (rack) that the host shares with others."""
    at: tuple[int, ...] | None = None
    """Its place on a torus."""
    nics: tuple[NicFacts, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FabricFacts:
    """How nodes are joined."""

    kind: Literal["rail-clos", "fat-tree", "switch", "torus"]
    oversubscription: float | None = None
    weak_leaves: tuple[tuple[str, int, int], ...] = ()
    """(leaf, uplinks seen, uplinks of its peers)."""
    transport: Transport | None = None
    latency_s: float | None = None
    shape: tuple[int, ...] = ()
    """Nodes along each dimension of a torus."""


@dataclass(frozen=True)
class Facts:
    """All that one file says."""

    nodes: tuple[NodeFacts, ...] = ()
    hosts: tuple[HostFacts, ...] = ()
    fabric: FabricFacts | None = None
    levels: tuple[str, ...] = ()
    """Node labels that name the fabric, coarse to fine (Kueue)."""
    findings: tuple[Finding, ...] = ()


def listed(names: "list[str] | tuple[str, ...]", limit: int = 8) -> str:
    """Return names for a sentence, the rest counted."""
    shown = ", ".join(names[:limit])
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else shown


def counted(count: int, noun: str) -> str:
    """Return "1 GPU" or "8 GPUs"."""
    return f"{count} {noun}{'' if count == 1 else 'es' if noun.endswith(('ch', 's')) else 's'}"
