"""Plans that survive a failure against brute force over seats and failures."""

from importlib import import_module

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle_survival import best_surviving
from strategies import Instance, instances

from optimizer.errors import InfeasibleError
from optimizer.inputs.cluster import ClusterSpec
from optimizer.pipeline import Request, solve
from optimizer.plan import Failure, ObjectiveName
from optimizer.topology.graph import build
from optimizer.verify import check

MOST_GPUS = 6
"""Every GPU is an element of its own, so brute force takes fewer of them than elsewhere."""

LOSS = 1e-5


def small(instance: Instance) -> bool:
    return 0 < sum(gpu.placeable for gpu in build(instance.cluster).gpus) <= MOST_GPUS


def nics_are_told_apart(cluster: ClusterSpec) -> bool:
    """Whether every node has one NIC, or one for each GPU: else those of a node count as one."""
    topology = build(cluster)
    for node in topology.nodes:
        gpus = [gpu for gpu in topology.node(node).gpus if topology.gpu(gpu).placeable]
        nics = [nic for gpu in gpus for nic in topology.graph.nodes[gpu]["nics"]]
        if len(set(nics)) > 1 and len(set(nics)) < len(nics):
            return False
    return True


def compared(instance: Instance, objective: ObjectiveName, failure: Failure) -> None:
    where, model, load = instance.cluster, instance.model, instance.workload
    expected = best_surviving(where, model, load, objective, failure)
    exact = failure != "nic" or nics_are_told_apart(instance.cluster)
    try:
        plan = solve(Request(where, model, load, objective=objective, survive=failure, faults=False)).plan
    except InfeasibleError:
        assert expected is None or not exact
        return
    assert expected is not None
    assert check(plan) == ()
    assert plan.survival is not None
    if exact:
        assert plan.status == "optimal"
        assert plan.objective.value == pytest.approx(expected.value, rel=LOSS, abs=1e-3)
    elif objective == "throughput":
        assert plan.objective.value <= expected.value * (1 + LOSS)
    else:
        assert plan.objective.value >= expected.value * (1 - LOSS)


@settings(max_examples=80, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    instances().filter(small), st.sampled_from(["throughput", "latency", "gpus"]),
    st.sampled_from(["gpu", "node", "nic"]),
)  # fmt: skip
def test_the_best_plan_that_survives_is_what_brute_force_finds(
    instance: Instance, objective: ObjectiveName, failure: Failure
) -> None:
    compared(instance, objective, failure)


@settings(max_examples=40, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(instances().filter(small), st.sampled_from(["throughput", "gpus"]), st.sampled_from(["node", "nic"]))
def test_counting_equal_nodes_loses_no_plan_that_survives(
    instance: Instance, objective: ObjectiveName, failure: Failure
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_module("optimizer.pipeline.usable"), "FEW_NODES", 0)
        compared(instance, objective, failure)
