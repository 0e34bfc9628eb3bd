"""Tiny routed pools, and every placement of them."""

import random
from collections.abc import Iterator
from itertools import product

from optimizer.cost.pool import SINK, SOURCE, Ends, Link, Machine, Pool, Run
from optimizer.verify.flow import largest_flow

WIDE = 1e6
"""Tokens/s of a link that never binds."""


def pool(
    num_layers: int, *kinds: tuple[int, tuple[float, ...]], thin: dict[tuple[str, str], float] | None = None
) -> Pool:
    """Return machines a0, a1, …, b0, … of some kinds, all linked; ``thin`` links carry less."""
    machines = tuple(
        Machine(f"{chr(97 + index)}{n}", chr(97 + index), rates)
        for index, (count, rates) in enumerate(kinds)
        for n in range(count)
    )
    names = [machine.id for machine in machines]
    pairs = [*product([SOURCE], names), *product(names, [SINK]), *((a, b) for a in names for b in names if a != b)]
    return Pool(num_layers, machines, tuple(Link(a, b, (thin or {}).get((a, b), WIDE)) for a, b in pairs))


def drawn(seed: int, most_machines: int = 3) -> Pool:
    """Return a random pool that brute force can finish; in half of them some links bind or are missing."""
    rng = random.Random(seed)
    kinds = [_curve(rng) for _ in range(2)]
    counts = [0, 0]
    for _ in range(rng.randint(1, most_machines)):
        counts[rng.randrange(2)] += 1
    whole = pool(rng.randint(1, 4), *zip(counts, kinds, strict=True))
    share = rng.choice([0.0, 0.0, 0.3, 0.6])
    links = (Link(x.sender, x.receiver, _rate(rng, share)) for x in whole.links)
    return Pool(whole.num_layers, whole.machines, tuple(links))


def with_ends(whole: Pool, seed: int) -> Pool:
    """Return a pool whose machines carry less with the first or last layers, or cannot hold as many."""
    rng = random.Random(seed)
    ends = {kind: _ends(rng, next(m.tokens_per_s for m in whole.machines if m.kind == kind)) for kind in "ab"
            if any(m.kind == kind for m in whole.machines)}  # fmt: skip
    machines = tuple(Machine(m.id, m.kind, m.tokens_per_s, ends[m.kind]) for m in whole.machines)
    return Pool(whole.num_layers, machines, whole.links)


def _ends(rng: random.Random, rates: tuple[float, ...]) -> Ends:
    first, last = (tuple(round(rate * rng.choice([0.0, 0.5, 0.9, 1.0]), 2) for rate in rates) for _ in range(2))
    return Ends(rates, first, last, tuple(map(min, first, last)))


def _curve(rng: random.Random) -> tuple[float, ...]:
    speed = rng.uniform(5, 30)
    return tuple(round(speed / k * rng.uniform(0.6, 1.3), 2) for k in range(1, rng.randint(1, 3) + 1))


def _rate(rng: random.Random, thin_share: float) -> float:
    return rng.choice([0.0, rng.uniform(1, 8)]) if rng.random() < thin_share else WIDE


def placements(whole: Pool) -> Iterator[tuple[Run, ...]]:
    """Yield every choice of runs."""
    choices: list[list[Run | None]] = [
        [None, *(Run(m.id, f, f + k) for k in range(1, m.max_layers + 1) for f in range(whole.num_layers - k + 1))]
        for m in whole.machines
    ]
    for chosen in product(*choices):
        yield tuple(run for run in chosen if run is not None)


def best_by_force(whole: Pool) -> float:
    """Return the most that any placement carries."""
    return max(largest_flow(whole, runs) for runs in placements(whole) if _covers(whole, runs))


def _covers(whole: Pool, runs: tuple[Run, ...]) -> bool:
    held = {layer for run in runs for layer in range(run.first, run.end)}
    return len(held) == whole.num_layers or not runs
