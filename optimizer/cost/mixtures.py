"""Replicas whose pipeline runs over GPUs of several types: which orders of types, and which splits, are priced.

Where they are few, all are. Beyond, they are tried only for types that are short of GPUs, which hold no replica or a
smaller one than would serve best, and for types that share nodes with others. Of those orders the ones are priced
whose slowest stage lets through more than replicas of one type on as many GPUs, each with the splits of its layers that
balance it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import comb, inf

from optimizer.cost.orders import Order, Place, orders
from optimizer.cost.shapes import Shape
from optimizer.layout import Layout
from optimizer.topology.classes import NodeClass

ALL = 2000
"""Where no more points than so many could be priced of orders and splits together, on one kind of seats, all are."""

MULTIPLE = 2
"""Else pipelines of up to so many times the GPUs of the smallest that fits are tried."""

SCANNED = 40
"""So many orders of types that fit are looked at, fewest GPUs first."""

PRICED = 8
"""So many of them are priced: those that promise most over what the same GPUs give in replicas of one type."""

FEW = 4
"""And on so many of the fewest GPUs that hold no replica of one type."""


@dataclass(frozen=True)
class Mixtures:
    """Shapes over several GPU types, and how they were chosen."""

    shapes: tuple[Shape, ...] = ()
    every: bool = True
    """Whether all orders and splits were priced."""
    short: bool = False
    """Whether some type is short of GPUs or shares nodes: else no order is looked at unless all are."""
    priced: int = 0
    """Orders of types that were priced, of those that fit."""
    fitting: int = 0


def mixtures(
    place: Place, layouts: Callable[[], Iterable[Layout]], alone: Sequence[Shape], usable: Mapping[str, int]
) -> Mixtures:
    """Return the shapes over several types, beside those ``alone`` on one; ``layouts``: those the engine admits.

    Empty where the cluster has one type, where the engine runs no such pipelines, and for prefill or decode alone.
    """
    if len(usable) < 2 or not place.market.facts.several_gpu_types or place.market.role != "both":
        return Mixtures()
    admitted = tuple(layouts())
    few = _all(orders(place, admitted, usable, every=True))
    if few is not None:
        return Mixtures(tuple(shape for order in few for shape in order.shapes(order.all_splits)))
    best = _best_alone(alone)
    short = {t for t, n in usable.items() if t not in best or MULTIPLE * best[t].footprint.gpus > n}
    short |= _sharing_nodes(place.classes)
    if not short:
        return Mixtures(every=False)
    fewest: dict[str, int] = {}
    for shape in alone:
        if shape.points:
            gpu_type, gpus = shape.footprint.gpu_type, shape.footprint.gpus
            fewest[gpu_type] = min(gpus, fewest.get(gpu_type, gpus))
    scanned = tuple(islice(_fitting(orders(place, admitted, usable, every=False), short), SCANNED))
    chosen = _promising(scanned, {t: _per_gpu(shape) for t, shape in best.items()}, fewest)
    shapes = tuple(shape for order in chosen for shape in order.shapes(order.splits))
    return Mixtures(shapes, False, True, len(chosen), len(scanned))


def _sharing_nodes(classes: Iterable[NodeClass]) -> set[str]:
    """Return the types that share a node with another: a pipeline over both may stay where one of one type cannot."""
    types = ({island.gpu_type for island in node_class.islands if island.size} for node_class in classes)
    return {gpu_type for together in types if len(together) > 1 for gpu_type in together}


def _all(found: Iterable[Order]) -> tuple[Order, ...] | None:
    """Return all orders where they are few, else None."""
    left, kept = ALL, []
    for order in found:
        splits = comb(sum(order.layout.layers_per_stage) - 1, order.layout.pp - 1)
        left -= splits * len(order.place.points(order.gpu_types))
        if left < 0:
            return None
        kept.append(order)
    return tuple(kept)


def _best_alone(alone: Iterable[Shape]) -> dict[str, Shape]:
    """Return the shape of each type that gives most requests/s per GPU."""
    best: dict[str, Shape] = {}
    for shape in alone:
        gpu_type = shape.footprint.gpu_type
        if shape.points and (gpu_type not in best or _per_gpu(shape) > _per_gpu(best[gpu_type])):
            best[gpu_type] = shape
    return best


def _per_gpu(shape: Shape) -> float:
    return max(point.requests_per_s for point in shape.points) / shape.footprint.gpus


def _fitting(found: Iterable[Order], short: set[str]) -> Iterator[Order]:
    """Yield the orders that use a type that is short and hold a request, up to a multiple of the GPUs of the first."""
    most = inf
    for order in found:
        if order.layout.world_size <= most and short & set(order.gpu_types) and order.fitting:
            most = min(most, MULTIPLE * order.layout.world_size)
            yield order


def _promising(scanned: Sequence[Order], per_gpu: Mapping[str, float], fewest: Mapping[str, int]) -> tuple[Order, ...]:
    """Return the orders that promise more than their GPUs give in replicas of one type, best first.

    Besides, those on the fewest GPUs that hold no replica of one type, the most promising on each.
    """
    gain = {}
    for order in scanned:
        otherwise = sum(per_gpu.get(t, 0.0) * n for t, n in order.gpus_of_type.items())
        gain[id(order)] = order.promise / otherwise if otherwise else inf
    able = [order for order in scanned if gain[id(order)] > 1.0]
    ranked = sorted(able, key=lambda order: (-gain[id(order)], -order.promise))
    small: dict[tuple[tuple[str, int], ...], Order] = {}
    for order in scanned:
        if all(n < fewest.get(t, inf) for t, n in order.gpus_of_type.items()):
            taken = tuple(sorted(order.gpus_of_type.items()))
            small[taken] = max(small.get(taken, order), order, key=lambda one: one.promise)
    return tuple({id(order): order for order in (*ranked[:PRICED], *list(small.values())[:FEW])}.values())
