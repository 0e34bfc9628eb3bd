"""Several models, and prefill and decode apart: every answer names all of them, each with its own traffic."""

from collections.abc import Iterator

import pytest
import served_plans
from rich.console import Console, RenderableType
from typed_plans import Put, cluster, plan

from optimizer.compare import plan_rows, replica_groups, service_names
from optimizer.cost.estimate import estimate
from optimizer.inputs.workload import Role
from optimizer.plan import Plan, Replica
from optimizer.report.changes import changes
from optimizer.report.curve import short
from optimizer.report.explained import explain, stale
from optimizer.report.facts import Fact, case_of, named
from optimizer.report.loads import tips, tokens_per_s
from optimizer.report.models import handed_rows, headline, link_load, ratio_lines, served_rows, traffic_lines
from optimizer.report.page import page, sentence
from optimizer.report.page.curves import binds, curves
from optimizer.report.scene import scene
from optimizer.report.solved import solved
from optimizer.report.tables import Screen
from optimizer.topology.graph import build


@pytest.fixture(scope="module")
def two() -> Plan:
    """Return two models, the first with prefill and decode apart beside a replica that does both."""
    return served_plans.two_models()


@pytest.fixture(scope="module")
def priced(two: Plan) -> Plan:
    """Return the same replicas at what the cost room asks for them."""
    topology = build(two.inputs.cluster)

    def asked(replica: Replica) -> Replica:
        workload = two.inputs.services[replica.service].workload
        price = estimate(case_of(two, replica, topology), workload, replica.estimate.concurrency, replica.role)
        return replica.model_copy(update={"estimate": price})

    return two.model_copy(update={"replicas": tuple(map(asked, two.replicas))})


def shown(renderable: RenderableType, width: int = 80) -> str:
    console = Console(width=width, markup=False, highlight=False, emoji=False, color_system=None)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def test_the_headline_and_the_sentence_name_all_models_and_roles(two: Plan) -> None:
    assert headline(two).startswith("2 models on 5 of 8 GPUs of by-hand: tiny TP1 x PP1 x DP1 prefill + ")
    assert headline(two).endswith("; other TP1 x PP1 x DP1")
    assert "Serve tiny as TP1 x PP1 x DP1 prefill and " in sentence(two)
    assert "and other as TP1 x PP1 x DP1, on 5 GPUs" in sentence(two)


def test_each_model_has_its_traffic_and_what_it_gets(two: Plan) -> None:
    assert traffic_lines(two) == (
        ("tiny", "ISL 512, OSL 64, saturating load"),
        ("other", "ISL 512, OSL 32, 4 requests/s, weight 2"),
    )
    assert served_rows(two)[1] == ("other", "4", "128", "100 ms", "50 ms", "1", "1")
    assert served_rows(served_plans.with_demand(two, 1, request_rate=9.0))[1][1] == "4 of 9"


def test_two_services_of_one_model_are_told_apart(two: Plan) -> None:
    first = two.inputs.services[0]
    assert service_names((first, first)) == ("tiny [0]", "tiny [1]")


def test_the_ratio_and_the_ttft_of_a_pair_are_told(two: Plan) -> None:
    (name, ratio), (_, ttft) = ratio_lines(two)
    assert name == "tiny"
    assert ratio == "1 prefill : 2 decode replicas, 1 : 2 GPUs, and 1 that do both on 1 GPUs"
    assert ttft == "TTFT 300 ms = 200 ms prompt + 83.3 ms KV transfer + 16.7 ms first decode step"


def test_transfers_have_seconds_and_a_load_of_their_links(two: Plan) -> None:
    assert handed_rows(two) == [
        ("0", "prefill", "10", "50 ms", "50 %"), ("1", "decode", "6", "100 ms", "60 %"),
        ("2", "decode", "3", "20 ms", "6 %"), ("3", "both", "2", "-", "-"),
    ]  # fmt: skip
    shared = two.replicas[0].model_copy(update={"attn_dp": 2})
    assert link_load(shared) == link_load(two.replicas[0]) / 2


@pytest.mark.parametrize("width", [80, 140])
def test_solve_tells_every_model_and_role(two: Plan, width: int) -> None:
    text = shown(solved(two, {}, Screen(width)), width)
    for part in ("2 models on 5 of 8 GPUs", "Layout of tiny", "Layout of other", "prefill  1 x 1 x 1", "link load",
                 "What each model gets", "4 requests/s, weight 2"):  # fmt: skip
        assert part in text
    assert max(len(line) for line in text.splitlines()) <= width


def test_one_model_with_roles_apart_keeps_its_headline() -> None:
    one = plan(cluster(), [Put((("n0/0",),)), Put((("n0/1",),))])
    roles: tuple[Role, ...] = ("prefill", "decode")
    replicas = tuple(r.model_copy(update={"role": role}) for r, role in zip(one.replicas, roles, strict=True))
    one = one.model_copy(update={"replicas": replicas})
    assert headline(one) == "tiny on by-hand: TP1 x PP1 x DP1 prefill + TP1 x PP1 x DP1 decode, 2 GPUs"
    assert ratio_lines(one)[0] == ("ratio", "1 prefill : 1 decode replicas, 1 : 1 GPUs")


def test_layouts_in_short_keep_their_roles() -> None:
    apart = "6 x tp2 prefill bf16 on h200-sxm + 1 x tp4 decode bf16 on h200-sxm"
    assert short(apart) == "6 x tp2 prefill + 1 x tp4 decode"
    assert short("1 x tp4 bf16 on h200-sxm + 4 x tp2 prefill bf16 on h200-sxm") == "1 x tp4 + 4 x tp2 prefill"
    assert short("2 x tp8 bf16 on a + 1 x tp2 fp8 on b") == "2 x tp8 bf16 on a + 1 x tp2 fp8 on b"


def test_groups_say_role_and_model_where_there_are_several(two: Plan) -> None:
    labels = [group.label for group in replica_groups(two)]
    assert labels[0] == "1 x tp1 prefill bf16 on big for tiny"
    assert labels[-1] == "1 x tp1 bf16 on big for other"


def walk(facts: tuple[Fact, ...]) -> Iterator[Fact]:
    for one in facts:
        yield one
        yield from walk(one.inputs)


def test_explain_prices_each_replica_with_its_own_traffic_and_role(priced: Plan) -> None:
    assert stale(priced) == ()
    other = priced.model_copy(update={"inputs": priced.inputs.model_copy(update={"more": (
        priced.inputs.more[0].model_copy(update={"workload": priced.inputs.workload}),)})})  # fmt: skip
    assert {line.split(":")[0] for line in stale(other)} == {"replica group 4"}


def test_the_formulas_of_roles_give_the_numbers(priced: Plan) -> None:
    facts = explain(priced)
    prefill, decode = priced.replicas[0].estimate, priced.replicas[1].estimate
    rate, ttft, tpot, moved = (
        {name.removeprefix(f"{what} of replica "): one for one in walk(facts)
         if (name := one.name).startswith(f"{what} of replica ")}
        for what in ("requests/s", "TTFT", "TPOT", "KV transfer")
    )  # fmt: skip
    assert set(rate) == set(ttft) == set("01234")
    assert (set(tpot), set(moved)) == (set("1234"), set("012"))
    assert sum(one.number or 0.0 for one in ttft["0"].inputs) == pytest.approx(prefill.ttft_s)
    running, step, osl = (one.number or 0.0 for one in rate["1"].inputs)
    assert running / ((osl + 0.5) * step) == pytest.approx(decode.requests_per_s)
    front, step, waiting = (one.number or 0.0 for one in ttft["1"].inputs)
    assert front + 1.5 * step + waiting == pytest.approx(decode.ttft_s)
    assert named((moved["1"],), "way out")[0].source.startswith("calibration")


def test_explain_sums_over_models(priced: Plan) -> None:
    tokens = named(explain(priced), "output tokens/s")[0]
    assert [one.name for one in tokens.inputs] == ["tiny", "other"]
    assert "lesser of what its replicas prefill" in tokens.inputs[0].formula
    assert sum(one.number or 0.0 for one in tokens.inputs) == tokens.number


def test_one_model_apart_is_explained_without_a_sum_over_models(priced: Plan) -> None:
    alone = priced.totals.model_copy(update={"services": priced.totals.services[:1]})
    inputs = priced.inputs.model_copy(update={"more": ()})
    one = priced.model_copy(update={"replicas": priced.replicas[:4], "totals": alone, "inputs": inputs})
    tokens = named(explain(one), "output tokens/s")[0]
    assert tokens.formula.startswith("OSL x requests/s; requests/s: the lesser of what its replicas prefill")


def test_memory_of_a_prefill_replica_is_explained_without_answers(priced: Plan) -> None:
    needed = {one.name: named((one,), "needed")[0] for one in explain(priced) if one.name.startswith("memory")}
    assert "of up to ISL = 512 tokens" in needed["memory of the fullest rank of replica 0"].formula
    assert "of up to ISL + OSL = 576" in needed["memory of the fullest rank of replica 1"].formula


def test_curves_are_those_of_the_own_model_and_role(priced: Plan) -> None:
    topology = build(priced.inputs.cluster)
    found = curves(priced, topology)
    assert [point.tpot_s for point in found[0].points] == [0.0] * len(found[0].points)
    for curve in found:
        at = next(p for p in curve.points if p.concurrency == curve.group.one.estimate.concurrency)
        assert at == curve.group.one.estimate
    said = "\n".join(binds(priced, topology, found))
    assert "demand: all of the 4 requests/s asked for of other are served" in said
    assert "most of a prefill step is" in said


def test_the_page_has_a_part_for_models_and_for_roles_and_charts_for_each_model(priced: Plan) -> None:
    html = page(priced, "")
    for part in ('id="models"', 'id="apart"', 'id="pareto-0"', 'id="pareto-1"', 'id="decode-1"', "1 prefill : 2 decode",
                 "other: ISL 512, OSL 32, 4 requests/s"):  # fmt: skip
        assert part in html
    assert 'id="pareto"' not in html


def test_a_gpu_tells_what_it_serves_and_how_its_kv_leaves(priced: Plan) -> None:
    topology = build(priced.inputs.cluster)
    told = tips(scene(topology, priced), priced)
    assert "serves tiny\nprefill only" in told["n0/0"]
    assert "KV of a request over the network" in told["n0/0"]
    assert "serves other\nprefill and decode" in told["n1/0"]
    assert "KV of a request" not in told["n1/0"]


def test_only_tokens_of_the_own_phase_pass_a_replica(two: Plan) -> None:
    assert [tokens_per_s(two, replica) for replica in two.replicas[:2]] == [10 * 512, 6 * 64]


def test_plans_of_several_models_are_compared_by_model(two: Plan) -> None:
    rows = {row.key: row.values for row in plan_rows((two, plan(cluster(), [Put((("n0/0",),))])))}
    assert rows["other"] == ("4 requests/s, TTFT 100 ms, TPOT 50 ms, 1 GPUs", "absent")


def test_a_changed_model_is_named_as_the_reason(two: Plan) -> None:
    other = served_plans.with_demand(two, 1, request_rate=2.0)
    found = changes(two, other)
    assert [row.key for row in found.inputs] == ["more[0].workload.request_rate"]
    assert found.reasons[0] == "what else shares the cluster differs: more[0].workload.request_rate"
