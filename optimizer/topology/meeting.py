"""How a group of GPUs meets: the domains it falls into, the medium of each, and the boundaries each GPU crosses."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import networkx as nx

from optimizer.topology.graph import Topology
from optimizer.topology.reach import Reach, reach
from optimizer.topology.wiring import Medium

Cell: TypeAlias = tuple[Reach, ...]
Ways: TypeAlias = tuple[tuple[str, ...], ...]
"""Boundaries in series, each a choice of parallel ones (the NICs of one GPU)."""


@dataclass(frozen=True)
class Level:
    """A family of disjoint cells that a group falls into, and what a GPU passes to leave its cell."""

    cells: tuple[Cell, ...]
    ways: dict[str, Ways]
    """By GPU id."""


@dataclass(frozen=True)
class Meeting:
    """A group in equal fast parts joined by a slower medium, or in one part."""

    parts: tuple[Cell, ...]
    inner: Medium
    outer: Medium
    levels: tuple[Level, ...]
    """Cuts between the parts, fine to coarse; empty for one part."""


def meet(topology: Topology, group: Sequence[str]) -> Meeting:
    """Return how the GPUs of a group reach each other. InputError when a rank cannot sit on one of them."""
    key = ("meeting", tuple(group))
    if key not in topology.memo:
        topology.memo[key] = _meet(topology, group)
    found = topology.memo[key]
    assert isinstance(found, Meeting)
    return found


def _meet(topology: Topology, group: Sequence[str]) -> Meeting:
    members = tuple(reach(topology, gpu) for gpu in group)
    units = _cells(members, lambda member: member.unit)
    if len(units) > 1:
        return _between_units(topology, members, units)
    parts = scale_up_parts(members)
    if len(parts) == 1:
        return Meeting(parts, medium_of(topology, parts[0]), "local", ())
    return _over_pcie(members, parts)


def _cells(members: Sequence[Reach], key: Callable[[Reach], Hashable]) -> tuple[Cell, ...]:
    """Return the members by key, in order of first occurrence."""
    cells: dict[Hashable, list[Reach]] = {}
    for member in members:
        cells.setdefault(key(member), []).append(member)
    return tuple(tuple(cell) for cell in cells.values())


def scale_up_parts(members: Cell) -> tuple[Cell, ...]:
    """Return the parts joined by the GPUs' own links, through no GPU outside the group; single GPUs where none are."""
    if not any(member.peers for member in members):
        return _cells(members, lambda member: member.nvswitch or member.id)
    wires: nx.Graph[str] = nx.Graph()
    ids = {member.id: member for member in members}
    for member in members:
        wires.add_node(member.id)
        wires.add_edges_from((member.id, peer) for peer in sorted(member.peers) if peer in ids)
        if member.nvswitch:
            wires.add_edge(member.id, member.nvswitch)
    found = [{gpu for gpu in component if gpu in ids} for component in nx.connected_components(wires)]
    return _cells(members, lambda member: next(i for i, part in enumerate(found) if member.id in part))


def medium_of(topology: Topology, part: Cell) -> Medium:
    """Return the medium inside a part of one unit."""
    if len(part) == 1:
        return "local"
    if len(scale_up_parts(part)) > 1:
        return _pcie_medium(part)
    if all(member.nvswitch for member in part):
        return "nvswitch"
    arcs = topology.graph.adj[part[0].id]
    return "mesh" if any(arcs[v]["kind"] == "xgmi" for v in part[0].peers) else "nvlink"


def _pcie_medium(members: Cell) -> Medium:
    """Return "pcie" for peers under one PCIe switch, "host" where the way passes a CPU (ports, sockets, memory)."""
    one_switch = len({member.parent for member in members}) == 1 and members[0].switch is not None
    return "pcie" if one_switch and all(member.peer_to_peer for member in members) else "host"


def pcie_levels(members: Cell) -> tuple[Level, ...]:
    """Return the cuts of the PCIe tree under a group of one node, fine to coarse; the first cuts off single GPUs.

    Without peer-to-peer every byte goes through the host's memory, so that even neighbours load their switch's uplink.
    """
    through_host = not all(member.peer_to_peer for member in members)
    switches = _cells(members, lambda member: member.switch or member.id)
    sockets = _cells(members, lambda member: member.socket)
    up: dict[str, Ways] = {member.id: ((member.switch,),) if member.switch else () for member in members}
    direct: dict[str, Ways] = dict.fromkeys(up, ())
    levels = [Level(tuple((member,) for member in members), up if through_host else direct)]
    if len(switches) > 1 and len(switches) < len(members):
        levels.append(Level(switches, up))
    elif len(switches) > 1:
        levels = [Level(levels[0].cells, up)]
    if len(sockets) > 1:
        levels.append(Level(sockets, {member.id: (*up[member.id], (member.socket,)) for member in members}))
    return tuple(levels)


def _over_pcie(members: Cell, parts: tuple[Cell, ...]) -> Meeting:
    """Return a group of one node whose own links do not join it: GPUs without NVLink slow all of it down to PCIe."""
    medium, levels = _pcie_medium(members), pcie_levels(members)
    switches = _cells(members, lambda member: member.parent)
    sockets = _cells(members, lambda member: member.socket)
    choices = (parts if len(parts) < len(members) else (), sockets, switches)
    for choice in choices:
        if len(choice) > 1 and len({len(part) for part in choice}) == 1:
            inner = medium_of_equal(choice)
            return Meeting(choice, inner, medium, (Level(choice, levels[-1].ways), *_coarser(levels, choice)))
    return Meeting((members,), medium, "local", ())


def medium_of_equal(parts: tuple[Cell, ...]) -> Medium:
    """Return the medium inside equal parts of a PCIe node: bridges if all have them, else PCIe."""
    if len(parts[0]) == 1:
        return "local"
    if all(len(scale_up_parts(part)) == 1 for part in parts):
        return "nvswitch" if all(member.nvswitch for member in parts[0]) else "nvlink"
    return "host" if any(_pcie_medium(part) == "host" for part in parts) else "pcie"


def _coarser(levels: tuple[Level, ...], parts: tuple[Cell, ...]) -> tuple[Level, ...]:
    """Return the levels whose cells hold several of the parts."""
    return tuple(level for level in levels if len(level.cells) < len(parts))


def _between_units(topology: Topology, members: Cell, units: tuple[Cell, ...]) -> Meeting:
    """Return a group over several nodes (or NVSwitch domains of several nodes), joined by the NICs of its own GPUs.

    Unequal parts are taken as single ranks: no two-level algorithm fits them.
    """
    equal = len({len(unit) for unit in units}) == 1
    parts = units if equal else tuple((member,) for member in members)
    media = {medium_of(topology, part) for part in parts}
    inner: Medium = next((m for m in ("host", "pcie", "nvlink", "mesh", "nvswitch") if m in media), "local")
    return Meeting(parts, inner, "rdma", _fabric_levels(members, units))


def _fabric_levels(members: Cell, units: tuple[Cell, ...]) -> tuple[Level, ...]:
    """Return the cuts of the fabric that a group spans: units, and the leaf groups and pods with narrow uplinks."""
    ways: dict[str, Ways] = {
        m.id: (*((boundary,) for boundary in m.via), *([m.nics] if m.nics else [])) for m in members
    }
    levels = [Level(units, ways)]
    leaf_cells = _cells(members, lambda m: m.leaf if m.crosses_rails else m.unit)
    if len(leaf_cells) > 1 and any(m.narrow_leaf for m in members):
        ways = {m.id: (*ways[m.id], m.leaves) if m.narrow_leaf else ways[m.id] for m in members}
        levels.append(Level(leaf_cells, ways))
    pods = _cells(members, lambda m: m.pod)
    if len(pods) > 1 and any(m.narrow_pod for m in members):
        ways = {m.id: (*ways[m.id], (m.pod or "",) * len(m.nics)) if m.narrow_pod else ways[m.id] for m in members}
        levels.append(Level(pods, ways))
    return tuple(levels)
