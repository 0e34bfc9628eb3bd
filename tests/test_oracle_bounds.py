"""What is known before any search against brute force: no bound cuts the best plan off, no first plan beats it."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import best
from oracle_survival import best_surviving
from strategies import FEW_GPUS, Instance, instances
from test_oracle_survival import nics_are_told_apart, small

from optimizer.errors import InfeasibleError
from optimizer.formulation import core
from optimizer.formulation.bounds import least, worth
from optimizer.formulation.first import built
from optimizer.formulation.solve import Limits, choose
from optimizer.pipeline import Request
from optimizer.pipeline.prepare import prepare
from optimizer.pipeline.request import silent
from optimizer.plan import Failure, ObjectiveName
from optimizer.topology.graph import build

LOSS = 1e-5
"""Relative: gains are rounded to a millionth of the largest."""


def usable(instance: Instance) -> bool:
    return any(gpu.placeable for gpu in build(instance.cluster).gpus)


LIGHT = settings(
    max_examples=20, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


def bracketed(request: Request, expected: float | None) -> None:
    """Assert that the best value lies between the first plan and the bound, and that few columns reach it."""
    try:
        instance = prepare(request, silent, told=False).instance
    except InfeasibleError:
        assert expected is None
        return
    first = built(instance) if instance.columns else None
    if expected is None:
        assert first is None
        return
    sign = 1 if request.objective == "throughput" else -1
    assert sign * least(instance) >= sign * expected - LOSS * abs(expected)
    if first is not None:
        assert sign * worth(instance, first) <= sign * expected + LOSS * abs(expected)
    with pytest.MonkeyPatch.context() as patch:
        for name, n in (("MANY", 0), ("FEW", 1), ("OF_EACH", 1)):
            patch.setattr(core, name, n)
        found = choose(instance, Limits(), silent)
    assert found is not None
    assert found.proven
    assert found.value == pytest.approx(expected, rel=LOSS, abs=1e-3 * (request.survive is not None))


@LIGHT
@given(instances(FEW_GPUS).filter(usable))
def test_the_best_plan_of_brute_force_lies_between_first_plan_and_bound(instance: Instance) -> None:
    answer = best(instance.cluster, instance.model, instance.workload, instance.objective)
    asked = Request(instance.cluster, instance.model, instance.workload, objective=instance.objective)
    bracketed(asked, None if answer is None else answer.value)


@LIGHT
@given(
    instances(4).filter(small).filter(lambda one: nics_are_told_apart(one.cluster)),
    st.sampled_from(["throughput", "latency", "gpus"]), st.sampled_from(["gpu", "node", "nic"]),
)  # fmt: skip
def test_so_does_the_best_that_survives_a_failure(
    instance: Instance, objective: ObjectiveName, failure: Failure
) -> None:
    where, model, load = instance.cluster, instance.model, instance.workload
    answer = best_surviving(where, model, load, objective, failure)
    bracketed(
        Request(where, model, load, objective=objective, survive=failure), None if answer is None else answer.value
    )
