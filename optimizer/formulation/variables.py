"""The decisions: replicas of each column, and how each class of nodes is filled."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from ortools.sat.python import cp_model

from optimizer.formulation.boxes import Boxed, declare_boxes
from optimizer.formulation.columns import Piece, pieces_of
from optimizer.formulation.instance import Instance
from optimizer.formulation.patterns import Pattern, patterns
from optimizer.formulation.pooled import fill_freely
from optimizer.topology.classes import NodeClass


@dataclass(frozen=True)
class Counted:
    """A class of nodes filled by patterns: how many nodes follow each."""

    nodes: tuple[tuple[Pattern, cp_model.IntVar], ...]


@dataclass(frozen=True)
class Named:
    """A class of nodes filled one by one: how many of each piece each node holds."""

    held: tuple[tuple[Piece, tuple[cp_model.IntVar, ...]], ...]


@dataclass(frozen=True)
class Pooled:
    """A class of nodes in which GPUs are counted only: its pieces fill nodes without loss."""

    pieces: tuple[Piece, ...]


Filling = Counted | Named | Pooled


@dataclass(frozen=True)
class Decisions:
    """All variables of one instance."""

    instance: Instance
    replicas: tuple[cp_model.IntVar, ...]
    """Of each column."""
    fillings: tuple[Filling, ...]
    """Of each class; empty where what nodes hold is left open."""
    boxes: tuple[Boxed, ...] = ()
    """Of columns that sit on named nodes; empty where what nodes hold is left open."""

    def used(self, piece: Piece) -> cp_model.LinearExpr:
        """Return how many of a piece the chosen replicas need."""
        return cp_model.LinearExpr.sum([var * n for var, n in self._having.get(piece, ())])

    def spanning(self, piece: Piece) -> cp_model.LinearExpr:
        """Return how many chosen replicas have this piece at all."""
        return cp_model.LinearExpr.sum([var for var, _ in self._having.get(piece, ())])

    @cached_property
    def _having(self) -> dict[Piece, list[tuple[cp_model.IntVar, int]]]:
        """The replicas of each column that has a piece, and how many of it each needs."""
        having: dict[Piece, list[tuple[cp_model.IntVar, int]]] = {}
        for column, var in zip(self.instance.columns, self.replicas, strict=True):
            for piece, n in Counter(column.pieces).items():
                having.setdefault(piece, []).append((var, n))
        return having

    def classes(self) -> Iterator[tuple[int, NodeClass, Filling]]:
        """Yield each class with its number and filling."""
        yield from (
            (index, node_class, filling)
            for index, (node_class, filling) in enumerate(zip(self.instance.classes, self.fillings, strict=True))
        )


def declare(model: cp_model.CpModel, instance: Instance, go_on: Callable[[], None] = lambda: None) -> Decisions:
    """Add all variables of an instance to the model; ``go_on`` is called before each class and may raise."""
    alone, fillings = declare_replicas(model, instance), []
    for index in range(len(instance.classes)):
        go_on()
        fillings.append(_filling(model, instance, index))
    return replace(alone, fillings=tuple(fillings), boxes=declare_boxes(model, instance.columns))


def declare_replicas(model: cp_model.CpModel, instance: Instance) -> Decisions:
    """Add the replicas only: what nodes hold is left open."""
    replicas = tuple(
        model.new_int_var(0, most, f"replicas[{index}:{column.layout.label}@{column.footprint.span}]")
        for index, (column, most) in enumerate(zip(instance.columns, instance.most, strict=True))
    )
    return Decisions(instance, replicas, ())


def at_least_if_chosen(
    model: cp_model.CpModel, largest: cp_model.IntVar, replicas: cp_model.IntVar, amount: int
) -> None:
    """Let ``largest`` be at least ``amount`` when there is any of these replicas."""
    chosen = model.new_bool_var(f"chosen[{largest.name},{replicas.name}]")
    model.add(replicas == 0).only_enforce_if(~chosen)
    model.add(largest >= amount).only_enforce_if(chosen)


def _filling(model: cp_model.CpModel, instance: Instance, index: int) -> Filling:
    """Add the variables that fill one class: none if GPUs fill without loss, patterns for few, else node by node."""
    node_class = instance.classes[index]
    pieces = pieces_of(instance.columns, index)
    together = instance.survive in ("node", "nic")
    if not together and fill_freely(node_class, pieces):
        return Pooled(pieces)
    listed = patterns(node_class, pieces, maximal=not together) if len(node_class.nodes) > 1 else None
    if listed is not None:
        most = len(node_class.nodes)
        names = enumerate(listed)
        return Counted(tuple((p, model.new_int_var(0, most, f"nodes[class{index}:pattern{n}]")) for n, p in names))
    return Named(
        tuple(
            (piece, tuple(model.new_int_var(0, _most(node_class, piece), f"held[{n},{v}]") for v in node_class.nodes))
            for n, piece in enumerate(pieces)
        )
    )


def _most(node_class: NodeClass, piece: Piece) -> int:
    """Return how many of a piece a node could hold alone."""
    return min(i.size // c for i, c in zip(node_class.islands, piece.counts, strict=True) if c)
