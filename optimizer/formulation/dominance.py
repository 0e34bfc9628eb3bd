"""Columns that can be left out without losing any optimum."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from operator import le, sub

from optimizer.formulation.columns import Column, Piece
from optimizer.formulation.failures import told_apart
from optimizer.formulation.instance import Instance, Load
from optimizer.formulation.outdone import best
from optimizer.formulation.pairs import kind
from optimizer.formulation.partners import Partners, freely_divisible, partners, with_partners
from optimizer.inputs.workload import ROLES

Merits = Callable[[Column], tuple[float, ...]]


def essential(instance: Instance) -> tuple[Column, ...]:
    """Return the columns of an instance that some optimum may need, in their order."""
    kept = reduced(instance)
    return told_apart(kept) if instance.survive in ("node", "nic") else kept


def reduced(instance: Instance, *, all_fast: bool = False) -> tuple[Column, ...]:
    """Return the same columns as they are, whose pieces are not told apart yet.

    ``all_fast``: no column is slower than the best plan has to be, so the first objective is met by any of them.
    What survives a failure is a sum over replicas too, so what is said below holds for every failure by itself.
    Nothing where a model that had columns is left without: then it has no plan, and so have all together.
    """
    kept = with_partners(_within_limits(instance), instance.loads)
    before = len(kept) + 1
    while len(kept) < before:  # a column less may leave others with partners that no longer differ
        before, known = len(kept), partners(kept, instance.loads)
        kept = undominated(kept, merits(instance, known, all_fast=all_fast))
        for service, load in enumerate(instance.loads):
            if carried := all_that_counts(instance, load, all_fast=all_fast):
                kept = unsplittable(kept, service, partners(kept, instance.loads), carried)
    return kept if {c.service for c in kept} == {c.service for c in instance.columns} else ()


def _within_limits(instance: Instance) -> tuple[Column, ...]:
    """Return the columns that one alone may be of: for throughput there are never more requests than clients."""
    gpus = math.inf if instance.max_gpus is None else instance.max_gpus
    clients = [load.clients(instance.objective) for load in instance.loads]
    most = [n if n is not None and instance.objective == "throughput" else math.inf for n in clients]
    return tuple(c for c in instance.columns if c.gpus <= gpus and c.point.concurrency <= most[c.service])


def merits(instance: Instance, known: Partners, *, all_fast: bool = False) -> Merits:
    """Return what of a column is looked at, beside what it takes: more of each is never worse."""
    objectives = instance.then if all_fast else instance.objectives
    rates_count = tuple(all_that_counts(instance, load, all_fast=all_fast) is not _in_flight for load in instance.loads)
    by_flight = tuple(load.clients(instance.objective) is not None for load in instance.loads)
    sign = 1 if instance.objective != "throughput" else -1  # places for clients, or clients that are taken up

    def of(column: Column) -> tuple[float, ...]:
        point, service, apart = column.point, column.service, column.role != "both"
        found: list[float] = [*known.reach.get(id(column), ())]
        if rates_count[service]:
            found.append(point.requests_per_s)
        if by_flight[service]:
            found.append(sign * point.concurrency)
        if column.role == "decode" and by_flight[service] and sign > 0:
            found.append(-point.requests_per_s)  # prompts would have to keep up with more
        if "ttft" in objectives:
            found += [-point.ttft_s, *([-point.ttft_s - point.transfer_s] if apart else [])]
        return (*found, -point.tpot_s) if "latency" in objectives else tuple(found)

    return of


Carried = Callable[[Column], float]
"""What a replica does of what is asked; it adds up."""


def all_that_counts(instance: Instance, load: Load, *, all_fast: bool = False) -> Carried | None:
    """Return the only number of a replica beside its GPUs that matters, so that two may stand for one of the sum."""
    objectives = instance.then if all_fast else instance.objectives
    if {"latency", "ttft"} & set(objectives) or instance.replicas is not None:
        return None
    if load.clients(instance.objective) is None:
        return _rate
    return None if objectives or "both" not in load.workload.roles else _in_flight


def _rate(column: Column) -> float:
    return column.point.requests_per_s


def _in_flight(column: Column) -> float:
    return float(column.point.concurrency)


def undominated(columns: Iterable[Column], of: Merits) -> tuple[Column, ...]:
    """Return the columns that no other of equal needs is at least as good as; the first of equals stays.

    Replacing a column by one of its model and role that takes the same and is no worse keeps any plan admissible and
    no worse; where prefill and decode are apart, it has to agree with the same partners too.
    """
    every = tuple(columns)
    rivals: dict[object, list[int]] = defaultdict(list)
    of_shape: dict[tuple[int, int, int], list[int]] = {}
    for index, column in enumerate(every):
        parts = (id(column.shape), id(column.pieces), id(column.leaf_shares))  # hashing what they hold takes longer
        group = of_shape.get(parts)
        if group is None:
            partners = None if column.role == "both" else kind(column)
            group = rivals[column.takes, column.price_per_h, column.service, column.role, partners]
            of_shape[parts] = group
        group.append(index)
    kept = sorted(group[n] for group in rivals.values() for n in best([of(every[index]) for index in group]))
    return tuple(every[index] for index in kept)


Taken = tuple[int, tuple[int, ...]]
"""GPUs of each island of one node of a class."""

Density = tuple[tuple[str, float], ...]
"""The part of each boundary of a node that is set aside, for one GPU of a piece."""

Bundle = tuple[tuple[Piece, int], ...]
"""Pieces on different nodes and how many there are of each, in order; ``nodes`` of a piece is set to 1."""


def unsplittable(columns: Sequence[Column], service: int, known: Partners, carried: Carried) -> tuple[Column, ...]:
    """Return the columns, without those of a service that are worth no more than smaller replicas on the same GPUs.

    A replica may be replaced by replicas of its role that sit inside its pieces and reserve no more for each GPU, or
    that share its pieces out among them: they need no other GPUs and links, and still sit on different nodes. With
    prefill and decode apart, only by such as may be paired with every replica of the other phase.
    """
    divides, worth = freely_divisible(columns), {role: _Worth({}, {}, {}, {}) for role in ROLES}
    kept = []
    for column in sorted(columns, key=lambda c: (c.gpus, len(c.pieces))):
        own = worth[column.role]
        if column.service != service:
            kept.append(column)
        elif own.of_parts(column) < carried(column):
            kept.append(column)
            if column.role == "both" or (known.is_free(column) and divides(column)):
                own.learn(column, carried(column))
    order = {id(column): index for index, column in enumerate(columns)}
    return tuple(sorted(kept, key=lambda column: order[id(column)]))


@dataclass(frozen=True)
class _Worth:
    """Most that replicas seen so far carry (requests/s, or in flight), on one piece and on several.

    Replicas come by size, so nothing smaller than the present one is learned later: sums of such are kept.
    """

    inside: dict[tuple[Taken, Density], float]
    """Of replicas that sit on one node."""
    across: dict[Piece, dict[Bundle, float]]
    """Of replicas that use the links of several nodes inside a leaf group, by the first of their pieces."""
    rests: dict[tuple[Taken, Density], float]
    """What is left of larger pieces, summed up once."""
    parts: dict[Bundle, float]
    """What is left of larger bundles, summed up once."""

    def learn(self, column: Column, carried: float) -> None:
        """Remember a replica, unless it leaves its leaf group or cannot sit on any nodes."""
        first, rate = column.pieces[0], carried
        if column.leaf_shares or column.footprint.places:
            return
        if len(column.pieces) == 1:
            taken = (first.node_class, first.counts), _density(first)
            self.inside[taken] = max(self.inside.get(taken, 0.0), rate)
            return
        bundle = _bundle(column)
        known = self.across.setdefault(bundle[0][0], {})
        known[bundle] = max(known.get(bundle, 0.0), rate)

    def of_parts(self, column: Column) -> float:
        """Return the most of replicas seen so far on the GPUs of this one."""
        return self._over(_bundle(column))

    def _over(self, bundle: Bundle) -> float:
        """Return the most over a bundle: its first piece by itself, or in one of the replicas across."""
        (first, _), *_ = bundle
        reached = self._on((first.node_class, first.counts), _density(first)) + self._left(_less(bundle, ((first, 1),)))
        for part, rate in self.across.get(first, {}).items():
            if _within(part, bundle):
                reached = max(reached, rate + self._left(_less(bundle, part)))
        return reached

    def _left(self, bundle: Bundle) -> float:
        if not bundle:
            return 0.0
        if bundle not in self.parts:
            self.parts[bundle] = self._over(bundle)
        return self.parts[bundle]

    def _on(self, whole: Taken, spare: Density) -> float:
        """Return the most inside one piece, of replicas that reserve no more than ``spare`` for each GPU."""
        node_class, counts = whole
        reached = 0.0
        for ((other_class, part), needed), rate in self.inside.items():
            if other_class == node_class and all(map(le, part, counts)) and _is_spared(needed, spare):
                left = tuple(map(sub, counts, part))
                reached = max(reached, rate + (self._rest((node_class, left), spare) if any(left) else 0.0))
        return reached

    def _rest(self, left: Taken, spare: Density) -> float:
        if (left, spare) not in self.rests:
            self.rests[left, spare] = self._on(left, spare)
        return self.rests[left, spare]


def _density(piece: Piece) -> Density:
    """Return what a piece sets aside on each boundary, for each of its GPUs."""
    gpus = sum(piece.counts)
    return tuple((place, share / gpus) for place, share in piece.shares if share > 0)


def _is_spared(needed: Density, spare: Density) -> bool:
    """Whether no boundary is needed more, for each GPU, than is set aside: then no sum over GPUs is more either."""
    given = dict(spare)
    return all(density <= given.get(place, 0.0) * (1 + _ROUNDING) for place, density in needed)


_ROUNDING = 1e-9


def _bundle(column: Column) -> Bundle:
    """Return the pieces of a replica as a bundle."""
    return tuple(sorted(Counter(replace(piece, nodes=1) for piece in column.pieces).items()))


def _within(part: Bundle, whole: Bundle) -> bool:
    """Whether a bundle has all the pieces of another."""
    there = dict(whole)
    return all(there.get(piece, 0) >= n for piece, n in part)


def _less(whole: Bundle, part: Bundle) -> Bundle:
    """Return what is left of a bundle without some of its pieces."""
    gone = dict(part)
    return tuple((piece, left) for piece, n in whole if (left := n - gone.get(piece, 0)))
