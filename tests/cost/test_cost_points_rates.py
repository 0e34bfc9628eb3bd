"""Where only rates count: the point of most requests/s is found with few prices."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from handmade import estimate
from hypothesis import given
from hypothesis import strategies as st
from typed_plans import MODEL, cluster

from optimizer.cost.options import Points, concurrencies
from optimizer.cost.points import carrying_most, operating_points
from optimizer.cost.quantities import Estimate
from optimizer.cost.replica import Replica
from optimizer.inputs.workload import Slo, WorkloadSpec
from optimizer.pipeline.prepare import Known, Prepared, prepare
from optimizer.pipeline.request import Request, silent

ASKED = WorkloadSpec(slo=Slo(tpot="1 s"))
STEPS = concurrencies(WorkloadSpec(), 2048)


class Prices:
    """Points by requests in flight, and for how many a price was made."""

    def __init__(self, tpot_s: Callable[[int], float], rate: Callable[[int], float], fit: int) -> None:
        self.tpot_s, self.rate, self.fit, self.made = tpot_s, rate, fit, 0

    def __call__(self, n: int) -> Estimate:
        self.made += 1
        return replace(
            estimate(1, 1), concurrency=n, tpot_slo_s=self.tpot_s(n), requests_per_s=self.rate(n), fits=self.fits(n)
        )

    def fits(self, n: int) -> bool:
        return n <= self.fit

    @property
    def replica(self) -> Replica:
        return Replica(self, self.fits, ASKED)


def searched(prices: Prices, near: int = 0, captured: int = 2048) -> Points:
    return carrying_most(prices.replica, STEPS, (), near, captured)


def best(found: Points) -> int | None:
    return max(((p.requests_per_s, -p.concurrency) for p in found.admissible), default=(0.0, None))[1]


@given(
    full=st.floats(1.0, 2000.0), slow=st.integers(1, 4000), fit=st.integers(0, 4000), near=st.integers(0, 3000),
    jump=st.sampled_from(STEPS), lost=st.floats(0.91, 1.0),
)  # fmt: skip
def test_the_point_of_most_requests_is_among_those_that_were_priced(
    full: float, slow: int, fit: int, near: int, jump: int, lost: float
) -> None:
    """Rates that grow ever less, and fall by some percent where another kernel takes over."""

    def rate(n: int) -> float:
        return n / (full + n) * (lost if n > jump else 1.0)

    every = operating_points(Prices(lambda n: n / slow, rate, fit).replica, STEPS)
    few = searched(Prices(lambda n: n / slow, rate, fit), near)
    assert best(few) == best(every)
    assert few.fitting >= max((point.concurrency for point in every.admissible), default=0)
    assert every.every
    assert not few.every
    if not few.admissible:
        assert few.miss == every.miss


def test_few_prices_are_made_and_fewer_where_the_most_is_nearly_known() -> None:
    far, near = (Prices(lambda n: n / 300, lambda n: n / (50 + n), 1000) for _ in range(2))
    searched(far)
    found = searched(near, near=256)
    assert near.made < far.made < len(STEPS) * 2 / 3
    assert max(point.concurrency for point in found.admissible) == 300


def test_what_has_no_room_is_not_priced() -> None:
    prices = Prices(lambda n: 0.1, lambda n: float(n), 100)
    found = searched(prices, near=96)
    assert (best(found), found.fitting, prices.made) == (-100, 100, 3)


def test_batches_that_the_host_launches_do_not_hide_those_that_graphs_replay() -> None:
    # twice as long a step from 513 on: 512 carry more than any other number, though 768 carry less than 1024
    prices = Prices(lambda n: 0.1, lambda n: n / 4 if n > 512 else float(n), 1024)
    assert best(searched(prices, near=1024, captured=512)) == -512


def chosen(known: Prepared) -> list[object]:
    """Return what is left to the solver."""
    return [(c.layout, c.footprint, c.shape.share, c.point) for c in known.instance.columns]


@pytest.mark.parametrize(
    "asked",
    [
        {"slo": {"tpot": "20 ms"}},
        {"request_rate": "4 /s", "slo": {"ttft": "300 ms", "tpot": "30 ms", "percentile": 95}},
        {"isl": {"mean": 900, "cv": 0.5}, "request_rate": "4 /s"},
    ],
    ids=["bound-on-tpot", "random-arrivals", "lengths-that-vary"],
)
def test_no_column_that_the_solver_needs_goes_unpriced(asked: dict[str, object]) -> None:
    load = WorkloadSpec.model_validate({"isl": 512, "osl": 64} | asked)
    request = Request(cluster(2, 4, memory="24 GB"), MODEL, load)
    few, every = prepare(request, silent, reuse="rates"), prepare(request, silent, reuse="all")
    assert len(few.columns) < len(every.columns)
    assert chosen(few) == chosen(every)


@pytest.mark.parametrize("changes", [{"objective": "latency"}, {"then": ("ttft",)}, {"objective": "ttft"}])
def test_every_point_is_priced_where_latency_is_sought(changes: dict[str, object]) -> None:
    request = replace(Request(cluster(1, 2), MODEL, WorkloadSpec(isl=512, osl=64)), **changes)  # type: ignore[arg-type]
    found = prepare(request, silent)
    assert len(found.columns) == len(prepare(request, silent, reuse="all").columns)


def test_prices_of_a_question_of_rates_are_made_whole_for_one_of_latency() -> None:
    request, prices = Request(cluster(1, 2), MODEL, WorkloadSpec(isl=512, osl=64)), Known()
    few = prepare(request, silent, prices=prices)
    every = prepare(replace(request, objective="latency"), silent, prices=prices)
    assert len(few.columns) < len(every.columns)
    assert len(every.columns) == len(prepare(replace(request, objective="latency"), silent).columns)
