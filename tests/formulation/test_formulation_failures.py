"""What a single failure takes: just enough is left, and one short."""

from dataclasses import replace

import pytest
from formulation.instances import column, instance, nodes, point, workload
from formulation.test_formulation_rules import count, solved

from optimizer.formulation.failures import told_apart
from optimizer.formulation.instance import Instance
from optimizer.formulation.patterns import patterns
from optimizer.plan import Failure


def surviving(of: Instance, failure: Failure, *, own_nics: bool = False) -> Instance:
    columns = told_apart(of.columns) if failure != "gpu" else of.columns
    return replace(of, columns=columns, survive=failure, own_nics=(own_nics,))


@pytest.mark.parametrize(("rate", "expected"), [("3 /s", 4), ("3.001 /s", 5)], ids=["just-fits", "one-short"])
def test_one_gpu_takes_one_replica(rate: str, expected: int) -> None:
    of = instance(nodes(1, 8), column((1,)), objective="gpus", load=workload(request_rate=rate))
    assert count(surviving(of, "gpu")) == expected


@pytest.mark.parametrize(("rate", "fits"), [("8 /s", True), ("8.001 /s", False)], ids=["just-fits", "one-short"])
@pytest.mark.parametrize("many", [2, 6], ids=["two", "six"])
def test_one_node_takes_all_replicas_on_it(rate: str, fits: bool, many: int) -> None:
    each = point(8.0 / (4 * (many - 1)))
    of = instance(nodes(many, 4), column((1,), gives=each), objective="gpus", load=workload(request_rate=rate))
    assert count(surviving(of, "node")) == (4 * many if fits else 0)


def test_a_replica_over_two_nodes_breaks_with_either() -> None:
    of = instance(nodes(3, 2), column((2,), (2,)), objective="gpus", load=workload(request_rate="1 /s"))
    assert solved(surviving(of, "node")) is None
    assert solved(surviving(replace(of, classes=(nodes(4, 2),)), "node")) is not None


@pytest.mark.parametrize(("own", "left"), [(True, 3), (False, 2)], ids=["a-nic-for-each-gpu", "one-nic"])
def test_one_nic_takes_what_crosses_it(own: bool, left: int) -> None:
    """Two nodes of four GPUs, all replicas over both: a NIC of its own breaks one, the only NIC of a node all."""
    crossing = column((1,), (1,), shares={"nics": 0.25})
    inside = column((2,))
    of = instance(nodes(2, 4), crossing, inside, load=workload(), replicas=4)
    choice = solved(surviving(of, "nic", own_nics=own))
    assert choice is not None
    assert choice.value == pytest.approx(10.0 * 4)
    only = instance(nodes(2, 4), crossing, replicas=4, objective="gpus", load=workload(request_rate=f"{left} /s"))
    assert (solved(surviving(only, "nic", own_nics=own)) is not None) is own


def test_throughput_is_counted_after_the_failure_and_something_must_be_left() -> None:
    choice = solved(surviving(instance(nodes(2, 4), column((1,)), column((4,), gives=point(4.5))), "node"))
    assert choice is not None
    assert choice.value == pytest.approx(45.0)
    assert solved(surviving(instance(nodes(1, 4), column((1,))), "node")) is None


def test_where_it_matters_what_breaks_together_smaller_fillings_are_listed_too() -> None:
    of = instance(nodes(6, 2), column((1,)), column((2,)))
    pieces = tuple(piece for one in of.columns for piece in one.pieces)
    assert patterns(of.classes[0], pieces, maximal=True) is not None
    every = patterns(of.classes[0], pieces, maximal=False)
    assert every is not None
    assert {tuple(n for _, n in pattern.pieces) for pattern in every} == {(), (1,), (2,)}
    assert len(every) == 4
