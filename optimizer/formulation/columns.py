"""Columns: what one replica takes from the cluster and what it gives, priced, before anything is chosen."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from optimizer.cost.quantities import Estimate
from optimizer.cost.shapes import Shape
from optimizer.inputs.workload import Role
from optimizer.layout import Layout
from optimizer.topology.bandwidth import capacity
from optimizer.topology.classes import NodeClass
from optimizer.topology.footprints import Footprint, Parts
from optimizer.topology.graph import Topology


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
    owner: int = 0
    """Number of the only column that has this piece; 0 where it does not matter whose piece it is."""


Takes = tuple[tuple[Piece, ...], tuple[tuple[str, float], ...], tuple[tuple[str, ...], ...]]
"""Pieces, parts of leaves' uplinks, and the nodes that they may be of where these are named."""


@dataclass(frozen=True)
class Column:
    """One replica shape at one operating point."""

    shape: Shape
    pieces: tuple[Piece, ...]
    leaf_shares: tuple[tuple[str, float], ...]
    """Part of each leaf's uplinks that is set aside."""
    point: Estimate
    price_per_h: float | None
    power_w: float = 0.0
    """Power limits of its GPUs."""

    @property
    def layout(self) -> Layout:
        """The degrees of the replica."""
        return self.shape.layout

    @property
    def service(self) -> int:
        """Place of its model among those that share the cluster."""
        return self.shape.service

    @property
    def role(self) -> Role:
        """What it does of a request."""
        return self.shape.role

    @property
    def footprint(self) -> Footprint:
        """Where its ranks sit, up to GPUs that cannot be told apart."""
        return self.shape.footprint

    @property
    def gpus(self) -> int:
        """GPUs of the replica."""
        return self.footprint.gpus

    @property
    def takes(self) -> Takes:
        """What the replica uses up; columns that take the same compete on their points alone."""
        return tuple(sorted(self.pieces)), self.leaf_shares, self.footprint.boxes


def pieces_of(columns: Sequence[Column], node_class: int) -> tuple[Piece, ...]:
    """Return the different pieces that columns place on a class, in a fixed order."""
    return tuple(sorted({p for column in columns for p in column.pieces if p.node_class == node_class}, reverse=True))


def columns_of(
    topology: Topology, classes: Sequence[NodeClass], shapes: Iterable[Shape], prices: Mapping[str, float]
) -> tuple[Column, ...]:
    """Return one column for each operating point of each shape, in order."""
    made = []
    for shape in shapes:
        if not shape.points or not _pieces_are_equal(classes, shape.footprint):
            continue
        pieces, leaf_shares = _takes(topology, shape)
        counts, gpus = shape.footprint.gpus_of_type, topology.cluster.gpus
        per_h = sum(prices[name] * n for name, n in counts.items()) if counts.keys() <= prices.keys() else None
        power_w = sum(gpus[name].tdp * n for name, n in counts.items())
        made += [Column(shape, pieces, leaf_shares, point, per_h, power_w) for point in shape.points]
    return tuple(made)


def _pieces_are_equal(classes: Sequence[NodeClass], footprint: Footprint) -> bool:
    """Whether slots on nodes of one class, where the class has several, are all alike."""
    alike: dict[int, Parts] = {}
    slots = [slot for slot in footprint.slots if len(classes[slot.node_class].nodes) > 1]
    return all(alike.setdefault(slot.node_class, slot.parts) == slot.parts for slot in slots)


def _takes(topology: Topology, shape: Shape) -> tuple[tuple[Piece, ...], tuple[tuple[str, float], ...]]:
    """Return what a shape takes of its nodes and of the leaves around them, read off the seats that stand for it."""
    ranks = [gpu for stage in shape.stages for gpu in stage]
    ends = accumulate(sum(slot.counts) for slot in shape.footprint.slots)
    nodes = [topology.gpu(ranks[end - 1]).node for end in ends]
    promised: dict[tuple[str, str], float] = defaultdict(float)
    for boundary, bytes_per_s in shape.reserved:
        promised[_owner(topology, nodes, boundary)] += bytes_per_s
    whole = shape.share == "alone"
    shares = {key: 1.0 if whole else rate / _capacity(topology, *key) for key, rate in promised.items()}
    slots = [slot.node_class for slot in shape.footprint.slots]
    pieces = tuple(
        Piece(
            slot.node_class,
            slot.counts,
            tuple(sorted((place, share) for (owner, place), share in shares.items() if owner == node)),
            slots.count(slot.node_class),
        )
        for slot, node in zip(shape.footprint.slots, nodes, strict=True)
    )
    return pieces, tuple(sorted((owner, share) for (owner, place), share in shares.items() if owner not in nodes))


NICS = "nics"
"""All NICs of a node count as one boundary: which of them a piece is near to is left to the seats."""


def _owner(topology: Topology, nodes: Sequence[str], boundary: str) -> tuple[str, str]:
    """Return the node and the place in it, or the leaf group or pod, that a boundary belongs to."""
    kind = topology.graph.nodes[boundary]["kind"]
    for node in nodes:
        if kind in ("nic", "router", "pcie", "socket") and boundary.startswith(f"{node}/"):
            return node, NICS if kind == "nic" else boundary.removeprefix(f"{node}/")
        leaf = topology.node(node).leaf
        if kind == "leaf" and leaf is not None and (boundary == leaf or boundary.startswith(f"{leaf}/")):
            return leaf, ""
    return boundary, ""


def _capacity(topology: Topology, owner: str, place: str) -> float:
    """Return what a boundary carries, in bytes/s per direction."""
    return capacity(topology, f"{owner}/{place}" if place not in ("", NICS) else owner)
