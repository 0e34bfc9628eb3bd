"""A plan as one page that opens anywhere: picture, charts, table, provenance; nothing is fetched."""

from collections.abc import Iterable, Sequence
from html import escape

from optimizer.compare import candidate_label, is_apart, service_names
from optimizer.plan import Candidate, Plan
from optimizer.report.damage import fault_lines
from optimizer.report.loads import tips
from optimizer.report.models import (
    HANDED,
    SERVED,
    by_model,
    handed_rows,
    ratio_lines,
    served_rows,
    title,
    traffic_lines,
)
from optimizer.report.page import charts
from optimizer.report.page.charts import Chart
from optimizer.report.page.curves import Curve, binds, curves
from optimizer.report.page.frame import chart_part, document, section, table
from optimizer.report.picture import svg
from optimizer.report.scene import scene
from optimizer.report.solved import proof_line
from optimizer.report.tables import amount, of_capacity
from optimizer.report.winning import winning
from optimizer.topology.graph import build
from optimizer.units import show_number, show_seconds


def page(plan: Plan, plotly_js: str) -> str:
    """Return the report of a plan as HTML text; ``plotly_js`` is the library that draws its charts."""
    topology = build(plan.inputs.cluster)
    shown = scene(topology, plan)
    found = curves(plan, topology)
    drawn = all_charts(plan, found)
    picture = svg(shown, tips(shown, plan), inline=True)
    body = "".join((
        section("topology", "Topology and placement", "Point at a GPU, or move with the arrow keys, to see its rank, "
                 "memory and links.", f'<div class="scroll">{picture}</div>'),
        _models(plan),
        section("binds", "Why, and what binds", "",
                _pairs(winning(plan)) + _list(binds(plan, topology, found))),
        section("faults", "What is broken", "", _list(fault_lines(plan, amount))) if plan.faults else "",
        '<div class="two">', *map(chart_part, drawn), "</div>",
        section("candidates", "Comparison", "Every priced layout, each as equal replicas by itself; sortable.",
                 _candidates(plan)),
        section("provenance", "Provenance", "", _provenance(plan)),
    ))  # fmt: skip
    top = f"{_traffic(plan)}{_cards(plan)}"
    return document(title(plan), sentence(plan), top, _links(plan, drawn), body, drawn, plotly_js)


def _models(plan: Plan) -> str:
    """Return what each of several models gets, and how KV moves where prefill and decode are apart."""
    found = ""
    if plan.inputs.more:
        says = "What each model gets; latencies are means at this load."
        found += section("models", "Models", says, table(SERVED, served_rows(plan)))
    if is_apart(plan):
        says = (
            "What each side can carry; link load: part of the time in which the way out of a rank is busy with its KV."
        )
        inner = _pairs(ratio_lines(plan)) + table(HANDED, handed_rows(plan))
        found += section("apart", "Prefill and decode apart", says, inner)
    return found


def _traffic(plan: Plan) -> str:
    named = bool(plan.inputs.more)
    lines = (f"{name}: {line}" if named else line for name, line in traffic_lines(plan))
    return "".join(f'<p class="dim">{escape(line)}</p>' for line in lines)


def all_charts(plan: Plan, found: Sequence[Curve]) -> tuple[Chart, ...]:
    """Return the charts of a plan in the page's order; those of candidates once for each model."""
    models = range(len(plan.inputs.services))
    return (
        charts.memory(plan), *(charts.pareto(plan, number) for number in models),
        charts.load(plan, found, "throughput"), charts.load(plan, found, "tpot"),
        *(charts.step(plan, number, phase) for number in models for phase in ("decode", "prefill")),
    )  # fmt: skip


def sentence(plan: Plan) -> str:
    """Return the answer in one sentence."""
    totals = plan.totals
    told = [(f"{name} as " + " and ".join(group.degrees for group in own)) for name, own in by_model(plan)]
    models = told[0] if len(told) == 1 else f"{', '.join(told[:-1])}, and {told[-1]},"
    proof = "proven optimal" if plan.status == "optimal" else f"at most {plan.objective.gap:.1%} from the best"
    return (
        f"Serve {models} on {totals.gpus} GPUs of {plan.inputs.cluster.name}: "
        f"{totals.output_tokens_per_s:,.0f} output tokens/s at TTFT {show_seconds(totals.ttft_s)} and "
        f"TPOT {show_seconds(totals.tpot_s)}, {proof}."
    )


def _links(plan: Plan, drawn: Sequence[Chart]) -> list[tuple[str, str]]:
    parts = ((f"{chart.key}-part", chart.title) for chart in drawn)
    more = [("models", "Models")] if plan.inputs.more else []
    more += [("apart", "Prefill and decode")] if is_apart(plan) else []
    first, last = (("topology", "Topology"), *more, ("binds", "Why, and what binds")), (("candidates", "Comparison"),)
    return [*first, *parts, *last, ("provenance", "Provenance")]


def _cards(plan: Plan) -> str:
    totals, objective = plan.totals, plan.objective
    asked = (f"objective: {objective.name}", amount(objective.value, objective.unit))
    weighted = any(service.weight != 1 for service in plan.inputs.services)
    cards = [
        *([asked] if objective.name != "throughput" or weighted or plan.survival is not None else []),
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


_SHARED = {"weights": "weights", "KV": "kv_cache", "GPU": "gpu_type", "span": "span"}
"""Columns that are left out where all layouts agree, by the property they show."""
_TEXT = ("layout", *_SHARED, "loses on", "model", "role")


def _candidates(plan: Plan) -> str:
    models = service_names(plan.inputs.services) if plan.inputs.more else ()
    roles = any(one.role != "both" for one in plan.candidates)
    differ = [head for head, name in _SHARED.items() if len({getattr(one, name) for one in plan.candidates}) > 1]
    told = (
        *(["model"] if models else []), *(["role"] if roles else []), "layout", "tokens/s", "TTFT", "TPOT",
        "GPUs", "DP", *differ, "fullest GPU", "loses on",
    )  # fmt: skip
    heads = "".join(
        f'<th scope="col"{" class=text" if head in _TEXT else ""}><button type="button">{escape(head)}</button></th>'
        for head in told
    )
    rows = "".join(
        _row(one, (*([models[one.service]] if models else []), *([one.role] if roles else [])), differ)
        for one in plan.candidates
    )
    whole = f'<table class="sortable"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'
    return f'<div class="scroll tall" tabindex="0" aria-label="Comparison of layouts">{whole}</div>{_all_have(plan)}'


def _all_have(plan: Plan) -> str:
    """Return what the columns left out would say in every line."""
    kinds = {head: {str(getattr(one, name)) for one in plan.candidates} for head, name in _SHARED.items()}
    same = [f"{head} {values.pop()}" for head, values in kinds.items() if len(values) == 1]
    return f'<p class="dim">All: {escape(", ".join(same))}.</p>' if same else ""


def _row(one: Candidate, of: Sequence[str], differ: Sequence[str]) -> str:
    """Return a line, ``of`` first; ``data-value`` holds what figures are sorted by, nothing where there is none."""
    served = one.fits and one.output_tokens_per_s is not None
    rate, ttft, tpot = (one.output_tokens_per_s, one.ttft_s, one.tpot_s) if served else (None, None, None)
    label = candidate_label(one) + (" (chosen)" if one.chosen else "")
    cells = (
        *map(_words, of), _words(label),
        _figure(rate, f"{rate:,.0f}" if rate is not None else "-"),
        _figure(ttft, show_seconds(ttft) if ttft is not None else "-"),
        _figure(tpot, show_seconds(tpot) if tpot is not None else "-"),
        _figure(one.gpus, str(one.gpus)), _figure(one.dp or None, str(one.dp or "-")),
        *(_words(str(getattr(one, _SHARED[head]))) for head in differ),
        _figure(one.memory_bytes / (one.capacity_bytes or 1), of_capacity(one.memory_bytes, one.capacity_bytes)),
        f'<td class="text wrap">{escape(one.why)}</td>',
    )  # fmt: skip
    look = ' class="chosen"' if one.chosen else "" if one.fits else ' class="unfit"'
    return f"<tr{look}>{''.join(cells)}</tr>"


def _pairs(lines: Iterable[tuple[str, str]]) -> str:
    inner = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in lines)
    return f'<dl class="facts">{inner}</dl>'


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
    return _pairs(facts)


def _estimate_notes(plan: Plan) -> list[str]:
    return [note for replica in plan.replicas for note in replica.estimate.notes]
