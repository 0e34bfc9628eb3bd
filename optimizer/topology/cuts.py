"""Cuts of small irregular boxes: direct cables between GPUs, every division of the group looked at once."""

from itertools import combinations

from optimizer.errors import InputError
from optimizer.topology.graph import Topology
from optimizer.topology.reach import rate

_MOST = 16
"""GPUs of a box whose cuts are all looked at: 2**15 divisions."""


def least_direct_cut(topology: Topology, group: tuple[str, ...]) -> float:
    """Return the least bytes/s that leave a proper part of the group over direct cables inside it.

    Between equal pairs, k GPUs have (k - 1) times the pair; then single GPUs are the least cuts.
    """
    key = ("direct cut", frozenset(group))
    if key not in topology.memo:
        topology.memo[key] = _least_cut(topology, group)
    return float(topology.memo[key])


def _least_cut(topology: Topology, group: tuple[str, ...]) -> float:
    rates = {
        (u, v): rate(topology, u, v) for u in group for v in group if u != v and topology.graph.has_edge(u, v)
    }  # fmt: skip
    complete = len(rates) == len(group) * (len(group) - 1)
    if complete and len(set(rates.values())) == 1:
        return (len(group) - 1) * next(iter(rates.values()))
    if len(group) > _MOST:
        raise InputError(f"{group[0]} and {len(group) - 1} others: direct cables join at most {_MOST} GPUs unevenly")
    first, *others = group
    sides = (
        {first, *inside} for size in range(len(others)) for inside in combinations(others, size)
    )  # fmt: skip
    return min(sum(value for (u, v), value in rates.items() if u in side and v not in side) for side in sides)
