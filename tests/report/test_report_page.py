"""The report: one file that asks for nothing, with every number of the plan in it."""

import json
import re
from html.parser import HTMLParser
from typing import Any

import handmade
import pytest

from optimizer.cost.estimate import estimate
from optimizer.cost.settings import resolve
from optimizer.inputs import presets
from optimizer.plan import FaultCost, Plan
from optimizer.report.facts import case_of
from optimizer.report.page import page, sentence
from optimizer.report.page.charts import front_of
from optimizer.report.page.curves import binds, curves
from optimizer.topology.graph import build

ASKING = {"src", "srcset", "href", "xlink:href", "action", "data", "poster", "background", "ping", "formaction"}


@pytest.fixture(scope="module")
def plan() -> Plan:
    """Return four tp4 of 32 requests each, priced by the cost room, under an objective of 40 ms."""
    bare = handmade.plan()
    load = handmade.workload(slo={"tpot": "40 ms", "percentile": 90})
    inputs = bare.inputs.model_copy(update={"workload": load})
    case = case_of(bare, bare.replicas[0], build(bare.inputs.cluster))
    engine = resolve(load.engine, presets.load_engine("vllm"), case.gpu, case.model, load, 32, gpus=4)
    asked = bare.replicas[0].model_copy(update={"engine": engine})
    priced = estimate(case_of(bare, asked, build(bare.inputs.cluster)), load, 32)
    replicas = [replica.model_copy(update={"engine": engine, "estimate": priced}) for replica in bare.replicas]
    return handmade.plan(*replicas, inputs=inputs)


@pytest.fixture(scope="module")
def html(plan: Plan) -> str:
    """Return the report with a stand-in for plotly.js."""
    return page(plan, "/* plotly.js */")


class Seen(HTMLParser):
    """Attributes and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def figures(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="charts">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    return {chart["key"]: chart for chart in json.loads(found[1])}


def test_the_page_asks_for_nothing(html: str) -> None:
    asked = [value for _, name, value in Seen(html).attributes if name in ASKING]
    assert asked
    assert all(value.startswith(("#", "data:,")) for value in asked)
    assert not re.search(r"@import|url\((?!#)|fetch\(|XMLHttpRequest|WebSocket|sendBeacon", html)
    assert any("default-src 'none'" in value for _, _, value in Seen(html).attributes)


def test_all_parts_are_there(html: str, plan: Plan) -> None:
    seen = Seen(html)
    ids = [value for _, name, value in seen.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    wanted = {"topology", "binds", "memory", "pareto", "throughput", "tpot", "decode", "prefill", "candidates"}
    assert wanted | {"provenance", "charts", "tip"} <= set(ids)
    linked = {value[1:] for tag, name, value in seen.attributes if tag == "a" and name == "href"}
    assert linked <= set(ids)
    text = " ".join(seen.words)
    assert sentence(plan) in text
    assert "proven optimal" in text


def test_charts_hold_the_numbers_of_the_plan(html: str, plan: Plan) -> None:
    shown = figures(html)
    held = {trace["name"]: trace["y"] for trace in shown["memory"]["data"]}
    assert len(held["weights"]) == 16
    assert held["weights"][0] == plan.replicas[0].estimate.memory[0].weights_bytes / 2**30
    assert all(sum(held[name][0] for name in held if name != "capacity") <= size for size in held["capacity"])
    chosen = next(trace for trace in shown["pareto"]["data"] if trace["name"] == "chosen")
    assert (chosen["x"], chosen["y"]) == ([0.0301], [30720.0])
    assert "tp4" in chosen["text"][0]
    star = shown["tpot"]["data"][1]
    assert (star["x"], star["y"]) == ([32], [plan.replicas[0].estimate.tpot_s])
    assert shown["tpot"]["layout"]["shapes"][0]["y0"] == 0.04
    assert {trace["name"]: trace["x"][-1] for trace in shown["decode"]["data"]}["collectives"] == 0.003
    assert all(chart["data"] for chart in shown.values())


def test_plotly_takes_every_chart(html: str) -> None:
    graph_objects = pytest.importorskip("plotly.graph_objects")
    for chart in figures(html).values():
        graph_objects.Figure(data=chart["data"], layout=chart["layout"])


def test_text_of_the_user_is_never_markup(plan: Plan) -> None:
    name = "</script><script>alert(1)</script>"
    inputs = plan.inputs.model_copy(update={"model": handmade.model(name=name)})
    assert "<script>alert" not in page(plan.model_copy(update={"inputs": inputs}), "")


def test_the_same_plan_gives_the_same_page(html: str, plan: Plan) -> None:
    assert page(plan, "/* plotly.js */") == html


def test_the_front_holds_what_nothing_beats_in_both() -> None:
    base = handmade.candidates()[0]
    points = [(0.01, 5.0), (0.02, 4.0), (0.03, 9.0), (0.03, 8.0)]
    front = front_of([base.model_copy(update={"tpot_s": x, "output_tokens_per_s": y}) for x, y in points])
    assert [(one.tpot_s, one.output_tokens_per_s) for one in front] == [(0.01, 5.0), (0.03, 9.0)]


def test_what_is_broken_is_told_with_its_cost(plan: Plan) -> None:
    cost = FaultCost(fault="node02 GPU 5 is lost", overrides=(0,), value_without=40000.0, loss_fraction=0.25)
    assert "What is broken" not in page(plan, "")
    assert "node02 GPU 5 is lost: costs 25 % of throughput" in page(plan.model_copy(update={"faults": (cost,)}), "")


def test_what_binds_is_said_in_words(plan: Plan) -> None:
    topology = build(plan.inputs.cluster)
    told = "\n".join(binds(plan, topology, curves(plan, topology)))
    assert "most of a decode step is" in told
    assert "GPUs: 16 of 16 usable ones hold ranks" in told
    slow = plan.inputs.workload.model_copy(update={"slo": plan.inputs.workload.slo.model_copy(update={"tpot": 1e-3})})
    tight = plan.model_copy(update={"inputs": plan.inputs.model_copy(update={"workload": slow})})
    assert "the service objectives bind" in "\n".join(binds(tight, topology, curves(tight, topology)))
