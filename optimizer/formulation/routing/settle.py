"""A placement in operation: which turns its paths keep, with which batches, and what then flows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from optimizer.cost.machine import Step
from optimizer.cost.pool import SINK, SOURCE, Link, Machine, Pool, Run
from optimizer.cost.routed import Priced, pool_at
from optimizer.formulation.routing.network import carried
from optimizer.formulation.routing.timed import Timed

HALVINGS = 30


@dataclass(frozen=True)
class Settled:
    """A placement that keeps its turns."""

    turn_s: float
    runs: tuple[Run, ...]
    """Machines through which nothing flows are left out."""
    flows: tuple[Link, ...]
    steps: Mapping[str, Step]
    """How each machine runs."""
    tokens_per_s: float


def settled(
    priced: Priced, runs: Sequence[Run], turn_s: float, kept: Mapping[str, Timed] | None = None
) -> Settled | None:
    """Return the most that flows through these runs while no path takes longer than ``turn_s``; None when nothing does.

    Less flows in smaller batches, so what a maximum flow carries is lowered until all paths keep the turn.
    ``kept``: how much of a turn each machine may take at most, and what lane it keeps to.
    """
    pool = pool_at(priced, turn_s)
    if kept:
        pool = replace(pool, machines=tuple(_slowed(priced, pool, runs, kept)), links=tuple(_in_lanes(pool, kept)))
    known = {machine.id for machine in pool.machines}
    found = carried(pool, [run for run in runs if run.machine in known])
    whole = _running(priced, runs, found.flows, turn_s, 1.0)
    if whole is not None:
        return whole
    best, low, high = None, 0.0, 1.0
    for _ in range(HALVINGS if found.flows else 0):
        middle = (low + high) / 2
        less = _running(priced, runs, found.flows, turn_s, middle)
        best, low, high = (less, middle, high) if less else (best, low, middle)
    return best


def _in_lanes(pool: Pool, kept: Mapping[str, Timed]) -> Iterator[Link]:
    """Yield the links inside a lane, and those of the source and the sink."""
    for link in pool.links:
        ends = [kept[name].lane for name in (link.sender, link.receiver) if name in kept]
        if len(set(ends)) == 1:
            yield link


def _slowed(priced: Priced, pool: Pool, runs: Sequence[Run], kept: Mapping[str, Timed]) -> Iterator[Machine]:
    """Yield the machines of the runs as steps of at most so long leave them."""
    machines = {machine.id: machine for machine in pool.machines}
    for run in runs:
        held, machine = priced.held(run), machines.get(run.machine)
        steps = held.within(float("inf")) if held else ()
        able = (step.tokens_per_s for step in steps if priced.seconds(step) <= kept[run.machine].within_s)
        if machine:
            rate = min(max(able, default=0.0), machine.carries(run.first, run.num_layers, pool.num_layers))
            yield replace(machine, tokens_per_s=(rate,) * run.num_layers, ends=None)


def _running(priced: Priced, runs: Sequence[Run], flows: Sequence[Link], turn_s: float, share: float) -> Settled | None:
    """Return a share of some flows in the shortest steps that carry it; None when a path takes longer than the turn."""
    scaled = tuple(replace(link, tokens_per_s=link.tokens_per_s * share) for link in flows)
    through = {run.machine: sum(x.tokens_per_s for x in scaled if x.receiver == run.machine) for run in runs}
    used = tuple(run for run in runs if through[run.machine] > 0)
    steps = {run.machine: step for run in used if (step := _step(priced, run, through[run.machine]))}
    if not used or len(steps) < len(used) or longest_path(priced, used, scaled, steps) > turn_s:
        return None
    return Settled(turn_s, used, scaled, steps, sum(x.tokens_per_s for x in scaled if x.sender == SOURCE))


def _step(priced: Priced, run: Run, tokens_per_s: float) -> Step | None:
    held = priced.held(run)
    return held.carrying(tokens_per_s) if held else None


def longest_path(priced: Priced, runs: Sequence[Run], flows: Sequence[Link], steps: Mapping[str, Step]) -> float:
    """Return the seconds of the longest way from source to sink that something flows on."""
    until: dict[str, float] = {SOURCE: 0.0}
    for run in sorted(runs, key=lambda run: run.first):
        step = steps[run.machine]
        until[run.machine] = priced.seconds(step) + max(until[link.sender] for link in _into(run.machine, flows))
    return max((until[link.sender] for link in _into(SINK, flows)), default=0.0)


def _into(receiver: str, flows: Sequence[Link]) -> Iterator[Link]:
    return (link for link in flows if link.receiver == receiver)
