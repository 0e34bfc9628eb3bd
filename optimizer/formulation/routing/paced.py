"""A bound on what flows in one turn, from what a machine is worth in layers and a second of the turn beside it.

Take a flow F. Across every layer the machines that hold it carry F together: they are a cover. A token passes each
layer once, so what machines take of the turn, weighted by what flows through them, adds up to one turn at most. Let a
machine of class c be worth w_c, lent in equal parts to its k layers, and a second of the turn m; a machine with k
layers in steps of t that carries x lends each of them w_c/k and takes m·(t/k)·(x/F). What steps take longer for holding
the first or the last layers is charged there. If no cover costs less than p_inside, p_first, p_last, then

    (L - 2)·p_inside + p_first + p_last  >  Σ_c N_c·w_c + m·turn   ⇒   F does not flow.

Worths, price and least costs are the answer of a linear program with a row per cover; covers are added one by one, the
cheapest at given worths by dynamic programming over shares of F. Prices that refute are found for given F
(``refuted``), the least such F by halving (``bound``).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from ortools.linear_solver.python import model_builder

from optimizer.formulation.routing.choices import Alike, Way

SHARES = 2000
"""Parts of the flow that covers are counted in: what machines carry is rounded up to one, so the bound stays true."""

ROUNDS = 60
"""Times that covers are added; where none refutes by then, the flow counts as possible."""

_NOISE = 1e-9
"""Relative: of sums of floats, and of a cover that is no cheaper than those known."""

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


Member = tuple[int, float, float, float]
"""Class, layers held, share of the flow, seconds charged."""


@dataclass(frozen=True)
class Cover:
    """Machines that carry the flow across one layer."""

    end: End
    price: float
    members: tuple[Member, ...]


Case = dict[End, tuple[Offers, ...]]
"""The classes, as they cross the layers inside, the first and the last."""


def case_of(classes: Sequence[Alike], num_layers: int) -> Case:
    """Return what the machines may do across each kind of layer."""
    return {end: tuple(_offers(one, list(_ways(one, end, num_layers))) for one in classes) for end in ENDS}


def _offers(one: Alike, ways: Sequence[tuple[int, Way]]) -> Offers:
    columns = zip(*((count, way.tokens_per_s, way.seconds) for count, way in ways), strict=True)
    layers, rates, seconds = (np.array(column, dtype=float) for column in columns) if ways else (np.zeros(0),) * 3
    return Offers(one.count, layers, rates, seconds)


def _ways(one: Alike, end: End, num_layers: int) -> Iterator[tuple[int, Way]]:
    """Yield (layers held, rate and the seconds charged to one layer): an equal part, at an end what it takes more."""
    for count in range(1, num_layers + 1):
        anywhere = one.anywhere(count)
        if end == "inside":
            yield from ((count, Way(way.tokens_per_s, way.seconds / count)) for way in anywhere)
            continue
        for place in (end, "whole"):
            there = one.at(place, count)
            rates = {way.tokens_per_s for way in (*there, *anywhere) if there}
            for rate in sorted(rate for rate in rates if rate <= there[-1].tokens_per_s):
                yield count, Way(rate, _seconds(there, rate) - _seconds(anywhere, rate) * (count - 1) / count)


def _seconds(ways: Sequence[Way], tokens_per_s: float) -> float:
    return next(way.seconds for way in ways if way.tokens_per_s >= tokens_per_s * (1 - 2 * _NOISE))


def bound(classes: Sequence[Alike], num_layers: int, turn_s: float, low: float, high: float, halvings: int) -> float:
    """Return tokens/s between ``low`` and ``high``, themselves a bound, above which nothing flows in turns so long."""
    case = case_of(classes, num_layers)
    for _ in range(halvings):
        middle = (low + high) / 2
        low, high = (low, middle) if refuted(case, num_layers, turn_s, middle) else (middle, high)
    return high


def refuted(case: Case, num_layers: int, turn_s: float, flow: float) -> bool:
    """Return whether it is proven that so much does not flow; models of one layer are left to other bounds."""
    if num_layers < len(ENDS) - 1:
        return False
    case = narrowed(case, flow)
    counts = [one.count for one in case["inside"]]
    prices = _Prices([1.0 / (len(counts) * count) for count in counts], 0.0, dict.fromkeys(ENDS, float("inf")))
    covers: list[Cover] = []
    for _ in range(ROUNDS):
        found = [cheapest(case[end], end, prices.worths, prices.second, flow) for end in ENDS]
        known = [cover for cover in found if cover is not None]
        if len(known) < len(found) or sum(_times(one.end, num_layers) * one.price for one in known) > 1.0 + _NOISE:
            return True
        cheaper = [one for one in known if one.price < prices.least[one.end] * (1 - 1e-5)]
        covers += cheaper
        prices = _priced(covers, counts, num_layers, turn_s)
        if not cheaper or prices.total(num_layers) <= 1.0:
            return False
    return False


def _times(end: End, num_layers: int) -> int:
    return num_layers - 2 if end == "inside" else 1


@dataclass(frozen=True)
class _Prices:
    """Worth of a machine of each class, of a second of the turn, and the least that a cover of each kind costs."""

    worths: Sequence[float]
    second: float
    least: dict[End, float]

    def total(self, num_layers: int) -> float:
        return sum(_times(end, num_layers) * price for end, price in self.least.items())


def _priced(covers: Sequence[Cover], counts: Sequence[int], num_layers: int, turn_s: float) -> _Prices:
    """Solve: most that the layers cost while all machines and the turn are worth 1, no cover costing less."""
    model = model_builder.Model()  # type: ignore[no-untyped-call]
    worths = [model.new_num_var(0.0, float("inf"), "") for _ in counts]
    turn = model.new_num_var(0.0, float("inf"), "")
    least = {end: model.new_num_var(0.0, float("inf"), "") for end in ENDS}
    model.add(sum(count * worth for count, worth in zip(counts, worths, strict=True)) + turn == 1.0)
    for cover in covers:
        taken = sum(share * seconds for _, _, share, seconds in cover.members) / turn_s
        model.add(sum(worths[c] * (1 / held) for c, held, _, _ in cover.members) + taken * turn >= least[cover.end])
    model.maximize(sum(_times(end, num_layers) * price for end, price in least.items()))
    solver = model_builder.Solver("GLOP")
    if solver.solve(model) != model_builder.SolveStatus.OPTIMAL:
        raise ArithmeticError("a linear program that always has an answer was not solved")
    values = [max(0.0, solver.value(worth)) for worth in worths]
    return _Prices(values, max(0.0, solver.value(turn)) / turn_s, {end: solver.value(least[end]) for end in ENDS})


def cheapest(offers: Sequence[Offers], end: End, worths: Sequence[float], second: float, flow: float) -> Cover | None:
    """Return a cover of the flow that costs no more than any; None when all machines together do not carry it.

    Costs are linear in what flows through the members, so of the cheapest at most one is not used to the full.
    """
    fulls = [_fulls(one, index, worths[index], second, flow) for index, one in enumerate(offers)]
    steps, costs = _filled(offers, fulls)
    partial = np.min([_partial(one, worth, second, flow) for one, worth in zip(offers, worths, strict=True)], axis=0)
    with_one = costs[-2::-1] + partial
    used = int(with_one.argmin()) + 1
    price = min(float(costs[-1]), float(with_one[used - 1]))
    if not np.isfinite(price):
        return None
    if with_one[used - 1] >= costs[-1]:
        return Cover(end, price, tuple(_members(steps, SHARES)))
    return Cover(end, price, (_partial_member(offers, worths, second, flow, used), *_members(steps, SHARES - used)))


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


def _fulls(one: Offers, index: int, worth: float, second: float, flow: float) -> list[_Full]:
    """Return the ways that cost less than all that carry as much, the widest first."""
    part = np.minimum(one.rates / flow, 1.0)
    shares = np.ceil(part * SHARES).astype(int)
    costs = worth / one.layers + second * one.seconds * part
    kept: list[_Full] = []
    for way in np.lexsort((costs, -shares)):
        if not kept or costs[way] < kept[-1].cost:
            member = (index, float(one.layers[way]), float(part[way]), float(one.seconds[way]))
            kept.append(_Full(int(shares[way]), float(costs[way]), member))
    return kept


def _filled(offers: Sequence[Offers], fulls: Sequence[Sequence[_Full]]) -> tuple[list[_Step], Floats]:
    """Return the least costs of so many shares and how they come about, all machines used to the full."""
    costs = np.full(SHARES + 1, np.inf)
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
    grown, chosen = costs.copy(), np.full(SHARES + 1, -1)
    for way, full in enumerate(known):
        more = np.full(SHARES + 1, np.inf)
        more[full.shares :] = costs[: SHARES + 1 - full.shares] + full.cost
        more[-1] = min(more[-1], costs[SHARES - full.shares :].min() + full.cost)
        better = more < grown
        grown[better], chosen[better] = more[better], way
    return grown, chosen


def _partial(one: Offers, worth: float, second: float, flow: float) -> Floats:
    """Return the least cost of a machine that carries 1, 2, … shares."""
    shares = np.arange(1, SHARES + 1) / SHARES
    if not one.layers.size:
        return np.full(SHARES, np.inf)
    costs = (worth / one.layers)[:, None] + (second * one.seconds)[:, None] * shares[None, :]
    able = one.rates[:, None] >= shares[None, :] * flow * (1 - _NOISE)
    least: Floats = np.where(able, costs, np.inf).min(axis=0)
    return least


def _partial_member(offers: Sequence[Offers], worths: Sequence[float], second: float, flow: float, used: int) -> Member:
    share = used / SHARES
    return min(
        (worths[index] / held + second * seconds * share, (index, float(held), share, float(seconds)))
        for index, one in enumerate(offers)
        for held, rate, seconds in zip(one.layers, one.rates, one.seconds, strict=True)
        if rate >= share * flow * (1 - _NOISE)
    )[1]


def _members(steps: Sequence[_Step], shares: int) -> Iterator[Member]:
    """Yield the machines by which so many shares come about."""
    for step in reversed(steps):
        if (way := int(step.chosen[shares])) < 0:
            continue
        full = step.known[way]
        yield full.member
        least = max(0, shares - full.shares)
        shares = least if shares < SHARES else least + int(step.before[least:].argmin())


def narrowed(case: Case, flow: float) -> Case:
    """Return the ways that may belong to a cheapest cover: none holds more layers, carries more and takes less."""
    return {end: tuple(_undominated(one, flow) for one in offers) for end, offers in case.items()}


def _undominated(one: Offers, flow: float) -> Offers:
    keys = np.stack([-one.layers, -np.minimum(one.rates, flow), one.seconds], axis=1)
    keys = keys[np.lexsort(keys.T)]
    no_worse = (keys[:, None, :] <= keys[None, :, :]).all(axis=2)
    same = (keys[:, None, :] == keys[None, :, :]).all(axis=2)
    earlier = np.tri(len(keys), k=-1, dtype=bool).T
    kept = keys[~(no_worse & (~same | earlier)).any(axis=0)]
    return Offers(one.count, -kept[:, 0], -kept[:, 1], kept[:, 2])
