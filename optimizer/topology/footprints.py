"""Where the ranks of one replica can sit, up to GPUs and nodes that no path question can tell apart.

A replica on n nodes has equally many GPUs on each of them, node by node in rank order (engines number ranks
node-major). What a node holds of it is a piece: whole stages, or an equal part of one stage's TP group. A piece is
written as counts per island and part, so that one footprint stands for all seats with the same paths.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, islice, permutations, product, zip_longest

from optimizer.topology.classes import NodeClass
from optimizer.topology.sections import counts_of

EXHAUSTIVE = 400
"""Up to so many ways to fill a node all are tried; beyond, only parts on the fewest islands, islands in order."""

MOST = 120
"""Up to so many footprints of one replica on so many nodes all are tried."""

FEW = 20
"""Beyond, so many are: on few classes of nodes and few islands, each mix of classes in its turn."""

FEW_CLASSES = 8
"""Up to so many classes of nodes a replica may span any of them; beyond, those of one leaf group."""

FEW_NODES = 5
"""Up to so many nodes of different classes (one more where there are no others) all orders are tried; else one."""


@dataclass(frozen=True)
class Slot:
    """What one node holds: for each part in rank order, how many of its ranks sit on each island."""

    node_class: int
    parts: tuple[tuple[int, ...], ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """GPUs taken from each island of the node."""
        return tuple(map(sum, zip(*self.parts, strict=True)))


@dataclass(frozen=True)
class Footprint:
    """The slots of one replica in rank order."""

    gpu_type: str
    """Of all GPUs; where stages sit on several types, how many there are of each."""
    ranks_per_stage: int
    slots: tuple[Slot, ...]
    gpu_types: tuple[str, ...] = ()
    """Of each stage, where they differ; else empty."""
    places: tuple[tuple[str, ...], ...] = ()
    """Where nodes of a class are not interchangeable: every choice of nodes for the slots."""

    @cached_property
    def boxes(self) -> tuple[tuple[str, ...], ...]:
        """The sets of nodes among ``places``, whatever their order."""
        return tuple(sorted(tuple(sorted(nodes)) for nodes in self.places))

    @cached_property
    def gpus(self) -> int:
        """GPUs of the replica."""
        return sum(sum(slot.counts) for slot in self.slots)

    @property
    def gpus_of_type(self) -> dict[str, int]:
        """GPUs of the replica by type."""
        return counts_of(self.gpu_types, self.ranks_per_stage) if self.gpu_types else {self.gpu_type: self.gpus}

    @property
    def span(self) -> str:
        """For people: "1 node", "2 nodes x 4 GPUs", "2 + 4 GPUs on 2 nodes"."""
        if len(self.slots) == 1:
            return "1 node"
        sizes = [sum(slot.counts) for slot in self.slots]
        if len(set(sizes)) > 1:
            return f"{' + '.join(map(str, sizes))} GPUs on {len(sizes)} nodes"
        return f"{len(self.slots)} nodes x {sizes[0]} GPUs"


def footprints(
    classes: Sequence[NodeClass], gpu_type: str, ranks_per_stage: int, stages: int, *, joined: bool
) -> Iterator[Footprint]:
    """Yield the footprints of ``stages`` TP groups on GPUs of one type, in order; ``joined``: nodes are."""
    for fillings, cuts in _spreads(classes, gpu_type, ranks_per_stage, stages, joined=joined):
        found = tuple(islice(_every(classes, fillings, cuts), MOST + 1))
        if len(found) > MOST:
            found = tuple(islice(_few(classes, fillings, cuts), FEW))
        yield from (Footprint(gpu_type, ranks_per_stage, slots) for slots in found)


def all_tried(classes: Sequence[NodeClass], gpu_type: str, ranks_per_stage: int, stages: int, *, joined: bool) -> bool:
    """Return whether ``footprints`` yields every one of them."""
    spreads = _spreads(classes, gpu_type, ranks_per_stage, stages, joined=joined)
    return all(len(tuple(islice(_every(classes, *spread), MOST + 1))) <= MOST for spread in spreads)


Parts = tuple[tuple[int, ...], ...]
Cuts = Sequence[tuple[int, ...]]
Fillings = Mapping[tuple[int, tuple[int, ...]], tuple[Parts, ...]]


def _spreads(
    classes: Sequence[NodeClass], gpu_type: str, ranks_per_stage: int, stages: int, *, joined: bool
) -> Iterator[tuple[Fillings, Cuts]]:
    """Yield what each node may hold and what it is to hold, for one node, two, and so on."""
    world = ranks_per_stage * stages
    nodes = sum(len(c.nodes) for c in classes)
    for spread in range(1, (min(world, nodes) if joined else 1) + 1):
        if world % spread:
            continue
        cuts = [part_sizes_of(world // spread, ranks_per_stage, first) for first in range(0, world, world // spread)]
        yield {(i, cut): fillings_of(c, gpu_type, cut) for i, c in enumerate(classes) for cut in set(cuts)}, cuts


def _every(classes: Sequence[NodeClass], fillings: Fillings, cuts: Cuts) -> Iterator[tuple[Slot, ...]]:
    """Yield the slots of every footprint."""
    for chosen in _class_orders(classes, fillings, cuts):
        for parts in _combined([fillings[key] for key in zip(chosen, cuts, strict=True)]):
            yield slots_of(chosen, parts)


def _few(classes: Sequence[NodeClass], fillings: Fillings, cuts: Cuts) -> Iterator[tuple[Slot, ...]]:
    """Yield slots in turns, one for each mix of classes: mixes of few classes first, fillings of few islands first."""
    compact = {key: tuple(sorted(options, key=islands_touched)) for key, options in fillings.items()}
    usable = [index for index in range(len(classes)) if any(fillings[index, cut] for cut in cuts)]
    turns = []
    for chosen in islice(_mixes(classes, usable, cuts), FEW):
        options = [compact[key] for key in zip(chosen, cuts, strict=True)]
        if all(options):
            turns.append([(i, chosen, options) for i in range(min(max(map(len, options)), FEW))])
    for turn in zip_longest(*turns):
        for i, chosen, options in filter(None, turn):
            yield slots_of(chosen, [ways[min(i, len(ways) - 1)] for ways in options])


def slots_of(chosen: Sequence[int], parts: Sequence[Parts]) -> tuple[Slot, ...]:
    """Return slots on nodes of these classes that hold these parts."""
    return tuple(Slot(index, p) for index, p in zip(chosen, parts, strict=True))


def islands_touched(parts: Parts) -> int:
    """Return how many islands the parts of a filling lie on, each part counted for itself."""
    return sum(1 for part in parts for n in part if n)


def _mixes(classes: Sequence[NodeClass], usable: Sequence[int], cuts: Cuts) -> Iterator[tuple[int, ...]]:
    """Yield which class each node is of: all of one class, then of two, and so on, each class's nodes in a row."""
    for near in _neighbourhoods(classes, usable, len(cuts)):
        for kinds in range(1, min(len(near), len(cuts)) + 1):
            for mixed in combinations(near, kinds):
                for counts in _shared_out(len(cuts), [len(classes[index].nodes) for index in mixed]):
                    yield tuple(index for index, n in zip(mixed, counts, strict=True) for _ in range(n))


def _shared_out(total: int, room: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yield the ways to share ``total`` out, at least one to each and no more than its room, most to the first."""
    first, rest = room[0], room[1:]
    if not rest:
        if total <= first:
            yield (total,)
        return
    for n in range(min(first, total - len(rest)), max(1, total - sum(rest)) - 1, -1):
        for others in _shared_out(total - n, rest):
            yield (n, *others)


def part_sizes_of(per_node: int, ranks_per_stage: int, first: int) -> tuple[int, ...]:
    """Return how many ranks of each stage the node holds whose first rank is ``first``."""
    stages = [rank // ranks_per_stage for rank in range(first, first + per_node)]
    return tuple(stages.count(stage) for stage in dict.fromkeys(stages))


def fillings_of(node_class: NodeClass, gpu_type: str, part_sizes: Sequence[int]) -> tuple[Parts, ...]:
    """Return the ways to put parts of the given sizes on the islands of one node, in rank order."""
    sizes = tuple(i.size if i.gpu_type == gpu_type else 0 for i in node_class.islands)
    if sum(sizes) < sum(part_sizes):
        return ()
    vectors = {size: tuple(_vectors(size, sizes)) for size in set(part_sizes)}
    every = tuple(islice(_sequences(vectors, sizes, part_sizes), EXHAUSTIVE + 1))
    if len(every) <= EXHAUSTIVE:
        return every
    compact = {size: _most_compact(options) for size, options in vectors.items()}
    few = tuple(islice(_sequences(compact, sizes, part_sizes, after=(0,) * len(sizes)), EXHAUSTIVE))
    return few or every[:EXHAUSTIVE]


def _most_compact(vectors: Sequence[tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
    """Return the vectors that touch the fewest islands."""
    least = min(sum(1 for n in v if n) for v in vectors)
    return tuple(v for v in vectors if sum(1 for n in v if n) == least)


def _vectors(ranks: int, sizes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yield the ways to split ``ranks`` over islands of the given sizes, fullest first island first."""
    if not sizes:
        if ranks == 0:
            yield ()
        return
    for first in range(min(ranks, sizes[0]), max(0, ranks - sum(sizes[1:])) - 1, -1):
        for rest in _vectors(ranks - first, sizes[1:]):
            yield (first, *rest)


def _sequences(
    vectors: Mapping[int, Sequence[tuple[int, ...]]],
    sizes: Sequence[int],
    part_sizes: Sequence[int],
    after: tuple[int, ...] | None = None,
) -> Iterator[Parts]:
    """Yield one vector for each part so that all fit together; ``after``: no part before its predecessor's islands."""
    if not part_sizes:
        yield ()
        return
    for vector in vectors[part_sizes[0]]:
        left = tuple(s - n for s, n in zip(sizes, vector, strict=True))
        if min(left) < 0 or (after is not None and _first(vector) < _first(after)):
            continue
        for rest in _sequences(vectors, left, part_sizes[1:], vector if after is not None else None):
            yield (vector, *rest)


def _first(vector: tuple[int, ...]) -> int:
    """Return the first island a part touches."""
    return next((index for index, n in enumerate(vector) if n), 0)


def _class_orders(
    classes: Sequence[NodeClass],
    fillings: Mapping[tuple[int, tuple[int, ...]], object],
    cuts: Sequence[tuple[int, ...]],
) -> Iterator[tuple[int, ...]]:
    """Yield which class each node is of, in rank order: all orders where the nodes are few."""
    nodes = sum(len(c.nodes) for c in classes)
    usable = [index for index in range(len(classes)) if any(fillings[index, cut] for cut in cuts)]
    for near in _neighbourhoods(classes, usable, len(cuts)):
        for chosen in _multisets(near, [len(classes[index].nodes) for index in near], len(cuts)):
            few = len(set(chosen)) > 1 and min(len(cuts), nodes - 1) <= FEW_NODES
            orders = sorted(set(permutations(chosen))) if few else [chosen]
            yield from (o for o in orders if all(fillings[key] for key in zip(o, cuts, strict=True)))


def _multisets(classes: Sequence[int], room: Sequence[int], size: int) -> Iterator[tuple[int, ...]]:
    """Yield the ways to take ``size`` nodes of classes with so many each, in the order of the classes."""
    if not size:
        yield ()
    elif sum(room) >= size:
        for n in range(min(size, room[0]), -1, -1):
            yield from ((classes[0],) * n + rest for rest in _multisets(classes[1:], room[1:], size - n))


def _neighbourhoods(classes: Sequence[NodeClass], usable: Sequence[int], spread: int) -> list[list[int]]:
    """Return the sets of classes that one replica may span: all where they are few, else those of a leaf group.

    Where no leaf group has nodes enough, all again.
    """
    if len(usable) <= FEW_CLASSES or spread == 1:
        return [list(usable)]
    groups: dict[str | None, list[int]] = {}
    for index in usable:
        groups.setdefault(classes[index].leaf, []).append(index)
    roomy = [group for group in groups.values() if sum(len(classes[i].nodes) for i in group) >= spread]
    return roomy or [list(usable)]


def _combined(options: Sequence[tuple[Parts, ...]]) -> Iterator[tuple[Parts, ...]]:
    """Yield one filling for each node; beyond the exhaustive limit, the i-th of each together."""
    if math.prod(map(len, options)) <= EXHAUSTIVE * EXHAUSTIVE:
        yield from product(*options)
    else:
        yield from (tuple(w[min(i, len(w) - 1)] for w in options) for i in range(max(map(len, options))))
