"""Columns that can be left out without losing any optimum."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from optimizer.cost.quantities import Estimate
from optimizer.formulation.columns import Column, Piece
from optimizer.formulation.failures import told_apart
from optimizer.formulation.instance import Instance, Load
from optimizer.formulation.pairs import kind

Beats = Callable[[Column, Column], bool]


def essential(instance: Instance) -> tuple[Column, ...]:
    """Return the columns of an instance that some optimum may need, in their order.

    What survives a failure is a sum over replicas too, so what is said below holds for every failure by itself.
    """
    kept = undominated(instance.columns, beats(instance))
    for service, load in enumerate(instance.loads):
        if counts_only_rates(instance, load):
            kept = unsplittable(kept, service)
    return told_apart(kept) if instance.survive in ("node", "nic") else kept


def beats(instance: Instance) -> Beats:
    """Return whether one column is at least as good as another, of equal needs, in everything that is looked at."""
    objectives = instance.objectives
    by_flight = tuple(load.clients(instance.objective) is not None for load in instance.loads)
    in_pairs = tuple(load.workload.slo.ttft is not None or "ttft" in objectives for load in instance.loads)
    sign = 1 if instance.objective != "throughput" else -1  # places for clients, or clients that are taken up

    def at_least_as_good(one: Column, other: Column) -> bool:
        a, b = one.point, other.point
        if a.requests_per_s < b.requests_per_s:
            return False
        if by_flight[one.service] and sign * a.concurrency < sign * b.concurrency:
            return False
        if one.role != "both" and in_pairs[one.service] and not _hands_over_as_soon(a, b):
            return False
        return ("latency" not in objectives or a.tpot_s <= b.tpot_s) and (
            "ttft" not in objectives or a.ttft_s <= b.ttft_s
        )

    return at_least_as_good


def _hands_over_as_soon(a: Estimate, b: Estimate) -> bool:
    return a.ttft_slo_s <= b.ttft_slo_s and a.ttft_s <= b.ttft_s and a.transfer_s <= b.transfer_s


def counts_only_rates(instance: Instance, load: Load) -> bool:
    """Whether replicas matter by their rates and GPUs alone, so that two may stand for one of the sum of both."""
    additive = not {"latency", "ttft"} & set(instance.objectives)
    return additive and instance.replicas is None and load.clients(instance.objective) is None


def undominated(columns: Iterable[Column], better: Beats) -> tuple[Column, ...]:
    """Return the columns that no other of equal needs is at least as good as; the first of equals stays.

    Replacing a column by one of its model and role that takes the same and is no worse keeps any plan admissible and
    no worse; where prefill and decode are apart, it has to agree with the same partners too.
    """
    rivals: dict[object, list[tuple[int, Column]]] = defaultdict(list)
    for index, column in enumerate(columns):
        partners = None if column.role == "both" else kind(column)
        group = rivals[column.takes, column.price_per_h, column.service, column.role, partners]
        if any(better(other, column) for _, other in group):
            continue
        group[:] = [(i, other) for i, other in group if not better(column, other)]
        group.append((index, column))
    return tuple(column for _, column in sorted((e for group in rivals.values() for e in group), key=lambda e: e[0]))


Taken = tuple[int, tuple[int, ...]]
"""GPUs of each island of one node of a class."""


def unsplittable(columns: Sequence[Column], service: int) -> tuple[Column, ...]:
    """Return the columns, without those of a service that are worth no more than smaller replicas on the same GPUs.

    Prefill and decode apart are left alone: a replica's TP size and its seconds bind its partners.
    A replica may be replaced by replicas that sit inside its pieces, or that span fewer of its equal pieces: they need
    no other GPUs, reserve no more on any link, and still sit on different nodes.
    """
    worth = _Worth({}, {}, {})
    kept = []
    for column in sorted(columns, key=lambda c: (c.gpus, len(c.pieces))):
        if column.service != service or column.role != "both":
            kept.append(column)
        elif worth.of_parts(column) < column.point.requests_per_s:
            kept.append(column)
            worth.learn(column)
    order = {id(column): index for index, column in enumerate(columns)}
    return tuple(sorted(kept, key=lambda column: order[id(column)]))


@dataclass(frozen=True)
class _Worth:
    """Most requests/s of the replicas seen so far: on one piece, and over several equal pieces."""

    inside: dict[Taken, float]
    spread: dict[Piece, dict[int, float]]
    """By piece (its ``nodes`` set to 1) and number of nodes."""
    rests: dict[Taken, float]
    """What is left of larger pieces, summed up once: replicas come by size, so nothing smaller is learned later."""

    def learn(self, column: Column) -> None:
        """Remember a replica that crosses nothing, or that spans equal pieces inside a leaf group."""
        first, rate = column.pieces[0], column.point.requests_per_s
        if column.leaf_shares or len(set(column.pieces)) > 1:
            return
        if len(column.pieces) > 1:
            by_nodes = self.spread.setdefault(replace(first, nodes=1), {})
            by_nodes[len(column.pieces)] = max(by_nodes.get(len(column.pieces), 0.0), rate)
        elif not first.shares:
            taken = (first.node_class, first.counts)
            self.inside[taken] = max(self.inside.get(taken, 0.0), rate)

    def of_parts(self, column: Column) -> float:
        """Return the most requests/s of smaller replicas on the GPUs of this one."""
        pieces = column.pieces
        alone = sum(self._on((piece.node_class, piece.counts)) for piece in pieces)
        if len(set(pieces)) > 1 or len(pieces) == 1:
            return alone
        return max(alone, self._over(replace(pieces[0], nodes=1), len(pieces)))

    def _over(self, piece: Piece, nodes: int) -> float:
        """Return the most requests/s over so many equal pieces, each replica on some of them."""
        best = [0.0, self._on((piece.node_class, piece.counts))]
        known = self.spread.get(piece, {})
        for n in range(2, nodes + 1):
            best.append(max(known.get(n, 0.0), *(best[a] + best[n - a] for a in range(1, n // 2 + 1))))
        return best[nodes]

    def _on(self, whole: Taken) -> float:
        """Return the most requests/s inside one piece."""
        node_class, counts = whole
        reached = self.inside.get(whole, 0.0)
        for (other_class, part), rate in self.inside.items():
            if other_class == node_class and part != counts and all(p <= c for p, c in zip(part, counts, strict=True)):
                left = tuple(c - p for c, p in zip(counts, part, strict=True))
                reached = max(reached, rate + self._rest((node_class, left)))
        return reached

    def _rest(self, left: Taken) -> float:
        if left not in self.rests:
            self.rests[left] = self._on(left)
        return self.rests[left]
