"""From a footprint to GPUs: which of a node's free ones a slot takes, and seats that stand for a whole footprint."""

from collections.abc import Sequence

from optimizer.topology.classes import NodeClass, node_islands, seat_order
from optimizer.topology.footprints import Footprint, Slot
from optimizer.topology.graph import Topology


def stages_of(footprint: Footprint, ranks: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Cut GPUs in rank order into stages."""
    size = footprint.ranks_per_stage
    return tuple(tuple(ranks[i : i + size]) for i in range(0, len(ranks), size))


def take(topology: Topology, slot: Slot, free: Sequence[list[str]], *, spread: bool) -> list[str]:
    """Take the GPUs of one slot from what is free on a node's islands, in rank order; ``spread``: over NICs."""
    chosen = []
    for island, count in zip(free, slot.counts, strict=True):
        picked = (seat_order(topology, island) if spread else tuple(island))[:count]
        chosen.append(sorted(picked, key=island.index))
        island[:] = [gpu for gpu in island if gpu not in picked]
    return [chosen[i].pop(0) for part in slot.parts for i, n in enumerate(part) for _ in range(n)]


def first_seats(
    topology: Topology, classes: Sequence[NodeClass], footprint: Footprint, *, spread: bool
) -> tuple[tuple[str, ...], ...]:
    """Return GPU ids by stage on the first nodes of each class: seats that stand for all of this footprint."""
    firsts = {index: iter(node_class.nodes) for index, node_class in enumerate(classes)}
    named = footprint.places[0] if footprint.places else [next(firsts[slot.node_class]) for slot in footprint.slots]
    ranks: list[str] = []
    for slot, node in zip(footprint.slots, named, strict=True):
        free = [list(island.gpus) for island in node_islands(topology, node)]
        ranks += take(topology, slot, free, spread=spread)
    return stages_of(footprint, ranks)
