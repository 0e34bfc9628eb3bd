"""What flows through given layer runs, and over which links: a maximum flow."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ortools.graph.python import max_flow  # type: ignore[import-untyped]

from optimizer.cost.pool import SINK, SOURCE, Link, Pool, Run
from optimizer.formulation.integers import LARGEST

_STEPS = LARGEST // 2**10
"""Quanta in the largest flow that can be: as fine as sums of a thousand arcs allow."""


@dataclass(frozen=True)
class Carried:
    """What flows."""

    tokens_per_s: float
    flows: tuple[Link, ...]


@dataclass(frozen=True)
class _Arc:
    tail: int
    head: int
    link: Link


def carried(pool: Pool, runs: Sequence[Run]) -> Carried:
    """Return the most that flows through these runs; its value is the sum of a least cut, free of quanta."""
    arcs = _arcs(pool, runs)
    most = max((_within(pool, run) for run in runs), default=0.0) * max(1, len(runs))
    if most <= 0:
        return Carried(0.0, ())
    quantum = most / _STEPS
    solver = _solved(arcs, lambda rate: int(min(rate, most) / quantum))
    side = set(solver.get_source_side_min_cut())
    value = sum(min(arc.link.tokens_per_s, most) for arc in arcs if arc.tail in side and arc.head not in side)
    flows = ((arc.link, solver.flow(index) * quantum) for index, arc in enumerate(arcs))
    return Carried(value, tuple(Link(a.sender, a.receiver, f) for a, f in flows if a.sender != a.receiver and f > 0))


def quanta(pool: Pool, runs: Sequence[Run], whole: Callable[[float], int]) -> dict[tuple[str, str], int]:
    """Return what flows in whole quanta by (sender, receiver), each rate made ``whole``: for a search to start from."""
    arcs = _arcs(pool, runs)
    solver = _solved(arcs, whole)
    flows = ((arc.link.sender, arc.link.receiver, solver.flow(index)) for index, arc in enumerate(arcs))
    return {(sender, receiver): flow for sender, receiver, flow in flows if sender != receiver and flow > 0}


def _solved(arcs: Sequence[_Arc], whole: Callable[[float], int]) -> max_flow.SimpleMaxFlow:
    solver = max_flow.SimpleMaxFlow()
    for arc in arcs:
        solver.add_arc_with_capacity(arc.tail, arc.head, whole(arc.link.tokens_per_s))
    solver.solve(0, 1)
    return solver


def _within(pool: Pool, run: Run) -> float:
    machine = next(machine for machine in pool.machines if machine.id == run.machine)
    return machine.carries(run.first, run.num_layers, pool.num_layers)


def _arcs(pool: Pool, runs: Sequence[Run]) -> list[_Arc]:
    """Return the arcs among 0 (source), 1 (sink) and two ends of each machine: 2i+2 takes in, 2i+3 gives out."""
    place = {run.machine: 2 * index + 2 for index, run in enumerate(runs)}
    ends = {SOURCE: 0, **{run.machine: run.end for run in runs}}
    starts = {SINK: pool.num_layers, **{run.machine: run.first for run in runs}}
    through = [
        _Arc(place[run.machine], place[run.machine] + 1, Link(run.machine, run.machine, _within(pool, run)))
        for run in runs
    ]
    joined = [
        _Arc(0 if link.sender == SOURCE else place[link.sender] + 1, place.get(link.receiver, 1), link)
        for link in pool.links
        if link.sender in ends and link.receiver in starts and ends[link.sender] == starts[link.receiver]
    ]
    return through + joined
