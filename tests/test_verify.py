"""Plans broken by hand, each rejected by the rule it breaks; the plans they are made from break none."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from typed_plans import MODEL, WORKLOAD, Put, cluster, plan

from optimizer.inputs.cluster import ClusterSpec, FatTree, Match, NodeTemplate, Override
from optimizer.inputs.workload import Slo
from optimizer.plan import Plan, Reservation
from optimizer.verify import RULES, check

TWO_NODES = cluster()

ACROSS = Put((("n0/0", "n0/1"), ("n1/0", "n1/1")))
"""TP 2 x PP 2, one stage on each node."""

LEFT, RIGHT = Put((("n0/2", "n0/3"),)), Put((("n1/2", "n1/3"),))
"""TP 2 on what ``ACROSS`` leaves of each node."""


def good() -> Plan:
    """Three replicas on eight GPUs, one of them over both nodes."""
    return plan(TWO_NODES, [ACROSS, LEFT, RIGHT])


def with_replica(before: Plan, number: int = 0, **changes: Any) -> Plan:
    """Return the plan with fields of one replica replaced."""
    replicas = list(before.replicas)
    replicas[number] = replicas[number].model_copy(update=changes)
    return before.model_copy(update={"replicas": tuple(replicas)})


def with_seat(before: Plan, index: int, number: int = 0, **changes: Any) -> Plan:
    """Return the plan with fields of one seat replaced."""
    seats = list(before.replicas[number].seats)
    seats[index] = seats[index].model_copy(update=changes)
    return with_replica(before, number, seats=tuple(seats))


def with_estimate(before: Plan, number: int = 0, **changes: Any) -> Plan:
    """Return the plan with fields of one estimate replaced."""
    return with_replica(before, number, estimate=replace(before.replicas[number].estimate, **changes))


def with_memory(before: Plan, **changes: Any) -> Plan:
    """Return the plan with fields of the first rank's ledger replaced."""
    first, *others = before.replicas[0].estimate.memory
    return with_estimate(before, memory=(replace(first, **changes), *others))


def with_engine(before: Plan, **changes: Any) -> Plan:
    """Return the plan with engine settings of the first replica replaced."""
    return with_replica(before, engine=replace(before.replicas[0].engine, **changes))


def with_objective(before: Plan, **changes: Any) -> Plan:
    """Return the plan with fields of its objective replaced."""
    return before.model_copy(update={"objective": before.objective.model_copy(update=changes)})


def with_totals(before: Plan, **changes: Any) -> Plan:
    """Return the plan with some totals replaced."""
    return before.model_copy(update={"totals": before.totals.model_copy(update=changes)})


def with_inputs(before: Plan, **changes: Any) -> Plan:
    """Return the plan as if other inputs had been asked."""
    return before.model_copy(update={"inputs": before.inputs.model_copy(update=changes)})


def with_cluster(before: Plan, **changes: Any) -> Plan:
    """Return the plan as if made for a cluster that differs."""
    return with_inputs(before, cluster=before.inputs.cluster.model_copy(update=changes))


def with_workload(before: Plan, **changes: Any) -> Plan:
    """Return the plan as if other traffic had been asked for."""
    return with_inputs(before, workload=before.inputs.workload.model_copy(update=changes))


def broken_rules(wrong: Plan) -> set[str]:
    """Return the names of the rules a plan breaks."""
    return {violation.split(":")[0] for violation in check(wrong)}


def test_a_good_plan_breaks_no_rule() -> None:
    assert check(good()) == ()


@pytest.mark.parametrize("objective", ["latency", "ttft", "gpus", "cost"])
def test_every_objective_is_recomputed_as_it_was_meant(objective: Any) -> None:
    assert check(plan(TWO_NODES, [ACROSS, LEFT], objective=objective)) == ()


def _swapped_ranks(before: Plan) -> Plan:
    seats = before.replicas[0].seats
    return with_replica(before, seats=(seats[1], seats[0], *seats[2:]))


def _unequal_nodes(before: Plan) -> Plan:
    """A TP 2 x PP 2 replica with three ranks on one node and one on the other."""
    return with_seat(before, 2, node="n0", gpu="n0/2", local_index=2)


def _lost_gpu(before: Plan) -> Plan:
    return with_cluster(before, overrides=(Override(match=Match(node="n0", gpu=0), state="lost"),))


def _reserved_gpu(before: Plan) -> Plan:
    return with_cluster(before, overrides=(Override(match=Match(node="n1", gpu=3), state="reserved"),))


def _three_way(before: Plan) -> Plan:
    """TP 3 of 32 heads."""
    return with_replica(before, tp=3, pp=1, layers_per_stage=(4,), seats=before.replicas[0].seats[:3])


def _boasted(before: Plan, by: float) -> Plan:
    value = before.objective.value * by
    return with_objective(before, value=value, bound=value)


def _bound_below(before: Plan) -> Plan:
    """A bound that the value itself exceeds."""
    wrong = with_objective(before, bound=before.objective.value / 2, gap=0.5)
    return wrong.model_copy(update={"status": "feasible"})


A_LITTLE = Reservation(domain="n0/nic0", bytes_per_s=1.0)


def _another_type(before: Plan) -> Plan:
    gpus = before.inputs.cluster.gpus
    return with_replica(
        with_cluster(before, gpus=gpus | {"small": gpus["big"].model_copy(update={"id": "small"})}), gpu_type="small"
    )


BROKEN: tuple[tuple[str, Callable[[Plan], Plan]], ...] = (
    ("seats_exist", lambda p: with_seat(p, 0, gpu="n7/0")),
    ("seats_exist", lambda p: with_seat(p, 0, node="n1")),
    ("seats_exist", lambda p: with_seat(p, 0, local_index=3)),
    ("seats_may_be_used", _lost_gpu),
    ("seats_may_be_used", _reserved_gpu),
    ("seats_hold_one_rank", lambda p: with_seat(p, 1, gpu="n0/0", local_index=0)),
    ("seats_hold_one_rank", lambda p: with_seat(p, 0, number=1, gpu="n0/0", local_index=0)),
    ("ranks_are_complete", _swapped_ranks),
    ("ranks_are_complete", lambda p: with_seat(p, 3, rank=4)),
    ("ranks_are_complete", lambda p: with_seat(p, 2, stage=0)),
    ("ranks_are_complete", lambda p: with_replica(p, seats=p.replicas[0].seats[:3])),
    ("layers_are_all_there", lambda p: with_replica(p, layers_per_stage=(2, 1))),
    ("layers_are_all_there", lambda p: with_replica(p, layers_per_stage=(4, 0))),
    ("layers_are_all_there", lambda p: with_replica(p, layers_per_stage=(2, 1, 1))),
    ("gpus_are_of_one_type", _another_type),
    ("engine_admits_layout", _three_way),
    ("engine_admits_layout", lambda p: with_replica(p, model="another")),
    ("precisions_are_allowed", lambda p: with_replica(p, weights="fp8")),
    ("precisions_are_allowed", lambda p: with_replica(p, kv_cache="fp8")),
    ("nodes_hold_equal_shares", _unequal_nodes),
    ("replicas_are_wired", lambda p: with_cluster(p, fabric=None)),
    ("engine_is_set_as_asked", lambda p: with_engine(p, max_num_batched_tokens=4096)),
    ("engine_is_set_as_asked", lambda p: with_engine(p, gpu_memory_utilization=0.99)),
    ("engine_is_set_as_asked", lambda p: with_engine(p, max_model_len=8192)),
    ("engine_takes_the_load", lambda p: with_engine(p, max_model_len=500)),
    ("engine_takes_the_load", lambda p: with_estimate(p, concurrency=0)),
    ("memory_fits", lambda p: with_memory(p, weights_bytes=12 * 10**9)),
    ("memory_fits", lambda p: with_memory(p, fits=False)),
    ("memory_fits", lambda p: with_memory(p, capacity_bytes=2 * 10**10)),
    ("memory_is_as_recomputed", lambda p: with_memory(p, weights_bytes=10**6)),
    ("memory_is_as_recomputed", lambda p: with_memory(p, kv_tokens=10**5)),
    ("memory_is_as_recomputed", lambda p: with_estimate(p, memory=p.replicas[0].estimate.memory[:-1])),
    ("estimate_is_as_recomputed", lambda p: with_estimate(p, tpot_s=p.replicas[0].estimate.tpot_s * 0.999)),
    ("estimate_is_as_recomputed", lambda p: with_estimate(p, ttft_s=p.replicas[0].estimate.ttft_s * 1.001)),
    ("estimate_is_as_recomputed", lambda p: with_estimate(p, requests_per_s=1e3)),
    ("slos_are_met", lambda p: with_workload(p, slo=Slo(tpot="1 us"))),
    ("slos_are_met", lambda p: with_workload(p, slo=Slo(ttft="1 us"))),
    ("reservations_are_as_recomputed", lambda p: with_replica(p, reservations=())),
    ("reservations_are_as_recomputed", lambda p: with_replica(p, 1, reservations=(A_LITTLE,))),
    ("demand_is_met", lambda p: with_workload(p, concurrency=11)),
    ("demand_is_met", lambda p: with_objective(with_workload(p, concurrency=13), name="latency")),
    ("demand_is_met", lambda p: with_objective(with_workload(p, request_rate=1e6), name="gpus")),
    ("demand_is_met", lambda p: p.model_copy(update={"replicas": ()})),
    ("objective_is_as_recomputed", lambda p: _boasted(p, 1.01)),
    ("objective_is_as_recomputed", lambda p: with_workload(p, request_rate=1.0)),
    ("proof_holds", lambda p: with_objective(p, bound=p.objective.value * 2, gap=1.0)),
    ("proof_holds", lambda p: with_objective(p, gap=0.5)),
    ("proof_holds", _bound_below),
    ("totals_add_up", lambda p: with_totals(p, gpus=7)),
    ("totals_add_up", lambda p: with_totals(p, output_tokens_per_s=1.0)),
    ("totals_add_up", lambda p: with_totals(p, tpot_s=1.0)),
    ("totals_add_up", lambda p: with_totals(p, cost_per_h=None)),
)  # fmt: skip


@pytest.mark.parametrize(("rule", "spoil"), BROKEN, ids=[f"{n}-{rule}" for n, (rule, _) in enumerate(BROKEN)])
def test_a_broken_plan_is_rejected_by_its_rule(rule: str, spoil: Callable[[Plan], Plan]) -> None:
    assert rule in broken_rules(spoil(good()))


def test_ranks_return_to_no_node_they_have_left() -> None:
    zigzag = Put((("n0/0", "n1/0"), ("n0/1", "n1/1")))
    assert "nodes_hold_equal_shares" in broken_rules(plan(TWO_NODES, [zigzag]))


def test_a_cluster_that_cannot_be_built_is_a_violation() -> None:
    assert broken_rules(with_cluster(good(), templates={})) == {"inputs"}


def test_every_rule_is_broken_by_some_plan() -> None:
    named = {rule for rule, _ in BROKEN} | {"links_carry_what_is_promised", "nics_and_uplinks_are_not_promised_twice"}
    assert named == {rule.__name__ for rule in RULES}


# -- links --------------------------------------------------------------------------------------------------------


def _crossing(*gpus: int, share: Any) -> Put:
    """One GPU of each of two nodes, joined by NICs."""
    return Put(tuple((f"n{node}/{gpu}",) for node, gpu in enumerate(gpus)), share=share)


def test_two_replicas_cannot_both_have_one_nic_alone() -> None:
    """Two GPUs share the only NIC of each node."""
    one_nic = cluster(nodes=2, gpus=2, nics=1)
    both = broken_rules(plan(one_nic, [_crossing(0, 0, share="alone"), _crossing(1, 1, share="alone")]))
    assert both >= {"links_carry_what_is_promised", "nics_and_uplinks_are_not_promised_twice"}


def test_a_nic_given_to_one_replica_alone_is_closed_to_a_fair_one() -> None:
    one_nic = cluster(nodes=2, gpus=2, nics=1)
    both = broken_rules(plan(one_nic, [_crossing(0, 0, share="alone"), _crossing(1, 1, share="fair")]))
    assert both >= {"links_carry_what_is_promised", "nics_and_uplinks_are_not_promised_twice"}


def test_fair_shares_of_one_nic_add_up_to_the_nic() -> None:
    one_nic = cluster(nodes=2, gpus=2, nics=1)
    assert check(plan(one_nic, [_crossing(0, 0, share="fair"), _crossing(1, 1, share="fair")])) == ()


def test_replicas_with_a_nic_each_may_both_have_it_alone() -> None:
    assert check(plan(cluster(nodes=2, gpus=2), [_crossing(0, 0, share="alone"), _crossing(1, 1, share="alone")])) == ()


def test_the_sum_over_a_node_does_not_hide_one_nic_promised_twice() -> None:
    """Four GPUs on two NICs: both replicas want the first NIC, the second idles, the node's sum would do."""
    two_nics = cluster(nodes=2, gpus=4, nics=2)
    both = broken_rules(plan(two_nics, [_crossing(0, 0, share="alone"), _crossing(1, 1, share="alone")]))
    assert "nics_and_uplinks_are_not_promised_twice" in both


def test_uplinks_of_a_leaf_are_not_promised_twice() -> None:
    """Each node is its own leaf, every GPU has its NIC: only the uplinks are shared."""
    racks = cluster(nodes=2, gpus=2, fabric=FatTree(nodes_per_leaf=1, oversubscription=2.0))
    both = broken_rules(plan(racks, [_crossing(0, 0, share="alone"), _crossing(1, 1, share="fair")]))
    assert both >= {"links_carry_what_is_promised", "nics_and_uplinks_are_not_promised_twice"}


# -- absent links -------------------------------------------------------------------------------------------------


def _moved(before: ClusterSpec, after: ClusterSpec, put: Put) -> Plan:
    """Return a plan made for one cluster, claimed for another with the same names."""
    return with_inputs(plan(before, [put]), cluster=after)


PAIR = Put((("n0/0", "n1/0"),))
"""A TP group over two nodes."""


NICS_DOWN = tuple(Override(match=Match(node="n1", nic=nic), state="down") for nic in range(4))


@pytest.mark.parametrize(
    "absent",
    [
        cluster(fabric=None),
        TWO_NODES.model_copy(update={"overrides": NICS_DOWN}),
        TWO_NODES.model_copy(update={"templates": {"t": NodeTemplate(gpu="big", gpus=4)}}),
    ],
    ids=["no-fabric", "all-nics-down", "no-nics"],
)
def test_a_tp_group_over_an_absent_link_is_rejected(absent: ClusterSpec) -> None:
    assert check(plan(TWO_NODES, [PAIR])) == ()
    assert "replicas_are_wired" in broken_rules(_moved(TWO_NODES, absent, PAIR))


def test_a_tp_group_off_nvlink_and_pcie_is_rejected() -> None:
    one = cluster(nodes=1)
    off = tuple(Override(match=Match(node="n0", gpu=0, link=link), state="down") for link in ("nvlink", "pcie"))
    group = Put((("n0/0", "n0/1"),))
    assert check(plan(one, [group])) == ()
    assert "replicas_are_wired" in broken_rules(_moved(one, one.model_copy(update={"overrides": off}), group))


def test_a_plan_priced_over_nvlink_is_rejected_where_nvlink_is_down() -> None:
    one = cluster(nodes=1)
    down = one.model_copy(update={"overrides": (Override(match=Match(node="n0", gpu=0, link="nvlink"), state="down"),)})
    group = Put((("n0/0", "n0/1"),))
    assert "estimate_is_as_recomputed" in broken_rules(_moved(one, down, group))


def test_more_requests_than_memory_holds_are_rejected() -> None:
    """One GPU of 4 GB holds the weights and little else."""
    small = cluster(nodes=1, gpus=1, memory="4 GB")
    crowded = plan(small, [Put((("n0/0",),), concurrency=256)], workload=WORKLOAD, model=MODEL)
    assert broken_rules(crowded) >= {"memory_is_as_recomputed"}
