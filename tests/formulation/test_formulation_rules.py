"""Each rule of the formulation on an instance where it just holds and on one where it is one short."""

from importlib import import_module

import pytest
from formulation.instances import column, instance, nodes, point, workload

from optimizer.formulation.instance import Instance
from optimizer.formulation.solve import Choice, Limits, choose


def solved(of: Instance) -> Choice | None:
    return choose(of, Limits(), lambda _: None)


def count(of: Instance) -> int:
    choice = solved(of)
    return 0 if choice is None else sum(choice.replicas)


@pytest.mark.parametrize(("size", "fits"), [(4, True), (3, False)], ids=["just-fits", "one-short"])
@pytest.mark.parametrize("many", [1, 6], ids=["named", "counted"])
def test_an_island_holds_no_more_ranks_than_gpus(size: int, fits: bool, many: int) -> None:
    assert count(instance(nodes(many, size), column((4,)))) == (many if fits else 0)


def test_what_one_node_leaves_is_not_lent_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes filled one by one: pairs on two nodes of three, though both leave one GPU."""
    monkeypatch.setattr(import_module("optimizer.formulation.patterns"), "MOST_PATTERNS", 0)
    monkeypatch.setattr(import_module("optimizer.formulation.variables"), "fill_freely", lambda *_: False)
    assert count(instance(nodes(2, 3), column((2,)))) == 2


@pytest.mark.parametrize(("share", "expected"), [(0.5, 2), (0.51, 1)], ids=["just-fits", "one-short"])
@pytest.mark.parametrize("many", [1, 6], ids=["named", "counted"])
def test_a_boundary_of_a_node_is_not_promised_twice(share: float, expected: int, many: int) -> None:
    assert count(instance(nodes(many, 8), column((1,), shares={"nics": share}))) == expected * many


@pytest.mark.parametrize(("share", "expected"), [(0.25, 4), (0.26, 3)], ids=["just-fits", "one-short"])
def test_uplinks_are_not_promised_twice(share: float, expected: int) -> None:
    spanning = column((1,), (1,), leaf_shares={"su1": share})
    assert count(instance(nodes(6, 8, leaf="su1"), spanning)) == expected


@pytest.mark.parametrize(("many", "expected"), [(2, 4), (1, 0)], ids=["just-fits", "one-short"])
def test_pieces_of_one_replica_sit_on_different_nodes(many: int, expected: int) -> None:
    assert count(instance(nodes(many, 4), column((1,), (1,)))) == expected


def test_many_small_pieces_on_few_nodes_need_many_replicas() -> None:
    """Three pieces a replica on two nodes of eight GPUs: room for sixteen pieces, but no replica has three nodes."""
    assert count(instance(nodes(2, 8), column((1,), (1,), (1,)))) == 0
    assert count(instance(nodes(3, 8), column((1,), (1,), (1,)))) == 8


@pytest.mark.parametrize(("most", "expected"), [(6, 3), (5, 2)], ids=["just-fits", "one-short"])
def test_the_limit_on_gpus_holds(most: int, expected: int) -> None:
    assert count(instance(nodes(1, 8), column((2,)), max_gpus=most)) == expected


def test_replicas_are_as_many_as_fixed() -> None:
    assert count(instance(nodes(1, 8), column((2,)), replicas=3)) == 3
    assert solved(instance(nodes(1, 8), column((2,)), replicas=5)) is None


@pytest.mark.parametrize(("rate", "expected"), [("4 /s", 4), ("4.001 /s", 5)], ids=["just-fits", "one-short"])
def test_the_rate_is_met(rate: str, expected: int) -> None:
    load = workload(request_rate=rate)
    assert count(instance(nodes(1, 8), column((1,)), objective="gpus", load=load)) == expected


@pytest.mark.parametrize(("clients", "expected"), [(8, 2), (9, 3)], ids=["just-fits", "one-short"])
def test_all_clients_are_served(clients: int, expected: int) -> None:
    busy = column((1,), gives=point(concurrency=4))
    assert count(instance(nodes(1, 8), busy, objective="gpus", load=workload(concurrency=clients))) == expected


@pytest.mark.parametrize(("clients", "expected"), [(8, 2), (7, 1)], ids=["just-fits", "one-short"])
def test_there_are_never_more_requests_than_clients(clients: int, expected: int) -> None:
    busy = column((1,), gives=point(concurrency=4))
    assert count(instance(nodes(1, 8), busy, load=workload(concurrency=clients))) == expected


def test_throughput_beyond_the_demand_is_not_worth_a_gpu() -> None:
    of = instance(nodes(1, 8), column((1,)), load=workload(request_rate="3 /s"))
    assert count(of) == 3


def test_equal_throughput_takes_fewest_gpus() -> None:
    choice = solved(instance(nodes(1, 8), column((8,), gives=point(8.0)), column((4,), gives=point(8.0)), replicas=1))
    assert choice is not None
    assert choice.replicas == (0, 1)


def test_latency_takes_the_fastest_replica_and_no_more() -> None:
    slow, fast = column((1,), gives=point(tpot_s=0.02)), column((4,), gives=point(tpot_s=0.01))
    choice = solved(instance(nodes(1, 8), slow, fast, objective="latency"))
    assert choice is not None
    assert choice.replicas == (0, 1)


def test_ttft_is_that_of_the_slowest_replica() -> None:
    one = column((2,), gives=point(concurrency=1, ttft_s=0.1))
    many = column((4,), gives=point(concurrency=3, ttft_s=0.3))
    choice = solved(instance(nodes(1, 7), one, many, objective="ttft", load=workload(concurrency=4)))
    assert choice is not None
    assert choice.replicas == (1, 1)
    assert choice.bound == 0.3


def test_cost_weighs_prices_not_gpus() -> None:
    dear, cheap = column((1,), price=5.0), column((4,), price=4.0)
    choice = solved(instance(nodes(1, 8), dear, cheap, objective="cost"))
    assert choice is not None
    assert choice.replicas == (0, 1)
    assert choice.proven


def test_one_seed_gives_one_answer() -> None:
    of = instance(nodes(6, 8), *(column((n,), gives=point(float(n))) for n in (1, 2, 3, 5)))
    assert len({solved(of).__repr__() for _ in range(3)}) == 1
