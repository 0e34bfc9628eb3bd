"""Machines that are equal, and the first bound on what flows."""

from collections.abc import Sequence
from dataclasses import dataclass

from optimizer.cost.pool import SINK, SOURCE, Machine, Pool

HALVINGS = 60
"""Of an interval, until floats tell no more."""

_NOISE = 1e-12
"""Relative: of sums of floats; a ceiling may be too high by it, never too low."""


@dataclass(frozen=True)
class MachineClass:
    """Machines that carry the same, from the source and to the sink too."""

    machines: tuple[str, ...]
    one: Machine
    """The first of them."""
    tokens_per_s: tuple[float, ...]
    """The most by layers held, from 1."""
    from_source: float
    to_sink: float

    @property
    def count(self) -> int:
        """How many they are."""
        return len(self.machines)

    def carries(self, first: int, count: int, num_layers: int) -> float:
        """Return tokens/s of one machine that holds ``count`` layers from ``first``, the ends' links included."""
        rate = self.one.carries(first, count, num_layers)
        rate = min(rate, self.from_source) if first == 0 else rate
        return min(rate, self.to_sink) if first + count == num_layers else rate


def machine_classes(pool: Pool, apart: Sequence[Sequence[str]] = ()) -> tuple[MachineClass, ...]:
    """Return the classes in order of first appearance; machines in different groups of ``apart`` are not equal."""
    links = pool.between()
    group = {name: index for index, names in enumerate(apart) for name in names}
    found: dict[tuple[object, ...], list[Machine]] = {}
    for machine in pool.machines:
        if not machine.tokens_per_s:
            continue
        ends = (links.get((SOURCE, machine.id), 0.0), links.get((machine.id, SINK), 0.0))
        key = (machine.tokens_per_s, machine.ends, ends, group.get(machine.id))
        found.setdefault(key, []).append(machine)
    return tuple(
        MachineClass(
            tuple(m.id for m in equal),
            equal[0],
            equal[0].tokens_per_s[: pool.num_layers],
            links.get((SOURCE, equal[0].id), 0.0),
            links.get((equal[0].id, SINK), 0.0),
        )
        for equal in found.values()
    )


def ceiling(classes: Sequence[MachineClass], num_layers: int) -> float:
    """Return the tokens/s at which the machines' layer-tokens are used up.

    A machine with k layers carries at most min(T(k), F) in each, and all together must carry F in every layer:
    sum of max_k k·min(T(k), F) ≥ L·F.
    """
    low, high = 0.0, sum(c.count * max((k * t for k, t in enumerate(c.tokens_per_s, 1)), default=0.0) for c in classes)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _reaches(classes, num_layers, middle) else (low, middle)
    return high


def _reaches(classes: Sequence[MachineClass], num_layers: int, flow: float) -> bool:
    units = (c.count * max(k * min(t, flow) for k, t in enumerate(c.tokens_per_s, 1)) for c in classes)
    return sum(units) >= num_layers * flow * (1 - _NOISE)


def groups(pool: Pool, enough: float) -> tuple[tuple[str, ...], ...]:
    """Return the machines in groups inside which no link can bind, each as large as a first fit makes it.

    A link binds only when it carries less than ``enough`` (a bound on all flow) and less than both its machines.
    """
    links, most = pool.between(), {m.id: max(m.tokens_per_s, default=0.0) for m in pool.machines}
    found: list[list[str]] = []

    def free(one: str, other: str) -> bool:
        needed = min(enough, most[one], most[other])
        return min(links.get((one, other), 0.0), links.get((other, one), 0.0)) >= needed

    for machine in pool.machines:
        home = next((names for names in found if all(free(machine.id, name) for name in names)), None)
        if home is None:
            found.append([machine.id])
        else:
            home.append(machine.id)
    return tuple(map(tuple, found))
