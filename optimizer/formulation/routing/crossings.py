"""Machines that carry a flow across one layer, priced: the cheapest by dynamic programming over shares of the flow."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

NOISE = 1e-9
"""Relative: of sums of floats."""

End = Literal["inside", "first", "last"]
ENDS: tuple[End, ...] = ("inside", "first", "last")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Offers:
    """What one machine of a class may do across one layer: an entry of each array for each way."""

    count: int
    """Machines of the class."""
    layers: Floats
    rates: Floats
    seconds: Floats
    """Of the turn that are charged to this layer, of what flows there."""

    def least(self, flow: float, shares: int) -> "Least":
        """Return the least seconds of a machine that carries 1, 2, … shares of a flow, by the layers that it holds."""
        held = np.unique(self.layers)
        wanted = np.arange(1, shares + 1) / shares * flow * (1 - NOISE)
        seconds = np.full((len(held), shares), np.inf)
        for row, layers in enumerate(held):
            mine = np.flatnonzero(self.layers == layers)
            mine = mine[np.argsort(self.rates[mine])]
            least = np.append(np.minimum.accumulate(self.seconds[mine][::-1])[::-1], np.inf)
            seconds[row] = least[np.searchsorted(self.rates[mine], wanted)]
        return Least(held, seconds)


@dataclass(frozen=True)
class Least:
    """The least seconds charged to a layer, by layers held (rows) and shares of the flow from 1 (columns)."""

    layers: Floats
    seconds: Floats
    """inf where so much is not carried."""

    @property
    def shares(self) -> int:
        """Return the parts that the flow is counted in."""
        return int(self.seconds.shape[1])

    def costs(self, worth: float, second: float) -> Floats:
        """Return what one machine costs, likewise."""
        able = np.isfinite(self.seconds)
        taken = np.where(able, self.seconds, 0.0) * (second * np.arange(1, self.shares + 1) / self.shares)
        return np.where(able, (worth / self.layers)[:, None] + taken, np.inf)


Member = tuple[int, float, float, float]
"""Class, layers held, share of the flow, seconds charged."""


@dataclass(frozen=True)
class Cover:
    """Machines that carry the flow across one layer."""

    end: End
    price: float
    members: tuple[Member, ...]

    @property
    def carries(self) -> bool:
        """Return whether it carries the flow, or only as shares were rounded."""
        return sum(share for _, _, share, _ in self.members) >= 1.0 - NOISE


def cheapest(
    end: End, offers: Sequence[Offers], least: Sequence[Least], worths: Sequence[float], second: float, flow: float
) -> Cover | None:
    """Return a cover of the flow that costs no more than any; None when all machines together do not carry it.

    Costs are linear in what flows through the members, so of the cheapest at most one is not used to the full.
    """
    shares, counts = least[0].shares, [one.count for one in offers]
    fulls = [_fulls(one, index, worths[index], second, flow, shares) for index, one in enumerate(offers)]
    costs = [one.costs(worth, second) for one, worth in zip(least, worths, strict=True)]
    partials = [one.min(axis=0, initial=np.inf) for one in costs]
    filled = _filled(counts, fulls, shares)
    ways = [_Filled(filled.steps, filled.costs[-1:]), *(filled.beside(part, i) for i, part in enumerate(partials))]
    best = min(ways, key=lambda way: way.price)
    if best.partial is not None and sum(c == best.partial for c, *_ in best.members()) >= counts[best.partial]:
        others = ([n - (c == i) for c, n in enumerate(counts)] for i in range(len(counts)))
        fewer = (_filled(other, fulls, shares) for other in others)
        ways[1:] = [one.beside(part, i) for i, (one, part) in enumerate(zip(fewer, partials, strict=True))]
        best = min(ways, key=lambda way: way.price)
    if not np.isfinite(best.price):
        return None
    return Cover(end, best.price, tuple(best.members()) + tuple(best.last(least, costs)))


@dataclass(frozen=True)
class _Filled:
    """Machines used to the full, perhaps one more beside them."""

    steps: Sequence["_Step"]
    costs: Floats
    """Of 0, 1, … shares; the last is that of the whole flow."""
    partial: int | None = None
    """The class of one that carries the rest."""
    rest: int = 0
    """Shares that it carries."""

    @property
    def price(self) -> float:
        """Return what all of them cost."""
        return float(self.costs[-1])

    def beside(self, partial: Floats, index: int) -> "_Filled":
        """Return the cheapest with one more machine of a class, whose costs are given for 1, 2, … shares."""
        whole = self.costs[-2::-1] + partial
        rest = int(whole.argmin()) + 1
        return _Filled(self.steps, whole[rest - 1 : rest], index, rest)

    def members(self) -> Iterator[Member]:
        """Yield the machines that are used to the full."""
        most = len(self.steps[0].before) - 1 if self.steps else 0
        yield from _members(self.steps, most - self.rest)

    def last(self, least: Sequence[Least], costs: Sequence[Floats]) -> Iterator[Member]:
        """Yield the one that is not."""
        if self.partial is not None:
            row, one = int(costs[self.partial][:, self.rest - 1].argmin()), least[self.partial]
            yield self.partial, float(one.layers[row]), self.rest / one.shares, float(one.seconds[row, self.rest - 1])


@dataclass(frozen=True)
class _Full:
    """A machine used to the full."""

    shares: int
    cost: float
    member: Member


@dataclass(frozen=True)
class _Step:
    """The dynamic program before one more machine, and which way each state takes it: -1 for none."""

    known: Sequence[_Full]
    before: Floats
    chosen: npt.NDArray[np.int64]


def _fulls(one: Offers, index: int, worth: float, second: float, flow: float, most: int) -> list[_Full]:
    """Return the ways that cost less than all that carry as much, the widest first."""
    part = np.minimum(one.rates / flow, 1.0)
    shares = np.ceil(part * most).astype(int)
    costs = worth / one.layers + second * one.seconds * part
    kept: list[_Full] = []
    for way in np.lexsort((costs, -shares)):
        if not kept or costs[way] < kept[-1].cost:
            member = (index, float(one.layers[way]), float(part[way]), float(one.seconds[way]))
            kept.append(_Full(int(shares[way]), float(costs[way]), member))
    return kept


def _filled(counts: Sequence[int], fulls: Sequence[Sequence[_Full]], most: int) -> _Filled:
    """Return the least costs of so many shares and how they come about, all machines used to the full."""
    costs = np.full(most + 1, np.inf)
    costs[0] = 0.0
    steps: list[_Step] = []
    for count, known in zip(counts, fulls, strict=True):
        for _ in range(count):
            grown, chosen = _one_more(costs, known)
            if not (chosen >= 0).any():
                break
            steps.append(_Step(known, costs, chosen))
            costs = grown
    return _Filled(steps, costs)


def _one_more(costs: Floats, known: Sequence[_Full]) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Return the least costs with one more machine at most, and its way; the last state stands for all that is more."""
    grown, chosen = costs.copy(), np.full(len(costs), -1)
    onwards = np.minimum.accumulate(costs[::-1])[::-1]
    for way, full in enumerate(known):
        more, onto = costs[: len(costs) - full.shares] + full.cost, slice(full.shares, None)
        more[-1] = onwards[len(costs) - 1 - full.shares] + full.cost
        better = more < grown[onto]
        np.copyto(grown[onto], more, where=better)
        chosen[onto][better] = way
    return grown, chosen


def _members(steps: Sequence[_Step], shares: int) -> Iterator[Member]:
    """Yield the machines by which so many shares come about."""
    for step in reversed(steps):
        if (way := int(step.chosen[shares])) < 0:
            continue
        full = step.known[way]
        yield full.member
        least = max(0, shares - full.shares)
        shares = least if shares < len(step.before) - 1 else least + int(step.before[least:].argmin())
