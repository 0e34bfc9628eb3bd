"""One node as vertices and arcs with local names: laid once per template and health, then used for every such node.

Vertices: GPUs ("0", "1", ...), "nvswitch", PCIe switches "pcie0", CPU sockets "socket0", the link between sockets
"smp", NICs. Every cable is two arcs. Shared media are vertices, direct arcs stand for direct wires.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from optimizer.errors import InputError
from optimizer.inputs.cluster import ClusterSpec, NodeTemplate
from optimizer.inputs.gpu import GpuSpec
from optimizer.topology.health import GpuHealth, NicHealth, NodeHealth
from optimizer.topology.parts import check_one_direction, gpu_specs, nic_names

Attributes: TypeAlias = dict[str, object]
Arc: TypeAlias = tuple[str, str, Attributes]


@dataclass(frozen=True, eq=False)
class Blueprint:
    """A node in local names; equal nodes share one object."""

    template: str
    specs: tuple[GpuSpec, ...]
    health: NodeHealth
    nics: tuple[str, ...]
    vertices: tuple[tuple[str, Attributes], ...]
    arcs: tuple[Arc, ...]
    nvlink_nodes: int
    """Consecutive nodes on one NVSwitch domain; 0: none."""
    nic_nominal_bytes_per_s: float
    """One healthy NIC; 0: none."""

    def placeable(self, index: int) -> bool:
        """Whether a rank may sit on the GPU."""
        return self.health.gpus[index].state == "up" and self.health.gpus[index].speed_factor > 0


def draw(cluster: ClusterSpec, name: str, health: NodeHealth) -> Blueprint:
    """Return the node of a template in the given health."""
    specs, template = gpu_specs(cluster, name), cluster.templates[name]
    draft = _Draft(template, f"cluster {cluster.name}: templates.{name}", specs, health)
    arcs = (*draft.nvlink(), *draft.mesh(), *draft.bridges(), *draft.pcie(), *draft.nics())
    return Blueprint(
        template=name, specs=specs, health=health, nics=nic_names(template, draft.where),
        vertices=tuple(draft.vertices()), arcs=arcs, nvlink_nodes=template.nvswitch.nodes if template.nvswitch else 0,
        nic_nominal_bytes_per_s=template.nics.bandwidth if template.nics else 0.0,
    )  # fmt: skip


def link(a: str, b: str, kind: str, bytes_per_s: float | None, **more: object) -> tuple[Arc, Arc]:
    """Return the two arcs of a cable; ``bytes_per_s`` None: unknown, and ``missing`` names the key that would tell."""
    attributes: Attributes = {"kind": kind, "bytes_per_s": bytes_per_s, "state": "down" if bytes_per_s == 0 else "up"}
    attributes |= {key: value for key, value in more.items() if value is not None}
    if bytes_per_s is not None:
        attributes.pop("missing", None)
    return (a, b, attributes), (b, a, attributes)


@dataclass(frozen=True)
class _Draft:
    """The template being drawn."""

    template: NodeTemplate
    where: str
    specs: tuple[GpuSpec, ...]
    given: NodeHealth

    @property
    def size(self) -> int:
        return len(self.specs)

    @property
    def sockets(self) -> int:
        return self.template.pcie.sockets if self.template.pcie else 1

    @property
    def switches(self) -> int:
        """PCIe switches of the node; 0: every GPU has its own root port."""
        per_switch = self.template.pcie.gpus_per_switch if self.template.pcie else 1
        return -(-self.size // per_switch) if per_switch > 1 else 0

    def switch(self, gpu: int) -> int:
        assert self.template.pcie is not None
        return gpu // self.template.pcie.gpus_per_switch

    def socket(self, gpu: int) -> int:
        if self.switches:
            return self.switch(gpu) * self.sockets // self.switches
        return gpu * self.sockets // self.size

    def parent(self, gpu: int) -> str:
        return f"pcie{self.switch(gpu)}" if self.switches else f"socket{self.socket(gpu)}"

    def usable(self, gpu: int) -> bool:
        health = self.given.gpus[gpu]
        return health.state == "up" and health.speed_factor > 0

    # -- what there is -------------------------------------------------------------------------------------------

    def vertices(self) -> Iterator[tuple[str, Attributes]]:
        ways, home = self.nics_of_gpus(), self._home()
        for index, (spec, health) in enumerate(zip(self.specs, self.given.gpus, strict=True)):
            nics = tuple(self._nic_names[nic] for nic in ways[index])
            marks: Attributes = {"kind": "gpu", "type": spec.id, "nics": nics, "peer": spec.peer_to_peer}
            yield str(index), marks | {"borrows": not set(ways[index]) <= set(home[index])} | _marks(health)
        if self.template.nvswitch:
            yield "nvswitch", {"kind": "nvswitch"}
        for switch in range(self.switches):
            under = sum(self.usable(gpu) for gpu in range(self.size) if self.switch(gpu) == switch)
            yield f"pcie{switch}", {"kind": "pcie", "gpus": under}
        for socket in range(self.sockets):
            under = sum(self.usable(gpu) for gpu in range(self.size) if self.socket(gpu) == socket)
            yield f"socket{socket}", {"kind": "socket", "gpus": under}
        if self.sockets > 1:
            yield "smp", {"kind": "smp"}
        for nic, (name, nic_health) in enumerate(zip(self._nic_names, self.given.nics, strict=True)):
            served = sum(self.usable(gpu) for gpu, nics in enumerate(ways) if nic in nics)
            yield name, {"kind": "nic", "gpus": served} | _marks(nic_health)

    @property
    def _nic_names(self) -> tuple[str, ...]:
        return nic_names(self.template, self.where)

    # -- scale-up links ------------------------------------------------------------------------------------------

    def nvlink(self) -> Iterator[Arc]:
        """Every GPU's port into the NVSwitch domain."""
        given = self.template.nvswitch
        if given is None:
            return
        key = f"{self.where}.nvswitch.bandwidth"
        for index, (spec, health) in enumerate(zip(self.specs, self.given.gpus, strict=True)):
            known = spec.scale_up.bandwidth if spec.scale_up and spec.scale_up.kind == "nvswitch" else None
            nominal = given.bandwidth if given.bandwidth is not None else known
            check_one_direction(nominal, known, key)
            rate = _of(nominal, health.nvlink_share, health.nvlink_bytes_per_s, health.gone)
            links = spec.scale_up.links if spec.scale_up else None
            yield from link(str(index), "nvswitch", "nvlink", rate, missing=key, links=links)

    def mesh(self) -> Iterator[Arc]:
        """A direct cable between every two GPUs."""
        given = self.template.mesh
        if given is None:
            return
        key = f"{self.where}.mesh.pair_bandwidth"
        for a in range(self.size):
            for b in range(a + 1, self.size):
                pairs = [self.specs[end].scale_up for end in (a, b)]
                known = [pair.pair_bandwidth if pair and pair.kind == "mesh" else None for pair in pairs]
                nominal = given.pair_bandwidth if given.pair_bandwidth is not None else _least(known)
                check_one_direction(nominal, _least(known), key)
                yield from link(str(a), str(b), "xgmi", self._direct(nominal, a, b), missing=key)

    def bridges(self) -> Iterator[Arc]:
        """The direct cables that the template lists."""
        for index, bridge in enumerate(self.template.bridges):
            a, b = bridge.gpus
            if a == b or not (0 <= a < self.size and 0 <= b < self.size):
                where = f"{self.where}.bridges[{index}].gpus"
                raise InputError(f"{where}: ({a}, {b}) are no two GPUs of the node; indices run to {self.size - 1}")
            yield from link(str(a), str(b), "bridge", self._direct(bridge.bandwidth, a, b))

    def _direct(self, nominal: float | None, a: int, b: int) -> float | None:
        """Return what a direct cable carries when either end may be damaged."""
        ends = [self.given.gpus[end] for end in (a, b)]
        return _least([_of(nominal, end.nvlink_share, end.nvlink_bytes_per_s, end.gone) for end in ends])

    # -- PCIe and NICs -------------------------------------------------------------------------------------------

    def _pcie_nominal(self, gpu: int) -> float:
        given = self.template.pcie.bandwidth if self.template.pcie else None
        check_one_direction(given, self.specs[gpu].pcie_bandwidth, f"{self.where}.pcie.bandwidth")
        return self.specs[gpu].pcie_bandwidth if given is None else given

    def pcie(self) -> Iterator[Arc]:
        """Every GPU to its switch or socket, switches to sockets, sockets to each other."""
        for index, health in enumerate(self.given.gpus):
            rate = _of(self._pcie_nominal(index), health.pcie_share, health.pcie_bytes_per_s, health.gone)
            yield from link(str(index), self.parent(index), "pcie", rate)
        given = self.template.pcie
        for switch in range(self.switches):
            first = next(gpu for gpu in range(self.size) if self.switch(gpu) == switch)
            uplink = given.uplink if given and given.uplink is not None else self._pcie_nominal(first)
            yield from link(f"pcie{switch}", f"socket{self.socket(first)}", "uplink", uplink)
        if given is not None and self.sockets > 1:
            key = f"{self.where}.pcie.socket_bandwidth"
            for socket in range(self.sockets):
                yield from link(f"socket{socket}", "smp", "smp", given.socket_bandwidth, missing=key)

    def nics(self) -> Iterator[Arc]:
        """Every NIC to the nearest switch or socket that all of its GPUs are under."""
        given = self.template.nics
        if given is None:
            return
        home = self._home()
        for nic, (name, health) in enumerate(zip(self._nic_names, self.given.nics, strict=True)):
            near = [gpu for gpu, nics in enumerate(home) if nic in nics]
            parents = {self.parent(gpu) for gpu in near}
            parent = parents.pop() if len(parents) == 1 else f"socket{self.socket(near[0]) if near else 0}"
            yield from link(name, parent, "nic", _of(given.bandwidth, 1.0, health.bytes_per_s, health.gone))

    def _home(self) -> list[tuple[int, ...]]:
        """Return the NICs that each GPU is cabled nearest to, by index."""
        given = self.template.nics
        if given is None:
            return [()] * self.size
        if given.nearest:
            if len(given.nearest) != self.size or not all(0 <= nic < given.count for nic in given.nearest):
                raise InputError(f"{self.where}.nics.nearest: give one NIC (0 to {given.count - 1}) for each GPU")
            return [(nic,) for nic in given.nearest]
        if given.count <= self.size:
            return [(gpu * given.count // self.size,) for gpu in range(self.size)]
        return [
            tuple(nic for nic in range(given.count) if nic * self.size // given.count == gpu)
            for gpu in range(self.size)
        ]

    def nics_of_gpus(self) -> list[tuple[int, ...]]:
        """Return the NICs that each GPU uses: its own that work, else the nearest that works, its own socket first."""
        live = [nic for nic, health in enumerate(self.given.nics) if not health.gone]
        ways = []
        for gpu, own in enumerate(self._home()):
            working = tuple(nic for nic in own if nic in live)
            if not working and live:
                working = (min(live, key=lambda nic, gpu=gpu, own=own: self._distance(gpu, own[0], nic)),)  # type: ignore[misc]
            ways.append(working)
        return ways

    def _distance(self, gpu: int, own: int, nic: int) -> tuple[bool, int, int]:
        assert self.template.nics is not None
        elsewhere = nic * self.sockets // self.template.nics.count != self.socket(gpu)
        return elsewhere, abs(nic - own), nic


def _marks(health: GpuHealth | NicHealth) -> Attributes:
    marks: Attributes = {"state": health.state}
    if health.reason:
        marks["reason"] = health.reason
    return marks


def _least(rates: list[float | None]) -> float | None:
    """Return the least rate, None when one is unknown (unless another is 0: nothing passes then)."""
    known = [rate for rate in rates if rate is not None]
    return min(known) if len(known) == len(rates) or 0 in known else None


def _of(nominal: float | None, share: float, override: float | None, gone: bool) -> float | None:
    """Return what is left of a nominal bandwidth."""
    if gone or share == 0:
        return 0.0
    base = nominal if override is None else override
    return None if base is None else base * share
