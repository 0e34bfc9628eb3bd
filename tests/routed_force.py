"""The most that any placement of a small priced pool carries in one turn, whichever steps its machines run in.

Links must be wide: machines that end where others start all meet there. A placement's flow is then the least of its
cuts between sets of layer boundaries, and the longest path runs through the boundaries.
"""

import random
from collections.abc import Iterator, Sequence
from itertools import combinations

from formulation.routing.routed_pools import placements
from mixed_clusters import apart, model, together

from optimizer.cost.pool import Pool, Run
from optimizer.cost.routed import Priced, pool_at
from optimizer.inputs.cluster import ClusterSpec
from optimizer.inputs.model import ModelSpec

Way = tuple[float, float]
"""Tokens/s and seconds of a turn."""


def most_in_turn(priced: Priced, turn_s: float) -> float:
    """Return the tokens/s of the best placement in the best steps."""
    pool = pool_at(priced, turn_s)
    assert all(link.tokens_per_s >= _all(pool) for link in priced.links)
    best = 0.0
    for runs in placements(pool) if pool.machines else ():
        ways = [_ways(priced, pool, run, turn_s) for run in runs]
        if all(ways) and _flow(runs, [known[-1][0] for known in ways], pool.num_layers) > best:
            best = max(best, _best(runs, ways, pool.num_layers, turn_s))
    return best


def _all(pool: Pool) -> float:
    return max((max(machine.tokens_per_s) for machine in pool.machines), default=0.0)


def _ways(priced: Priced, pool: Pool, run: Run, turn_s: float) -> list[Way]:
    """Return what a machine may do, slower ways that carry no more left out."""
    machine = next(machine for machine in pool.machines if machine.id == run.machine)
    most, held = machine.carries(run.first, run.num_layers, pool.num_layers), priced.held(run)
    kept: list[Way] = []
    for step in sorted(held.within(turn_s) if held else (), key=priced.seconds):
        rate = min(step.tokens_per_s, most)
        if priced.seconds(step) <= turn_s and rate > (kept[-1][0] if kept else 0.0):
            kept.append((rate, priced.seconds(step)))
    return kept


def _best(runs: Sequence[Run], ways: Sequence[Sequence[Way]], num_layers: int, turn_s: float) -> float:
    flows = (
        _flow(runs, [rate for rate, _ in chosen], num_layers)
        for chosen in _chosen(ways)
        if _longest(runs, [seconds for _, seconds in chosen], num_layers) <= turn_s
    )
    return max(flows, default=0.0)


def _chosen(ways: Sequence[Sequence[Way]]) -> Iterator[tuple[Way, ...]]:
    if not ways:
        yield ()
        return
    for others in _chosen(ways[1:]):
        yield from ((way, *others) for way in ways[0])


def _longest(runs: Sequence[Run], seconds: Sequence[float], num_layers: int) -> float:
    until = {0: 0.0}
    for run, own_s in sorted(zip(runs, seconds, strict=True), key=lambda pair: pair[0].first):
        if run.first in until:
            until[run.end] = max(until.get(run.end, 0.0), until[run.first] + own_s)
    return until.get(num_layers, 0.0)


def _flow(runs: Sequence[Run], rates: Sequence[float], num_layers: int) -> float:
    """Return the least that any cut between layer boundaries lets through."""
    inner = sorted({place for run in runs for place in (run.first, run.end)} - {0, num_layers})
    sides = ({0, *more} for size in range(len(inner) + 1) for more in combinations(inner, size))
    return min(
        sum(rate for run, rate in zip(runs, rates, strict=True) if run.first in side and run.end not in side)
        for side in sides
    )


def small(seed: int, most_machines: int = 3) -> tuple[ClusterSpec, ModelSpec]:
    """Return a cluster of two types and a model of few layers that brute force can finish."""
    draw = random.Random(seed)
    big = draw.randint(1, most_machines - 1)
    little = draw.randint(1, most_machines - big)
    memory = (f"{draw.uniform(2.4, 4.0):.1f} GB", f"{draw.uniform(1.8, 3.0):.1f} GB")
    made = draw.choice([apart, together])
    return made(big, little, memory=memory), model(draw.randint(2, 4))
