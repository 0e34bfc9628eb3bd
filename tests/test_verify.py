"""Plans broken by hand, each rejected by the rule it breaks; the plans they are made from break none."""

from collections.abc import Callable
from typing import Any

import pytest
from spoiled import (
    broken_rules,
    with_cluster,
    with_engine,
    with_estimate,
    with_memory,
    with_objective,
    with_replica,
    with_seat,
    with_totals,
    with_workload,
)
from typed_plans import Put, cluster, plan

from optimizer.inputs.cluster import Match, Override
from optimizer.inputs.workload import Slo
from optimizer.plan import Candidate, Failure, Plan, Reservation, Survival
from optimizer.verify import RULES, check

TWO_NODES = cluster()

ACROSS = Put((("n0/0", "n0/1"), ("n1/0", "n1/1")))
"""TP 2 x PP 2, one stage on each node."""

LEFT, RIGHT = Put((("n0/2", "n0/3"),)), Put((("n1/2", "n1/3"),))
"""TP 2 on what ``ACROSS`` leaves of each node."""


def good() -> Plan:
    """Three replicas on eight GPUs, one of them over both nodes."""
    return plan(TWO_NODES, [ACROSS, LEFT, RIGHT])


def test_a_good_plan_breaks_no_rule() -> None:
    assert check(good()) == ()


@pytest.mark.parametrize("objective", ["latency", "ttft", "gpus", "cost", "energy"])
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


def _rival(before: Plan, by: float) -> Candidate:
    """A layout that alone gives ``by`` times the plan's tokens."""
    return Candidate(
        tp=1, pp=1, dp=8, ep=1, weights="bf16", kv_cache="bf16", gpu_type="big", span="1 node", gpus=8, fits=True,
        meets=True, output_tokens_per_s=before.objective.value * by,
    )  # fmt: skip


def _asked(before: Plan, **options: str) -> Plan:
    """The plan as the answer to a question with options."""
    return before.model_copy(update={"provenance": before.provenance.model_copy(update={"options": options})})


PARTS: dict[Failure, int] = {"gpu": 8, "node": 2, "nic": 4}
"""Whose loss takes a replica: all GPUs and nodes, and the NICs beside the GPUs of the replica on both nodes."""


def _survives(
    before: Plan, failure: Failure, *, worst: str = "n0/0", lost: tuple[int, ...] = (0,), boast: float = 1.0
) -> Plan:
    """The plan as one that survives, ``worst`` said to be the worst failure."""
    kept = [r.estimate for number, r in enumerate(before.replicas) if number not in lost]
    rate = sum(e.requests_per_s for e in kept) * boast
    left = Survival(
        failure=failure, worst=worst, checked=PARTS[failure], replicas_lost=lost, requests_per_s=rate,
        output_tokens_per_s=rate * before.inputs.workload.osl.mean, concurrency=sum(e.concurrency for e in kept),
    )  # fmt: skip
    asked = _asked(before, survive=failure).model_copy(update={"survival": left})
    return with_objective(asked, value=left.output_tokens_per_s, bound=left.output_tokens_per_s)


@pytest.mark.parametrize(
    ("failure", "worst", "lost"), [("gpu", "n0/0", (0,)), ("node", "n0", (0, 1)), ("nic", "n0/nic0", (0,))]
)
def test_a_plan_that_survives_as_stated_breaks_no_rule(failure: Any, worst: str, lost: tuple[int, ...]) -> None:
    assert check(_survives(good(), failure, worst=worst, lost=lost)) == ()


def slowest(before: Plan) -> float:
    return max(replica.estimate.tpot_s for replica in before.replicas)


A_LITTLE = Reservation(domain="n0/nic0", bytes_per_s=1.0)


def _another_type(before: Plan) -> Plan:
    gpus = before.inputs.cluster.gpus
    return with_replica(
        with_cluster(before, gpus=gpus | {"small": gpus["big"].model_copy(update={"id": "small"})}), gpu_type="small"
    )


def _of_architecture(before: Plan, architecture: str) -> Plan:
    gpus = before.inputs.cluster.gpus
    changed = {name: spec.model_copy(update={"architecture": architecture}) for name, spec in gpus.items()}
    return with_cluster(before, gpus=changed)


def _with_foreign_digest(before: Plan) -> Plan:
    known = before.provenance.model_copy(update={"inputs_sha256": {"workload": "0" * 64}})
    return before.model_copy(update={"provenance": known})


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
    ("gpus_are_of_the_stages_type", _another_type),
    ("engine_runs_on_the_gpus", lambda p: _of_architecture(p, "volta")),
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
    ("slos_are_met", lambda p: with_workload(p, margin=0.1, slo=Slo(tpot=f"{slowest(p) * 1.05} s"))),
    ("estimate_is_as_recomputed", lambda p: with_workload(p, margin=0.1)),
    ("reservations_are_as_recomputed", lambda p: with_replica(p, reservations=())),
    ("reservations_are_as_recomputed", lambda p: with_replica(p, 1, reservations=(A_LITTLE,))),
    ("demand_is_met", lambda p: with_workload(p, concurrency=11)),
    ("demand_is_met", lambda p: with_objective(with_workload(p, concurrency=13), name="latency")),
    ("demand_is_met", lambda p: with_objective(with_workload(p, request_rate=1e6), name="gpus")),
    ("every_service_is_served", lambda p: p.model_copy(update={"replicas": ()})),
    ("objective_is_as_recomputed", lambda p: _boasted(p, 1.01)),
    ("objective_is_as_recomputed", lambda p: with_workload(p, request_rate=1.0)),
    ("proof_holds", lambda p: with_objective(p, bound=p.objective.value * 2, gap=1.0)),
    ("proof_holds", lambda p: with_objective(p, gap=0.5)),
    ("proof_holds", _bound_below),
    ("no_candidate_is_better", lambda p: p.model_copy(update={"candidates": (_rival(p, 1.01),)})),
    ("enough_is_left", lambda p: _asked(p, survive="node")),
    ("enough_is_left", lambda p: _survives(p, "gpu", worst="n0/0", lost=(0,), boast=1.01)),
    ("enough_is_left", lambda p: _survives(p, "gpu", worst="n0/2", lost=(1,))),
    ("enough_is_left", lambda p: _survives(p, "gpu", worst="n0/0", lost=(1,))),
    ("enough_is_left", lambda p: _survives(with_objective(with_workload(p, request_rate=1e6), name="gpus"), "gpu")),
    ("inputs_are_those_solved", _with_foreign_digest),
    ("objectives_are_those_asked", lambda p: _asked(p, objective="gpus")),
    ("objectives_are_those_asked", lambda p: _asked(p, objective="throughput,latency")),
    ("objective_is_as_recomputed", lambda p: with_objective(p, unit="GPUs")),
    ("engine_is_set_as_asked", lambda p: with_estimate(p, batched_tokens=512)),
    ("reservations_are_as_recomputed", lambda p: with_replica(p, reservations=2 * p.replicas[0].reservations)),
    ("estimate_is_as_recomputed", lambda p: with_estimate(p, notes=("measured",))),
    ("options_are_kept", lambda p: _asked(p, max_gpus="many")),
    ("options_are_kept", lambda p: _asked(p, fix="tensor=2")),
    ("options_are_kept", lambda p: _asked(p, fix="pp=1")),
    ("options_are_kept", lambda p: _asked(p, fix="dp=2")),
    ("options_are_kept", lambda p: _asked(p, max_gpus="7")),
    ("totals_add_up", lambda p: with_totals(p, gpus=7)),
    ("totals_add_up", lambda p: with_totals(p, output_tokens_per_s=1.0)),
    ("totals_add_up", lambda p: with_totals(p, tpot_s=1.0)),
    ("totals_add_up", lambda p: with_totals(p, cost_per_h=None)),
    ("totals_add_up", lambda p: with_totals(p, power_w=1.0)),
    ("totals_add_up", lambda p: with_totals(p, currency="EUR")),
)  # fmt: skip


@pytest.mark.parametrize(("rule", "spoil"), BROKEN, ids=[f"{n}-{rule}" for n, (rule, _) in enumerate(BROKEN)])
def test_a_broken_plan_is_rejected_by_its_rule(rule: str, spoil: Callable[[Plan], Plan]) -> None:
    assert rule in broken_rules(spoil(good()))


def test_options_that_were_kept_and_candidates_that_are_no_better_break_no_rule() -> None:
    asked = _asked(good(), fix="dp=3,tp=2", max_gpus="8")
    assert check(asked.model_copy(update={"candidates": (_rival(asked, 1.0),)})) == ()


def test_ranks_return_to_no_node_they_have_left() -> None:
    zigzag = Put((("n0/0", "n1/0"), ("n0/1", "n1/1")))
    assert "nodes_hold_equal_shares" in broken_rules(plan(TWO_NODES, [zigzag]))


def test_a_cluster_that_cannot_be_built_is_a_violation() -> None:
    assert broken_rules(with_cluster(good(), templates={})) == {"inputs"}


def test_every_rule_is_broken_by_some_plan() -> None:
    elsewhere = {
        "links_carry_what_is_promised", "mean_traffic_is_reserved", "nics_and_uplinks_are_not_promised_twice",
        "roles_are_allowed", "pairs_agree", "pairs_meet_ttft", "services_add_up", "attention_replicas_are_whole",
        "engine_takes_several_types", "replicas_have_boxes_of_the_torus",
    }  # fmt: skip
    named = {rule for rule, _ in BROKEN} | elsewhere
    assert named == {rule.__name__ for rule in RULES}
