"""The network between nodes: leaves, spines and pods, one function per kind of fabric.

Spines of a healthy Clos carry traffic evenly (ECMP) and are merged into one vertex; what a leaf may send up is the
sum of its uplinks. A leaf group is what an operator calls a scalable unit (rail-clos: one leaf switch per rail) or a
rack (fat-tree: one leaf switch). On a torus every node has a router, whose links go to those of its neighbours.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product

from optimizer.errors import InputError
from optimizer.inputs.cluster import ClusterSpec, FatTree, OneSwitch, RailClos, Torus
from optimizer.inputs.hostlist import duplicates
from optimizer.topology.blueprint import Arc, Attributes, link
from optimizer.topology.health import GONE, Cable, FabricHealth, LinkHealth, nearest

MOST_PLACES = 65_536
"""Of a torus."""

Place = tuple[int, ...]
"""Coordinates on a torus."""


@dataclass(frozen=True)
class Site:
    """A node as the fabric sees it."""

    name: str
    leaf: str | None
    """As the user named it."""
    nics: tuple[str, ...]
    nic_bytes_per_s: tuple[float, ...]
    """What each NIC carries now."""
    nominal_bytes_per_s: float
    """One NIC of the template: a leaf's uplinks are laid out for it."""
    users: tuple[int, ...]
    """Placeable GPUs that use each NIC; a leaf's share is counted by these ports."""
    gpus: tuple[str, ...] = ()
    at: Place | None = None
    """Coordinates on a torus, where the user gave them."""
    is_dead: bool = False
    """Whether all of it is lost: nothing passes through it."""


@dataclass
class Fabric:
    """The fabric as laid."""

    leaf_of: dict[str, str] = field(default_factory=dict)
    pod_of: dict[str, str] = field(default_factory=dict)
    """Of a leaf group."""
    at: dict[str, Place] = field(default_factory=dict)
    """Coordinates of each node of a torus."""
    vertices: list[tuple[str, Attributes]] = field(default_factory=list)
    arcs: list[Arc] = field(default_factory=list)


def lay(cluster: ClusterSpec, sites: Sequence[Site], health: FabricHealth) -> Fabric:
    """Return the fabric of the cluster; without one, nodes are not joined.

    InputError names an override's unknown leaf (or link of a torus) and the nearest known one, or what is wrong with
    the places of a torus.
    """
    spec = cluster.fabric
    _check_torus(cluster, sites, health)
    fabric = Fabric() if spec is None else FABRICS[type(spec)](spec, sites, health)
    twice = duplicates(name for name, _ in fabric.vertices)
    if twice:
        raise InputError(f"cluster {cluster.name}: nodes.leaf: {twice[0]!r} names another switch; choose another name")
    known = {*fabric.leaf_of.values(), *(name for name, marks in fabric.vertices if marks["kind"] == "leaf")}
    for leaf in health.leaves:
        if leaf not in known:
            where = f"cluster {cluster.name}: overrides: match.leaf"
            raise InputError(f"{where}: no leaf {leaf!r}; {nearest(leaf, sorted(known)) if known else 'no fabric'}")
    return fabric


def _groups(sites: Sequence[Site], nodes_per_leaf: int | None, prefix: str) -> dict[str, list[Site]]:
    """Return the nodes of each leaf group: as named, the others in file order ``nodes_per_leaf`` at a time."""
    groups: dict[str, list[Site]] = {}
    named = {site.leaf for site in sites}
    number, left = 0, 0
    for site in sites:
        if site.leaf is None and left == 0:
            number, left = number + 1, nodes_per_leaf or len(sites)
            while f"{prefix}{number}" in named:
                number += 1
        if site.leaf is None:
            left -= 1
        groups.setdefault(site.leaf or f"{prefix}{number}", []).append(site)
    return groups


def _lay_leaf(
    fabric: Fabric, leaf: str, cables: Sequence[tuple[Site, int]], up: str | None, oversubscription: float,
    health: Sequence[LinkHealth], latency_s: float | None,
) -> float:  # fmt: skip
    """Add one leaf switch with its NICs and uplinks; return the capacity of its uplinks in bytes/s."""
    gone = any(state.state in GONE for state in health)
    served = sum(site.users[nic] for site, nic in cables)
    marks: Attributes = {"kind": "leaf", "gpus": served, "state": "down" if gone else "up"}
    reasons = [state.reason for state in health if state.reason]
    fabric.vertices.append((leaf, marks | ({"reason": "; ".join(reasons)} if reasons else {})))
    timing = {} if latency_s is None else {"latency_s": latency_s}
    for site, nic in cables:
        rate = 0.0 if gone else site.nic_bytes_per_s[nic]
        fabric.arcs += link(f"{site.name}/{site.nics[nic]}", leaf, "port", rate, **timing)
    if up is None:
        return 0.0
    uplinks = sum(site.nominal_bytes_per_s for site, _ in cables) / oversubscription
    for state in health:
        uplinks = (uplinks if state.bytes_per_s is None else state.bytes_per_s) * state.share
    uplinks = 0.0 if gone else uplinks
    fabric.arcs += link(leaf, up, "leaf-uplink", uplinks, **timing)
    return uplinks


def _health_of(health: FabricHealth, *names: str) -> list[LinkHealth]:
    return [health.leaves[name] for name in dict.fromkeys(names) if name in health.leaves]


def rail_clos(spec: RailClos, sites: Sequence[Site], health: FabricHealth) -> Fabric:
    """Return a rail-optimised Clos: NIC i of every node of a scalable unit on leaf i, leaves joined by the spine."""
    fabric = Fabric()
    fabric.vertices.append(("spine", {"kind": "spine"}))
    for unit, members in _groups(sites, spec.nodes_per_leaf, "su").items():
        fabric.leaf_of |= {site.name: unit for site in members}
        for rail in range(max(len(site.nics) for site in members)):
            leaf, cables = f"{unit}/rail{rail}", [(site, rail) for site in members if rail < len(site.nics)]
            states = _health_of(health, unit, leaf)
            _lay_leaf(fabric, leaf, cables, "spine", spec.oversubscription, states, spec.latency)
    return fabric


def fat_tree(spec: FatTree, sites: Sequence[Site], health: FabricHealth) -> Fabric:
    """Return a fat tree: all NICs of a node on one leaf; leaves under one spine, or pods of leaves under a core."""
    fabric = Fabric()
    top = "core" if spec.leaves_per_pod else "spine"
    fabric.vertices.append((top, {"kind": "spine"}))
    pods: dict[str, tuple[float, int]] = {}
    for number, (leaf, members) in enumerate(_groups(sites, spec.nodes_per_leaf, "leaf").items()):
        fabric.leaf_of |= {site.name: leaf for site in members}
        pod = f"pod{number // spec.leaves_per_pod + 1}" if spec.leaves_per_pod else None
        cables = [(site, nic) for site in members for nic in range(len(site.nics))]
        states = _health_of(health, leaf)
        uplinks = _lay_leaf(fabric, leaf, cables, pod or top, spec.oversubscription, states, spec.latency)
        if pod:
            fabric.pod_of[leaf] = pod
            before = pods.get(pod, (0.0, 0))
            pods[pod] = (before[0] + uplinks, before[1] + sum(sum(site.users) for site in members))
    for pod, (uplinks, users) in pods.items():
        fabric.vertices.append((pod, {"kind": "pod", "gpus": users}))
        fabric.arcs += link(pod, top, "pod-uplink", uplinks / spec.pod_oversubscription)
    return fabric


def one_switch(spec: OneSwitch, sites: Sequence[Site], health: FabricHealth) -> Fabric:
    """Return all NICs on one non-blocking switch."""
    cables = [(site, nic) for site in sites for nic in range(len(site.nics))]
    fabric = Fabric(leaf_of={site.name: "switch" for site in sites})
    _lay_leaf(fabric, "switch", cables, None, 1.0, _health_of(health, "switch"), spec.latency)
    return fabric


def torus(spec: Torus, sites: Sequence[Site], health: FabricHealth) -> Fabric:
    """Return a torus: a router at every node, with a link to that of the next node along every dimension.

    A node's NICs are its ways to the router; the only GPU of a node without NICs is wired to it directly.
    """
    fabric = Fabric(at=_places(spec, sites))
    here = {place: site for site in sites for place in (fabric.at[site.name],)}
    timing = {} if spec.latency is None else {"latency_s": spec.latency}
    total = dict.fromkeys(fabric.at, 0.0)
    cables: list[Arc] = []
    for site in sites:
        for dimension, place in _next_places(spec, fabric.at[site.name]):
            if (other := here.get(place)) is None:
                continue
            nominal = nominal_of(spec, dimension)
            state = health.cables.get(_cable(site.name, other.name), LinkHealth())
            rate = nominal if state.bytes_per_s is None else state.bytes_per_s
            rate = 0.0 if state.state in GONE or site.is_dead or other.is_dead else rate
            marks = {"reason": state.reason, "missing": "fabric.link", "dimension": dimension, **timing}
            cables += link(router(site.name), router(other.name), "torus", rate, **marks)
            for name in (site.name, other.name):
                total[name] += nominal or 0.0
    for site in sites:
        users = sum(site.users) if site.nics else len(site.gpus)
        router_state = "down" if site.is_dead else "up"
        fabric.vertices.append((router(site.name), {"kind": "router", "gpus": users, "state": router_state}))
        ways = dict(zip((f"{site.name}/{nic}" for nic in site.nics), site.nic_bytes_per_s, strict=True))
        ways = ways or dict.fromkeys(site.gpus, 0.0 if site.is_dead else total[site.name])
        for end, rate in ways.items():
            fabric.arcs += link(end, router(site.name), "torus-port", rate)
    fabric.arcs += cables
    return fabric


def nominal_of(spec: Torus, dimension: int) -> float | None:
    """Return what a sound link along a dimension carries; None where nobody gave it."""
    return None if spec.link is None else spec.link[dimension % len(spec.link)]


def router(node: str) -> str:
    """Return the vertex at which the torus links of a node end."""
    return f"{node}/router"


def wraps(spec: Torus, dimension: int) -> bool:
    """Return whether a dimension is a ring: 2 nodes have one link either way."""
    given = spec.wrap if isinstance(spec.wrap, bool) else spec.wrap[dimension % len(spec.wrap)]
    return given and spec.shape[dimension] > 2


def _cable(a: str, b: str) -> Cable:
    return (a, b) if a < b else (b, a)


def _next_places(spec: Torus, place: Place) -> list[tuple[int, Place]]:
    """Return the dimension and place of the next neighbour along every dimension."""
    found = []
    for dimension, length in enumerate(spec.shape):
        along = place[dimension] + 1
        if along < length or wraps(spec, dimension):
            found.append((dimension, (*place[:dimension], along % length, *place[dimension + 1 :])))
    return found


def _places(spec: Torus, sites: Sequence[Site]) -> dict[str, Place]:
    """Return the coordinates of every node: as given, the others in file order on the places left."""
    given = {site.at for site in sites if site.at is not None}
    free = (place for place in product(*map(range, spec.shape)) if place not in given)
    return {site.name: site.at if site.at is not None else next(free) for site in sites}


def _check_torus(cluster: ClusterSpec, sites: Sequence[Site], health: FabricHealth) -> None:
    """Raise InputError when coordinates or links of a torus are given that there are not."""
    spec, where = cluster.fabric, f"cluster {cluster.name}"
    if not isinstance(spec, Torus):
        if health.cables:
            raise InputError(f"{where}: overrides: match.to: only nodes of a torus have links to each other")
        if spec is not None and any(site.at is not None for site in sites):
            raise InputError(f"{where}: nodes.at: coordinates are for the nodes of a torus (fabric: {{kind: torus}})")
        return
    _check_shape(spec, sites, where)
    places = _places(spec, sites)
    names = {place: name for name, place in places.items()}
    for a, b in health.cables:
        near = [names[p] for _, p in _next_places(spec, places[a]) if p in names]
        near += [name for name, place in places.items() if any(p == places[a] for _, p in _next_places(spec, place))]
        if b not in near:
            raise InputError(f"{where}: overrides: match.to: {a} has no link to {b}; its neighbours: {', '.join(near)}")


def _check_shape(spec: Torus, sites: Sequence[Site], where: str) -> None:
    for key, given in (("link", spec.link or ()), ("wrap", () if isinstance(spec.wrap, bool) else spec.wrap)):
        if len(given) > 1 and len(given) != len(spec.shape):
            raise InputError(f"{where}: fabric.{key}: {len(given)} values for {len(spec.shape)} dimensions")
    room = 1
    for length in spec.shape:
        room *= length
    if room > MOST_PLACES:
        raise InputError(f"{where}: fabric.shape: {room:,} places are more than {MOST_PLACES:,}; describe a part of it")
    if len(sites) > room:
        told = " x ".join(map(str, spec.shape))
        raise InputError(f"{where}: fabric.shape: {told} holds {room} nodes, the cluster has {len(sites)}")
    placed = [site for site in sites if site.at is not None]
    for site in placed:
        if len(site.at or ()) != len(spec.shape) or any(n >= m for n, m in zip(site.at or (), spec.shape, strict=True)):
            raise InputError(f"{where}: nodes.at: {site.name} at {list(site.at or ())} is outside {list(spec.shape)}")
    twice = duplicates(str(list(site.at or ())) for site in placed)
    if twice:
        raise InputError(f"{where}: nodes.at: two nodes are at {twice[0]}; each place holds one")
    for site in sites:
        if not site.nics and len(site.gpus) > 1:
            raise InputError(
                f"{where}: fabric: {site.name} has {len(site.gpus)} GPUs and no NICs; a node of several GPUs reaches "
                "its torus links over NICs: give nics to its template"
            )


FABRICS: dict[type, Callable[..., Fabric]] = {
    RailClos: rail_clos, FatTree: fat_tree, OneSwitch: one_switch, Torus: torus,
}  # fmt: skip
