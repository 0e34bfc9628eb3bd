"""Several models and roles apart: plans in round figures that just keep each rule, miss it by little, or break it."""

from collections.abc import Callable
from typing import Any

import pytest
from served_plans import (
    FIRST,
    SLOWEST_PAIR_S,
    outcome_rules_broken,
    surviving,
    two_models,
    with_demand,
    with_served,
    with_value,
)
from spoiled import with_engine, with_estimate, with_inputs, with_objective, with_replica, with_totals

from optimizer.inputs.workload import Slo
from optimizer.plan import Candidate, Plan
from optimizer.verify.evidence import gather
from optimizer.verify.failures import enough_is_left

LITTLE = 1e-4
"""Relative: more than rounding, less than anything else."""


def slo(plan: Plan, seconds: float) -> Plan:
    return with_demand(plan, slo=Slo(ttft=f"{seconds!r} s"))


def latency(**load: Any) -> Plan:
    """The first model asked for with this load, both for least TPOT, which is that of the second."""
    return with_value(with_demand(two_models(), **load), "latency", 0.05)


def without(plan: Plan, *lost: int) -> Plan:
    kept = tuple(replica for number, replica in enumerate(plan.replicas) if number not in lost)
    return plan.model_copy(update={"replicas": kept})


def candidate(**changes: Any) -> Candidate:
    given: dict[str, Any] = {
        "tp": 1, "pp": 1, "dp": 8, "ep": 1, "weights": "bf16", "kv_cache": "bf16", "gpu_type": "big", "span": "1 node",
        "gpus": 8, "fits": True, "meets": True, "output_tokens_per_s": 10_000.0,
    }  # fmt: skip
    return Candidate(**(given | changes))


KEPT: tuple[tuple[str, Callable[[], Plan]], ...] = (
    ("all", two_models),
    ("pairs_meet_ttft", lambda: slo(two_models(), SLOWEST_PAIR_S)),
    ("pairs_agree", lambda: with_replica(two_models(), 0, tp=1)),
    ("roles_are_allowed", lambda: with_demand(two_models(), roles=("both", "prefill", "decode"))),
    ("demand_is_met by rate", lambda: with_rate(11.0)),
    ("demand_is_met by clients", lambda: latency(concurrency=16)),
    ("demand_is_met by one", latency),
    ("demand_is_met without any", lambda: with_value(starved(), "gpus", 5.0)),
    ("demand_is_met for throughput", lambda: with_demand(two_models(), concurrency=19)),
    ("ttft", lambda: with_value(two_models(), "ttft", 0.40)),
    ("ttft of pairs", lambda: with_value(with_estimate(two_models(), 3, ttft_s=0.3), "ttft", SLOWEST_PAIR_S)),
    ("gpus", lambda: with_value(two_models(), "gpus", 5.0)),
    ("cost", lambda: with_value(two_models(), "cost", 10.0)),
    ("energy", lambda: with_value(two_models(), "energy", 2500.0)),
    ("candidates of one of two models", lambda: two_models().model_copy(update={"candidates": (candidate(),)})),
)


def starved() -> Plan:
    """Decode replicas that could finish a little more than prefill hands over."""
    return with_estimate(two_models(), 0, requests_per_s=9 * (1 - LITTLE))


def with_rate(per_s: float) -> Plan:
    return latency(request_rate=per_s)


@pytest.mark.parametrize(("rule", "make"), KEPT, ids=[rule for rule, _ in KEPT])
def test_a_plan_that_just_keeps_a_rule_breaks_none(rule: str, make: Callable[[], Plan]) -> None:
    loose = {"totals_add_up", "services_add_up"} if rule in ("ttft of pairs", "demand_is_met without any") else set()
    assert outcome_rules_broken(make()) - loose == set()


BROKEN: tuple[tuple[str, Callable[[], Plan]], ...] = (
    ("roles_are_allowed", lambda: with_demand(two_models(), roles=("both",))),
    ("roles_are_allowed", lambda: with_demand(two_models(), roles=("prefill", "decode"))),
    ("roles_are_allowed", lambda: with_replica(two_models(), 4, service=2)),
    ("roles_are_allowed", lambda: with_replica(two_models(), 4, role="decode")),
    ("pairs_agree", lambda: with_replica(two_models(), 0, kv_cache="fp8")),
    ("pairs_agree", lambda: with_replica(two_models(), 2, kv_cache="fp8")),
    ("pairs_agree", lambda: with_engine(two_models(), block_tokens=32)),
    ("pairs_agree", lambda: with_replica(with_replica(two_models(), 0, tp=2), 1, tp=3)),
    ("pairs_meet_ttft", lambda: slo(two_models(), SLOWEST_PAIR_S * (1 - LITTLE))),
    ("pairs_meet_ttft", lambda: with_estimate(slo(two_models(), SLOWEST_PAIR_S), 1, transfer_s=0.11)),
    ("pairs_meet_ttft", lambda: with_estimate(slo(two_models(), SLOWEST_PAIR_S), 0, transfer_s=0.11)),
    ("pairs_meet_ttft", lambda: with_estimate(slo(two_models(), SLOWEST_PAIR_S), 0, ttft_slo_s=0.21)),
    ("pairs_meet_ttft", lambda: with_estimate(slo(two_models(), SLOWEST_PAIR_S), 2, ttft_slo_s=0.07)),
    ("every_service_is_served", lambda: without(two_models(), 4)),
    ("every_service_is_served", lambda: without(two_models(), 0, 3)),
    ("every_service_is_served", lambda: without(two_models(), 1, 2, 3)),
    ("demand_is_met", lambda: with_rate(11.0 * (1 + LITTLE))),
    ("demand_is_met", lambda: with_estimate(with_rate(11.0), 0, requests_per_s=9.0 - LITTLE)),
    ("demand_is_met", lambda: with_demand(latency(), 1, request_rate=5 * (1 + LITTLE))),
    ("demand_is_met", lambda: latency(concurrency=17)),
    ("demand_is_met", lambda: with_estimate(latency(concurrency=16), 0, requests_per_s=9 * (1 - LITTLE))),
    ("demand_is_met", lambda: with_value(starved(), "latency", 0.05)),
    ("demand_is_met", lambda: with_demand(two_models(), concurrency=18)),
    ("objective_is_as_recomputed", lambda: with_value(two_models(), "throughput", 11 * 64 + 4 * 32)),
    ("objective_is_as_recomputed", lambda: with_value(two_models(), "throughput", 12 * 64 + 2 * 4 * 32)),
    ("objective_is_as_recomputed", lambda: with_value(two_models(), "throughput", 11 * 64 + 2 * 5 * 32)),
    ("objective_is_as_recomputed", lambda: with_value(two_models(), "ttft", SLOWEST_PAIR_S)),
    ("objective_is_as_recomputed", lambda: with_value(two_models(), "latency", 0.03)),
    ("proof_holds", lambda: with_objective(two_models(), bound=1e4, gap=1.0)),
    ("totals_add_up", lambda: with_totals(two_models(), requests_per_s=16.0)),
    ("totals_add_up", lambda: with_totals(two_models(), output_tokens_per_s=960.0)),
    ("totals_add_up", lambda: with_totals(two_models(), ttft_s=FIRST.ttft_s)),
    ("totals_add_up", lambda: with_totals(two_models(), tpot_s=0.05)),
    ("services_add_up", lambda: with_totals(two_models(), services=())),
    ("services_add_up", lambda: with_totals(two_models(), services=(FIRST,))),
    ("services_add_up", lambda: with_served(two_models(), 1, requests_per_s=5.0)),
    ("services_add_up", lambda: with_served(two_models(), model="other")),
    ("services_add_up", lambda: with_served(two_models(), gpus=5)),
    ("services_add_up", lambda: with_served(two_models(), ttft_s=0.2)),
    ("services_add_up", lambda: with_served(two_models(), tpot_s=0.01)),
    ("services_add_up", lambda: with_estimate(two_models(), 0, transfer_s=0.06)),
    ("options_are_kept", lambda: two_models(fix="dp=4")),
    ("options_are_kept", lambda: two_models(fix="tp=2")),
    ("options_are_kept", lambda: two_models(max_gpus="4")),
)  # fmt: skip


@pytest.mark.parametrize(("rule", "make"), BROKEN, ids=[f"{n}-{rule}" for n, (rule, _) in enumerate(BROKEN)])
def test_a_plan_that_misses_a_rule_is_rejected_by_it(rule: str, make: Callable[[], Plan]) -> None:
    assert rule in outcome_rules_broken(make())


# -- one model ----------------------------------------------------------------------------------------------------


def one_model() -> Plan:
    """The first model alone."""
    before = without(two_models(), 4)
    alone = with_inputs(before, more=())
    figures = {name: getattr(FIRST, name) for name in ("ttft_s", "tpot_s", "requests_per_s", "output_tokens_per_s")}
    alone = with_totals(alone, gpus=4, replicas=4, services=(FIRST,), cost_per_h=8.0, power_w=2000.0, **figures)
    return with_value(alone, "throughput", FIRST.output_tokens_per_s)


@pytest.mark.parametrize(("role", "better"), [("both", True), ("prefill", False), ("decode", False)])
def test_only_a_candidate_that_answers_the_whole_question_is_compared(role: str, better: bool) -> None:
    assert outcome_rules_broken(one_model()) == set()
    broken = outcome_rules_broken(one_model().model_copy(update={"candidates": (candidate(role=role),)}))
    assert broken == ({"no_candidate_is_better"} if better else set())


def test_a_candidate_of_a_role_that_is_not_asked_for_is_not_compared() -> None:
    apart = with_demand(without(one_model(), 3), roles=("prefill", "decode"))
    rival = apart.model_copy(update={"candidates": (candidate(),)})
    assert "no_candidate_is_better" not in outcome_rules_broken(rival)


def test_one_model_with_roles_apart_says_what_it_gets() -> None:
    assert outcome_rules_broken(with_totals(one_model(), services=())) == {"services_add_up"}


# -- after a failure ----------------------------------------------------------------------------------------------

ASKED = {"request_rate": 5.0}
"""Of the first model; its worst loss is the first decode replica: 5 = 3 + 2 requests/s are left."""


def spare(**load: Any) -> Plan:
    """Two replicas of the second model, a second prefill replica in place of its first: any GPU may be lost."""
    before = with_demand(two_models(survive="gpu"), **load)
    first = before.replicas[0]
    seats = (first.seats[0].model_copy(update={"node": "n1", "gpu": "n1/1", "local_index": 1}),)
    again = before.replicas[4].seats[0].model_copy(update={"gpu": "n1/2", "local_index": 2})
    more = (first.model_copy(update={"seats": seats}), before.replicas[4].model_copy(update={"seats": (again,)}))
    return with_value(before.model_copy(update={"replicas": (*before.replicas, *more)}), "gpus", 7.0)


def wrong_after_loss(plan: Plan, worst: str, lost: tuple[int, ...], **figures: Any) -> list[str]:
    stated = surviving(plan, worst, lost, **figures)
    assert stated.survival is not None
    counted = stated.survival.model_copy(update={"checked": len({seat.gpu for r in plan.replicas for seat in r.seats})})
    return list(enough_is_left(gather(stated.model_copy(update={"survival": counted}))))


LEFT: dict[str, Any] = {"requests_per_s": 9.0, "output_tokens_per_s": 5 * 64 + 4 * 32, "concurrency": 18}
"""Without the first decode replica, and its 8 requests in flight of 26."""


def test_every_phase_of_every_service_may_lose_a_gpu() -> None:
    assert wrong_after_loss(spare(**ASKED), "n0/1", (1,), **LEFT) == []


def test_a_little_more_demand_is_not_left_in_one_phase() -> None:
    found = wrong_after_loss(spare(request_rate=5.0 * (1 + LITTLE)), "n0/1", (1,), **LEFT)
    assert any("without n0/1 tiny: answers of 5 requests/s" in wrong for wrong in found)


def test_the_loss_of_the_only_replica_of_a_service_is_found() -> None:
    plan = spare(**ASKED)
    found = wrong_after_loss(plan.model_copy(update={"replicas": plan.replicas[:-1]}), "n0/1", (1,), **LEFT)
    assert "without n1/0 other: there is no replica" in found


def test_the_loss_of_the_only_prefill_replica_is_found() -> None:
    plan = spare(**ASKED)
    kept = tuple(replica for number, replica in enumerate(plan.replicas) if number != 5)
    found = wrong_after_loss(plan.model_copy(update={"replicas": kept}), "n0/1", (1,), **LEFT)
    assert any("without n0/0 tiny: prompts of 2 requests/s" in wrong for wrong in found)


def test_clients_need_prefill_replicas_to_keep_up_after_a_loss() -> None:
    figures = {"requests_per_s": 5 + 4, "output_tokens_per_s": 5 * 64 + 4 * 32, "concurrency": 18}
    assert wrong_after_loss(spare(concurrency=8), "n0/1", (1,), **figures) == []
    assert wrong_after_loss(spare(concurrency=9), "n0/1", (1,), **figures) != []
    slow = with_estimate(spare(concurrency=8), 0, requests_per_s=9.0 - LITTLE)
    found = wrong_after_loss(slow, "n0/1", (1,), **figures)
    assert any("without n1/1 tiny: prefill replicas hand over" in wrong for wrong in found)


@pytest.mark.parametrize("figure", ["requests_per_s", "output_tokens_per_s", "concurrency"])
def test_figures_of_what_is_left_are_those_of_all_services(figure: str) -> None:
    assert wrong_after_loss(spare(**ASKED), "n0/1", (1,), **(LEFT | {figure: LEFT[figure] + 1})) != []


def test_throughput_of_several_models_has_no_worst_failure() -> None:
    plan = with_value(spare(), "throughput", 960.0)
    assert any("worst failure" in wrong for wrong in wrong_after_loss(plan, "n0/1", (1,), **LEFT))
