"""Seats that a demand does not need are not priced, and no plan is worse for it."""

from dataclasses import replace

import pytest
from handmade import estimate
from hypothesis import given, settings
from hypothesis import strategies as st
from typed_plans import MODEL, cluster

from optimizer.cost.enough import Carried
from optimizer.cost.options import Points
from optimizer.formulation.instance import Instance
from optimizer.formulation.solve import Limits, choose
from optimizer.inputs.cluster import ClusterSpec
from optimizer.inputs.workload import WorkloadSpec
from optimizer.pipeline.prepare import Prepared, prepare
from optimizer.pipeline.request import Request, silent
from optimizer.plan import ObjectiveName
from optimizer.topology.footprints import Footprint, Slot

GPU_4, GPU_3_AND_1 = (4, 0), (3, 1)


def footprint(*nodes: tuple[int, ...]) -> Footprint:
    """Return seats on nodes of one class, by the GPUs of their two islands."""
    return Footprint("big", 1, tuple(Slot(0, (counts,)) for counts in nodes))


def points(*rates: float) -> Points:
    found = tuple(replace(estimate(1, 1), requests_per_s=rate) for rate in rates)
    return Points(found, estimate(1, 1), 1)


def carried(rates: dict[int, float]) -> Carried:
    """Return what replicas of so many GPUs on the first island carry."""
    known = Carried()
    for gpus, rate in rates.items():
        known.learn(footprint((gpus, 0)), (), points(rate / 2, rate))
    return known


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ((GPU_4,), 7.0 + 1.0),  # of four GPUs three: a pair and a single one
        ((GPU_4, GPU_4), 2 * 7.0 + 7.0 + 1.0),
        ((GPU_3_AND_1,), 7.0 + 1.0),  # nothing is known of the second island: it is the GPU to leave out
        (((1, 0),), 0.0),
        (((0, 4),), 0.0),
    ],
)
def test_replicas_share_out_all_gpus_but_one(nodes: tuple[tuple[int, ...], ...], expected: float) -> None:
    assert carried({1: 1.0, 2: 7.0}).on_fewer(footprint(*nodes)) == expected


def test_only_replicas_on_one_island_that_set_nothing_aside_are_known() -> None:
    known = Carried()
    known.learn(footprint((1, 1)), (), points(9.0))
    known.learn(footprint((1, 0), (1, 0)), (), points(9.0))
    known.learn(footprint((1, 0)), (("n0/nic0", 1.0),), points(9.0))
    known.learn(footprint((1, 0)), (), points())
    known.learn(replace(footprint((1, 0)), places=(("n0",),)), (), points(9.0))
    assert not known.on_fewer(footprint((4, 4), (4, 4)))


def asked(rate: float, **more: object) -> Request:
    """Return the question of an engine whose replicas are of one GPU type."""
    load = WorkloadSpec.model_validate({"isl": 512, "osl": 64, "request_rate": f"{rate} /s", "engine": "sglang"})
    return replace(Request(two_types(), MODEL, load, objective="gpus"), **more)  # type: ignore[arg-type]


def two_types() -> ClusterSpec:
    """Return three nodes of two GPUs and one of four of another type, that cost twice as much."""
    where, other = cluster(3, 2), cluster(1, 4)
    big, node = where.gpus["big"], other.nodes[0]
    return where.model_copy(
        update={
            "gpus": {"big": big, "dear": big.model_copy(update={"id": "dear", "memory_bandwidth": 3e12})},
            "nodes": (*where.nodes, node.model_copy(update={"name": "m0", "template": "m"})),
            "templates": where.templates | {"m": other.templates["t"].model_copy(update={"gpu": "dear"})},
            "prices": {"big": (2.0, "USD"), "dear": (4.0, "USD")},
        }
    )


def reached(instance: Instance) -> tuple[float, float, float] | None:
    """Return the value of the best plan, its GPUs and what it carries; None where nothing is enough."""
    found = choose(instance, Limits(), silent)
    if found is None:
        return None
    assert found.proven
    taken = [column for column, n in zip(instance.columns, found.replicas, strict=True) for _ in range(n)]
    return found.value, float(sum(c.gpus for c in taken)), sum(c.point.requests_per_s for c in taken)


def shapes_of(known: Prepared) -> int:
    return len(known.shapes)


@settings(max_examples=12, deadline=None)
@given(rate=st.floats(1.0, 2000.0), objective=st.sampled_from(["gpus", "cost", "energy", "throughput"]))
def test_no_plan_is_worse_for_seats_that_were_left_out(rate: float, objective: ObjectiveName) -> None:
    request = asked(rate, objective=objective)
    few, every = prepare(request, silent), prepare(request, silent, reuse="rates")
    assert shapes_of(few) <= shapes_of(every)
    expected = reached(every.instance)
    assert reached(few.instance) == (expected and pytest.approx(expected, rel=1e-6))


def test_the_more_is_asked_the_more_seats_are_priced() -> None:
    counts = [shapes_of(prepare(asked(rate), silent)) for rate in (1.0, 100.0, 1e6)]
    assert counts == sorted(set(counts))
    assert counts[-1] == shapes_of(prepare(asked(1.0), silent, reuse="rates"))


def test_every_layout_of_one_node_is_priced_once() -> None:
    few, every = prepare(asked(1.0), silent), prepare(asked(1.0), silent, reuse="rates")

    def in_a_node(known: Prepared) -> set[object]:
        return {(s.layout, s.footprint.gpu_type) for s in known.shapes if len(s.footprint.slots) == 1}

    assert in_a_node(few) == in_a_node(every)
    assert not [shape for shape in few.shapes if len(shape.footprint.slots) > 1]


@pytest.mark.parametrize(
    "changes",
    [{"survive": "node"}, {"fix": {"dp": 2}}, {"then": ("ttft",)}],
    ids=str,
)
def test_every_seat_is_priced_where_spare_capacity_or_latency_counts(changes: dict[str, object]) -> None:
    request = asked(1.0, **changes)
    assert shapes_of(prepare(request, silent)) == shapes_of(prepare(request, silent, reuse="rates"))


def test_every_seat_is_priced_where_a_gpu_costs_nothing() -> None:
    where = two_types().model_copy(update={"prices": {"big": (0.0, "USD"), "dear": (4.0, "USD")}})
    for objective, is_whole in (("cost", True), ("gpus", False)):
        request = asked(1.0, cluster=where, objective=objective)
        few, every = prepare(request, silent), prepare(request, silent, reuse="rates")
        assert (shapes_of(few) == shapes_of(every)) is is_whole
