"""Replicas over several nodes of a torus: which boxes of neighbours hold them, no two of which share a node.

How often a column is chosen and where its boxes are are decided apart: columns that take the same have one set of
boxes, whichever of them sits there.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ortools.sat.python import cp_model

from optimizer.formulation.columns import Column, Piece, Takes
from optimizer.topology.classes import NodeClass

Boxes = dict[Takes, tuple[tuple[str, ...], ...]]
"""Nodes of the boxes that are taken, by what their replicas take."""

Held = dict[str, dict[Piece, int]]
"""What each node holds or offers, by node name."""


@dataclass(frozen=True)
class Boxed:
    """Columns that take the same, and the boxes that they may sit on."""

    columns: tuple[int, ...]
    """By their places in the instance."""
    pieces: tuple[Piece, ...]
    """Of each node of a box, in the order of its nodes."""
    takes: Takes
    places: tuple[tuple[tuple[str, ...], cp_model.IntVar], ...]
    """Nodes of each box and whether it is taken; in the rank order of the first column."""


def declare_boxes(model: cp_model.CpModel, columns: Sequence[Column]) -> tuple[Boxed, ...]:
    """Add a variable for every box that some column may sit on."""
    alike: dict[Takes, list[int]] = defaultdict(list)
    for index, column in enumerate(columns):
        if column.footprint.places:
            alike[column.takes].append(index)
    return tuple(
        Boxed(
            tuple(members), columns[members[0]].pieces, takes,
            tuple((nodes, model.new_bool_var(f"box[{n}:{'+'.join(nodes)}]"))
                  for nodes in columns[members[0]].footprint.places),
        )
        for n, (takes, members) in enumerate(alike.items())
    )  # fmt: skip


def held_by_boxes(boxed: Sequence[Boxed]) -> Mapping[tuple[str, Piece], list[cp_model.IntVar]]:
    """Return the boxes that put a piece on a node, by both."""
    found: dict[tuple[str, Piece], list[cp_model.IntVar]] = defaultdict(list)
    for one in boxed:
        for nodes, taken in one.places:
            for node, piece in zip(nodes, one.pieces, strict=True):
                found[node, piece].append(taken)
    return found


def taken_boxes(solver: cp_model.CpSolver, boxed: Sequence[Boxed]) -> Boxes:
    """Return the boxes of a solved model."""
    return {one.takes: tuple(nodes for nodes, taken in one.places if solver.value(taken)) for one in boxed}


def moved(held: Held, classes: Sequence[NodeClass], boxed: Sequence[Boxed], boxes: Boxes) -> Held:
    """Return what nodes hold with the pieces of boxes on their nodes: equal nodes change what they hold.

    Of the nodes that offer a piece there are as many as boxes need, and no node offers pieces of two boxes.
    """
    wanted = {
        node: piece
        for one in boxed
        for nodes in boxes[one.takes]
        for node, piece in zip(nodes, one.pieces, strict=True)
    }
    found = dict(held)
    for node_class in classes:
        spare: dict[Piece, list[str]] = defaultdict(list)
        for node in node_class.nodes:
            for piece in found.get(node, ()):
                if wanted.get(node) != piece:
                    spare[piece].append(node)
        for node in node_class.nodes:
            own = wanted.get(node)
            if own is not None and own not in found.get(node, {}):
                other = spare[own].pop()
                for its in found[node]:
                    spare[its] = [other if name == node else name for name in spare[its]]
                found[node], found[other] = found[other], found[node]
    return found
