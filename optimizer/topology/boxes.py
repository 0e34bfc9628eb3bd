"""Where replicas can sit: by classes of nodes, and on a torus in boxes of neighbours for those over several nodes.

Nodes of a class are not interchangeable there: a footprint over several nodes lists the boxes that give its replica
the same links, each with its nodes in rank order.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice, product
from math import prod
from operator import ge

from optimizer.topology.classes import NodeClass, joins_nodes
from optimizer.topology.fabrics import Place
from optimizer.topology.footprints import FEW, Footprint, Parts, fillings_of, footprints, part_sizes_of, slots_of
from optimizer.topology.graph import Topology
from optimizer.topology.lattice import Box, Carried, Lattice, box_around, flows, from_start, lattice

EVERY_BOX = 64
"""Up to so many nodes of a torus boxes may begin at any of them; beyond, at multiples of their lengths."""


def every_footprint(
    topology: Topology, classes: Sequence[NodeClass], gpu_type: str, ranks_per_stage: int, stages: int
) -> Iterator[Footprint]:
    """Yield the footprints of a replica of ``stages`` TP groups on GPUs of one type, in a fixed order."""
    yield from footprints(classes, gpu_type, ranks_per_stage, stages, joined=joins_nodes(topology))
    found = lattice(topology)
    if found is None:
        return
    world = ranks_per_stage * stages
    for nodes in range(2, min(world, len(found.at)) + 1):
        if world % nodes == 0:
            yield from _of_nodes(topology, found, classes, Footprint(gpu_type, ranks_per_stage, ()), stages, nodes)


def _of_nodes(
    topology: Topology, found: Lattice, classes: Sequence[NodeClass], bare: Footprint, stages: int, nodes: int
) -> Iterator[Footprint]:
    """Yield the footprints over so many nodes; boxes of equal classes and links are one."""
    size = bare.ranks_per_stage
    per_node = size * stages // nodes
    cuts = [part_sizes_of(per_node, size, rank) for rank in range(0, size * stages, per_node)]
    kinds = {(i, cut): fillings_of(c, bare.gpu_type, cut) for i, c in enumerate(classes) for cut in dict.fromkeys(cuts)}
    class_of = {node: i for i, c in enumerate(classes) for node in c.nodes if all(kinds[i, cut] for cut in cuts)}
    alike: dict[tuple[tuple[int, ...], Carried], list[tuple[str, ...]]] = defaultdict(list)
    for seated in _by_nodes(topology, found, class_of, per_node, size, nodes):
        for one in _best(seated):
            alike[one.classes, one.carried].append(one.names)
    for (chosen, _), places in alike.items():
        for parts in _fillings(kinds, list(zip(chosen, cuts, strict=True))):
            yield replace(bare, slots=slots_of(chosen, parts), places=tuple(places))


@dataclass(frozen=True)
class _Seated:
    """The nodes of a box in one order."""

    names: tuple[str, ...]
    classes: tuple[int, ...]
    carried: Carried


def _by_nodes(
    topology: Topology, found: Lattice, class_of: dict[str, int], per_node: int, ranks_per_stage: int, nodes: int
) -> Iterator[list[_Seated]]:
    """Yield all orders of the nodes of every box; of a large torus only of boxes of the first size with such links."""
    unit = ranks_per_stage // per_node if ranks_per_stage % per_node == 0 else 1
    first: dict[object, Place] = {}
    for box, orders in _boxes(topology, found, nodes, unit):
        seated = []
        for order, names in orders:
            if not all(name in class_of for name in names):
                break
            links = flows(box.size, box.closed, box.rates, _staged(order, per_node, ranks_per_stage))
            if len(found.at) <= EVERY_BOX or first.setdefault(links, box.size) == box.size:
                seated.append(_Seated(names, tuple(class_of[name] for name in names), links))
        yield seated


@lru_cache(maxsize=4096)
def _staged(order: tuple[Place, ...], per_node: int, ranks_per_stage: int) -> tuple[tuple[Place, ...], ...]:
    """Return the place of each rank by stage."""
    ranks = [place for place in order for _ in range(per_node)]
    return tuple(tuple(ranks[i : i + ranks_per_stage]) for i in range(0, len(ranks), ranks_per_stage))


def _best(seated: Sequence[_Seated]) -> Iterator[_Seated]:
    """Yield the orders of the same nodes that no other of equal classes gives as much in everything."""
    for number, one in enumerate(seated):
        rivals = ((n, other) for n, other in enumerate(seated) if n != number and other.classes == one.classes)
        if not any(_as_good(other.carried, one.carried) and (n < number or other.carried != one.carried)
                   for n, other in rivals):  # fmt: skip
            yield one


def _as_good(one: Carried, other: Carried) -> bool:
    return all(map(ge, (*one.rings, *one.hops), (*other.rings, *other.hops)))


Kinds = dict[tuple[int, tuple[int, ...]], tuple[Parts, ...]]


def _fillings(kinds: Kinds, wanted: Sequence[tuple[int, tuple[int, ...]]]) -> Iterator[tuple[Parts, ...]]:
    """Yield what the nodes hold: nodes of one class that are to hold the same do."""
    different = list(dict.fromkeys(wanted))
    for chosen in islice(product(*(kinds[key] for key in different)), FEW):
        held = dict(zip(different, chosen, strict=True))
        yield tuple(held[key] for key in wanted)


def all_boxes_tried(topology: Topology) -> bool:
    """Return whether a box may begin at any node."""
    found = lattice(topology)
    return found is None or len(found.at) <= EVERY_BOX


# -- boxes and the order of their nodes ----------------------------------------------------------------------------


_Ordered = tuple[Box, tuple[tuple[tuple[Place, ...], tuple[str, ...]], ...]]
"""A box with the orders of its nodes: places seen from its start, and names."""


def _boxes(topology: Topology, found: Lattice, nodes: int, unit: int) -> tuple[_Ordered, ...]:
    """Return the boxes of so many nodes, without a broken link, in orders whose stages hold ``unit`` nodes each."""
    plain, key = ("boxes", nodes), ("boxes", nodes, unit)
    if plain not in topology.memo:
        topology.memo[plain] = tuple(_find_boxes(found, nodes))
    if key not in topology.memo:
        topology.memo[key] = tuple((box, tuple(_named(found, box, unit))) for box in topology.memo[plain])
    known = topology.memo[key]
    assert isinstance(known, tuple)
    return known


def _named(found: Lattice, box: Box, unit: int) -> Iterator[tuple[tuple[Place, ...], tuple[str, ...]]]:
    for order in _orders(box.size, box.closed, unit):
        yield order, tuple(found.node_at[from_start(found, box.start, place)] for place in order)


def _find_boxes(found: Lattice, nodes: int) -> Iterator[Box]:
    for size in _sizes(found.shape, nodes):
        for start in _starts(found, size):
            places = tuple(from_start(found, start, offset) for offset in product(*map(range, size)))
            if all(place in found.node_at for place in places):
                box = box_around(found, places)
                if min(box.rates) > 0:
                    yield box


def _sizes(shape: Place, nodes: int) -> Iterator[Place]:
    """Yield the lengths of boxes of so many nodes."""
    if not shape:
        if nodes == 1:
            yield ()
        return
    for length in range(1, min(shape[0], nodes) + 1):
        if nodes % length == 0:
            yield from ((length, *rest) for rest in _sizes(shape[1:], nodes // length))


def _starts(found: Lattice, size: Place) -> Iterator[Place]:
    """Yield where boxes of a size may begin; those as long as a dimension begin at one place of it."""
    aligned = len(found.node_at) > EVERY_BOX
    ranges = []
    for length, whole, wraps in zip(size, found.shape, found.wrap, strict=True):
        last = 1 if length == whole else whole if wraps and not aligned else whole - length + 1
        ranges.append(range(0, last, length if aligned else 1))
    yield from product(*ranges)


@lru_cache(maxsize=4096)
def _orders(size: Place, closed: tuple[bool, ...], unit: int) -> tuple[tuple[Place, ...], ...]:
    """Return orders of the nodes of a box whose stages hold ``unit`` nodes each: around a ring, or stage after stage.

    Stages are boxes themselves, in snake order; each is like the one before it, or its mirror image.
    """
    if unit in (1, prod(size)):
        return (ring(size, closed),)
    found: list[tuple[Place, ...]] = []
    for part in _sizes(size, unit):
        if any(length % own for length, own in zip(size, part, strict=True)):
            continue
        within = ring(part, tuple(c and p == s for c, p, s in zip(closed, part, size, strict=True)))
        cells = tuple(length // own for length, own in zip(size, part, strict=True))
        for mirrored in (False, True):
            order = tuple(
                tuple(
                    c * p + (p - 1 - o if mirrored and c % 2 else o) for c, p, o in zip(cell, part, offset, strict=True)
                )
                for cell in snake(cells)
                for offset in within
            )
            found.append(order)
    return tuple(found)


def snake(size: Place) -> tuple[Place, ...]:
    """Return all places of a box so that each is a neighbour of the one before it."""
    path: list[Place] = [()]
    for length in reversed(size):
        path = [(k, *rest) for k in range(length) for rest in (path if k % 2 == 0 else path[::-1])]
    return tuple(path)


def ring(size: Place, closed: tuple[bool, ...]) -> tuple[Place, ...]:
    """Return all places of a box around a ring of neighbours; where there is none, those of a snake.

    A ring there is when the box has an even number of nodes in two dimensions or more, or wraps: one line along a
    dimension is kept for the way back, the others are gone through in a snake that ends beside it.
    """
    long = [d for d, length in enumerate(size) if length > 1]
    if len(long) < 2:
        return snake(size)
    back = next(d for d in (*filter(closed.__getitem__, long), *(d for d in long if size[d] % 2 == 0), *long))
    others = snake((*size[:back], 1, *size[back + 1 :]))
    n, q = size[back], len(others)
    if closed[back] or q % 2 == 0:  # the first layer is the way back, the snake runs through all others
        columns = ((k, r) for k in range(q) for r in (range(1, n) if k % 2 == 0 else range(n - 1, 0, -1)))
        cells = [*columns, *((k, 0) for k in range(q - 1, -1, -1))]
    elif n % 2 == 0:  # the first column is the way back
        rows = ((k, r) for r in range(n) for k in (range(1, q) if r % 2 == 0 else range(q - 1, 0, -1)))
        cells = [*rows, *((0, r) for r in range(n - 1, -1, -1))]
    else:
        return snake(size)
    return tuple((*others[k][:back], r, *others[k][back + 1 :]) for k, r in cells)
