"""From counts to seats: which GPU every rank of every chosen replica sits on, the same way every time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optimizer.formulation.columns import Column, Piece
from optimizer.formulation.solve import Choice
from optimizer.topology.classes import NodeClass, node_islands
from optimizer.topology.footprints import stages_of, take
from optimizer.topology.graph import Topology


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
    left = {node: dict(pieces) for node, pieces in choice.held.items()}
    copies = [column for column, n in zip(columns, choice.replicas, strict=True) for _ in range(n)]
    copies.sort(key=lambda column: (-len(column.pieces), -column.gpus))
    hosted = []
    for column in copies:
        nodes: list[str] = []
        for piece in column.pieces:
            nodes.append(_fullest(classes[piece.node_class].nodes, left, piece, nodes))
            left[nodes[-1]][piece] -= 1
        hosted.append((column, tuple(nodes)))
    return tuple(hosted)


def _fullest(nodes: Sequence[str], left: Mapping[str, Mapping[Piece, int]], piece: Piece, taken: Sequence[str]) -> str:
    """Return the node with most of this piece left that the replica does not sit on yet; the first of equals."""
    free = [node for node in nodes if node not in taken]
    return max(free, key=lambda node: left[node].get(piece, 0))


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
