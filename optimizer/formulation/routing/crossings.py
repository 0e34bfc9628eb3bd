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
    shares = least[0].shares
    fulls = [_fulls(one, index, worths[index], second, flow, shares) for index, one in enumerate(offers)]
    steps, costs = _filled(offers, fulls, shares)
    partials = [one.costs(worth, second) for one, worth in zip(least, worths, strict=True)]
    partial = np.min([one.min(axis=0, initial=np.inf) for one in partials], axis=0)
    with_one = costs[-2::-1] + partial
    used = int(with_one.argmin()) + 1
    price = min(float(costs[-1]), float(with_one[used - 1]))
    if not np.isfinite(price):
        return None
    if with_one[used - 1] >= costs[-1]:
        return Cover(end, price, tuple(_members(steps, shares)))
    return Cover(end, price, (_partial(least, partials, used), *_members(steps, shares - used)))


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


def _filled(offers: Sequence[Offers], fulls: Sequence[Sequence[_Full]], most: int) -> tuple[list[_Step], Floats]:
    """Return the least costs of so many shares and how they come about, all machines used to the full."""
    costs = np.full(most + 1, np.inf)
    costs[0] = 0.0
    steps: list[_Step] = []
    for one, known in zip(offers, fulls, strict=True):
        for _ in range(one.count):
            grown, chosen = _one_more(costs, known)
            if not (chosen >= 0).any():
                break
            steps.append(_Step(known, costs, chosen))
            costs = grown
    return steps, costs


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


def _partial(least: Sequence[Least], partials: Sequence[Floats], used: int) -> Member:
    """Return the machine that carries so many shares at the least cost."""
    costs = [one[:, used - 1].min(initial=np.inf) for one in partials]
    index = int(np.argmin(costs))
    row = int(partials[index][:, used - 1].argmin())
    return index, float(least[index].layers[row]), used / least[0].shares, float(least[index].seconds[row, used - 1])


def _members(steps: Sequence[_Step], shares: int) -> Iterator[Member]:
    """Yield the machines by which so many shares come about."""
    for step in reversed(steps):
        if (way := int(step.chosen[shares])) < 0:
            continue
        full = step.known[way]
        yield full.member
        least = max(0, shares - full.shares)
        shares = least if shares < len(step.before) - 1 else least + int(step.before[least:].argmin())
