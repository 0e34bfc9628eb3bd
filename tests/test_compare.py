"""Plans side by side: equal replicas are grouped, differences are named."""

import handmade
import pytest

from optimizer.compare import (
    candidate_label,
    input_differences,
    kv_tokens,
    pieces,
    plan_rows,
    replica_groups,
    shares,
)
from optimizer.plan import Inputs


def test_replicas_that_differ_only_in_seats_are_one_group() -> None:
    mixed = handmade.plan(
        handmade.replica([("node01", [0, 1, 2, 3])], tp=4),
        handmade.replica([("node01", [4, 5])], tp=2),
        handmade.replica([("node02", [0, 1, 2, 3])], tp=4),
    )
    groups = replica_groups(mixed)
    assert [(group.numbers, group.degrees) for group in groups] == [
        ((0, 2), "TP4 x PP1 x DP2"),
        ((1,), "TP2 x PP1 x DP1"),
    ]
    assert groups[0].label == "2 x tp4 bf16 on h200-sxm"


def test_a_plan_does_not_differ_from_itself() -> None:
    plan = handmade.plan()
    assert not any(row.differs for row in plan_rows([plan, plan]))
    assert input_differences(plan, plan) == ()


def test_differing_inputs_are_named_by_their_key() -> None:
    inputs = Inputs(cluster=handmade.cluster(), model=handmade.model(), workload=handmade.workload(osl=100))
    rows = input_differences(handmade.plan(), handmade.plan(inputs=inputs))
    assert [(row.key, row.values) for row in rows] == [("workload.osl.mean", ("512", "100"))]


def test_seats_are_told_by_node_in_rank_order() -> None:
    replica = handmade.replica([("b", [3, 1]), ("a", [0, 2])], tp=2, pp=2)
    (row,) = (row for row in plan_rows([handmade.plan(replica)]) if row.key == "seats")
    assert row.values == ("0: b 3 1; 0: a 0 2",)


def test_replicas_that_sit_alike_are_told_together() -> None:
    (row,) = (row for row in plan_rows([handmade.plan()]) if row.key == "seats")
    assert row.values == ("0, 2: node[01-02] 0 1 2 3; 1, 3: node[01-02] 4 5 6 7",)
    alone = [piece.replicas for piece in pieces(handmade.plan().replicas, alike=False)]
    assert alone == [(0,), (1,), (2,), (3,)]


def test_shares_add_up_to_one_largest_first() -> None:
    told = shares({"gemm": 1.0, "attention": 3.0, "pipeline": 0.0})
    assert list(told) == ["attention", "gemm", "pipeline"]
    assert sum(told.values()) == pytest.approx(1)
    assert shares(None) == {}


def test_labels_leave_out_degrees_of_one() -> None:
    first = handmade.candidates()[0]
    assert candidate_label(first) == "tp4"
    assert candidate_label(first.model_copy(update={"pp": 2, "ep": 4})) == "tp4pp2ep4"
    assert kv_tokens(handmade.replica([("a", [0])], tp=1)) == 250_000
