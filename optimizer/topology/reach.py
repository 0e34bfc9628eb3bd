"""What one GPU reaches and over what, read off the graph: its links, and the shared boundaries on its ways out.

A boundary is a vertex whose way up is shared: a PCIe switch, a CPU socket, a NIC, a leaf, a pod.
"""

from dataclasses import dataclass

from optimizer.errors import InputError, UnknownRateError
from optimizer.topology.graph import Gpu, Topology

WAYS_UP = {
    "pcie": ("uplink",), "socket": ("smp",), "nic": ("port", "nic"), "leaf": ("leaf-uplink",), "pod": ("pod-uplink",),
    "router": ("torus",),
}  # fmt: skip
"""Arcs out of a boundary's vertex that its traffic leaves by, the first kind that there is."""


@dataclass(frozen=True)
class Reach:
    """The ways of one GPU."""

    gpu: Gpu
    unit: str
    """The largest domain joined by other means than NICs: an NVSwitch domain of several nodes, else the node."""
    nvswitch: str | None
    """Its NVSwitch domain, None when it has no working port into one."""
    peers: frozenset[str]
    """GPUs at the other end of a working direct cable."""
    socket: str
    switch: str | None
    """Its PCIe switch."""
    peer_to_peer: bool
    nics: tuple[str, ...]
    borrows: bool
    """Whether its own NICs are dead and it uses a neighbour's."""
    via: tuple[str, ...]
    """Boundaries inside the node between the GPU and its NICs."""
    leaves: tuple[str, ...]
    """The leaf of each NIC."""
    leaf: str | None
    """Leaf group."""
    pod: str | None
    narrow_leaf: bool
    """Whether its leaves' uplinks carry less than their ports: only then are they a boundary."""
    narrow_pod: bool
    off_own_links: bool
    """Whether it has links of its own (NVLink, xGMI) and all of them are down."""
    crosses_rails: bool
    """Whether it reaches all rails of its unit without the spine: over NVLink and a peer's NIC (PXN)."""
    router: str | None
    """Where the torus links of its node end, when it has a way there."""

    @property
    def id(self) -> str:
        """The GPU's id."""
        return self.gpu.id

    @property
    def parent(self) -> str:
        """The vertex its PCIe link ends at."""
        return self.switch or self.socket


def reach(topology: Topology, gpu_id: str) -> Reach:
    """Return the ways of a GPU; InputError when no rank can sit on it."""
    key = ("reach", gpu_id)
    found = topology.memo.get(key)
    if found is None:
        found = topology.memo[key] = _reach(topology, topology.gpu(gpu_id))
    assert isinstance(found, Reach)
    return found


def _reach(topology: Topology, gpu: Gpu) -> Reach:
    if not gpu.placeable:
        raise InputError(f"cluster {topology.cluster.name}: GPU {gpu.id} is {gpu.state}: no rank can sit on it")
    arcs, vertices, node = topology.graph.adj[gpu.id], topology.graph.nodes, topology.node(gpu.node)
    working = {kind: [v for v, arc in arcs.items() if arc["kind"] == kind and arc["bytes_per_s"] != 0]
               for kind in ("nvlink", "xgmi", "bridge")}  # fmt: skip
    parent = next(v for v, arc in arcs.items() if arc["kind"] == "pcie")
    switch = parent if vertices[parent]["kind"] == "pcie" else None
    nics = vertices[gpu.id]["nics"]
    leaves = tuple(leaf for nic in nics for leaf in leaves_of(topology, nic))
    scaled_up = bool(working["nvlink"] or len(working["xgmi"]) == len(node.gpus) - 1 > 0)
    nvswitch = working["nvlink"][0] if working["nvlink"] else None
    return Reach(
        gpu=gpu, unit=nvswitch if nvswitch and node.nvlink_domain else node.name, nvswitch=nvswitch,
        peers=frozenset(working["xgmi"] + working["bridge"]),
        socket=socket_of(topology, parent) if switch else parent, switch=switch,
        peer_to_peer=vertices[gpu.id]["peer"], nics=nics, borrows=vertices[gpu.id]["borrows"],
        via=() if scaled_up else _via(topology, parent, nics), leaves=leaves, leaf=node.leaf, pod=node.pod,
        narrow_leaf=any(is_narrow(topology, leaf) for leaf in leaves),
        narrow_pod=node.pod is not None and is_narrow(topology, node.pod),
        off_own_links=any(arc["kind"] in working for arc in arcs.values()) and not any(working.values()),
        crosses_rails=scaled_up or len(node.nics) == 1 or node.leaf in topology.graph,
        router=next((v for end in (gpu.id, *nics) for v, arc in topology.graph.adj[end].items()
                     if arc["kind"] == "torus-port"), None),
    )  # fmt: skip


def socket_of(topology: Topology, switch: str) -> str:
    """Return the socket that a PCIe switch hangs on."""
    return next(v for v, arc in topology.graph.adj[switch].items() if arc["kind"] == "uplink")


def _via(topology: Topology, parent: str, nics: tuple[str, ...]) -> tuple[str, ...]:
    """Return the boundaries between a GPU's parent vertex and its NICs, when they hang elsewhere."""
    homes = {v for nic in nics for v, arc in topology.graph.adj[nic].items() if arc["kind"] == "nic"} - {parent}
    if not homes:
        return ()
    is_switch = topology.graph.nodes[parent]["kind"] == "pcie"
    socket = socket_of(topology, parent) if is_switch else parent
    sockets = {socket_of(topology, home) if topology.graph.nodes[home]["kind"] == "pcie" else home for home in homes}
    return ((parent,) if is_switch else ()) + ((socket,) if sockets - {socket} else ())


def rate(topology: Topology, u: str, v: str) -> float:
    """Return the bytes/s of an arc; UnknownRateError names the key to give when it is not known."""
    arc = topology.graph.adj[u][v]
    if arc["bytes_per_s"] is None:
        key = arc["missing"]
        raise UnknownRateError(f"{key}: missing, and the catalogue has none; give the bandwidth per direction")
    return float(arc["bytes_per_s"])


def link_rate(topology: Topology, gpu_id: str, kind: str) -> float:
    """Return the bytes/s of a GPU's own link of a kind ("nvlink" into its switch, "pcie" to its host)."""
    return next(rate(topology, gpu_id, v) for v, arc in topology.graph.adj[gpu_id].items() if arc["kind"] == kind)


def boundary_bytes_per_s(topology: Topology, vertex: str) -> float:
    """Return the bytes/s per direction that pass a boundary."""
    key = ("boundary", vertex)
    if key not in topology.memo:
        arcs = topology.graph.adj[vertex]
        for kind in WAYS_UP[topology.graph.nodes[vertex]["kind"]]:
            ups = [v for v, arc in arcs.items() if arc["kind"] == kind]
            if ups:
                topology.memo[key] = sum(rate(topology, vertex, v) for v in ups)
                break
        else:
            topology.memo[key] = float("inf")
    return float(topology.memo[key])


_ROUNDING = 1e-9


def is_narrow(topology: Topology, vertex: str) -> bool:
    """Return whether a leaf or pod carries less upwards than comes in from below; the only switch never is."""
    key = ("narrow", vertex)
    if key not in topology.memo:
        below = sum(
            float(topology.graph.adj[v][vertex]["bytes_per_s"])
            for v, arc in topology.graph.adj[vertex].items()
            if arc["kind"] in _BELOW[topology.graph.nodes[vertex]["kind"]]
        )
        topology.memo[key] = boundary_bytes_per_s(topology, vertex) < below * (1 - _ROUNDING)
    return bool(topology.memo[key])


_BELOW = {"leaf": ("port",), "pod": ("leaf-uplink",)}


def leaf_switches(topology: Topology, leaf: str) -> tuple[str, ...]:
    """Return the leaf switches of a leaf group: itself when it is one switch, else those of its rails."""
    key = ("leaf switches",)
    if key not in topology.memo:
        groups: dict[str, set[str]] = {}
        for node in topology.node_by_name.values():
            if node.leaf is not None:
                groups.setdefault(node.leaf, set()).update(v for nic in node.nics for v in leaves_of(topology, nic))
        topology.memo[key] = {group: tuple(sorted(switches)) for group, switches in groups.items()}
    found = topology.memo[key]
    assert isinstance(found, dict)
    return tuple(found.get(leaf, ()))


def leaves_of(topology: Topology, nic: str) -> tuple[str, ...]:
    """Return the leaf switch of a NIC; none without a fabric."""
    return tuple(v for v, arc in topology.graph.adj[nic].items() if arc["kind"] == "port")


def sharers(topology: Topology, vertex: str) -> int:
    """Return how many ways of placeable GPUs pass a boundary: its fair share is one part in so many."""
    return int(topology.graph.nodes[vertex]["gpus"])
