"""A plan as one page that opens anywhere: picture, charts, table, provenance; nothing is fetched."""

from collections.abc import Iterable, Sequence
from html import escape

from optimizer.compare import candidate_label, replica_groups
from optimizer.plan import Candidate, Plan
from optimizer.report.damage import fault_lines
from optimizer.report.loads import tips
from optimizer.report.page import charts
from optimizer.report.page.charts import Chart
from optimizer.report.page.curves import Curve, binds, curves
from optimizer.report.page.frame import chart_part, document, section
from optimizer.report.picture import svg
from optimizer.report.scene import scene
from optimizer.report.solved import amount, proof_line, workload_line
from optimizer.report.tables import of_capacity
from optimizer.topology.graph import build
from optimizer.units import show_number, show_seconds


def page(plan: Plan, plotly_js: str) -> str:
    """Return the report of a plan as HTML text; ``plotly_js`` is the library that draws its charts."""
    topology = build(plan.inputs.cluster)
    shown = scene(topology, plan)
    found = curves(plan, topology)
    drawn = all_charts(plan, found)
    picture = svg(shown, tips(shown, plan), inline=True)
    title = f"{plan.inputs.model.name} on {plan.inputs.cluster.name}"
    body = "".join((
        section("topology", "Topology and placement", "Point at a GPU, or move with the arrow keys, to see its rank, "
                 "memory and links.", f'<div class="scroll">{picture}</div>'),
        section("binds", "What binds", "", _list(binds(plan, topology, found))),
        section("faults", "What is broken", "", _list(fault_lines(plan, amount))) if plan.faults else "",
        '<div class="two">', *map(chart_part, drawn), "</div>",
        section("candidates", "Comparison", "Every priced layout, each as equal replicas by itself; sortable.",
                 _candidates(plan.candidates)),
        section("provenance", "Provenance", "", _provenance(plan)),
    ))  # fmt: skip
    top = f'<p class="dim">{escape(workload_line(plan.inputs.workload))}</p>{_cards(plan)}'
    return document(title, sentence(plan), top, _links(drawn), body, drawn, plotly_js)


def all_charts(plan: Plan, found: Sequence[Curve]) -> tuple[Chart, ...]:
    """Return the charts of a plan in the page's order."""
    return (
        charts.memory(plan), charts.pareto(plan),
        charts.load(plan, found, "throughput"), charts.load(plan, found, "tpot"),
        charts.step(plan, "decode"), charts.step(plan, "prefill"),
    )  # fmt: skip


def sentence(plan: Plan) -> str:
    """Return the answer in one sentence."""
    totals = plan.totals
    layouts = " and ".join(group.degrees for group in replica_groups(plan))
    proof = "proven optimal" if plan.status == "optimal" else f"at most {plan.objective.gap:.1%} from the best"
    return (
        f"Serve {plan.inputs.model.name} as {layouts} on {totals.gpus} GPUs of {plan.inputs.cluster.name}: "
        f"{totals.output_tokens_per_s:,.0f} output tokens/s at TTFT {show_seconds(totals.ttft_s)} and "
        f"TPOT {show_seconds(totals.tpot_s)}, {proof}."
    )


def _links(drawn: Sequence[Chart]) -> list[tuple[str, str]]:
    parts = ((f"{chart.key}-part", chart.title) for chart in drawn)
    first, last = (("topology", "Topology"), ("binds", "What binds")), (("candidates", "Comparison"),)
    return [*first, *parts, *last, ("provenance", "Provenance")]


def _cards(plan: Plan) -> str:
    totals, objective = plan.totals, plan.objective
    cards = [
        (f"objective: {objective.name}", amount(objective.value, objective.unit)),
        ("output", f"{totals.output_tokens_per_s:,.0f} tokens/s"),
        ("requests", f"{show_number(totals.requests_per_s)} /s"),
        ("TTFT, mean", show_seconds(totals.ttft_s)), ("TPOT, mean", show_seconds(totals.tpot_s)),
        ("GPUs", f"{totals.gpus} in {totals.replicas} replicas"),
    ]  # fmt: skip
    if totals.cost_per_h is not None:
        cards.append(("cost", f"{totals.cost_per_h:,.2f} {totals.currency}/h"))
    inner = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in cards)
    return f'<dl class="cards">{inner}</dl>'


def _list(lines: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


_HEADS = ("layout", "DP", "GPUs", "weights", "KV", "GPU", "span", "tokens/s", "TTFT", "TPOT", "fullest GPU", "loses on")
_TEXT = (0, 3, 4, 5, 6, 11)


def _candidates(candidates: Sequence[Candidate]) -> str:
    heads = "".join(
        f'<th scope="col"{" class=text" if index in _TEXT else ""}><button type="button">{escape(head)}</button></th>'
        for index, head in enumerate(_HEADS)
    )
    rows = "".join(map(_row, candidates))
    table = f'<table class="sortable"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'
    return f'<div class="scroll tall" tabindex="0" aria-label="Comparison of layouts">{table}</div>'


def _row(one: Candidate) -> str:
    """Return a line of the table; ``data-value`` holds what figures are sorted by, nothing where there is none."""
    served = one.fits and one.output_tokens_per_s is not None
    rate, ttft, tpot = (one.output_tokens_per_s, one.ttft_s, one.tpot_s) if served else (None, None, None)
    label = candidate_label(one) + (" (chosen)" if one.chosen else "")
    cells = (
        _words(label), _figure(one.dp or None, str(one.dp or "-")), _figure(one.gpus, str(one.gpus)),
        *map(_words, (one.weights, one.kv_cache, one.gpu_type, one.span)),
        _figure(rate, f"{rate:,.0f}" if rate is not None else "-"),
        _figure(ttft, show_seconds(ttft) if ttft is not None else "-"),
        _figure(tpot, show_seconds(tpot) if tpot is not None else "-"),
        _figure(one.memory_bytes / (one.capacity_bytes or 1), of_capacity(one.memory_bytes, one.capacity_bytes)),
        f'<td class="text wrap">{escape(one.why)}</td>',
    )  # fmt: skip
    look = ' class="chosen"' if one.chosen else "" if one.fits else ' class="unfit"'
    return f"<tr{look}>{''.join(cells)}</tr>"


def _words(text: str) -> str:
    return f'<td class="text">{escape(text)}</td>'


def _figure(value: float | None, shown: str) -> str:
    return f'<td data-value="{"" if value is None else repr(value)}">{escape(shown)}</td>'


def _provenance(plan: Plan) -> str:
    told = plan.provenance
    facts = [
        ("proof", proof_line(plan, {})), *((f"sha256 of {name}", text) for name, text in told.inputs_sha256.items()),
        *told.versions.items(), ("seed", str(told.seed)), *((f"option {k}", v) for k, v in told.options.items()),
        *(("note", note) for note in dict.fromkeys((*told.notes, *_estimate_notes(plan)))),
    ]  # fmt: skip
    inner = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts)
    return f'<dl class="facts">{inner}</dl>'


def _estimate_notes(plan: Plan) -> list[str]:
    return [note for replica in plan.replicas for note in replica.estimate.notes]
