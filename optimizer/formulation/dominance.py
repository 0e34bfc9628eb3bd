"""Columns that can be left out without losing any optimum."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from optimizer.cost.quantities import Estimate
from optimizer.formulation.columns import Column
from optimizer.formulation.instance import Instance, demanded_concurrency

Beats = Callable[[Estimate, Estimate], bool]


def essential(instance: Instance) -> tuple[Column, ...]:
    """Return the columns of an instance that some optimum may need, in their order."""
    kept = undominated(instance.columns, beats(instance))
    return unsplittable(kept) if counts_only_rates(instance) else kept


def beats(instance: Instance) -> Beats:
    """Return whether one point is at least as good as another in everything the objective looks at."""
    objective = instance.objective
    by_flight = demanded_concurrency(instance.workload, objective) is not None

    def at_least_as_good(a: Estimate, b: Estimate) -> bool:
        if a.requests_per_s < b.requests_per_s:
            return False
        more_is_better = objective != "throughput"
        if by_flight and (a.concurrency < b.concurrency if more_is_better else a.concurrency > b.concurrency):
            return False
        return (objective != "latency" or a.tpot_s <= b.tpot_s) and (objective != "ttft" or a.ttft_s <= b.ttft_s)

    return at_least_as_good


def counts_only_rates(instance: Instance) -> bool:
    """Whether replicas matter by their rates and GPUs alone, so that two may stand for one of the sum of both."""
    additive = instance.objective in ("throughput", "gpus", "cost")
    return (
        additive and instance.replicas is None and demanded_concurrency(instance.workload, instance.objective) is None
    )


def undominated(columns: Iterable[Column], better: Beats) -> tuple[Column, ...]:
    """Return the columns that no other of equal needs is at least as good as; the first of equals stays.

    Replacing a column by one that takes the same and is no worse keeps any plan admissible and no worse.
    """
    rivals: dict[object, list[tuple[int, Column]]] = defaultdict(list)
    for index, column in enumerate(columns):
        group = rivals[column.takes, column.price_per_h]
        if any(better(other.point, column.point) for _, other in group):
            continue
        group[:] = [(i, other) for i, other in group if not better(column.point, other.point)]
        group.append((index, column))
    return tuple(column for _, column in sorted((e for group in rivals.values() for e in group), key=lambda e: e[0]))


Taken = tuple[int, tuple[int, ...]]
"""GPUs of each island of one node of a class."""


def unsplittable(columns: Sequence[Column]) -> tuple[Column, ...]:
    """Return the columns that are worth more than smaller replicas on the very same GPUs.

    A replica may be replaced by replicas that sit inside its pieces and cross nothing: they need no more GPUs or links.
    """
    best: dict[Taken, float] = {}
    kept = []
    for column in sorted(columns, key=lambda c: (c.gpus, len(c.pieces))):
        rate = column.point.requests_per_s
        parts = [_best(best, (piece.node_class, piece.counts)) for piece in column.pieces]
        if all(parts) and sum(parts) >= rate:
            continue
        kept.append(column)
        if len(column.pieces) == 1 and not column.pieces[0].shares and not column.leaf_shares:
            taken = (column.pieces[0].node_class, column.pieces[0].counts)
            best[taken] = max(best.get(taken, 0.0), rate)
    order = {id(column): index for index, column in enumerate(columns)}
    return tuple(sorted(kept, key=lambda column: order[id(column)]))


def _best(best: dict[Taken, float], whole: Taken) -> float:
    """Return the most requests/s that known replicas reach together on these GPUs; smaller ones were seen before."""
    node_class, counts = whole
    reached = best.get(whole, 0.0)
    for (other_class, part), rate in best.items():
        if other_class == node_class and part != counts and all(p <= c for p, c in zip(part, counts, strict=True)):
            left = tuple(c - p for c, p in zip(counts, part, strict=True))
            reached = max(reached, rate + _best(best, (node_class, left)))
    return reached
