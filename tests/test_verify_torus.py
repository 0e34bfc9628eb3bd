"""What the checker finds of plans on a torus, and what is planned there: boxes, roles, failures, faults, pictures."""

from dataclasses import replace
from typing import Any

import pytest
from spoiled import broken_rules
from strategies import gpu_spec
from test_oracle_itself import TWO_LAYERS, WORKLOAD
from tori import torus

from optimizer.errors import InputError
from optimizer.inputs.cluster import ClusterSpec, Match, Override
from optimizer.pipeline import Request, solve
from optimizer.pipeline.routed import solve_routed
from optimizer.plan import Plan, Seat
from optimizer.report.picture import svg
from optimizer.report.records import plan_text
from optimizer.report.scene import scene
from optimizer.topology.graph import build
from optimizer.verify import check

RULE = "replicas_have_boxes_of_the_torus"
SMALL = "3.2 GB"
"""Memory of which a replica needs two GPUs."""


def planned(cluster: ClusterSpec, **more: Any) -> Plan:
    return solve(Request(cluster, TWO_LAYERS, WORKLOAD, **more)).plan


def seated(plan: Plan, *nodes: tuple[str, ...]) -> Plan:
    """Return the plan with the ranks of its first replicas on the only GPUs of these nodes."""
    replicas = [
        one.model_copy(
            update={
                "seats": tuple(
                    Seat(rank=r, stage=s.stage, node=n, gpu=f"{n}/0", local_index=0)
                    for r, (n, s) in enumerate(zip(names, one.seats, strict=True))
                )
            }
        )
        for one, names in zip(plan.replicas, nodes, strict=False)
    ]
    return plan.model_copy(update={"replicas": (*replicas, *plan.replicas[len(replicas) :])})


def nodes_of(plan: Plan) -> list[set[str]]:
    return [{seat.node for seat in one.seats} for one in plan.replicas]


def test_replicas_over_nodes_have_boxes_without_a_common_node() -> None:
    plan = planned(torus((3, 2), memory=SMALL))
    taken = nodes_of(plan)
    assert len(taken) == 3
    assert sum(map(len, taken)) == len(set().union(*taken)) == 6
    assert check(plan) == ()


def test_nodes_that_are_no_box_are_found() -> None:
    plan = planned(torus((2, 2), memory=SMALL))
    assert RULE in broken_rules(seated(plan, ("n0", "n3"), ("n1", "n2")))


def test_two_replicas_in_one_box_are_found() -> None:
    plan = planned(torus((1, 3), gpus=2, memory=SMALL, wrap=False), fix={"tp": 2, "pp": 1})
    one, other = plan.replicas[:2]

    def across(replica: Any, local: int) -> Any:
        seats = (("n0", 0), ("n1", 1))
        return replica.model_copy(update={"seats": tuple(
            Seat(rank=r, stage=0, node=n, gpu=f"{n}/{local}", local_index=local) for n, r in seats
        )})  # fmt: skip

    spoiled = plan.model_copy(update={"replicas": (across(one, 0), across(other, 1))})
    assert any("its links of the torus are those of replica 0 and replica 1" in wrong for wrong in check(spoiled))


def test_a_box_over_a_broken_link_is_found() -> None:
    plan = planned(torus((2, 2), memory=SMALL))
    broken = plan.inputs.cluster.model_copy(
        update={"overrides": (Override(match=Match(node="n0", to="n1"), state="down"),)}
    )
    spoiled = plan.model_copy(update={"inputs": plan.inputs.model_copy(update={"cluster": broken})})
    assert RULE in broken_rules(seated(spoiled, ("n0", "n1"), ("n2", "n3")))


def test_the_same_torus_gives_the_same_bytes() -> None:
    cluster = torus((3, 3), memory=SMALL)
    assert plan_text(planned(cluster)) == plan_text(planned(cluster))


def test_a_lost_node_leaves_the_boxes_beside_it() -> None:
    plan = planned(torus((3, 2), memory=SMALL, overrides=(Override(match=Match(node="n2"), state="down"),)))
    assert len(plan.replicas) == 2
    assert all("n2" not in nodes for nodes in nodes_of(plan))
    assert [cost.more_gpus for cost in plan.faults] == [-2]
    assert plan.faults[0].loss_fraction == pytest.approx(1 / 3)


def test_a_broken_link_is_worked_around_and_costs_nothing() -> None:
    plan = planned(torus((2, 2), memory=SMALL, overrides=(Override(match=Match(node="n0", to="n1"), state="down"),)))
    assert nodes_of(plan) == [{"n0", "n2"}, {"n1", "n3"}] or nodes_of(plan) == [{"n1", "n3"}, {"n0", "n2"}]
    assert [(cost.fault, cost.harmless) for cost in plan.faults] == [("link of n0 to n1 is down", True)]


def test_a_plan_on_a_torus_survives_a_node() -> None:
    plan = planned(torus((2, 4), memory=SMALL), survive="node")
    assert plan.survival is not None
    assert len(plan.survival.replicas_lost) == 1
    assert plan.survival.checked == 8
    assert check(plan) == ()


def test_prefill_and_decode_apart_are_refused_by_name() -> None:
    apart = WORKLOAD.model_copy(update={"roles": ("prefill", "decode")})
    with pytest.raises(InputError, match=r"not planned on a torus.*roles: \[both\]"):
        solve(replace(Request(torus((2, 2)), TWO_LAYERS, apart)))


def test_routed_pools_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="torus"):
        solve_routed(Request(torus((2, 2)), TWO_LAYERS, WORKLOAD))


def test_a_picture_shows_nodes_at_their_places_with_their_links() -> None:
    broken = (Override(match=Match(node="n0", to="n1"), state="down"), Override(match=Match(node="n4"), state="down"))
    drawn = svg(scene(build(torus((2, 3, 2), overrides=broken))))
    assert "torus 2 x 3 x 2, 100 GB/s a link and direction, wraps along 2" in drawn
    assert "plane 0" in drawn
    assert "plane 1" in drawn
    assert drawn.count('class="tp-bad"') >= 1 + 3
    assert "n0 link to n1: down" in drawn


def test_types_of_gpus_share_a_torus() -> None:
    spec = torus((2, 2), memory=SMALL).model_dump(mode="json")
    spec["gpus"]["small"] = gpu_spec("small", SMALL).model_dump(mode="json")
    spec["templates"]["s"] = {**spec["templates"]["t"], "gpu": "small"}
    for node in spec["nodes"][2:]:
        node["template"] = "s"
    plan = planned(ClusterSpec.model_validate(spec))
    assert sorted(map(sorted, nodes_of(plan))) == [["n0", "n1"], ["n2", "n3"]]
