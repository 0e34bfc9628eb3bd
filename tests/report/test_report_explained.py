"""explain and diff: every number has a formula and leads to a source; changes have reasons."""

from collections.abc import Iterator

import handmade
import pytest

from optimizer.cost.estimate import estimate
from optimizer.errors import InputError
from optimizer.plan import Plan
from optimizer.report.changes import changes
from optimizer.report.explained import explain, stale
from optimizer.report.facts import Fact, case_of, named, pruned, record
from optimizer.topology.graph import build


@pytest.fixture(scope="module")
def plan() -> Plan:
    """Return tp2pp2 on one node, priced by the cost room, so that the trace can be held against it."""
    bare = handmade.plan(handmade.replica([("node01", [0, 1, 2, 3])], tp=2, pp=2))
    case = case_of(bare, bare.replicas[0], build(bare.inputs.cluster))
    priced = estimate(case, bare.inputs.workload, 256)
    return handmade.plan(bare.replicas[0].model_copy(update={"estimate": priced}))


def walk(facts: tuple[Fact, ...]) -> Iterator[Fact]:
    for one in facts:
        yield one
        yield from walk(one.inputs)


def number(facts: tuple[Fact, ...], name: str) -> float:
    found = named(facts, name)[0].number
    assert found is not None
    return found


def test_the_formulas_of_rates_and_latencies_give_the_numbers(plan: Plan) -> None:
    facts = explain(plan)
    rate, ttft, tpot = (named(facts, name)[0].inputs for name in ("requests/s of", "TTFT of", "TPOT of"))
    cycle, front = number(rate, "cycle"), number(rate, "front end")
    stated = plan.replicas[0].estimate
    assert number(rate, "running") / (cycle + front) == pytest.approx(stated.requests_per_s)
    own = number(ttft, "chunks") * number(ttft, "mixed step") + number(ttft, "start")
    assert front + own + number(ttft, "waiting") == pytest.approx(stated.ttft_s)
    osl = number(tpot, "OSL")
    assert max(number(tpot, "decode step"), (cycle - own) / (osl - 1)) == pytest.approx(stated.tpot_s)


def test_under_random_arrivals_the_formulas_give_the_numbers_too() -> None:
    bare = handmade.plan(handmade.replica([("node01", [0, 1, 2, 3])], tp=2, pp=2))
    load = bare.inputs.workload.model_copy(update={"request_rate": 4.0, "concurrency": None})
    bare = bare.model_copy(update={"inputs": bare.inputs.model_copy(update={"workload": load})})
    case = case_of(bare, bare.replicas[0], build(bare.inputs.cluster))
    stated = estimate(case, load, 64)
    facts = explain(bare.model_copy(update={"replicas": (bare.replicas[0].model_copy(update={"estimate": stated}),)}))
    rate, ttft, tpot = (named(facts, name)[0].inputs for name in ("requests/s of", "TTFT of", "TPOT of"))
    running, cycle, front = rate
    cycle_s = (cycle.number or 0.0) + (front.number or 0.0)
    assert (running.number or 0.0) / cycle_s == pytest.approx(stated.requests_per_s)
    assert sum(one.number or 0.0 for one in ttft) == pytest.approx(stated.ttft_s)
    taken = stated.requests_per_s * number(tpot, "prompt")
    assert number(tpot, "decode step") / (1 - taken) == pytest.approx(stated.tpot_s)


def test_a_step_is_the_sum_of_its_causes_and_gemm_the_sum_of_its_matrices(plan: Plan) -> None:
    step = named(explain(plan), "decode step")[0]
    parts = {one.name: one for one in step.inputs}
    assert sum(one.number or 0.0 for one in parts.values()) == pytest.approx(step.number)
    layer, head = parts["gemm"].inputs
    assert (layer.number or 0.0) * 80 + (head.number or 0.0) == pytest.approx(parts["gemm"].number)


def test_memory_is_the_sum_of_its_parts(plan: Plan) -> None:
    memory = named(explain(plan), "memory of")[0]
    assert sum(number(memory.inputs, name) for name in ("weights", "activations", "overhead")) == memory.number


def test_every_number_ends_in_a_formula_or_a_source(plan: Plan) -> None:
    bare = [one.name for one in walk(explain(plan)) if not (one.formula or one.source or one.inputs)]
    assert {name for name in bare if not name.endswith("h200-sxm")} <= {
        "workload",
        "max_num_batched_tokens",
        "max_num_seqs",
    }
    measured = [one for one in walk(explain(plan)) if one.name in ("share", "efficiency", "hop", "gap of a kernel")]
    assert measured
    assert all("calibration h200-sxm" in one.source for one in measured)


def test_a_level_is_a_depth(plan: Plan) -> None:
    facts = explain(plan)
    assert all(not one.inputs for one in pruned(facts, 1))
    assert {one.name for one in pruned(facts, 1)} == {one.name for one in facts}
    assert record(pruned(facts, 2)[1])["inputs"]


def test_a_plan_of_another_calibration_is_said_to_be_one(plan: Plan) -> None:
    assert not stale(plan)
    assert any("tpot_s" in line for line in stale(handmade.plan()))


def test_an_unknown_number_is_refused_with_the_known_ones(plan: Plan) -> None:
    with pytest.raises(InputError, match="TPOT"):
        named(explain(plan), "goodness")


def test_equal_plans_have_no_changes() -> None:
    found = changes(handmade.plan(), handmade.plan())
    assert (found.results, found.inputs, found.provenance) == ((), (), ())
    assert found.reasons == ("the plans are equal",)


def test_a_changed_input_is_named_as_the_reason() -> None:
    a = handmade.plan()
    inputs = a.inputs.model_copy(update={"workload": handmade.workload(isl=4096)})
    found = changes(a, handmade.plan(handmade.replica([("node01", [0, 1, 2, 3])], tp=4), inputs=inputs))
    assert [row.key for row in found.inputs] == ["workload.isl.mean"]
    assert "workload differs: workload.isl.mean" in found.reasons
    assert ("output tokens/s", "-75.0%") in [(row.key, row.values[-1]) for row in found.results]
    assert any("first plan's" in line for line in found.reasons)


def test_a_changed_calibration_is_named_as_the_reason() -> None:
    a = handmade.plan()
    versions = {"tpopt": "0.1.0", "calibration h200-sxm": "h200-sxm, vllm 0.24.0, 2026-11, 0123456789ab"}
    b = handmade.plan(provenance=a.provenance.model_copy(update={"versions": versions}))
    found = changes(a, b)
    assert [row.key for row in found.provenance] == ["calibration h200-sxm"]
    assert found.reasons[-1].startswith("the inputs are the same: prices differ because")
