"""Boxes of a torus: which nodes are one, what its links carry, and what rings and hand-overs inside it get.

A box is a run of neighbours along each dimension. Routes go along one dimension after the other, so that those between
its nodes never leave it and replicas on disjoint boxes share no link. Every link of a box counts as the slowest of its
dimension.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, pairwise, product
from math import prod

from optimizer.errors import NoPathError, UnknownRateError
from optimizer.inputs.cluster import Torus
from optimizer.topology.fabrics import Place, router, wraps
from optimizer.topology.graph import Topology

UNLIMITED = float("inf")

Arc = tuple[Place, Place]


@dataclass(frozen=True, eq=False)
class Lattice:
    """The nodes of a torus by place, and what every link carries per direction."""

    shape: Place
    wrap: tuple[bool, ...]
    at: Mapping[str, Place]
    node_at: Mapping[Place, str]
    rates: Mapping[Arc, float]
    """inf where nobody gave them."""


@dataclass(frozen=True)
class Box:
    """Neighbours on a torus."""

    start: Place
    size: Place
    closed: tuple[bool, ...]
    """Whether the last node of a dimension has a link to the first."""
    rates: tuple[float, ...]
    """The slowest link along each dimension, in bytes/s per direction; inf where there is none."""


@dataclass(frozen=True)
class Carried:
    """What the links of a box give a replica, in bytes/s per direction; inf where none are used."""

    rings: tuple[float, ...]
    """What a node of each stage passes on, over rings both ways round, all stages at the same time."""
    hops: tuple[float, ...]
    """What each rank hands over to the next stage, all ranks at the same time."""


def lattice(topology: Topology) -> Lattice | None:
    """Return the torus of a cluster; None where its fabric is another."""
    spec = topology.cluster.fabric
    if not isinstance(spec, Torus):
        return None
    key = ("lattice",)
    if key not in topology.memo:
        at = {name: node.at for name, node in topology.node_by_name.items() if node.at is not None}
        ends = {router(name): place for name, place in at.items()}
        rates = {
            (place, ends[v]): UNLIMITED if arc["bytes_per_s"] is None else float(arc["bytes_per_s"])
            for u, place in ends.items()
            for v, arc in topology.graph.adj[u].items()
            if arc["kind"] == "torus"
        }
        wrap = tuple(wraps(spec, dimension) for dimension in range(len(spec.shape)))
        topology.memo[key] = Lattice(spec.shape, wrap, at, {place: name for name, place in at.items()}, rates)
    found = topology.memo[key]
    assert isinstance(found, Lattice)
    return found


def spanned(topology: Topology, stages: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return the nodes of a torus that a replica spans, in rank order; nothing where it sits on one, or on no torus."""
    if not isinstance(topology.cluster.fabric, Torus):
        return ()
    nodes = tuple(dict.fromkeys(topology.gpu(gpu).node for stage in stages for gpu in stage))
    return nodes if len(nodes) > 1 else ()


def carried(topology: Topology, stages: Sequence[Sequence[str]], *, whole: bool = True) -> Carried | None:
    """Return what links of the torus give a replica; None where it uses none.

    NoPathError: its nodes are no box, or a link in it is down; UnknownRateError: nobody gave what a link carries.
    ``whole`` False: the nodes may be any of the smallest box around them.
    """
    found, names = lattice(topology), spanned(topology, stages)
    if found is None or not names:
        return None
    spec = topology.cluster.fabric
    if isinstance(spec, Torus) and spec.link is None:
        key = f"cluster {topology.cluster.name}: fabric.link"
        raise UnknownRateError(f"{key}: missing; give what one link of the torus carries per direction")
    places = {name: found.at[name] for name in names}
    box = box_around(found, places.values())
    told = f"cluster {topology.cluster.name}: {', '.join(names)}"
    if whole and prod(box.size) != len(names):
        raise NoPathError(f"{told} are no box of neighbours on the torus")
    if min(box.rates) <= 0:
        raise NoPathError(f"{told}: a link of the torus between them is down; place the ranks elsewhere")
    inside = {name: relative(found, box, place) for name, place in places.items()}
    ranks = tuple(tuple(inside[topology.gpu(gpu).node] for gpu in stage) for stage in stages)
    return flows(box.size, box.closed, box.rates, ranks)


# -- boxes ---------------------------------------------------------------------------------------------------------


def box_around(found: Lattice, places: Iterable[Place]) -> Box:
    """Return the smallest box that holds some places.

    A dimension that it fills is closed where it wraps, unless a link along it is down: then it starts behind that one.
    """
    members = tuple(places)
    spans = [_arc({place[d] for place in members}, n, wrap=found.wrap[d]) for d, n in enumerate(found.shape)]
    start, size = tuple(first for first, _ in spans), tuple(length for _, length in spans)
    closed = []
    for d, n in enumerate(found.shape):
        is_ring = found.wrap[d] and size[d] == n
        broken = _broken(found, start, size, d) if is_ring else []
        if broken:
            start = (*start[:d], broken[0], *start[d + 1 :])
        closed.append(is_ring and not broken)
    rates = tuple(
        min((found.rates.get(arc, 0.0) for arc in _links(found, start, size, d, closed=closed[d])), default=UNLIMITED)
        for d in range(len(size))
    )
    return Box(start, size, tuple(closed), rates)


def relative(found: Lattice, box: Box, place: Place) -> Place:
    """Return a place seen from the start of a box."""
    return tuple((p - s) % n for p, s, n in zip(place, box.start, found.shape, strict=True))


def from_start(found: Lattice, start: Place, offset: Place) -> Place:
    """Return the place that lies so far from the start of a box."""
    return tuple((s + o) % n for s, o, n in zip(start, offset, found.shape, strict=True))


def _arc(used: set[int], length: int, *, wrap: bool) -> tuple[int, int]:
    """Return start and length of the shortest run that holds some coordinates."""
    ordered = sorted(used)
    if not wrap or len(ordered) == length:
        return ordered[0], ordered[-1] - ordered[0] + 1
    pairs = zip([ordered[-1], *ordered[:-1]], ordered, strict=True)
    gap, start = max(
        (((after - before) % length or length, after) for before, after in pairs), key=lambda one: (one[0], -one[1])
    )
    return start, length - gap + 1


def _links(found: Lattice, start: Place, size: Place, d: int, *, closed: bool) -> Iterator[Arc]:
    """Yield the links of a box along one dimension, both directions of each."""
    for offset in product(*map(range, size)):
        if offset[d] + 1 == size[d] and not closed:
            continue
        here = from_start(found, start, offset)
        there = (*here[:d], (here[d] + 1) % found.shape[d], *here[d + 1 :])
        if size[d] > 1:
            yield here, there
            yield there, here


def _broken(found: Lattice, start: Place, size: Place, d: int) -> list[int]:
    """Return the coordinates before which a link along a dimension that wraps is down (or a node is missing)."""
    return sorted({b[d] for a, b in _links(found, start, size, d, closed=True)
                   if (a[d] + 1) % found.shape[d] == b[d] and found.rates.get((a, b), 0.0) <= 0})  # fmt: skip


# -- what links carry ----------------------------------------------------------------------------------------------


@lru_cache(maxsize=65536)
def flows(
    size: Place, closed: tuple[bool, ...], rates: tuple[float, ...], stages: tuple[tuple[Place, ...], ...]
) -> Carried:
    """Return what the links of a box give stages whose ranks sit at these places, seen from its start.

    A ring around the nodes of a stage goes on one cable from neighbour to neighbour, and over as many as there are
    between nodes that are none; half of what is sent goes each way round. A link shared by k flows gives each 1/k.
    """
    nodes = [tuple(dict.fromkeys(stage)) for stage in stages]
    there, back = Counter[Arc](), Counter[Arc]()
    ways: list[tuple[list[Arc], list[Arc]]] = []
    for members in nodes:
        ring = [*zip(members, (*members[1:], members[0]), strict=True)] if len(members) > 1 else []
        ahead = [arc for a, b in ring for arc in route(size, closed, a, b)]
        behind = [arc for a, b in ring for arc in route(size, closed, b, a)]
        there.update(ahead)
        back.update(behind)
        ways.append((ahead, behind))
    both = there + back
    rings = tuple(
        max(_least(rates, ahead, there), 2 * _least(rates, [*ahead, *behind], both)) for ahead, behind in ways
    )
    steps = [
        [arc for a, b in zip(here, after, strict=True) for arc in route(size, closed, a, b)]
        for here, after in pairwise(stages)
    ]
    load = Counter(arc for step in steps for arc in step)
    return Carried(rings, tuple(_least(rates, step, load) for step in steps))


def _least(rates: tuple[float, ...], way: Sequence[Arc], load: Counter[Arc]) -> float:
    """Return what one flow gets on its way, the links it passes shared with all others."""
    return min((rates[_dimension(arc)] / load[arc] for arc in way), default=UNLIMITED)


def _dimension(arc: Arc) -> int:
    return next(d for d, (a, b) in enumerate(zip(*arc, strict=True)) if a != b)


def route(size: Place, closed: tuple[bool, ...], a: Place, b: Place) -> Iterator[Arc]:
    """Yield the links from one place to another, one dimension after the other, the shorter way round rings."""
    here = a
    for d, target in enumerate(b):
        ahead = (target - here[d]) % size[d]
        step = 1 if (ahead <= size[d] - ahead if closed[d] else target > here[d]) else -1
        while here[d] != target:
            after = (*here[:d], (here[d] + step) % size[d], *here[d + 1 :])
            yield here, after
            here = after


# -- cuts ----------------------------------------------------------------------------------------------------------

EVERY_DIVISION = 10
"""Up to so many nodes of a torus are divided in every way."""

MOST_CORNERS = 64
"""Up to so many boxes at a corner of the others are looked at; beyond, slabs along one dimension."""


def cables(found: Lattice, nodes: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the nodes at the ends of every link in the smallest box around some nodes, once each way."""
    box = box_around(found, (found.at[node] for node in nodes))
    inside = {from_start(found, box.start, offset) for offset in product(*map(range, box.size))}
    for a, b in found.rates:
        if a in inside and b in inside:
            yield found.node_at[a], found.node_at[b]


def divisions(found: Lattice, nodes: Sequence[str]) -> Iterator[frozenset[str]]:
    """Yield parts of some nodes of a torus whose cuts decide: all of few nodes, of more boxes at a corner.

    In a whole box of equal links all-gather is bound by a corner or a slab, and by dimensions in turn it reaches that
    bound; all-to-all is bound by slabs.
    """
    if len(nodes) <= EVERY_DIVISION:
        first, *others = nodes
        yield from (frozenset((first, *chosen)) for size in range(len(others)) for chosen in combinations(others, size))
        return
    box = box_around(found, (found.at[node] for node in nodes))
    seen = {node: relative(found, box, found.at[node]) for node in nodes}
    if prod(box.size) <= MOST_CORNERS:
        corners: Iterable[Place] = product(*(range(1, length + 1) for length in box.size))
    else:
        corners = ((*box.size[:d], n, *box.size[d + 1 :]) for d, own in enumerate(box.size) for n in range(1, own))
    for corner in corners:
        yield frozenset(node for node, place in seen.items() if all(p < c for p, c in zip(place, corner, strict=True)))
