"""The solver against brute force where several models share a cluster, and where prefill and decode are apart."""

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import Answer
from oracle_services import best_of_services
from seatings import equal_gpus, of_services
from strategies import Shared, gpu_spec, of_thirds, of_unequal_gpus, shared
from test_oracle import QUANTUM, SUMS
from test_oracle_itself import TWO_LAYERS, WORKLOAD, one_node
from test_oracle_survival import nics_are_told_apart

from optimizer.errors import InfeasibleError, InputError
from optimizer.inputs.cluster import ClusterSpec, Mesh, NodeEntry, NodeTemplate
from optimizer.inputs.model import GroupedQuery, LayerRun, MixtureOfExperts, ModelSpec
from optimizer.inputs.service import Service
from optimizer.inputs.workload import EngineChoice, Slo, WorkloadSpec
from optimizer.pipeline import Request, solve
from optimizer.pipeline.scope import BOUNDED
from optimizer.plan import Failure, ObjectiveName, Plan
from optimizer.topology.graph import build
from optimizer.verify import check

PAIR_S = 3e-9
"""TTFTs of pairs are summed in whole nanoseconds."""


def planned(instance: Shared) -> Plan | None:
    """Return the solver's plan, None when it proves that there is none."""
    first, *more = instance.services
    request = Request(
        instance.cluster, first.model, first.workload, weight=first.weight, more=tuple(more),
        objective=instance.objective, faults=False,
    )  # fmt: skip
    try:
        return solve(request).plan
    except InfeasibleError:
        return None


def tie_of(plan: Plan) -> float:
    """Return what breaks ties: GPUs, or the output tokens/s of all models by weight."""
    if plan.objective.name not in SUMS:
        return float(plan.totals.gpus)
    if not plan.totals.services:
        return plan.totals.output_tokens_per_s * plan.inputs.weight
    weights = [service.weight for service in plan.inputs.services]
    return sum(w * one.output_tokens_per_s for w, one in zip(weights, plan.totals.services, strict=True))


def agree(plan: Plan | None, expected: Answer | None) -> None:
    """Assert that the plan is as good as the expected answer, up to the solver's quantum."""
    assert (plan is None) == (expected is None), f"oracle: {expected}"
    if plan is None or expected is None:
        return
    assert check(plan) == ()
    assert plan.status == "optimal"
    loss = QUANTUM * max(1, len(plan.replicas))
    if any(BOUNDED in note for note in plan.provenance.notes):  # best of the pipelines tried, which the plan says
        sign = 1 if plan.objective.name == "throughput" else -1
        assert sign * plan.objective.value <= sign * expected.value * (1 + sign * loss)
        return
    absolute = PAIR_S if plan.objective.name == "ttft" else 0.0
    assert plan.objective.value == pytest.approx(expected.value, rel=loss, abs=absolute)
    if plan.objective.name in SUMS:
        assert tie_of(plan) >= expected.tie * (1 - loss)
    elif plan.objective.value == pytest.approx(expected.value, rel=1e-9):
        assert tie_of(plan) <= expected.tie


def compared(instance: Shared) -> None:
    """Assert that solver and oracle agree on an instance."""
    if any(gpu.placeable for gpu in build(instance.cluster).gpus):
        agree(planned(instance), best_of_services(instance.cluster, instance.services, instance.objective))
    else:
        with pytest.raises(InputError):
            planned(instance)


def test_a_bound_on_ttft_that_each_side_keeps_and_no_pair_is_no_plan() -> None:
    chat = WORKLOAD.model_copy(update={"roles": ("prefill", "decode")})
    where = one_node(2, "40 GB")
    found = of_services(build(where), [("n0/0",), ("n0/1",)], [Service(model=TWO_LAYERS, workload=chat)])
    single = [one for one in found if len(one.gpus) == 1]
    prefill, decode = ([r.estimate for r in single if r.role == role] for role in ("prefill", "decode"))
    least_s = min(p.ttft_slo_s + max(p.transfer_s, d.transfer_s) + d.ttft_slo_s for p, d in product(prefill, decode))
    for share, some in ((1.0001, True), (0.9999, False)):
        bound = chat.model_copy(update={"slo": Slo(ttft=f"{share * least_s!r} s")})
        plan = planned(Shared(where, (Service(model=TWO_LAYERS, workload=bound),), "gpus"))
        assert (plan is not None) == some


def test_a_plan_of_two_gpus_is_found_where_presolve_has_claimed_that_three_are_needed() -> None:
    """OR-Tools 9.15 called three optimal here as long as its search for included constraints was on."""
    heads = GroupedQuery(heads=4, kv_heads=4, head_dim=128, window=256)
    experts = MixtureOfExperts(experts=4, top_k=2, intermediate=3072)
    run = LayerRun(attention=heads, feed_forward=experts, count=3)
    model = ModelSpec(name="tiny", hidden=6144, vocab=1536, context=8192, runs=(run,))
    load = WorkloadSpec(
        concurrency=1, slo=Slo(ttft="60 ms", percentile=90.0), kv_cache=("bf16", "fp8"), margin=0.1,
        roles=("prefill", "decode"), engine=EngineChoice(max_num_seqs=1, max_num_batched_tokens=2048),
    )  # fmt: skip
    template = NodeTemplate(gpu="small", gpus=4, mesh=Mesh(pair_bandwidth="10 GB/s"))
    where = ClusterSpec(
        name="mesh", nodes=(NodeEntry(name="n0", template="t"),), templates={"t": template},
        gpus={"small": gpu_spec("small", "3004325632 B", bandwidth="300 GB/s")},
    )  # fmt: skip
    plan = planned(Shared(where, (Service(model=model, workload=load),), "gpus"))
    assert plan is not None
    assert plan.objective.value == 2


@settings(max_examples=110, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(shared())
def test_the_solver_finds_the_best_of_all_plans_of_services(instance: Shared) -> None:
    compared(instance)


@settings(max_examples=15, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(of_thirds())
def test_tp_sizes_that_do_not_divide_are_not_paired(instance: Shared) -> None:
    compared(instance)


def with_tight_ttft(instance: Shared, tightness: float) -> Shared:
    """Return the instance with a bound on TTFT between that of the fastest and the slowest pair of each service."""
    topology = build(instance.cluster)
    classes = equal_gpus(topology)
    services = []
    for one in instance.services:
        free = one.workload.model_copy(update={"slo": Slo()})
        found = list(of_services(topology, classes, [one.model_copy(update={"workload": free})], first_token=True))
        prefill, decode = ([r.estimate for r in found if r.role == role] for role in ("prefill", "decode"))
        sums = sorted(
            {p.ttft_slo_s + max(p.transfer_s, d.transfer_s) + d.ttft_slo_s for p, d in product(prefill, decode)}
        )
        if sums:
            bound = Slo(ttft=f"{sums[round(tightness * (len(sums) - 1))] * (1 + 1e-7)!r} s")
            free = free.model_copy(update={"slo": bound})
        services.append(one.model_copy(update={"workload": free}))
    return replace(instance, services=tuple(services))


TIGHTNESS = st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9])


@settings(max_examples=20, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(shared(), TIGHTNESS)
def test_bounds_on_ttft_that_some_pairs_keep_are_kept_by_all_chosen(instance: Shared, tightness: float) -> None:
    compared(with_tight_ttft(instance, tightness))


@settings(max_examples=25, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(of_unequal_gpus(), TIGHTNESS)
def test_slow_prefill_is_not_paired_with_slow_decode_where_some_pairs_are_too_slow(
    instance: Shared, tightness: float
) -> None:
    compared(with_tight_ttft(instance, tightness))


@pytest.mark.slow
@settings(max_examples=1000, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(shared())
def test_the_solver_finds_the_best_of_all_plans_of_many_services(instance: Shared) -> None:
    compared(instance)


# -- after a failure ----------------------------------------------------------------------------------------------


def surviving(instance: Shared, failure: Failure) -> Plan | None:
    """Return the plan that survives, None when there is none."""
    first, *more = instance.services
    request = Request(
        instance.cluster, first.model, first.workload, weight=first.weight, more=tuple(more),
        objective=instance.objective, survive=failure, faults=False,
    )  # fmt: skip
    try:
        return solve(request).plan
    except InfeasibleError:
        return None


def by_rate(instance: Shared, per_s: float) -> Shared:
    """Return the instance with a rate wherever prefill and decode may be apart: only so is survival planned."""
    loads = [
        one.workload.model_copy(update={"request_rate": per_s, "concurrency": None})
        if len(one.workload.roles) > 1 and one.workload.request_rate is None else one.workload
        for one in instance.services
    ]  # fmt: skip
    pairs = zip(instance.services, loads, strict=True)
    return replace(instance, services=tuple(one.model_copy(update={"workload": load}) for one, load in pairs))


@settings(max_examples=30, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    shared(), st.sampled_from(["gpus", "latency", "cost"]), st.sampled_from(["gpu", "node", "nic"]),
    st.sampled_from([0.2, 2.0]),
)  # fmt: skip
def test_every_phase_of_every_service_survives_as_brute_force_finds(
    instance: Shared, objective: ObjectiveName, failure: Failure, per_s: float
) -> None:
    instance = by_rate(replace(instance, objective=objective), per_s)
    expected = best_of_services(instance.cluster, instance.services, objective, failure=failure)
    plan = surviving(instance, failure)
    if failure == "nic" and not nics_are_told_apart(instance.cluster):
        assert plan is None or (expected is not None and plan.objective.value >= expected.value * (1 - QUANTUM))
        return
    assert (plan is None) == (expected is None)
    if plan is not None and expected is not None:
        assert check(plan) == ()
        assert plan.objective.value == pytest.approx(expected.value, rel=QUANTUM * len(plan.replicas))
