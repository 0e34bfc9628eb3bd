"""ClusterSpec to a frozen graph: what is there, how it is wired, per direction, and what is broken."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeAlias

import networkx as nx

from optimizer.errors import InputError
from optimizer.inputs.cluster import ClusterSpec, NodeEntry, Torus
from optimizer.inputs.gpu import GpuSpec
from optimizer.inputs.hostlist import all_hosts, duplicates
from optimizer.topology.blueprint import Arc, Attributes, Blueprint, draw
from optimizer.topology.fabrics import Fabric, Site, lay
from optimizer.topology.health import GpuHealth, Inventory, NicHealth, NodeHealth, read_overrides
from optimizer.topology.parts import gpu_specs, nic_names

if TYPE_CHECKING:
    Graph: TypeAlias = nx.DiGraph[str]
else:
    Graph = nx.DiGraph


@dataclass(frozen=True)
class Gpu:
    """One GPU of the cluster."""

    id: str
    """UUID or bus id when the cluster knows it, else "node/index"; also its vertex in the graph."""
    node: str
    local_index: int
    type: str
    state: str
    placeable: bool
    """Whether a rank may sit on it."""
    speed_factor: float


@dataclass(frozen=True)
class Node:
    """One host of the cluster."""

    name: str
    template: str
    gpus: tuple[str, ...]
    """Ids in local order, broken ones included."""
    nics: tuple[str, ...]
    leaf: str | None
    """Leaf group; None without a fabric or a NIC."""
    pod: str | None
    nvlink_domain: str | None
    """The NVSwitch domain when it spans nodes."""
    blueprint: Blueprint = field(repr=False)
    at: tuple[int, ...] | None = None
    """Coordinates on a torus."""


@dataclass(frozen=True, eq=False)
class Topology:
    """What is wired. Vertices have ``kind`` and ``state``; arcs also ``bytes_per_s``, per direction.

    An arc whose bandwidth is not known has ``bytes_per_s`` None and ``missing``, the key that would tell.
    """

    cluster: ClusterSpec
    graph: Graph = field(repr=False)
    gpus: tuple[Gpu, ...] = field(repr=False)
    """In rank order: nodes in file order, then local index."""
    nodes: tuple[str, ...] = field(repr=False)
    gpu_by_id: dict[str, Gpu] = field(repr=False)
    node_by_name: dict[str, Node] = field(repr=False)
    memo: dict[Any, Any] = field(default_factory=dict, repr=False)
    """Answers already given; nothing in it is more than what the graph says."""

    def gpu(self, gpu_id: str) -> Gpu:
        """Return a GPU; InputError when there is none of that id."""
        if gpu_id not in self.gpu_by_id:
            raise InputError(f"cluster {self.cluster.name}: no GPU {gpu_id!r}; ids are node/index, UUIDs or bus ids")
        return self.gpu_by_id[gpu_id]

    def spec(self, gpu: Gpu) -> GpuSpec:
        """Return what the catalogue says of a GPU."""
        return self.node_by_name[gpu.node].blueprint.specs[gpu.local_index]

    def node(self, name: str) -> Node:
        """Return a node; InputError when there is none of that name."""
        if name not in self.node_by_name:
            raise InputError(f"cluster {self.cluster.name}: no node {name!r}")
        return self.node_by_name[name]


def build(cluster: ClusterSpec) -> Topology:
    """Return the topology of a cluster; InputError names the entry, override or type that is wrong."""
    places = _places(cluster)
    health, fabric_health = read_overrides(cluster, {place.name: place.inventory for place in places})
    drawings: dict[object, Blueprint] = {}
    hosts = [_drawn(cluster, place, health.get(place.name), drawings) for place in places]
    domains = _nvlink_domains(hosts)
    if isinstance(cluster.fabric, Torus) and any(_in_a_rack(*host) for host in hosts):
        raise InputError(
            f"cluster {cluster.name}: fabric: NVSwitch domains of several nodes are not planned on a torus"
        )
    fabric = lay(cluster, [_site(place, blueprint) for place, blueprint in hosts], fabric_health)
    graph: Graph = nx.DiGraph(name=cluster.name)
    nodes: dict[str, Node] = {}
    gpus: list[Gpu] = []
    for place, blueprint in hosts:
        names = _names(place, blueprint, domains[place.name])
        graph.add_nodes_from(_vertices(blueprint, names))
        graph.add_edges_from(_arcs(blueprint, names))
        nodes[place.name] = _node(place, blueprint, names, fabric)
        gpus += _gpus(place, blueprint)
    graph.add_nodes_from(fabric.vertices)
    graph.add_edges_from(fabric.arcs)
    nx.freeze(graph)
    by_id = {gpu.id: gpu for gpu in gpus}
    return Topology(cluster, graph, tuple(gpus), tuple(nodes), by_id, nodes)


@dataclass(frozen=True)
class _Place:
    """A node by name, before it is drawn."""

    name: str
    entry: NodeEntry
    inventory: Inventory


def _places(cluster: ClusterSpec) -> list[_Place]:
    """Return all nodes in file order; names and GPU ids are unique."""
    try:
        named = all_hosts(cluster.nodes)
    except ValueError as error:
        raise InputError(f"cluster {cluster.name}: nodes: {error}") from error
    places = []
    for index, (entry, names) in enumerate(zip(cluster.nodes, named, strict=True)):
        size = len(gpu_specs(cluster, entry.template))
        nics = nic_names(cluster.templates[entry.template], f"cluster {cluster.name}: templates.{entry.template}")
        where = f"cluster {cluster.name}: nodes[{index}].gpu_ids"
        if entry.gpu_ids and (len(names) != 1 or len(entry.gpu_ids) != size):
            raise InputError(
                f"{where}: {len(entry.gpu_ids)} ids for {len(names)} nodes of {size} GPUs; one node, one id each"
            )
        if entry.at is not None and len(names) != 1:
            raise InputError(f"cluster {cluster.name}: nodes[{index}].at: one place for {len(names)} nodes; name one")
        if entry.nvlink_domain is not None and cluster.templates[entry.template].nvswitch is None:
            where = f"cluster {cluster.name}: nodes[{index}].nvlink_domain"
            raise InputError(f"{where}: template {entry.template} has no nvswitch; add nvswitch: {{}} to it")
        for name in names:
            ids = entry.gpu_ids or tuple(f"{name}/{gpu}" for gpu in range(size))
            places.append(_Place(name, entry, Inventory(ids, nics)))
    _check_unique(cluster, "nodes: node", (place.name for place in places))
    _check_unique(cluster, "nodes: GPU id", chain.from_iterable(place.inventory.gpu_ids for place in places))
    return places


def _check_unique(cluster: ClusterSpec, what: str, names: Iterable[str]) -> None:
    twice = duplicates(names)
    if twice:
        raise InputError(f"cluster {cluster.name}: {what} {twice[0]!r} occurs twice; names are unique")


def _drawn(
    cluster: ClusterSpec, place: _Place, health: NodeHealth | None, drawings: dict[object, Blueprint]
) -> tuple[_Place, Blueprint]:
    """Return the place with its blueprint; nodes of one template and equal health share it."""
    if health is None:
        gpus, nics = len(place.inventory.gpu_ids), len(place.inventory.nic_names)
        health = NodeHealth((GpuHealth(),) * gpus, (NicHealth(),) * nics)
    key = (place.entry.template, health)
    if key not in drawings:
        drawings[key] = draw(cluster, place.entry.template, health)
    return place, drawings[key]


def _nvlink_domains(hosts: list[tuple[_Place, Blueprint]]) -> dict[str, str | None]:
    """Return the NVSwitch vertex of each node: its own, or that of the consecutive nodes it shares a domain with."""
    domains: dict[str, str | None] = {}
    current, left, template = "", 0, ""
    for place, blueprint in hosts:
        if not blueprint.nvlink_nodes:
            domains[place.name], left = None, 0
            continue
        if place.entry.nvlink_domain is not None:
            domains[place.name], left = f"nvlink/{place.entry.nvlink_domain}", 0
            continue
        if left == 0 or template != blueprint.template:
            current, left, template = f"{place.name}/nvswitch", blueprint.nvlink_nodes, blueprint.template
        domains[place.name] = current
        left -= 1
    return domains


def _site(place: _Place, blueprint: Blueprint) -> Site:
    rates: dict[str, float] = {
        u: rate for u, _, attributes in blueprint.arcs
        if attributes["kind"] == "nic" and u in blueprint.nics and isinstance(rate := attributes["bytes_per_s"], float)
    }  # fmt: skip
    users = {name: attributes["gpus"] for name, attributes in blueprint.vertices if attributes["kind"] == "nic"}
    return Site(
        name=place.name, leaf=place.entry.leaf, nics=blueprint.nics,
        nic_bytes_per_s=tuple(rates[nic] for nic in blueprint.nics),
        nominal_bytes_per_s=blueprint.nic_nominal_bytes_per_s,
        users=tuple(_count(users[nic]) for nic in blueprint.nics),
        gpus=place.inventory.gpu_ids, at=place.entry.at, is_dead=_is_dead(blueprint),
    )  # fmt: skip


def _is_dead(blueprint: Blueprint) -> bool:
    """Whether nothing passes through a node: all its NICs are gone, or where it has none, its GPUs."""
    health = blueprint.health
    return all(part.gone for part in health.nics or health.gpus)


def _count(value: object) -> int:
    assert isinstance(value, int)
    return value


def _names(place: _Place, blueprint: Blueprint, domain: str | None) -> dict[str, str]:
    """Return the name in the cluster's graph of each local name."""
    names = {local: f"{place.name}/{local}" for local, _ in blueprint.vertices}
    names |= {str(index): gpu for index, gpu in enumerate(place.inventory.gpu_ids)}
    if domain is not None:
        names["nvswitch"] = domain
    return names


def _vertices(blueprint: Blueprint, names: dict[str, str]) -> Iterator[tuple[str, Attributes]]:
    for local, attributes in blueprint.vertices:
        nics = attributes.get("nics")
        if isinstance(nics, tuple):
            yield names[local], {**attributes, "nics": tuple(names[nic] for nic in nics)}
        else:
            yield names[local], attributes


def _arcs(blueprint: Blueprint, names: dict[str, str]) -> Iterator[Arc]:
    return ((names[u], names[v], attributes) for u, v, attributes in blueprint.arcs)


def _node(place: _Place, blueprint: Blueprint, names: dict[str, str], fabric: Fabric) -> Node:
    leaf = fabric.leaf_of.get(place.name) if blueprint.nics else None
    return Node(
        name=place.name, template=blueprint.template, gpus=place.inventory.gpu_ids,
        nics=tuple(names[nic] for nic in blueprint.nics), leaf=leaf,
        pod=fabric.pod_of.get(leaf) if leaf else None,
        nvlink_domain=names["nvswitch"] if _in_a_rack(place, blueprint) else None, blueprint=blueprint,
        at=fabric.at.get(place.name),
    )  # fmt: skip


def _in_a_rack(place: _Place, blueprint: Blueprint) -> bool:
    """Whether the node's NVSwitch domain may hold other nodes."""
    return blueprint.nvlink_nodes > 1 or place.entry.nvlink_domain is not None


def _gpus(place: _Place, blueprint: Blueprint) -> Iterator[Gpu]:
    for index, (gpu_id, spec) in enumerate(zip(place.inventory.gpu_ids, blueprint.specs, strict=True)):
        health = blueprint.health.gpus[index]
        yield Gpu(gpu_id, place.name, index, spec.id, health.state, blueprint.placeable(index), health.speed_factor)
