"""Slurm's rings and 3D tori: which node is where. Bandwidths are in neither.

Nodes of a torus come with x running fastest (Slurm, src/plugins/topology/torus3d/torus3d_record.c), in regions of it
likewise. Ranks of a ring are its nodes in their order, the last beside the first.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from optimizer.inputs.importers.facts import FabricFacts, Facts, Finding, HostFacts, counted, listed

Place = tuple[int, ...]
Hosts = Callable[[object], tuple[str, ...]]
"""From a host list (or a list of them) to names."""


@dataclass(frozen=True)
class Grid:
    """Nodes at places of a ring or torus; the first dimension is the slowest, as in cluster.yaml."""

    name: str
    shape: Place
    nodes: tuple[tuple[str, Place], ...]


def grids(entry: Mapping[str, object], hosts: Hosts, where: str, said: list[Finding]) -> list[Grid]:
    """Return the rings and tori of one topology of a topology.yaml; what does not fit together is reported."""
    found = []
    for item in _items(entry.get("ring")):
        names = hosts(item.get("nodes"))
        found.append(Grid(_name(item, "ring"), (len(names),), tuple((n, (i,)) for i, n in enumerate(names))))
    for item in _items(entry.get("torus3d")):
        grid = _torus(item, hosts, where, said)
        found += [grid] if grid is not None else []
    return [grid for grid in found if grid.nodes]


def facts(found: Sequence[Grid], where: str, kind: str, said: Sequence[Finding]) -> Facts:
    """Return the hosts of the largest grid; a cluster has one fabric, so the nodes of others are left out."""
    grid = max(found, key=lambda one: len(one.nodes))
    shape = " x ".join(map(str, grid.shape))
    told = [
        Finding("read", f"{where}: {kind}: {'ring' if len(grid.shape) == 1 else 'torus'} {grid.name}: {shape} nodes")
    ]
    others = [one.name for one in found if one is not grid]
    if others:
        told.append(Finding("missing", f"{where}: a cluster has one torus: {listed(others)} left out; import it alone"))
    lacks = f"{where}: Slurm files give no GPU, no NIC and no bandwidth; merge a node's own file, and give fabric.link"
    hosts = tuple(HostFacts(name, at=place) for name, place in grid.nodes)
    return Facts(
        hosts=hosts, fabric=FabricFacts("torus", shape=grid.shape), findings=(*told, Finding("missing", lacks), *said)
    )


def _items(section: object) -> list[Mapping[str, object]]:
    """Return the rings or tori of a section: in a list under some key, in a list, or the section itself."""
    if isinstance(section, list):
        return [item for item in section if isinstance(item, Mapping)]
    if not isinstance(section, Mapping):
        return []
    inner = [item for key, value in section.items() if key not in ("regions", "placements") for item in _items(value)
             if isinstance(value, list)]  # fmt: skip
    return inner or [section]


def _name(item: Mapping[str, object], *keys: str) -> str:
    found = next((item[key] for key in (*keys, "name") if isinstance(item.get(key), str | int)), "?")
    return str(found)


def _torus(item: Mapping[str, object], hosts: Hosts, where: str, said: list[Finding]) -> Grid | None:
    name, dims = _name(item, "torus", "torus_name"), _three(item.get("dims") or item)
    if dims is None or math.prod(dims) > MAX_NODES:
        said.append(Finding("broken", f"{where}: torus {name}: dims are no three sizes of a torus; left out"))
        return None
    nodes: dict[Place, str] = {}
    regions = item.get("regions")
    parts = [part for part in regions if isinstance(part, Mapping)] if isinstance(regions, list) else []
    for part in parts or [item]:
        names = hosts(part.get("nodes"))
        size = _three(part.get("dims")) if parts else dims
        anchor = _three(part.get("anchor"), least=0) if parts else (0, 0, 0)
        if size is None or anchor is None or len(names) != math.prod(size):
            message = f"{counted(len(names), 'node')} for {size and ' x '.join(map(str, size))} places; left out"
            said.append(Finding("broken", f"{where}: torus {name}: {message}"))
            continue
        for node, place in zip(names, _cells(size), strict=True):
            x, y, z = (a + p for a, p in zip(anchor, place, strict=True))
            if x < dims[0] and y < dims[1] and z < dims[2]:
                nodes.setdefault((z, y, x), node)
    return Grid(name, dims[::-1], tuple((node, place) for place, node in sorted(nodes.items())))


def _cells(size: tuple[int, int, int]) -> Iterator[tuple[int, int, int]]:
    """Yield (x, y, z) with x running fastest."""
    return ((x, y, z) for z in range(size[2]) for y in range(size[1]) for x in range(size[0]))


def _three(value: object, least: int = 1) -> tuple[int, int, int] | None:
    """Return x, y, z of a mapping, a list or "4x4x4"; None when they are no whole numbers."""
    if isinstance(value, Mapping):
        value = [value.get(axis) for axis in ("x", "y", "z")]
    if isinstance(value, str):
        value = [int(n) for n in re.findall(r"\d{1,5}", value)]
    whole = isinstance(value, list) and [n for n in value if isinstance(n, int) and not isinstance(n, bool)]
    if not whole or len(whole) != 3 or not all(least <= n <= _LONGEST for n in whole):
        return None
    return whole[0], whole[1], whole[2]


_LONGEST = 1024
"""Nodes along one dimension."""

MAX_NODES = 65_536
"""Places of a torus."""
