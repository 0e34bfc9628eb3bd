"""Pipelines over several GPU types from the question to a verified plan: when they are chosen, and what breaks them."""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import pytest
from mixed_clusters import LOAD, apart, model, together
from oracle import best
from spoiled import broken_rules, with_cluster, with_engine, with_memory, with_replica, with_seat, with_totals

from optimizer.errors import InfeasibleError
from optimizer.export import ray, slurm, vllm
from optimizer.inputs.cluster import ClusterSpec, Match, Override
from optimizer.inputs.model import ModelSpec
from optimizer.inputs.workload import EngineChoice
from optimizer.pipeline import Request, solve
from optimizer.plan import ObjectiveName, Plan
from optimizer.report.explained import explain
from optimizer.verify import check

ALL = import_module("optimizer.cost.mixtures")


def planned(where: ClusterSpec, spec: ModelSpec, objective: ObjectiveName = "throughput", **more: Any) -> Plan:
    return solve(Request(where, spec, more.pop("workload", LOAD), objective=objective, **more)).plan


@cache
def good() -> Plan:
    """Stages of one big GPU and two small ones: no type alone holds the model."""
    return planned(apart(), model(10))


def test_a_model_that_no_type_holds_runs_over_both() -> None:
    plan = good()
    (replica,) = plan.replicas
    assert check(plan) == ()
    assert sorted(replica.gpu_types) == ["big", "small", "small"]
    assert replica.gpus_of_type == {"big": 1, "small": 2}
    assert sum(replica.layers_per_stage) == 10
    assert max(replica.layers_per_stage) == replica.layers_per_stage[replica.gpu_types.index("big")]
    assert plan.totals.cost_per_h == 5.0
    assert plan.totals.power_w == 900.0


def test_a_model_that_each_type_holds_does_not() -> None:
    plan = planned(apart(memory=("24 GB", "24 GB")), model(4))
    assert not any(replica.gpu_types for replica in plan.replicas)


@pytest.mark.parametrize("engine", ["sglang", "trtllm"])
def test_engines_that_run_no_such_pipeline_get_none(engine: Any) -> None:
    load = LOAD.model_copy(update={"engine": EngineChoice(name=engine)})
    with pytest.raises(InfeasibleError):
        planned(apart(), model(10), workload=load)


def test_gpus_of_two_vendors_share_no_pipeline() -> None:
    where = apart()
    foreign = where.gpus | {"small": where.gpus["small"].model_copy(update={"vendor": "amd"})}
    with pytest.raises(InfeasibleError):
        planned(where.model_copy(update={"gpus": foreign}), model(10))


def test_one_gpu_less_is_one_too_few() -> None:
    lost = Override(match=Match(node="n-small", gpu=1), state="lost")
    with pytest.raises(InfeasibleError):
        planned(apart().model_copy(update={"overrides": (lost,)}), model(10), faults=False)


@pytest.mark.parametrize("where", [apart(), apart(2, 2), together(1, 3), together(2, 2)])
@pytest.mark.parametrize("objective", ["throughput", "latency", "gpus", "cost"])
def test_few_of_the_orders_and_splits_are_as_good_as_all(
    where: ClusterSpec, objective: ObjectiveName, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oracle prices every order of types and every split; here the solver is made to choose a few beforehand."""
    monkeypatch.setattr(ALL, "ALL", 0)
    load = LOAD.model_copy(update={"engine": EngineChoice(max_num_seqs=8, max_num_batched_tokens=2048)})
    expected = best(where, model(9), load, objective)
    assert expected is not None
    assert planned(where, model(9), objective, workload=load).objective.value == pytest.approx(expected.value, rel=1e-6)


def _relabelled(before: Plan) -> Plan:
    return with_replica(before, gpu_type="3 x big")


def _swapped(before: Plan) -> Plan:
    return with_replica(before, gpu_types=before.replicas[0].gpu_types[::-1])


def _third_stage_too_rich(before: Plan) -> Plan:
    """A stage on a small GPU is said to hold what a big one would."""
    return with_memory(before, capacity_bytes=4_500_000_000)


def _foreign(before: Plan) -> Plan:
    gpus = before.inputs.cluster.gpus
    return with_cluster(before, gpus=gpus | {"small": gpus["small"].model_copy(update={"vendor": "amd"})})


BROKEN: tuple[tuple[str, Callable[[Plan], Plan]], ...] = (
    ("gpus_are_of_the_stages_type", _swapped),
    ("gpus_are_of_the_stages_type", _relabelled),
    ("gpus_are_of_the_stages_type", lambda p: with_replica(p, gpu_types=("big", "small"))),
    ("gpus_are_of_the_stages_type", lambda p: with_replica(p, gpu_types=(), gpu_type="big")),
    ("estimate_is_as_recomputed", _swapped),
    ("engine_takes_several_types", _foreign),
    ("engine_takes_several_types", lambda p: with_replica(p, gpu_types=("small", "big", "small"))),
    ("memory_fits", _third_stage_too_rich),
    ("layers_are_all_there", lambda p: with_replica(p, layers_per_stage=(3, 3, 3))),
    ("totals_add_up", lambda p: with_totals(p, cost_per_h=9.0)),
    ("totals_add_up", lambda p: with_totals(p, power_w=1500.0)),
    ("engine_is_set_as_asked", lambda p: with_engine(p, max_num_batched_tokens=4096)),
    ("seats_exist", lambda p: with_seat(p, 0, node="n-nowhere")),
)


@pytest.mark.parametrize(("rule", "spoil"), BROKEN, ids=[f"{n}-{rule}" for n, (rule, _) in enumerate(BROKEN)])
def test_a_broken_pipeline_is_rejected_by_its_rule(rule: str, spoil: Callable[[Plan], Plan]) -> None:
    assert rule in broken_rules(spoil(good()))


def test_types_with_nodes_of_their_own_may_take_more_or_fewer_gpus_of_each() -> None:
    assert {seat.node for seat in good().replicas[0].seats} == {"n-big", "n-small"}
    assert check(good()) == ()


def test_targets_start_what_they_can_and_say_what_they_cannot() -> None:
    in_one_node = planned(together(1, 2), model(10))
    assert check(in_one_node) == ()
    split = ",".join(map(str, in_one_node.replicas[0].layers_per_stage))
    for target in (vllm, slurm):
        assert any(f"VLLM_PP_LAYER_PARTITION={split}" in artifact.text for artifact in target.export(in_one_node))
    with pytest.raises(Exception, match="equally many GPUs on every node; targets that can: ray"):
        slurm.export(good())
    old = planned(apart(), model(10), workload=LOAD.model_copy(
        update={"engine": EngineChoice(version="0.29.0", max_num_seqs=32, max_num_batched_tokens=2048)}))  # fmt: skip
    assert old.replicas[0].gpu_types
    assert ray.export(old)


def test_a_reserve_is_not_told_to_gpus_of_several_sizes() -> None:
    load = LOAD.model_copy(update={"engine": LOAD.engine.model_copy(update={"reserve": 1_000_000})})
    with pytest.raises(Exception, match="one share of all"):
        vllm.export(planned(together(1, 2), model(10), workload=load))


def test_a_step_is_explained_type_by_type() -> None:
    told = [fact for fact in _all_facts(explain(good())) if fact.name.startswith("stage")]
    assert {fact.name.rpartition(" ")[2] for fact in told} == {"big", "small"}


def _all_facts(facts: Any) -> list[Any]:
    return [one for fact in facts for one in (fact, *_all_facts(fact.inputs))]
