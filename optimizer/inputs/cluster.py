"""The cluster as an operator describes it: nodes from templates, the fabric between them, what is broken."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from optimizer.inputs.calibration import HostFigures
from optimizer.inputs.gpu import GpuSpec
from optimizer.inputs.schema import BytesPerS, Count, Fraction, Natural, Record, Seconds
from optimizer.units import parse_price


def _show_price(price: tuple[float, str]) -> str:
    return f"{price[0]!r} {price[1]}/h"


Price = Annotated[tuple[float, str], BeforeValidator(parse_price), PlainSerializer(_show_price)]
"""(amount per GPU-hour, currency)."""


class NvSwitch(Record):
    """All GPUs of the node (or of ``nodes`` consecutive nodes) on one NVLink switch domain."""

    bandwidth: BytesPerS | None = None
    """Per GPU and direction; None: the catalogue's figure for the GPU."""
    nodes: Count = 1
    """Consecutive nodes that share the domain (18 trays in an NVL72 rack)."""


class Mesh(Record):
    """Every GPU wired to every other of its node (xGMI)."""

    pair_bandwidth: BytesPerS | None = None
    """Of one pair and direction; None: the catalogue's figure."""


class Bridge(Record):
    """A direct link between two GPUs of a node (NVLink bridge, cube mesh edge)."""

    gpus: tuple[int, int]
    bandwidth: BytesPerS
    """Of the pair and direction, all its links together."""


class Pcie(Record):
    """The host's PCIe tree: GPUs under switches, switches under sockets."""

    bandwidth: BytesPerS | None = None
    """One GPU's link, per direction; None: the catalogue's figure."""
    gpus_per_switch: Count = 1
    """GPUs under one PCIe switch; 1: every GPU has its own root port."""
    uplink: BytesPerS | None = None
    """From a switch to its socket; None: as one GPU's link."""
    sockets: Count = 1
    socket_bandwidth: BytesPerS | None = None
    """Between sockets, per direction; needed when a group may span two sockets."""


class Nics(Record):
    """The node's compute NICs; GPU i uses NIC floor(i * count / gpus) unless ``nearest`` says otherwise."""

    count: Count
    bandwidth: BytesPerS
    """One NIC, per direction."""
    names: tuple[str, ...] = ()
    """Device names (mlx5_0, ...) in NIC order, as the engines need them for pinning."""
    nearest: tuple[int, ...] = ()
    """The NIC of each GPU, in GPU order."""
    transport: Literal["infiniband", "roce", "efa", "tcp"] = "infiniband"


class GpuGroup(Record):
    """``count`` GPUs of one type, in local order."""

    gpu: str | GpuSpec
    count: Count


class NodeTemplate(Record):
    """One kind of node."""

    gpu: str | GpuSpec | None = None
    gpus: Count | tuple[GpuGroup, ...]
    """How many of ``gpu``, or a list of groups when the node mixes types."""
    nvswitch: NvSwitch | None = None
    mesh: Mesh | None = None
    bridges: tuple[Bridge, ...] = ()
    pcie: Pcie | None = None
    nics: Nics | None = None
    source: str | None = None

    @property
    def size(self) -> int:
        """GPUs of the node."""
        return self.gpus if isinstance(self.gpus, int) else sum(group.count for group in self.gpus)


class NodeEntry(Record):
    """One node or many equal ones: ``name`` may be a host list ("node[01-16]"), or ``count`` names them node1, ..."""

    name: str | None = None
    count: Count | None = None
    template: str
    leaf: str | None = None
    """The leaf group (scalable unit, rack, block) the nodes are cabled to; None: assigned in file order."""
    nvlink_domain: str | None = None
    """The NVSwitch domain (rack) the nodes share; None: as many consecutive nodes as the template says."""
    at: tuple[Natural, ...] | None = None
    """Coordinates on a torus, for an entry of one node; None: the next place that is free, the last dimension first."""
    gpu_ids: tuple[str, ...] = ()
    """UUIDs or bus ids of the GPUs in local order, for an entry of one node."""


class RailClos(Record):
    """Same-index NICs of a scalable unit on one leaf each, leaves joined by spines."""

    kind: Literal["rail-clos"] = "rail-clos"
    nodes_per_leaf: Count | None = None
    """Nodes of one scalable unit; None: all nodes are in one."""
    oversubscription: Annotated[float, Field(ge=1)] = 1.0
    """Down capacity over up capacity of a leaf."""
    latency: Seconds | None = None


class FatTree(Record):
    """All NICs of a node on one leaf (top of rack); leaves joined by one or two further tiers."""

    kind: Literal["fat-tree"] = "fat-tree"
    nodes_per_leaf: Count
    oversubscription: Annotated[float, Field(ge=1)] = 1.0
    leaves_per_pod: Count | None = None
    """Leaves under one pod of spines (three tiers); None: two tiers."""
    pod_oversubscription: Annotated[float, Field(ge=1)] = 1.0
    latency: Seconds | None = None


class OneSwitch(Record):
    """All NICs on one non-blocking switch."""

    kind: Literal["switch"] = "switch"
    latency: Seconds | None = None


def _one_or_each(value: object) -> object:
    return value if isinstance(value, list | tuple) else (value,)


_rate = {"type": "string", "examples": ["100 GB/s"]}
Links = Annotated[
    tuple[BytesPerS, ...],
    BeforeValidator(_one_or_each),
    WithJsonSchema({"anyOf": [_rate, {"type": "array", "items": _rate}]}),
]


class Torus(Record):
    """Nodes on a grid, each with a link to its neighbours along every dimension; a mesh where nothing wraps."""

    kind: Literal["torus"] = "torus"
    shape: Annotated[tuple[Count, ...], Field(min_length=1, max_length=6)]
    """Nodes along each dimension."""
    link: Links | None = None
    """One link between neighbours, per direction: one figure, or one for each dimension; needed when a replica may span
    two nodes."""
    wrap: bool | Annotated[tuple[bool, ...], Field(min_length=1)] = True
    """Whether the last node of a dimension has a link to the first, of all dimensions or of each; 2 nodes have one link
    in any case."""
    latency: Seconds | None = None


Fabric = Annotated[RailClos | FatTree | OneSwitch | Torus, Field(discriminator="kind")]


class Match(Record):
    """Which object an override is about, by the names the cluster knows; ``node`` may be a host list."""

    node: str | None = None
    gpu: int | str | None = None
    """Local index, or the GPU's UUID or bus id."""
    nic: int | str | None = None
    link: Literal["nvlink", "pcie"] | None = None
    leaf: str | None = None
    to: str | None = None
    """The neighbour of ``node`` on a torus: the link between the two."""


class Override(Record):
    """What differs from the template: state, lost links, lower speed."""

    match: Match
    state: Literal["up", "lost", "down", "cordoned", "drained", "reserved"] | None = None
    """lost and down take capacity away; cordoned, drained and reserved stay wired but hold no rank."""
    bandwidth: BytesPerS | None = None
    links_active: str | None = Field(default=None, pattern=r"^\d+/\d+$")
    uplinks: str | None = Field(default=None, pattern=r"^\d+/\d+$")
    speed_factor: Fraction | None = None
    """Share of its nominal speed a slow GPU reaches."""
    reason: str | None = None


class ImportedFile(Record):
    """A file of a format that `tpopt topology import` reads."""

    file: str
    """Its path, seen from cluster.yaml."""
    gpu: str | None = None
    """GPU type of its nodes, where it does not name it."""


class ClusterSpec(Record):
    """All hardware that may be used, one schema for one node and for 16,384 GPUs."""

    name: str
    nodes: tuple[NodeEntry, ...] = Field(min_length=1)
    templates: dict[str, NodeTemplate] = Field(default_factory=dict)
    gpus: dict[str, GpuSpec] = Field(default_factory=dict)
    """GPU types by id: those of the catalogue that the templates name, or the user's own."""
    fabric: Fabric | None = None
    """None: nodes are not joined, no replica spans two."""
    overrides: tuple[Override, ...] = ()
    host: HostFigures | None = None
    """What its hosts were timed to take; None: as the host on which the calibrations' engine ran."""
    prices: dict[str, Price] = Field(default_factory=dict)
    """Per GPU id."""
    sources: dict[str, str] = Field(default_factory=dict)
