"""Placements and bounds in one turn: stacks just in time and one too late, lanes, covers against all covers."""

import random
from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest

from optimizer.formulation.routing import crossings, lanes, paced, timed
from optimizer.formulation.routing.choices import PLACES, Alike, Way, steady


def alike(name: str, count: int, *by_layers: tuple[tuple[float, float], ...]) -> Alike:
    """Return machines that do the same at every place: (tokens/s, seconds) for 1, 2, … layers."""
    ways = tuple(steady([Way(*way) for way in ways]) for ways in by_layers)
    return Alike(tuple(f"{name}{n}" for n in range(count)), dict.fromkeys(PLACES, ways))


def carried(classes: list[Alike], num_layers: int, turn_s: float, most: float = 100.0) -> float:
    """Return what the best stack carries."""
    return timed.tallest(timed.Stacks(tuple(classes), num_layers, turn_s), 0.0, most)[1]


@pytest.mark.parametrize(("turn_s", "flow"), [(5.0, 10.0), (4.9, 6.0)], ids=["just in time", "one too late"])
def test_a_chain_takes_the_sum_of_its_steps(turn_s: float, flow: float) -> None:
    ways = ((6.0, 1.0), (10.0, 2.0))
    chain = [alike("a", 1, ((10.0, 3.0), (6.0, 2.0))), alike("b", 1, ways)]
    assert carried(chain, 2, turn_s) == pytest.approx(flow, rel=1e-3)


def test_machines_side_by_side_take_smaller_steps() -> None:
    """One machine carries 10 in 4 s; two carry it in steps of 5, each of which takes 1 s."""
    assert carried([alike("a", 1, ((5.0, 1.0), (10.0, 4.0)))], 1, 1.0) == pytest.approx(5.0, rel=1e-3)
    assert carried([alike("a", 2, ((5.0, 1.0), (10.0, 4.0)))], 1, 1.0) == pytest.approx(10.0, rel=1e-3)


def test_what_no_stack_carries_two_lanes_do() -> None:
    """Five machines: lanes of 2 and of 3, as all of them together stack no higher than one block of each."""
    pool = [alike("a", 1, (), (), ((9.0, 1.0),)), alike("b", 2, ((3.0, 1.0),), ((2.0, 1.0),))]
    assert carried(pool, 3, 2.0) == pytest.approx(9.0, rel=1e-3)
    found = lanes.placed(pool, 3, 2.0, 0.0, 20.0)
    assert {one.lane for one in found} == {0, 1}
    assert sorted((one.run.machine, one.run.num_layers) for one in found)[0] == ("a0", 3)
    assert sum(one.run.num_layers for one in found) == 6


def test_nothing_is_placed_where_machines_hold_too_little_or_too_many_differ() -> None:
    assert lanes.placed([alike("a", 2, ((9.0, 1.0),))], 3, 9.0, 0.0, 20.0) == ()
    many = [alike(str(n), 1, ((1.0 + n, 1.0),)) for n in range(13)]
    assert lanes.too_many(many)
    assert lanes.placed(many, 2, 9.0, 0.0, 20.0) == ()


def drawn(seed: int) -> tuple[list[crossings.Offers], list[float], float]:
    """Return classes, their worths and the price of a second."""
    draw = random.Random(seed)
    offers = []
    for _ in range(draw.randint(1, 3)):
        ways = [(draw.randint(1, 4), draw.uniform(1, 6), draw.uniform(0.1, 2)) for _ in range(draw.randint(1, 3))]
        layers, rates, seconds = np.array(ways, dtype=float).T
        offers.append(crossings.Offers(draw.randint(1, 2), layers, rates, seconds))
    return offers, [draw.uniform(0, 2) for _ in offers], draw.choice([0.0, 0.5, 2.0])


def by_force(offers: list[crossings.Offers], worths: list[float], second: float, flow: float) -> float:
    """Return the least that any machines cost which carry the flow, the cheaper ways filled first."""
    each = [
        [None, *ways] for one, worth in zip(offers, worths, strict=True) for ways in [_ways(one, worth)] * one.count
    ]
    return min((cost for chosen in product(*each) if (cost := _cost(chosen, second, flow)) is not None), default=np.inf)


def _ways(one: crossings.Offers, worth: float) -> list[tuple[float, float, float]]:
    return [(worth / k, r, t) for k, r, t in zip(one.layers, one.rates, one.seconds, strict=True)]


def _cost(chosen: tuple[tuple[float, float, float] | None, ...], second: float, flow: float) -> float | None:
    taken = sorted((way for way in chosen if way is not None), key=lambda way: way[2])
    left, cost = flow, sum(worth for worth, _, _ in taken)
    for _, rate, seconds in taken:
        cost += second * seconds * min(rate, left) / flow
        left -= min(rate, left)
    return None if left > 1e-9 else cost


def _found(seed: int) -> Iterator[tuple[float, float]]:
    offers, worths, second = drawn(seed)
    for flow in (2.0, 5.0, 9.0):
        least = [one.least(flow, 2000) for one in offers]
        cover = crossings.cheapest("inside", offers, least, worths, second, flow)
        yield (cover.price if cover else np.inf), by_force(offers, worths, second, flow)


@pytest.mark.parametrize("seed", range(30))
def test_no_cover_costs_less_than_the_cheapest_and_few_cost_more(seed: int) -> None:
    for price, least in _found(seed):
        assert price <= least * (1 + 1e-9) or least == np.inf
        assert price == least == np.inf or price >= 0.99 * least


def test_a_turn_that_a_chain_just_takes_is_not_refuted_and_a_shorter_one_is() -> None:
    chain = [alike("a", 2, (), ((10.0, 2.0),))]
    case = paced.case_of(chain, 4)
    assert not paced.refuted(case, 4, 4.0, 10.0)
    assert paced.refuted(case, 4, 3.9, 10.0)
    assert paced.refuted(case, 4, 4.0, 10.1)
