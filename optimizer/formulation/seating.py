"""From counts to seats: which GPU every rank of every chosen replica sits on, the same way every time."""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from optimizer.formulation.columns import Column, Piece
from optimizer.formulation.solve import Choice, Held
from optimizer.topology.classes import NodeClass, node_islands
from optimizer.topology.graph import Topology
from optimizer.topology.seats import stages_of, take


@dataclass(frozen=True)
class Seated:
    """A replica and the GPUs of its ranks, by stage."""

    column: Column
    stages: tuple[tuple[str, ...], ...]


Hosted = tuple[tuple[Column, tuple[str, ...]], ...]
"""Replicas with the node of each of their slots."""


def seat(
    topology: Topology, classes: Sequence[NodeClass], columns: Sequence[Column], choice: Choice
) -> tuple[Seated, ...]:
    """Return the seats of every chosen replica, largest first, each on the first nodes and GPUs that are free."""
    hosted = _host(classes, columns, choice)
    return tuple(
        Seated(column, stages_of(column.footprint, gpus))
        for (column, _), gpus in zip(hosted, _sit(topology, hosted), strict=True)
    )


def _host(classes: Sequence[NodeClass], columns: Sequence[Column], choice: Choice) -> Hosted:
    """Give every slot of every replica a node that still holds its piece; the widest replicas first."""
    copies = [column for column, n in zip(columns, choice.replicas, strict=True) for _ in range(n)]
    copies.sort(key=lambda column: (-len(column.pieces), -column.gpus))
    stocks: dict[Piece, _Stock] = {}
    boxes = {takes: iter(places) for takes, places in choice.boxes.items()}
    hosted = []
    for column in copies:
        if column.footprint.places:
            chosen = set(next(boxes[column.takes]))
            hosted.append((column, next(place for place in column.footprint.places if chosen.issuperset(place))))
            continue
        nodes: dict[int, str] = {}
        for piece in dict.fromkeys(column.pieces):
            if piece not in stocks:
                stocks[piece] = _stock(classes[piece.node_class].nodes, piece, choice.held)
            slots = [slot for slot, own in enumerate(column.pieces) if own == piece]
            nodes |= zip(slots, _fullest(stocks[piece], len(slots)), strict=True)
        hosted.append((column, tuple(nodes[slot] for slot in range(len(column.pieces)))))
    return tuple(hosted)


_Stock = list[tuple[int, int, str]]
"""A heap of (pieces left, negated; place of the node; node): the fullest first, then in order."""


def _stock(nodes: Sequence[str], piece: Piece, held: Held) -> _Stock:
    stock = [(-n, place, node) for place, node in enumerate(nodes) if (n := held[node].get(piece, 0))]
    heapify(stock)
    return stock


def _fullest(stock: _Stock, count: int) -> list[str]:
    """Take one piece from each of the ``count`` nodes that have most of it left."""
    taken = [heappop(stock) for _ in range(count)]
    for left, place, node in taken:
        if left < -1:
            heappush(stock, (left + 1, place, node))
    return [node for _, _, node in sorted(taken, key=lambda entry: entry[1])]


def _sit(topology: Topology, hosted: Hosted) -> tuple[tuple[str, ...], ...]:
    """Give every rank a GPU: replicas that need whole links choose first, then the largest pieces."""
    free = {node: [list(i.gpus) for i in node_islands(topology, node)] for _, nodes in hosted for node in nodes}
    order = sorted(range(len(hosted)), key=lambda r: _turn(hosted[r][0]))
    seats: dict[int, tuple[str, ...]] = {}
    for r in order:
        column, nodes = hosted[r]
        ranks: list[str] = []
        for slot, node in zip(column.footprint.slots, nodes, strict=True):
            ranks += take(topology, slot, free[node], spread=column.shape.share == "alone")
        seats[r] = tuple(ranks)
    return tuple(seats[r] for r in range(len(hosted)))


def _turn(column: Column) -> tuple[bool, int]:
    """Return when a replica chooses: those that need whole links first, then by the largest piece."""
    return column.shape.share != "alone", -max(sum(piece.counts) for piece in column.pieces)
