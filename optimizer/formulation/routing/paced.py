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

import numpy as np
from ortools.linear_solver.python import model_builder

from optimizer.formulation.routing.choices import Alike, Way
from optimizer.formulation.routing.crossings import ENDS, NOISE, Cover, End, Offers, cheapest

SHARES = (250, 2000)
"""Parts of the flow that covers are counted in, few at first: what machines carry is rounded up to one, so that both
are proofs and the finer one is better."""

ROUNDS = 60
"""Times that covers are added at each; where none refutes by then, the flow counts as possible."""

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
    return next(way.seconds for way in ways if way.tokens_per_s >= tokens_per_s * (1 - 2 * NOISE))


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
    covers: list[Cover] = []
    return any(_refuted(case, num_layers, turn_s, flow, shares, covers) for shares in SHARES)


def _refuted(case: Case, num_layers: int, turn_s: float, flow: float, shares: int, covers: list[Cover]) -> bool:
    """Return whether it is proven in so many shares; covers that really carry the flow are left for finer ones."""
    least = {end: [one.least(flow, shares) for one in offers] for end, offers in case.items()}
    counts = [one.count for one in case["inside"]]
    prices = _priced(covers, counts, num_layers, turn_s)
    for _ in range(ROUNDS):
        found = [cheapest(end, case[end], least[end], prices.worths, prices.second, flow) for end in ENDS]
        known = [cover for cover in found if cover is not None]
        if len(known) < len(found) or sum(_times(one.end, num_layers) * one.price for one in known) > 1.0 + NOISE:
            return True
        cheaper = [one for one in known if one.price < prices.least[one.end] * (1 - 1e-5)]
        covers += cheaper
        prices = _priced(covers, counts, num_layers, turn_s)
        if not cheaper or prices.total(num_layers) <= 1.0:
            break
    covers[:] = [cover for cover in covers if cover.carries]
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
    if {cover.end for cover in covers} != set(ENDS):
        even = [0.5 / (len(counts) * count) for count in counts]
        return _Prices(even, 0.5 / turn_s, dict.fromkeys(ENDS, float("inf")))
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
