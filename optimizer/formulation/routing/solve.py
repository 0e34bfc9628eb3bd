"""Route a pool: a first placement, a proof from worths, and a search for what lies between."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from optimizer.cost.pool import Pool, Routing, Run
from optimizer.formulation.routing.bound import Worths, evidence
from optimizer.formulation.routing.classes import MachineClass, ceiling, groups, machine_classes
from optimizer.formulation.routing.network import carried
from optimizer.formulation.routing.search import Case, State, search
from optimizer.formulation.routing.stacks import runs_of, tallest_flow
from optimizer.formulation.solve import Limits


def route(pool: Pool, limits: Limits, progress: Callable[[str], None] = lambda _: None) -> Routing:
    """Return who holds which layers so that most tokens/s flow, with a bound; equal when proven.

    Nothing flows when the machines together cannot hold the model. A pool whose first placement meets its bound is
    never searched; otherwise the search runs until it is proven or a limit comes.
    """
    start = time.monotonic()
    classes = machine_classes(pool)
    most = ceiling(classes, pool.num_layers)
    apart = groups(pool, most)
    runs = first_placement(pool, apart)
    reached = carried(pool, runs).tokens_per_s
    progress(f"first placement: {reached:.6g} of at most {most:.6g} tokens/s")
    proof = _proof(classes, pool, reached, most, _left(limits, start))
    known = State(runs, reached, max(reached, min(most, proof.above)) if proof else most)
    progress(f"worths: {reached:.6g} of at most {known.possible:.6g} tokens/s")
    answer = _answer(pool, known, classes, proof)
    left = _left(limits, start)
    if answer.proven or left.time_limit_s == 0:
        return answer
    found = search(Case(pool, classes, apart), known, left, progress)
    return _answer(pool, found, classes, proof if found.possible == known.possible else None)


def _left(limits: Limits, start: float) -> Limits:
    if limits.time_limit_s is None:
        return limits
    return replace(limits, time_limit_s=max(0.0, limits.time_limit_s - (time.monotonic() - start)))


def first_placement(pool: Pool, apart: Sequence[Sequence[str]]) -> tuple[Run, ...]:
    """Return the best stacks: of all machines, of each group inside which no link binds, and of all groups together."""
    classes = sorted(machine_classes(pool, apart), key=lambda one: _group_of(apart, one))
    subsets = [classes, *([one for one in classes if one.machines[0] in group] for group in apart if len(apart) > 1)]
    stacks = [_lanes(subset, pool.num_layers) for subset in subsets]
    together = tuple(run for runs in stacks[1:] for run in runs)
    return max((*stacks, together), key=lambda runs: carried(pool, runs).tokens_per_s)


def _lanes(classes: Sequence[MachineClass], num_layers: int) -> tuple[Run, ...]:
    """Return the best stack, and beside it the best of what it leaves, until that holds no model."""
    runs: list[Run] = []
    while sum(one.count * len(one.tokens_per_s) for one in classes) >= num_layers:
        lane = runs_of(classes, tallest_flow(classes, num_layers))
        if not lane:
            break
        runs += lane
        used = {run.machine for run in lane}
        left = (replace(one, machines=tuple(name for name in one.machines if name not in used)) for one in classes)
        classes = [one for one in left if one.machines]
    return tuple(runs)


def _group_of(apart: Sequence[Sequence[str]], one: MachineClass) -> int:
    return next(index for index, names in enumerate(apart) if one.machines[0] in names)


def _proof(classes: Sequence[MachineClass], pool: Pool, reached: float, most: float, limits: Limits) -> Worths | None:
    end = None if limits.time_limit_s is None else time.monotonic() + limits.time_limit_s
    return evidence(classes, pool.num_layers, reached, most, lambda: end is not None and time.monotonic() >= end)


def _answer(pool: Pool, known: State, classes: Sequence[MachineClass], proof: Worths | None) -> Routing:
    worth = tuple(
        (name, value)
        for one, value in zip(classes, proof.by_class if proof else (), strict=bool(proof))
        for name in one.machines
    )
    flows = carried(pool, known.runs).flows
    return Routing(known.runs, flows, known.reached, known.possible, worth)
