"""The solver against brute force on random small instances: same objective, same verdict when nothing fits."""

from dataclasses import replace
from importlib import import_module

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import Answer, best
from strategies import FEW_GPUS, Instance, gpu_spec, instances
from test_oracle_itself import TWO_LAYERS, WORKLOAD, one_node, seated

from optimizer.errors import InfeasibleError, InputError
from optimizer.inputs.cluster import (
    ClusterSpec,
    Fabric,
    FatTree,
    GpuGroup,
    Nics,
    NodeEntry,
    NodeTemplate,
    NvSwitch,
    OneSwitch,
)
from optimizer.inputs.workload import Lengths
from optimizer.pipeline import Request, solve
from optimizer.pipeline.scope import BOUNDED
from optimizer.plan import ObjectiveName, Plan
from optimizer.topology.graph import build
from optimizer.verify import check

QUANTUM = 1e-6
"""Gains are rounded to a millionth of the largest gain of one replica, so a plan of n replicas may lose n of these."""

SUMS = ("gpus", "cost", "energy")
"""Objectives whose ties are broken by tokens/s."""


def planned(instance: Instance) -> Plan | None:
    """Return the solver's plan, None when it proves that there is none."""
    request = Request(instance.cluster, instance.model, instance.workload, objective=instance.objective)
    try:
        return solve(request).plan
    except InfeasibleError:
        return None


def answer_of(plan: Plan) -> Answer:
    """Return the plan's value and its tie-break, recomputed from its replicas."""
    tokens, rate = plan.totals.output_tokens_per_s, plan.inputs.workload.request_rate
    most = min(tokens, rate * plan.inputs.workload.osl.mean) if rate else tokens
    return Answer(plan.objective.value, most if plan.objective.name in SUMS else float(plan.totals.gpus))


def agree(plan: Plan | None, expected: Answer | None) -> None:
    """Assert that the plan is as good as the expected answer, up to the solver's quantum."""
    assert (plan is None) == (expected is None), f"oracle: {expected}"
    if plan is None or expected is None:
        return
    assert check(plan) == ()
    assert plan.status == "optimal"
    found = answer_of(plan)
    loss = QUANTUM * max(1, len(plan.replicas))
    if any(BOUNDED in note for note in plan.provenance.notes):  # best of the pipelines tried, which the plan says
        sign = 1 if plan.objective.name == "throughput" else -1
        assert sign * found.value <= sign * expected.value * (1 + sign * loss)
        return
    assert found.value == pytest.approx(expected.value, rel=loss)
    if plan.objective.name in SUMS:
        assert found.tie >= expected.tie * (1 - loss)
    elif found.value == pytest.approx(expected.value, rel=1e-9):
        assert found.tie <= expected.tie


def compared(instance: Instance) -> None:
    """Assert that solver and oracle agree on an instance."""
    if any(gpu.placeable for gpu in build(instance.cluster).gpus):
        agree(planned(instance), best(instance.cluster, instance.model, instance.workload, instance.objective))
    else:
        with pytest.raises(InputError):
            planned(instance)


# -- equal parts of one whole -------------------------------------------------------------------------------------

TYPES = ("a", "b", "c")


def one_of_each(fabric: Fabric) -> ClusterSpec:
    """Return two nodes with a GPU of each of three types behind one NIC: a replica of two GPUs has to cross."""
    template = NodeTemplate(
        gpus=tuple(GpuGroup(gpu=name, count=1) for name in TYPES), nvswitch=NvSwitch(bandwidth="450 GB/s"),
        nics=Nics(count=1, bandwidth="100 Gb/s"),
    )  # fmt: skip
    return ClusterSpec(
        name="thirds", nodes=(NodeEntry(name="n0", template="t"), NodeEntry(name="n1", template="t")),
        templates={"t": template}, gpus={name: gpu_spec(name, "3.2 GB") for name in TYPES}, fabric=fabric,
    )  # fmt: skip


@pytest.mark.parametrize(
    "fabric", [OneSwitch(), FatTree(nodes_per_leaf=1, oversubscription=2.0)], ids=["nic-by-thirds", "uplink-by-thirds"]
)
def test_three_replicas_share_a_link_by_thirds(fabric: Fabric) -> None:
    """Thirds have no finite decimal: rounding each up must not leave the third replica without its part."""
    instance = Instance(one_of_each(fabric), TWO_LAYERS, WORKLOAD, "throughput")
    plan = planned(instance)
    assert plan is not None
    assert plan.totals.replicas == 3
    compared(instance)


@pytest.mark.parametrize("objective", ["gpus", "latency"])
def test_three_replicas_meet_a_demand_by_thirds(objective: ObjectiveName) -> None:
    """The demand is what exactly three single GPUs serve; the fourth stays idle."""
    where = one_node(4, "40 GB")
    single = max(r.estimate.requests_per_s for r in seated(where) if len(r.gpus) == 1)
    instance = Instance(where, TWO_LAYERS, WORKLOAD.model_copy(update={"request_rate": 3 * single}), objective)
    compared(instance)


FEWER_GPUS = 6
"""Three times as fast as eight, which the slow run takes."""

# -- random instances ---------------------------------------------------------------------------------------------


@settings(max_examples=300, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(instances(FEWER_GPUS))
def test_the_solver_finds_the_best_of_all_plans(instance: Instance) -> None:
    compared(instance)


@settings(max_examples=40, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(instances(FEWER_GPUS, routed=True))
def test_the_solver_finds_the_best_of_all_ways_to_spread_experts_and_attention(instance: Instance) -> None:
    compared(instance)


@settings(max_examples=30, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(instances(FEW_GPUS), st.sampled_from(["latency", "ttft"]), st.sampled_from([1024, 3000, 6000]))
def test_the_solver_finds_the_best_of_all_tokens_per_step(
    instance: Instance, objective: ObjectiveName, isl: int
) -> None:
    """Where latency is sought and nothing is said of them, the tokens of a step are a decision too."""
    engine = instance.workload.engine.model_copy(update={"max_num_batched_tokens": None})
    load = instance.workload.model_copy(update={"engine": engine, "isl": Lengths(mean=isl)})
    compared(replace(instance, workload=load, objective=objective))


@settings(max_examples=50, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(instances(FEWER_GPUS))
def test_counting_equal_nodes_loses_nothing(instance: Instance) -> None:
    """Large clusters count nodes of a class; here small ones are made to, so that the oracle can follow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_module("optimizer.pipeline.usable"), "FEW_NODES", 0)
        compared(instance)


@pytest.mark.slow
@settings(max_examples=2000, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(instances())
def test_the_solver_finds_the_best_of_all_plans_of_many_instances(instance: Instance) -> None:
    compared(instance)
