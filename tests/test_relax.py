"""Every relaxation gives a verified plan when it is applied, and a little less of it gives none."""

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import Instance, Shared, instances, shared

from optimizer.cli import run
from optimizer.errors import InfeasibleError, InputError
from optimizer.inputs import read
from optimizer.inputs.cluster import ClusterSpec, Match, Override
from optimizer.inputs.service import Service
from optimizer.inputs.workload import WorkloadSpec
from optimizer.pipeline import Request, solve
from optimizer.pipeline.relax import Relaxed, asking, relaxations
from optimizer.pipeline.relax.asking import first_confirmed, first_true, with_service
from optimizer.pipeline.relax.bounds import rounded
from optimizer.pipeline.relax.lengths import grid
from optimizer.pipeline.request import silent
from optimizer.plan import Plan
from optimizer.relaxation import KINDS, Given, Kind, Relaxation
from optimizer.report.relaxed import NONE, line, remedies

LITTLE_LESS = 0.999

USUAL_STEPS: dict[str, object] = {"engine": {"name": "vllm", "max_num_batched_tokens": 8192}}
"""What the engine computes in a step by itself: with shorter ones 405B just fits on six H200."""


def ask(cluster: str | ClusterSpec, model: str, load: dict[str, object] | None = None, **options: object) -> Request:
    hardware = read.read_cluster(cluster, silent) if isinstance(cluster, str) else cluster
    workload = WorkloadSpec.model_validate(load or {})
    return Request(hardware, read.read_model(model), workload, **options)  # type: ignore[arg-type]


def answer(request: Request) -> Plan | None:
    try:
        return solve(request).plan
    except InfeasibleError:
        return None


def offered(request: Request) -> dict[Kind, Relaxed]:
    """Return what is offered for a question without an answer, each checked by solving it."""
    assert answer(request) is None
    found = relaxations(request)
    for one in found.found:
        applied(one)
    return {one.told.kind: one for one in found.found}


def applied(one: Relaxed) -> None:
    """Assert that the relaxed question has the answer that was told; ``solve`` verifies every plan."""
    plan = answer(one.request)
    assert plan is not None
    assert one.told.plan.gpus == plan.totals.gpus
    assert one.told.plan.requests_per_s == pytest.approx(plan.totals.requests_per_s)
    assert one.told.plan.ttft_s == pytest.approx(plan.totals.ttft_s)


def with_load(one: Relaxed, **changes: object) -> Request:
    """Return the relaxed question with something else in the workload."""
    own = one.request.services[one.service]
    load = own.workload.model_copy(update=changes)
    return with_service(one.request, one.service, own.model_copy(update={"workload": load}))


def one_short(one: Relaxed) -> Request | None:
    """Return the question with a little less than what was found to be enough, None where that is nothing between."""
    told, load = one.told, one.request.services[one.service].workload
    match told.kind, told.enough:
        case "ttft" | "tpot", float() as seconds:
            return with_load(one, slo=load.slo.model_copy(update={told.kind: seconds * LITTLE_LESS}))
        case "request_rate", float() as rate:
            return with_load(one, request_rate=rate / LITTLE_LESS)
        case "isl" | "osl", int() as tokens:
            longer = getattr(load, told.kind).model_copy(update={"mean": tokens + tokens // 16})
            return with_load(one, **{told.kind: longer})
        case "concurrency", int() as clients:
            return with_load(one, concurrency=clients + max(1, clients // 16))
        case "max_gpus", int() as most:
            return replace(one.request, max_gpus=most - 1)
    return None


# -- just enough, and one short ------------------------------------------------------------------------------------

LATE = {"isl": 8192, "osl": 256, "slo": {"ttft": "0.2 s", "tpot": "40 ms", "percentile": 90}}
TOO_MUCH = {"isl": 512, "osl": 128, "request_rate": "90 /s", "slo": {"ttft": "1 s"}}
TOO_MANY = {"isl": 512, "osl": 64, "concurrency": 700, "slo": {"tpot": "12 ms"}}


@pytest.mark.parametrize(
    ("request_", "kinds"),
    [
        (ask("hgx-h200", "llama-3.1-70b", LATE), {"ttft", "isl"}),
        (ask("hgx-h200", "llama-3.1-70b", {"slo": {"tpot": "5 ms", "percentile": 90}}), {"tpot"}),
        (ask("ws-4x4090", "llama-3.1-8b", TOO_MUCH, objective="gpus"), {"request_rate", "gpus"}),
        (ask("ws-4x4090", "llama-3.1-8b", TOO_MANY, objective="gpus"), {"concurrency"}),
        (ask("hgx-h200", "llama-3.1-405b", max_gpus=5), {"max_gpus", "weights"}),
    ],
    ids=["ttft", "tpot", "rate", "clients", "max-gpus"],
)
def test_a_limit_is_relaxed_as_little_as_gives_an_answer(request_: Request, kinds: set[Kind]) -> None:
    found = offered(request_)
    assert kinds <= set(found)
    for kind, one in found.items():
        less = one_short(one)
        assert less is None or answer(less) is None, kind


def test_ttft_of_pairs_is_relaxed_to_that_of_the_slowest_pair() -> None:
    load = {"isl": 2048, "osl": 64, "roles": ["prefill", "decode"], "slo": {"ttft": "0.1 s"}}
    one = offered(ask("ws-4x4090", "llama-3.1-8b", load))["ttft"]
    less = one_short(one)
    assert less is not None
    assert answer(less) is None


def test_as_many_nodes_are_added_as_give_an_answer() -> None:
    load = {"isl": 512, "osl": 128, "request_rate": "120 /s", "slo": {"ttft": "1 s"}}
    request = ask("ws-4x4090", "llama-3.1-8b", load, objective="gpus")
    one = offered(request)["gpus"]
    *there, more = one.request.cluster.nodes
    name, last = str(more.name).removesuffix("]").split("[1-")
    fewer = more.model_copy(update={"name": f"{name}[1-{int(last) - 1}]" if int(last) > 2 else f"{name}1"})
    cluster = one.request.cluster.model_copy(update={"nodes": (*there, fewer)})
    assert answer(replace(request, cluster=cluster)) is None
    assert one.told.enough == 4 + 4 * int(last)


def test_a_node_without_fabric_gets_as_many_gpus_as_a_replica_takes() -> None:
    request = ask("ws-4x4090", "llama-3.1-70b")
    one = offered(request)["gpus"]
    assert (one.told.asked, one.told.enough) == (4, 7)
    (name,) = {entry.template for entry in request.cluster.nodes}
    six = request.cluster.templates[name].model_copy(update={"gpus": 6})
    assert answer(replace(request, cluster=request.cluster.model_copy(update={"templates": {name: six}}))) is None


# -- lifted whole --------------------------------------------------------------------------------------------------


def test_precisions_are_added_to_those_that_may_be_chosen() -> None:
    weights = offered(ask("ws-4x4090", "llama-3.1-70b"))["weights"]
    assert weights.told.enough == ("bf16", "fp8")
    kv = offered(ask("ws-4x4090", "llama-3.1-8b", {"isl": 45_000, "osl": 500}, fix={"tp": 1, "pp": 1}))["kv_cache"]
    assert kv.told.enough == ("bf16", "fp8")


def test_four_bits_are_offered_where_eight_are_too_many() -> None:
    one = offered(ask("ws-4x4090", "llama-3.1-70b", fix={"tp": 2, "pp": 1}))["weights"]
    assert one.told.enough == ("bf16", "int4")


def test_one_degree_is_set_free_where_that_is_enough() -> None:
    found = offered(ask("hgx-h200", "llama-3.1-405b", fix={"tp": 4, "pp": 1}))
    assert (found["fix"].told.asked, found["fix"].told.enough) == (("tp=4",), None)


def test_all_that_was_excluded_is_taken_where_one_part_is_not_enough() -> None:
    two = offered(ask("hgx-h200", "llama-3.1-405b", USUAL_STEPS, exclude=("hgx-h200/0", "hgx-h200/1")))["exclude"]
    assert two.told.asked == ("hgx-h200/0",)
    most = tuple(f"hgx-h200/{gpu}" for gpu in range(3))
    three = offered(ask("hgx-h200", "llama-3.1-405b", USUAL_STEPS, exclude=most))["exclude"]
    assert three.told.asked == ("hgx-h200/0", "hgx-h200/1", "hgx-h200/2")


def test_one_fault_is_repaired_where_that_is_enough() -> None:
    request = ask("hgx-h200", "llama-3.1-405b", USUAL_STEPS)
    lost = tuple(Override(match=Match(node="hgx-h200", gpu=gpu), state="lost") for gpu in (3, 5))
    broken = replace(request, cluster=request.cluster.model_copy(update={"overrides": lost}))
    assert offered(broken)["faults"].told.asked == ("GPU 3 of hgx-h200 is lost",)
    assert "faults" not in offered(replace(broken, faults=False))


def test_survival_margin_and_length_are_lifted() -> None:
    load = {"isl": 512, "osl": 128, "request_rate": "8 /s"}
    alone = offered(ask("hgx-h200", "llama-3.1-405b", load, objective="gpus", survive="gpu"))
    assert alone["survive"].told.asked == "gpu"
    cautious = offered(ask("hgx-h200", "llama-3.1-70b", {"slo": {"tpot": "12 ms"}, "margin": 0.5}))
    assert (cautious["margin"].told.asked, cautious["margin"].told.enough) == (0.5, 0.0)
    long = ask("ws-4x4090", "llama-3.1-8b", fix={"tp": 1, "pp": 1})
    long = replace(long, model=long.model.model_copy(update={"max_model_len": 131_072}))
    assert offered(long)["max_model_len"].told.enough == 1280


def test_a_model_among_several_is_named() -> None:
    request = ask("ws-4x4090", "llama-3.1-8b")
    late = WorkloadSpec.model_validate({"isl": 8192, "slo": {"ttft": "50 ms"}})
    request = replace(request, more=(Service(model=read.read_model("qwen3-8b"), workload=late),))
    one = offered(request)["ttft"]
    assert one.told.model == "Qwen/Qwen3-8B"
    less = one_short(one)
    assert less is not None
    assert answer(less) is None


# -- bounded and in order ------------------------------------------------------------------------------------------


def test_the_same_question_gets_the_same_list_in_the_order_of_kinds() -> None:
    request = ask("hgx-h200", "llama-3.1-70b", LATE)
    first, again = relaxations(request), relaxations(request)
    assert first == again
    places = [KINDS.index(one.told.kind) for one in first.found]
    assert places == sorted(places)


def test_what_is_not_looked_at_for_want_of_effort_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "MOST_PRICED", 20)
    found = relaxations(ask("hgx-h200", "llama-3.1-70b", LATE))
    assert "isl" in found.skipped


@given(values=st.lists(st.booleans(), min_size=1, max_size=12), likely=st.integers(0, 12))
def test_the_first_that_works_is_found_however_wrong_the_guess_is(values: list[bool], likely: int) -> None:
    ascending = sorted(values)
    first = ascending.index(True) if True in ascending else None
    too_hopeful = min(likely, len(values) if first is None else first)
    assert first_confirmed(lambda n: n >= too_hopeful, lambda n: ascending[n], len(values)) == first or (
        too_hopeful == len(values)
    )
    if first is not None:
        assert first_true(lambda n: ascending[n], 0, len(values) - 1) == first


@given(st.floats(1e-6, 1e6))
def test_values_are_rounded_by_less_than_a_thousandth(value: float) -> None:
    up, down = rounded(value, math.ceil), rounded(value, math.floor)
    assert up >= value * (1 - 1e-9)
    assert up * LITTLE_LESS < value
    assert down <= value * (1 + 1e-9)
    assert down / LITTLE_LESS > value


def test_lengths_on_the_grid_differ_by_a_part_of_themselves() -> None:
    numbers = grid(8192, 512)
    assert (numbers[0], numbers[-1]) == (8064, 512)
    assert all(0 < a - b <= a / 16 for a, b in pairwise(numbers))
    assert grid(3, 1) == (2, 1)


# -- on random problems --------------------------------------------------------------------------------------------


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(instances())
def test_every_relaxation_of_a_random_problem_gives_a_verified_plan(instance: Instance) -> None:
    holds(Request(instance.cluster, instance.model, instance.workload, objective=instance.objective))


@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(shared())
def test_every_relaxation_of_several_models_or_roles_gives_a_verified_plan(problem: Shared) -> None:
    first, *more = problem.services
    holds(
        Request(
            problem.cluster, first.model, first.workload, weight=first.weight, more=tuple(more),
            objective=problem.objective,
        )
    )  # fmt: skip


def holds(request: Request) -> None:
    """Assert that what is offered has an answer, and no answer with a little less of a bound or a rate."""
    try:
        if answer(request) is not None:
            return
    except InputError:
        return
    for one in relaxations(request).found:
        applied(one)
        less = one_short(one) if one.told.kind in ("ttft", "tpot", "request_rate", "max_gpus") else None
        assert less is None or answer(less) is None, one.told


# -- told ----------------------------------------------------------------------------------------------------------

GIVEN = Given(status="optimal", layout="2 x tp4 bf16 on h200-sxm", gpus=8, ttft_s=0.5, tpot_s=0.02, requests_per_s=3.25)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (Relaxation(kind="ttft", asked=1.0, enough=1.083, plan=GIVEN), "TTFT 1 s -> 1.083 s"),
        (Relaxation(kind="tpot", asked=0.02, enough=0.02468, plan=GIVEN), "TPOT 20 ms -> 24.68 ms"),
        (
            Relaxation(kind="isl", model="m", asked=1024, enough=512, plan=GIVEN),
            "ISL of m 1,024 tokens -> 512 tokens",
        ),
        (
            Relaxation(kind="gpus", asked=8, enough=16, detail="1 node t", plan=GIVEN),
            "GPUs 8 -> 16 (1 node t)",
        ),
        (Relaxation(kind="kv_cache", asked=("bf16",), enough=("bf16", "fp8"), plan=GIVEN), "kv_cache bf16 -> bf16,fp8"),
        (Relaxation(kind="fix", asked=("tp=4",), enough=None, plan=GIVEN), "without --fix tp=4"),
        (Relaxation(kind="faults", asked=("a", "b"), enough=None, plan=GIVEN), "repair what is broken (a; b)"),
        (Relaxation(kind="margin", asked=0.1, enough=0.0, plan=GIVEN), "margin 10% -> 0%"),
    ],
)
def test_a_relaxation_is_one_line_with_its_plan(change: Relaxation, told: str) -> None:
    plan = "2 x tp4 bf16 on h200-sxm, 8 GPUs (TTFT 500 ms, TPOT 20 ms, 3.25 requests/s)"
    assert line(change) == f"{told}: {plan}"


def test_json_lists_every_change_with_its_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["solve", "ws-4x4090", "llama-3.1-70b", "--json"]) == 1
    record = json.loads(capsys.readouterr().out)
    changes = {one["kind"]: one for one in record["relaxations"]}
    assert (changes["gpus"]["from"], changes["gpus"]["to"]) == (4, 7)
    assert changes["weights"]["to"] == ["bf16", "fp8"]
    assert set(changes["weights"]["plan"]) == {"status", "layout", "gpus", "ttft_s", "tpot_s", "requests_per_s"}
    assert len(record["remedies"]) == len(record["relaxations"])
    assert record["not_looked_at"] == []


def test_it_is_told_when_no_single_change_helps() -> None:
    error = InfeasibleError("no", remedies=("faster GPUs",))
    assert remedies(error, None) == ("faster GPUs",)
    assert remedies(error, ()) == (NONE, "faster GPUs")
