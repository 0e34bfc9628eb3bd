"""Many answers from prices made once, and objectives one after the other, against brute force on small instances."""

from dataclasses import replace
from itertools import zip_longest

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import best, fastest_of_fewest
from strategies import Instance, instances

from optimizer.errors import InfeasibleError
from optimizer.inputs.workload import WorkloadSpec
from optimizer.pipeline import Request, solve
from optimizer.pipeline.capacity import capacity
from optimizer.pipeline.front import Axis, front
from optimizer.plan import ObjectiveName
from optimizer.topology.graph import build

LOSS = 1e-5
"""Relative: a millionth of the largest gain for each replica."""

AS_IT_COMES = list(HealthCheck)


def usable(instance: Instance) -> bool:
    return any(gpu.placeable for gpu in build(instance.cluster).gpus)


def changed(instance: Instance, **workload: object) -> WorkloadSpec:
    return instance.workload.model_copy(update=workload)


@settings(max_examples=12, derandomize=True, deadline=None, database=None, suppress_health_check=AS_IT_COMES)
@given(instances().filter(usable), st.sampled_from(["gpus", "cost", "energy"]))
def test_every_rate_of_a_capacity_curve_is_what_brute_force_finds(instance: Instance, least: ObjectiveName) -> None:
    free = changed(instance, request_rate=1e6, concurrency=None)  # beyond what any of them carries
    most = best(instance.cluster, instance.model, free, "throughput")
    request = Request(instance.cluster, instance.model, instance.workload, objective=least)
    if most is None:
        with pytest.raises(InfeasibleError):
            capacity(request, [1.0])
        return
    end = most.value / free.osl.mean
    found = capacity(request, [end * share for share in (0.2, 0.5, 0.9, 1.01)])
    assert found.largest.requests_per_s == pytest.approx(end, rel=LOSS)
    for need in found.points:
        asked = changed(instance, request_rate=need.requests_per_s, concurrency=None)
        expected = best(instance.cluster, instance.model, asked, least)
        if expected is None:
            assert need.status == "beyond"
        else:
            assert need.status == "optimal"
            assert need.value == pytest.approx(expected.value, rel=LOSS)


@settings(max_examples=8, derandomize=True, deadline=None, database=None, suppress_health_check=AS_IT_COMES)
@given(instances().filter(usable), st.sampled_from([{"tpot"}, {"gpus"}, {"tpot", "gpus"}]))
def test_a_front_holds_every_trade_off_that_brute_force_finds(instance: Instance, against: set[Axis]) -> None:
    request = Request(instance.cluster, instance.model, instance.workload)
    try:
        points = front(request, frozenset(against))
    except InfeasibleError:
        assert best(instance.cluster, instance.model, instance.workload, "throughput") is None
        return
    for point in points:
        bounded = changed(instance, slo=instance.workload.slo.model_copy(update={"tpot": point.tpot_s}))
        most = best(instance.cluster, instance.model, bounded, "throughput")
        assert most is not None
        if "gpus" not in against:
            assert point.output_tokens_per_s == pytest.approx(most.value, rel=LOSS)
        elif "tpot" in against:
            same = [p for p in points if p.tpot_s <= point.tpot_s]
            assert max(p.output_tokens_per_s for p in same) == pytest.approx(most.value, rel=LOSS)
    if against == {"tpot"}:
        _nothing_is_between(instance, [(point.tpot_s, point.output_tokens_per_s) for point in points])
    assert all(point.status == "optimal" for point in points)
    assert len({(p.output_tokens_per_s, p.tpot_s, p.gpus) for p in points}) == len(points)


def _nothing_is_between(instance: Instance, found: list[tuple[float, float]]) -> None:
    """Assert that whatever is a little faster than a point carries no more than the next point, if there is one."""
    following = [tokens_per_s for _, tokens_per_s in found[1:]]
    for (slowest_s, _), expected in zip_longest(found, following):
        faster = instance.workload.slo.model_copy(update={"tpot": slowest_s * (1 - 1e-6)})
        most = best(instance.cluster, instance.model, changed(instance, slo=faster), "throughput")
        assert (most is None) == (expected is None)
        if most is not None:
            assert most.value == pytest.approx(expected, rel=LOSS)


@settings(max_examples=30, derandomize=True, deadline=None, database=None, suppress_health_check=AS_IT_COMES)
@given(instances().filter(usable))
def test_the_fastest_plan_on_fewest_gpus_is_what_brute_force_finds(instance: Instance) -> None:
    # without a rate or clients, gpus asks for one request in flight as latency does
    load = instance.workload
    if load.request_rate is None and load.concurrency is None:
        load = changed(instance, concurrency=1)
    expected = best(instance.cluster, instance.model, load, "latency", target=fastest_of_fewest(load))
    request = Request(instance.cluster, instance.model, load, objective="gpus", then=("latency",))
    if expected is None:
        with pytest.raises(InfeasibleError):
            solve(request)
        return
    plan = solve(replace(request, faults=False)).plan
    assert plan.status == "optimal"
    assert [one.name for one in plan.objective.then] == ["latency"]
    assert (plan.objective.value, plan.objective.then[0].value) == pytest.approx((expected.value, expected.tie))
