"""Which columns a plan by construction is made of, best first: of each phase, such as work with those of the other."""

import heapq
from collections.abc import Callable, Iterator, Sequence
from itertools import product

from optimizer.formulation.columns import Column
from optimizer.formulation.instance import Instance, Phase
from optimizer.formulation.pairs import agree, bound_ns, kept_s, kind, nanoseconds, total_s

FIRST = 24
"""Columns of each kind that pairs are sought among: the best by what they add, and as many of the soonest."""

Menus = tuple[tuple[int, ...], ...]
"""Columns by their places, for each demand, best first."""

Weight = Callable[[Column], float]


def menus(
    instance: Instance, numbers: Sequence[int], demands: Sequence[tuple[Phase, Sequence[int]]], weight: Weight
) -> Menus:
    """Return the columns for each demand by what they add for their weight; those apart all agree with one another."""
    columns = instance.columns
    chosen = {service: _chosen(instance, service, numbers, weight) for service in range(len(instance.loads))}
    return tuple(
        tuple(
            sorted(
                (n for n in numbers if amounts[n] and n in chosen[phase.service]),
                key=lambda n: (weight(columns[n]) / amounts[n], columns[n].gpus, len(columns[n].pieces), n),
            )
        )
        for phase, amounts in demands
    )


def _chosen(instance: Instance, service: int, numbers: Sequence[int], weight: Weight) -> set[int]:
    """Return the columns of a model that may work together: those of whole requests, or those around the best pair."""
    columns = instance.columns
    own = [n for n in numbers if columns[n].service == service]
    whole = [n for n in own if columns[n].role == "both"]
    pair = min(_pairs(instance, service, own, weight), default=None)
    least = min((weight(columns[n]) / columns[n].point.requests_per_s for n in whole), default=None)
    if pair is None or (least is not None and least <= pair[0]):
        return set(whole)
    return {n for n in own for seed in pair[1:] if _stands_for(columns[n], columns[seed])}


def _stands_for(column: Column, seed: Column) -> bool:
    """Whether a column may be paired with all that the seed may."""
    same = column.role == seed.role and kind(column) == kind(seed)
    return same and total_s(column) <= total_s(seed) and kept_s(column) <= kept_s(seed)


def _pairs(instance: Instance, service: int, own: Sequence[int], weight: Weight) -> Iterator[tuple[float, int, int]]:
    """Yield pairs that agree and keep the objective on TTFT, with what a request/s of both takes up."""
    columns, ttft_s = instance.columns, instance.loads[service].workload.slo.ttft
    dear = {n: weight(columns[n]) / columns[n].point.requests_per_s for n in own}
    prefill, decode = (
        _few([n for n in own if columns[n].role == role], columns, dear) for role in ("prefill", "decode")
    )
    for p, d in product(prefill, decode):
        one, other = columns[p], columns[d]
        if agree(kind(one), kind(other)) and _keeps(one, other, None if ttft_s is None else bound_ns(ttft_s)):
            yield dear[p] + dear[d], p, d


def _few(numbers: Sequence[int], columns: Sequence[Column], dear: dict[int, float]) -> list[int]:
    by_kind: dict[object, list[int]] = {}
    for n in numbers:
        by_kind.setdefault(kind(columns[n]), []).append(n)
    found: dict[int, None] = {}
    for own in by_kind.values():
        found |= dict.fromkeys(heapq.nsmallest(FIRST, own, key=dear.__getitem__))
        found |= dict.fromkeys(heapq.nsmallest(FIRST, own, key=lambda n: total_s(columns[n])))
    return list(found)


def _keeps(prefill: Column, decode: Column, bound: int | None) -> bool:
    """Whether a pair keeps the bound, in the integers of the rule."""
    if bound is None:
        return True
    sums = (
        nanoseconds(total_s(prefill)) + nanoseconds(kept_s(decode)),
        nanoseconds(kept_s(prefill)) + nanoseconds(total_s(decode)),
    )
    return max(sums) <= bound
