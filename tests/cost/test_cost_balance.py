"""Layers of stages on several GPU types, against every split there is."""

from dataclasses import replace

import pytest
from mixed_clusters import LOAD, apart, case, model, order, together

from optimizer.cost.balance import Loads, best_split, fastest, within
from optimizer.cost.case import Case
from optimizer.cost.estimate import estimate
from optimizer.cost.memory import ledger
from optimizer.cost.orders import Order
from optimizer.inputs.cluster import ClusterSpec

ORDERS = (("big", "small"), ("small", "big"), ("big", "small", "small"), ("small", "small", "big"))
ROOMY = ("16 GB", "12 GB")


def loads(made: Order, concurrency: int) -> Loads:
    return Loads(case(made, made.layout.layers_per_stage, concurrency), LOAD, concurrency)


@pytest.mark.parametrize("gpu_types", ORDERS)
@pytest.mark.parametrize(
    "where", [apart(), apart(memory=ROOMY), together(memory=ROOMY)], ids=["tight", "roomy", "node"]
)
@pytest.mark.parametrize("concurrency", [1, 3, 16])
def test_the_slowest_stage_is_as_fast_as_any_split_makes_it(
    where: ClusterSpec, gpu_types: tuple[str, ...], concurrency: int
) -> None:
    made = order(where, gpu_types, model(9))
    known = loads(made, concurrency)
    able = [split for split in made.all_splits if known.hold(split)]
    found = fastest(known)
    assert (found is None) == (not able)
    if found is not None:
        assert known.hold(found)
        assert known.slowest(found) == min(map(known.slowest, able))


@pytest.mark.parametrize("gpu_types", ORDERS)
@pytest.mark.parametrize("concurrency", [1, 2, 8, 32])
def test_no_split_has_a_higher_rate_than_the_best(gpu_types: tuple[str, ...], concurrency: int) -> None:
    made = order(apart(memory=("7 GB", "5 GB")), gpu_types, model(14))

    def rate(split: tuple[int, ...]) -> float:
        price = estimate(case(made, split, concurrency), LOAD, concurrency)
        return price.requests_per_s if price.fits else 0.0

    found = best_split(loads(made, concurrency), rate)
    assert found is not None
    assert rate(found) == pytest.approx(max(map(rate, made.all_splits)), rel=1e-12)


def test_the_last_stage_holds_fewer_layers_because_it_has_the_head() -> None:
    spec = model(10).model_copy(update={"vocab": 256000})
    made = order(apart(4, 1, memory=ROOMY), ("small", "big", "big", "big"), spec)
    found = fastest(loads(made, 4))
    assert found is not None
    assert found[-1] < found[-2]


@pytest.mark.parametrize(("short", "fits"), [(0, True), (1, False)], ids=["just-fits", "one-byte-short"])
def test_each_stage_has_the_memory_of_its_own_type(short: int, fits: bool) -> None:
    made = order(apart(memory=ROOMY), ("big", "small"), model(9))
    whole = case(made, (5, 4), 2)
    tokens = LOAD.isl.mean + LOAD.osl.mean
    low, least = 0, 12_000_000_000
    while least - low > 1:
        middle = (low + least) // 2
        low, least = (middle, least) if ledger(_with(whole, middle), 2, tokens)[1] else (low, middle)
    assert (not ledger(_with(whole, least - short), 2, tokens)[1]) == fits
    assert Loads(_with(whole, least - short), LOAD, 2).hold((5, 4)) == fits


def _with(whole: Case, memory: int) -> Case:
    """Return the case with so much memory on the second stage's GPU."""
    (small,) = whole.further
    gpu = small.gpu.model_copy(update={"memory": memory})
    return replace(whole, further=(replace(small, gpu=gpu),))


def test_nothing_is_within_no_time() -> None:
    assert within(loads(order(apart(memory=ROOMY), ("big", "small"), model(9)), 1), 0.0) is None
