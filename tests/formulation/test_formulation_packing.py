"""Replicas of one layout that are counted without a solver are those that the solver finds."""

import random
from dataclasses import replace

import pytest
from formulation.instances import column, instance, nodes, point, workload
from formulation.test_formulation_phases import gives

from optimizer.formulation.columns import Column
from optimizer.formulation.instance import Instance
from optimizer.formulation.packing import Packed, packed
from optimizer.formulation.solve import Limits, choose
from optimizer.plan import ObjectiveName

ONE = column((3,), gives=point(2.0))
APART = column((2,), (2,), gives=point(2.0))


def counted(asked: Instance) -> Packed | None:
    return packed(asked, asked.columns)


def _drawn(seed: int, objective: ObjectiveName) -> Instance:
    """One layout of two or four GPUs that sits in several ways on a few nodes of eight."""
    draw = random.Random(f"{objective} {seed}")
    gpus = draw.choice([2, 4])

    def way(*counts: tuple[int, ...]) -> Column:
        shares = {"nics": draw.choice([0.25, 0.5, 1.0])} if draw.random() < 0.5 else {}
        return column(*counts, gives=gives(draw.choice([1.0, 1.1, 1.25])), shares=shares, price=1.0 * gpus)

    ways = [
        way((gpus,)),
        way((gpus,)),
        way((gpus // 2,), (gpus // 2,)),
        *([way((1,), (1,), (1,), (1,))] * (gpus == 4)),
    ]
    rate = (
        draw.choice([None, "2.5 /s", "7 /s", "11 /s"]) if objective == "throughput" else draw.choice(["3 /s", "7 /s"])
    )
    most = draw.choice([None, 9])
    return instance(
        nodes(draw.choice([2, 3, 6]), 8), *ways, objective=objective, load=workload(request_rate=rate), max_gpus=most
    )


@pytest.mark.parametrize("objective", ["throughput", "gpus", "cost"])
@pytest.mark.parametrize("seed", range(25))
def test_what_is_plain_is_what_the_solver_finds(seed: int, objective: ObjectiveName) -> None:
    asked = _drawn(seed, objective)
    found, solved = counted(asked), choose(asked, Limits(), lambda _: None)
    if found is None:
        return
    by_rate = asked.loads[0].workload.request_rate
    copies = sum(n for _, n in found.copies)
    carried = sum(n * one.point.requests_per_s for one, n in found.copies)
    if solved is None:
        assert not found.is_enough
        return
    assert copies == sum(solved.replicas)
    if objective == "throughput":
        assert min(carried, by_rate or carried) * 10 == pytest.approx(solved.value, rel=2e-6)
    else:
        assert found.is_enough
        assert carried >= (by_rate or 0) * (1 - 1e-6)


def test_most_drawn_questions_are_plain() -> None:
    asked = [_drawn(seed, objective) for seed in range(25) for objective in ("throughput", "gpus")]
    assert sum(counted(one) is not None for one in asked) > len(asked) / 2


def test_pieces_fill_nodes_and_not_more() -> None:
    found = counted(instance(nodes(2, 8), ONE))
    assert found is not None
    assert found.copies == ((ONE, 4),)


def test_pieces_of_a_replica_sit_on_different_nodes() -> None:
    assert counted(instance(nodes(1, 8), APART)) is None
    found = counted(instance(nodes(3, 4), APART))
    assert found is not None
    assert found.copies == ((APART, 3),)


def test_what_no_replicas_carry_is_told() -> None:
    found = counted(instance(nodes(1, 8), ONE, objective="gpus", load=workload(request_rate="5 /s")))
    assert found is not None
    assert not found.is_enough
    assert found.copies == ((ONE, 2),)


def test_clients_latency_and_failures_are_left_to_the_solver() -> None:
    clients = instance(nodes(1, 8), ONE, objective="gpus", load=workload(concurrency=2))
    latency = instance(nodes(1, 8), ONE, objective="latency")
    assert counted(clients) is None
    assert counted(latency) is None
    assert counted(replace(instance(nodes(1, 8), ONE, objective="gpus"), then=("latency",))) is None
