"""What differs from the templates: overrides resolved to the GPUs, NICs, links and leaves they are about."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from optimizer.errors import InputError
from optimizer.inputs.cluster import ClusterSpec, Override
from optimizer.inputs.hostlist import expand

T = TypeVar("T")

GONE = ("lost", "down")
"""States that take capacity away; the others only keep ranks off."""


@dataclass(frozen=True)
class GpuHealth:
    """State of one GPU and of its links; shares are of nominal bandwidth, None bandwidths are nominal."""

    state: str = "up"
    speed_factor: float = 1.0
    nvlink_share: float = 1.0
    nvlink_bytes_per_s: float | None = None
    pcie_share: float = 1.0
    pcie_bytes_per_s: float | None = None
    reason: str | None = None

    @property
    def gone(self) -> bool:
        """Whether the GPU and its links carry nothing."""
        return self.state in GONE


@dataclass(frozen=True)
class NicHealth:
    """State of one NIC."""

    state: str = "up"
    bytes_per_s: float | None = None
    reason: str | None = None

    @property
    def gone(self) -> bool:
        """Whether the NIC carries nothing."""
        return self.state in GONE


@dataclass(frozen=True)
class NodeHealth:
    """State of all parts of one node, in local order."""

    gpus: tuple[GpuHealth, ...]
    nics: tuple[NicHealth, ...]


@dataclass(frozen=True)
class LinkHealth:
    """State of a leaf's uplinks, or of the link between two neighbours on a torus."""

    share: float = 1.0
    bytes_per_s: float | None = None
    state: str = "up"
    reason: str | None = None


Cable = tuple[str, str]
"""Two neighbours on a torus, by name in order."""


@dataclass(frozen=True)
class FabricHealth:
    """State of what joins nodes, as far as overrides name it."""

    leaves: Mapping[str, LinkHealth] = field(default_factory=dict)
    cables: Mapping[Cable, LinkHealth] = field(default_factory=dict)


@dataclass(frozen=True)
class Inventory:
    """What a node is made of before anything broke."""

    gpu_ids: tuple[str, ...]
    nic_names: tuple[str, ...]


@dataclass
class _State:
    """Health of everything while overrides are read in their order; a later one wins."""

    cluster: ClusterSpec
    inventory: Mapping[str, Inventory]
    nodes: dict[str, NodeHealth] = field(default_factory=dict)
    leaves: dict[str, LinkHealth] = field(default_factory=dict)
    cables: dict[Cable, LinkHealth] = field(default_factory=dict)


def read_overrides(
    cluster: ClusterSpec, inventory: Mapping[str, Inventory]
) -> tuple[dict[str, NodeHealth], FabricHealth]:
    """Return health by node, and that of the fabric, of what differs from the template.

    InputError names the override, the unknown name and the nearest known one. Leaves and links between nodes are not
    checked here: which there are is known once the fabric is laid.
    """
    state = _State(cluster, inventory)
    for index, override in enumerate(cluster.overrides):
        where = f"cluster {cluster.name}: overrides[{index}]"
        _check_says_something(override, where)
        if override.match.leaf is not None:
            _override_leaf(state, override, where)
        elif override.match.to is not None:
            _override_cable(state, override, where)
        else:
            for node in _nodes(state, override, where):
                _override_node(state, node, override, where)
    return state.nodes, FabricHealth(state.leaves, state.cables)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the remedy for an unknown name: the nearest known one, or the first few."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"


def _check_says_something(override: Override, where: str) -> None:
    said = (override.state, override.bandwidth, override.links_active, override.uplinks, override.speed_factor)
    if all(value is None for value in said):
        raise InputError(f"{where}: says nothing; give state, bandwidth, links_active, uplinks or speed_factor")


def _refuse(override: Override, where: str, what: str, allowed: tuple[str, ...], states: tuple[str, ...]) -> None:
    """Raise InputError when the override sets what its object does not have."""
    for key in ("state", "bandwidth", "links_active", "uplinks", "speed_factor"):
        if getattr(override, key) is not None and key not in allowed:
            raise InputError(f"{where}: {key}: a {what} has none; it takes {', '.join(allowed)}")
    if override.state is not None and override.state not in states:
        raise InputError(f"{where}: state: a {what} is not {override.state}; it is {' or '.join(states)}")


_LINK_STATES = ("up", "down", "lost")


def _override_leaf(state: _State, override: Override, where: str) -> None:
    _refuse(override, where, "leaf", ("state", "bandwidth", "uplinks"), _LINK_STATES)
    leaf = str(override.match.leaf)
    if override.match.node is not None:
        raise InputError(f"{where}.match: names a leaf and a node; give one of them")
    state.leaves[leaf] = _changed_link(state.leaves.get(leaf, LinkHealth()), override, where)


def _override_cable(state: _State, override: Override, where: str) -> None:
    """Change the link between two neighbours on a torus."""
    _refuse(override, where, "link between nodes", ("state", "bandwidth"), _LINK_STATES)
    match = override.match
    if match.node is None or any(part is not None for part in (match.gpu, match.nic, match.link)):
        raise InputError(f"{where}.match: a link of a torus is named by node and to alone")
    for key, name in (("node", match.node), ("to", match.to)):
        if name not in state.inventory:
            raise InputError(f"{where}.match.{key}: no node {name!r}; {nearest(str(name), state.inventory)}")
    a, b = sorted((match.node, str(match.to)))
    state.cables[a, b] = _changed_link(state.cables.get((a, b), LinkHealth()), override, where)


def _changed_link(before: LinkHealth, override: Override, where: str) -> LinkHealth:
    return LinkHealth(
        share=_share(override.uplinks, f"{where}.uplinks") if override.uplinks else before.share,
        bytes_per_s=before.bytes_per_s if override.bandwidth is None else override.bandwidth,
        state=override.state or before.state,
        reason=override.reason or before.reason,
    )


def _share(text: str, where: str) -> float:
    """Return the fraction of "12/18"."""
    active, total = (int(part) for part in text.split("/"))
    if not 0 <= active <= total or total == 0:
        raise InputError(f"{where}: {text!r} is no share: write active/total, such as 12/18")
    return active / total


def _nodes(state: _State, override: Override, where: str) -> tuple[str, ...]:
    """Return the nodes an override is about."""
    if override.match.node is None:
        return (_node_of_gpu(state, override, where),)
    try:
        names = expand(override.match.node)
    except ValueError as error:
        raise InputError(f"{where}.match.node: {error}") from error
    for name in names:
        if name not in state.inventory:
            raise InputError(f"{where}.match.node: no node {name!r}; {nearest(name, state.inventory)}")
    return names


def _node_of_gpu(state: _State, override: Override, where: str) -> str:
    gpu = override.match.gpu
    if not isinstance(gpu, str):
        raise InputError(f"{where}.match: names no object; give node, leaf or a GPU's UUID or bus id")
    for name, inventory in state.inventory.items():
        if gpu in inventory.gpu_ids:
            return name
    ids = [known for inventory in state.inventory.values() for known in inventory.gpu_ids]
    raise InputError(f"{where}.match.gpu: no GPU {gpu!r}; {nearest(gpu, ids)}")


def _override_node(state: _State, node: str, override: Override, where: str) -> None:
    inventory = state.inventory[node]
    fine = NodeHealth((GpuHealth(),) * len(inventory.gpu_ids), (NicHealth(),) * len(inventory.nic_names))
    before = state.nodes.get(node, fine)
    state.nodes[node] = _changed(before, inventory, override, where)


def _changed(before: NodeHealth, inventory: Inventory, override: Override, where: str) -> NodeHealth:
    """Return the node's health after one override."""
    match = override.match
    if match.nic is not None:
        _refuse(override, where, "NIC", ("state", "bandwidth"), _LINK_STATES)
        index = _index(match.nic, inventory.nic_names, f"{where}.match.nic", "NIC")
        return replace(before, nics=_at(before.nics, (index,), lambda nic: _nic(nic, override)))
    gpus: tuple[int, ...] = tuple(range(len(before.gpus)))
    if match.gpu is not None:
        gpus = (_index(match.gpu, inventory.gpu_ids, f"{where}.match.gpu", "GPU"),)
    if match.link is not None:
        _refuse(override, where, "link", ("state", "bandwidth", "links_active"), _LINK_STATES)
        return replace(before, gpus=_at(before.gpus, gpus, lambda gpu: _link(gpu, override, where)))
    states = ("up", "lost", "down", "cordoned", "drained", "reserved")
    hint = "GPU or node (say link: nvlink or link: pcie, or nic: for links)"
    _refuse(override, where, hint, ("state", "speed_factor"), states)
    after = replace(before, gpus=_at(before.gpus, gpus, lambda gpu: _gpu(gpu, override)))
    if match.gpu is None and override.state in (*GONE, "up"):
        return replace(after, nics=_at(after.nics, range(len(after.nics)), lambda nic: _nic(nic, override)))
    return after


def _index(given: int | str, names: tuple[str, ...], where: str, what: str) -> int:
    """Return the local index of a GPU or NIC given by index or name."""
    if isinstance(given, int):
        if given >= len(names) or given < 0:
            raise InputError(f"{where}: no {what} {given}; the node has {len(names)}, counted from 0")
        return given
    if given not in names:
        raise InputError(f"{where}: no {what} {given!r}; {nearest(given, names)}")
    return names.index(given)


def _at(items: tuple[T, ...], indices: Iterable[int], change: Callable[[T], T]) -> tuple[T, ...]:
    """Return the items with those at ``indices`` changed."""
    chosen = set(indices)
    return tuple(change(item) if index in chosen else item for index, item in enumerate(items))


def _gpu(gpu: GpuHealth, override: Override) -> GpuHealth:
    """Return the GPU's health; a cordon does not bring back a lost GPU."""
    keeps = gpu.gone and override.state in ("cordoned", "drained", "reserved")
    return replace(
        gpu,
        state=gpu.state if keeps else override.state or gpu.state,
        speed_factor=gpu.speed_factor if override.speed_factor is None else override.speed_factor,
        reason=override.reason or gpu.reason,
    )


def _nic(nic: NicHealth, override: Override) -> NicHealth:
    bytes_per_s = nic.bytes_per_s if override.bandwidth is None else override.bandwidth
    return NicHealth(override.state or nic.state, bytes_per_s, override.reason or nic.reason)


def _link(gpu: GpuHealth, override: Override, where: str) -> GpuHealth:
    """Return the GPU's health after a change of its NVLink (or xGMI) or PCIe links."""
    name = "nvlink" if override.match.link == "nvlink" else "pcie"
    share, rate = getattr(gpu, f"{name}_share"), getattr(gpu, f"{name}_bytes_per_s")
    if override.links_active is not None:
        share = _share(override.links_active, f"{where}.links_active")
    elif override.state is not None:
        share = 0.0 if override.state in GONE else 1.0
    if override.bandwidth is not None:
        rate = override.bandwidth
    reason = override.reason or gpu.reason
    if name == "nvlink":
        return replace(gpu, nvlink_share=share, nvlink_bytes_per_s=rate, reason=reason)
    return replace(gpu, pcie_share=share, pcie_bytes_per_s=rate, reason=reason)
