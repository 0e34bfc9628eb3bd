"""The network between nodes: leaves, spines and pods, one function per kind of fabric.

Spines of a healthy Clos carry traffic evenly (ECMP) and are merged into one vertex; what a leaf may send up is the
sum of its uplinks. A leaf group is what an operator calls a scalable unit (rail-clos: one leaf switch per rail) or a
rack (fat-tree: one leaf switch).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from optimizer.errors import InputError
from optimizer.inputs.cluster import ClusterSpec, FatTree, OneSwitch, RailClos
from optimizer.inputs.hostlist import duplicates
from optimizer.topology.blueprint import Arc, Attributes, link
from optimizer.topology.health import GONE, LeafHealth, nearest


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


@dataclass
class Fabric:
    """The fabric as laid."""

    leaf_of: dict[str, str] = field(default_factory=dict)
    pod_of: dict[str, str] = field(default_factory=dict)
    """Of a leaf group."""
    vertices: list[tuple[str, Attributes]] = field(default_factory=list)
    arcs: list[Arc] = field(default_factory=list)


def lay(cluster: ClusterSpec, sites: Sequence[Site], health: Mapping[str, LeafHealth]) -> Fabric:
    """Return the fabric of the cluster; without one, nodes are not joined.

    InputError names an override's unknown leaf and the nearest known one.
    """
    spec = cluster.fabric
    fabric = Fabric() if spec is None else FABRICS[type(spec)](spec, sites, health)
    twice = duplicates(name for name, _ in fabric.vertices)
    if twice:
        raise InputError(f"cluster {cluster.name}: nodes.leaf: {twice[0]!r} names another switch; choose another name")
    known = {*fabric.leaf_of.values(), *(name for name, marks in fabric.vertices if marks["kind"] == "leaf")}
    for leaf in health:
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
    health: Sequence[LeafHealth], latency_s: float | None,
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


def _health_of(health: Mapping[str, LeafHealth], *names: str) -> list[LeafHealth]:
    return [health[name] for name in dict.fromkeys(names) if name in health]


def rail_clos(spec: RailClos, sites: Sequence[Site], health: Mapping[str, LeafHealth]) -> Fabric:
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


def fat_tree(spec: FatTree, sites: Sequence[Site], health: Mapping[str, LeafHealth]) -> Fabric:
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


def one_switch(spec: OneSwitch, sites: Sequence[Site], health: Mapping[str, LeafHealth]) -> Fabric:
    """Return all NICs on one non-blocking switch."""
    cables = [(site, nic) for site in sites for nic in range(len(site.nics))]
    fabric = Fabric(leaf_of={site.name: "switch" for site in sites})
    _lay_leaf(fabric, "switch", cables, None, 1.0, _health_of(health, "switch"), spec.latency)
    return fabric


FABRICS: dict[type, Callable[..., Fabric]] = {RailClos: rail_clos, FatTree: fat_tree, OneSwitch: one_switch}
