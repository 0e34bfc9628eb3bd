"""Columns: what one replica takes from the cluster and what it gives, priced, before anything is chosen."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from optimizer.cost.quantities import Estimate
from optimizer.layout import Layout
from optimizer.topology.footprints import Footprint

Share = str
"""How it uses links that others use too: "fair" or "alone"."""


@dataclass(frozen=True, order=True)
class Piece:
    """What one replica takes of one node."""

    node_class: int
    counts: tuple[int, ...]
    """GPUs of each island."""
    shares: tuple[tuple[str, float], ...]
    """Part of the capacity of each boundary inside or around the node that is set aside, by the boundary's place."""
    nodes: int
    """Nodes the replica spans; its pieces sit on different ones."""


@dataclass(frozen=True)
class Column:
    """One replica shape at one operating point."""

    layout: Layout
    footprint: Footprint
    share: Share
    pieces: tuple[Piece, ...]
    leaf_shares: tuple[tuple[str, float], ...]
    """Part of each leaf's uplinks that is set aside."""
    point: Estimate
    price_per_h: float | None

    @property
    def gpus(self) -> int:
        """GPUs of the replica."""
        return self.footprint.gpus

    @property
    def takes(self) -> tuple[tuple[Piece, ...], tuple[tuple[str, float], ...]]:
        """What the replica uses up; columns that take the same compete on their points alone."""
        return tuple(sorted(self.pieces)), self.leaf_shares


Beats = Callable[[Estimate, Estimate], bool]


def undominated(columns: Iterable[Column], beats: Beats) -> tuple[Column, ...]:
    """Return the columns that no other of equal needs is at least as good as, in their order; the first of equals stays.

    Exact for objectives that look at a replica only through what ``beats`` compares: replacing a column by one that
    takes the same and is no worse never loses.
    """
    rivals: dict[object, list[Column]] = defaultdict(list)
    for column in columns:
        group = rivals[column.takes, column.price_per_h]
        if any(beats(other.point, column.point) for other in group):
            continue
        group[:] = [other for other in group if not beats(column.point, other.point)]
        group.append(column)
    return tuple(column for group in rivals.values() for column in group)


def pieces_of(columns: Sequence[Column], node_class: int) -> tuple[Piece, ...]:
    """Return the different pieces that columns place on a class, in a fixed order."""
    return tuple(sorted({p for column in columns for p in column.pieces if p.node_class == node_class}, reverse=True))
