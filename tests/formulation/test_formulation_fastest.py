"""Least latency by bisection against all choices of tiny instances, and columns that parts of two classes outdo."""

import random
from dataclasses import replace
from importlib import import_module
from itertools import product
from typing import Any

import pytest
from formulation.instances import OSL, column, instance, nodes, point, workload

from optimizer.formulation.columns import Column, Piece
from optimizer.formulation.dominance import essential
from optimizer.formulation.fastest import narrowed
from optimizer.formulation.instance import Instance
from optimizer.formulation.search import Search
from optimizer.formulation.solve import Choice, Limits, choose
from optimizer.topology.classes import IslandShape, NodeClass

FASTEST = import_module("optimizer.formulation.fastest")


def silent(_: str) -> None:
    return None


def solved(asked: Instance) -> Choice | None:
    return choose(asked, Limits(), silent)


def drawn(seed: int) -> Instance:
    """Replicas of one or two GPUs, or of two nodes, at several points each, on two nodes of two GPUs."""
    draw = random.Random(seed)
    columns = []
    for counts in (((1,),), ((2,),), ((1,), (1,))):
        for _ in range(draw.randint(1, 2)):
            gives = point(concurrency=draw.randint(1, 4), tpot_s=draw.randint(1, 6) / 100)
            columns.append(column(*counts, gives=gives))
    load = workload(concurrency=draw.randint(1, 9))
    return instance(nodes(2, 2), *columns, objective="latency", load=load)


def by_trying(asked: Instance) -> tuple[float, int] | None:
    """Return the least seconds and then the fewest GPUs over all choices; four GPUs hold any replicas of four."""
    clients = asked.loads[0].workload.concurrency or 1
    found = []
    for many in product(*(range(4 // c.gpus + 1) for c in asked.columns)):
        chosen = [c for c, n in zip(asked.columns, many, strict=True) for _ in range(n)]
        gpus, served = sum(c.gpus for c in chosen), sum(c.point.concurrency for c in chosen)
        if served >= clients and 0 < gpus <= 4 and _have_seats(chosen):
            found.append((max(c.point.tpot_s for c in chosen), gpus))
    return min(found, default=None)


def _have_seats(chosen: list[Column]) -> bool:
    """Replicas over two nodes take one GPU of each; one of two GPUs needs a whole node."""
    across = sum(1 for c in chosen if len(c.pieces) == 2)
    return sum(1 for c in chosen if len(c.pieces) == 1 and c.gpus == 2) <= (2 if across == 0 else 0)


@pytest.mark.parametrize("seed", range(40))
def test_the_least_latency_and_its_fewest_gpus_are_found_and_proven(seed: int) -> None:
    asked = drawn(seed)
    expected, found = by_trying(asked), solved(asked)
    if found is None:
        assert expected is None
        return
    chosen = [c for c, n in zip(asked.columns, found.replicas, strict=True) for _ in range(n)]
    assert found.proven
    assert found.bound == found.value
    assert expected == (max(c.point.tpot_s for c in chosen), sum(c.gpus for c in chosen))


def test_only_columns_up_to_the_least_seconds_are_left() -> None:
    columns = [column((1,), gives=point(concurrency=n, tpot_s=n / 100)) for n in range(1, 6)]
    asked = instance(nodes(1, 2), *columns, objective="latency", load=workload(concurrency=5))
    left = narrowed(asked, Search(Limits(), silent)).instance
    assert left.slowest_s == 0.03  # 3 + 3 in flight; 2 + 2 are one short
    assert [c.point.concurrency for c in left.columns] == [3]


@pytest.mark.parametrize("steps", range(1, 4))
def test_a_bisection_that_is_stopped_proves_no_more_than_it_has_seen(
    steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slowest column carries most and stands for the faster ones, of which one would do."""
    columns = [column((1,), gives=point(concurrency=n, tpot_s=n / 100)) for n in range(1, 9)]
    asked = instance(nodes(1, 2), *columns, objective="latency", load=workload(concurrency=2))
    look, looked = FASTEST._plan, []

    def until_stopped(*question: Any) -> dict[int, int] | None:
        looked.append(question)
        found: dict[int, int] | None = look(*question) if len(looked) <= steps else None
        return found

    monkeypatch.setattr(FASTEST, "_plan", until_stopped)
    found = solved(asked)
    assert found is not None
    assert not found.proven
    assert found.bound <= 0.01 < found.value


def test_a_second_objective_still_sees_the_rates() -> None:
    slow, quick = (column((1,), gives=point(rate, concurrency=4, tpot_s=0.01)) for rate in (1.0, 2.0))
    asked = replace(instance(nodes(1, 1), slow, quick, objective="latency"), then=("throughput",))
    found = solved(asked)
    assert found is not None
    assert found.replicas == (0, 1)


@pytest.mark.parametrize(("rate", "is_kept"), [(6.9, False), (7.1, True)])
def test_a_replica_over_two_classes_yields_to_parts_over_them(rate: float, is_kept: bool) -> None:
    whole, broken = nodes(3, 2), NodeClass(("m0",), (IslandShape("g", 1, 1.0),), None)
    pair = column((1,), (1,), gives=point(5.0))
    one = column((1,), gives=point(2.0))
    three = column((1,), (1,), (1,), gives=point(rate))
    mixed = replace(three, pieces=(*three.pieces[:2], Piece(1, (1,), (), 1)))
    alone = replace(one, pieces=(Piece(1, (1,), (), 1),))
    asked = replace(instance(whole, pair, one, alone, mixed), classes=(whole, broken))
    kept = essential(asked)
    assert (mixed in kept) is is_kept
    best, reduced = solved(asked), solved(replace(asked, columns=kept))
    assert best is not None
    assert reduced is not None
    assert reduced.value == pytest.approx(best.value, abs=1e-4 * OSL)


@pytest.mark.parametrize(("clients", "left"), [(3, 1), (4, 2)])
def test_a_replica_with_more_requests_than_clients_is_no_choice(clients: int, left: int) -> None:
    columns = [column((1,), gives=point(float(n), concurrency=n)) for n in (3, 4)]
    assert len(essential(instance(nodes(1, 2), *columns, load=workload(concurrency=clients)))) == left
