"""The solver against brute force on random small instances: same objective, same verdict when nothing fits."""

import pytest
from hypothesis import HealthCheck, given, settings
from oracle import Answer, best
from strategies import Instance, instances

from optimizer.errors import InfeasibleError, InputError
from optimizer.pipeline import Request, solve
from optimizer.plan import Plan
from optimizer.topology.graph import build
from optimizer.verify import check

QUANTUM = 1e-6
"""Gains are rounded to a millionth of the largest gain of one replica, so a plan of n replicas may lose n of these."""


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
    return Answer(plan.objective.value, most if plan.objective.name in ("gpus", "cost") else float(plan.totals.gpus))


def agree(plan: Plan | None, expected: Answer | None) -> None:
    """Assert that the plan is as good as the expected answer, up to the solver's quantum."""
    assert (plan is None) == (expected is None), f"oracle: {expected}"
    if plan is None or expected is None:
        return
    assert check(plan) == ()
    assert plan.status == "optimal"
    found = answer_of(plan)
    loss = QUANTUM * max(1, len(plan.replicas))
    assert found.value == pytest.approx(expected.value, rel=loss)
    if plan.objective.name in ("gpus", "cost"):
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


@settings(max_examples=300, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(instances())
def test_the_solver_finds_the_best_of_all_plans(instance: Instance) -> None:
    compared(instance)


@pytest.mark.slow
@settings(max_examples=2000, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(instances())
def test_the_solver_finds_the_best_of_all_plans_of_many_instances(instance: Instance) -> None:
    compared(instance)
