"""Replicas of one layout on a cluster, counted without a solver where it is plain that no other choice is better.

All replicas of a layout take as many GPUs, so what counts is how many there are and what each carries. Columns are
taken from the one that carries most, each as often as it has room. With M replicas of the first at most (room for one
column alone is exact) and N of all together (by GPUs), n replicas carry no more than min(n, M) of the first and n - M
of the second. Where what is taken reaches that, nothing is better; elsewhere the solver has to be asked.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from optimizer.formulation.columns import Column
from optimizer.formulation.instance import Instance
from optimizer.formulation.integers import SHARE_STEPS, need
from optimizer.formulation.stock import Stock, counted, fit, put, untouched
from optimizer.topology.classes import NodeClass

SAME = 1e-9
"""Relative: sums of the same floats in another order are no difference."""


@dataclass(frozen=True)
class Packed:
    """How often columns are taken."""

    copies: tuple[tuple[Column, int], ...]
    is_enough: bool
    """Whether they carry what is asked; if not, nothing does, and they carry the most."""


def packed(instance: Instance, columns: Sequence[Column]) -> Packed | None:
    """Return the fewest replicas of one layout that carry what is asked, else the most; None where that is not plain.

    Plain are questions of a rate, or of as much as can be, on nodes that are no neighbours.
    """
    load = instance.loads[columns[0].service]
    by_rate = not {"latency", "ttft"} & set(instance.objectives) and load.clients(instance.objective) is None
    boxed = any(column.footprint.boxes for column in columns)
    if not by_rate or boxed or instance.survive is not None or instance.replicas is not None:
        return None
    most = math.inf if instance.objective == "throughput" else 0.0
    asked = load.workload.request_rate or most
    order = _by_rate(columns)
    copies = _taken(instance, order, asked)
    return _judged(order, copies, asked, _most_together(instance, order))


def _by_rate(columns: Sequence[Column]) -> tuple[Column, ...]:
    """Return the column that carries most of those that take the same, the first of all first."""
    best: dict[object, Column] = {}
    for column in columns:
        parts = id(column.pieces), id(column.leaf_shares)  # one shape's points share them
        if parts not in best or best[parts].point.requests_per_s < column.point.requests_per_s:
            best[parts] = column
    return tuple(sorted(best.values(), key=lambda column: (-column.point.requests_per_s, len(column.pieces))))


def _judged(order: Sequence[Column], copies: Sequence[int], asked: float, together: int) -> Packed | None:
    """Return what was taken if it is as few, or as much, as can be."""
    first, second = (column.point.requests_per_s for column in (*order, *order)[:2])
    alone = copies[0] if len(order) == 1 or first > second else together

    def carried(replicas: int) -> float:
        return min(replicas, alone) * first + max(0, replicas - alone) * second * (len(order) > 1)

    total = sum(n * column.point.requests_per_s for n, column in zip(copies, order, strict=True))
    taken = tuple((column, n) for column, n in zip(order, copies, strict=True) if n)  # the fastest first
    replicas = sum(copies)
    if replicas and total >= asked * (1 - SAME):
        return Packed(taken, is_enough=True) if replicas == 1 or carried(replicas - 1) < asked * (1 - SAME) else None
    is_most = replicas and total >= carried(together if len(order) > 1 else replicas) * (1 - SAME)
    return Packed(taken, is_enough=math.isinf(asked)) if is_most else None


def _most_together(instance: Instance, columns: Sequence[Column]) -> int:
    """Return a bound on the replicas of all columns together: by the GPUs of their classes in whole pieces."""
    pieces = [piece for column in columns for piece in column.pieces]
    step = math.gcd(*(sum(piece.counts) for piece in pieces))
    held = {piece.node_class for piece in pieces}
    usable = sum(len(c.nodes) * (_size(c) // step) * step for n, c in enumerate(instance.classes) if n in held)
    return min(usable, instance.max_gpus or usable) // columns[0].gpus


def _size(node_class: NodeClass) -> int:
    return sum(island.size for island in node_class.islands)


# -- room --------------------------------------------------------------------------------------------------------------


def _taken(instance: Instance, order: Sequence[Column], asked: float) -> list[int]:
    """Return how often each column is taken in its turn, until what is asked is carried."""
    stocks: dict[int, Stock] = {}
    uplinks = dict.fromkeys((leaf for column in order for leaf, _ in column.leaf_shares), SHARE_STEPS)
    left, gpus = asked, instance.max_gpus or math.inf
    copies: list[int] = []
    for column in order:
        own = counted(column)
        for node_class in own:
            stocks.setdefault(node_class, untouched(instance.classes[node_class], order, node_class))
        limit = _limit(column, left, gpus, uplinks, first=not any(copies))
        n = fit(stocks, own, limit)
        for node_class, pieces in own.items():
            for piece, times in pieces.items():
                stocks[node_class], _ = put(stocks[node_class], piece, n * times, n)
        for leaf, share in column.leaf_shares:
            uplinks[leaf] -= n * need(share)
        left, gpus = left - n * column.point.requests_per_s, gpus - n * column.gpus
        copies.append(n)
    return copies


def _limit(column: Column, left: float, gpus: float, uplinks: dict[str, int], *, first: bool) -> int:
    """Return how often a column may be taken at most: by what is asked, by GPUs and by uplinks."""
    rate = column.point.requests_per_s
    wanted = math.inf if math.isinf(left) else max(math.ceil(left / rate * (1 - SAME)), int(first))
    by_uplinks = (uplinks[leaf] // need(share) for leaf, share in column.leaf_shares if share > 0)
    least = min([wanted, gpus // column.gpus, *by_uplinks])
    return int(least) if least < math.inf else column.gpus * 2**40
