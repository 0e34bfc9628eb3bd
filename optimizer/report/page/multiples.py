"""A sweep as small multiples: one small chart for each model, workload and objective, clusters side by side."""

import math
from collections.abc import Sequence
from html import escape

from optimizer.report.page.charts import GROUPS, SECONDS, Chart
from optimizer.report.page.frame import chart_box, document, section
from optimizer.report.swept import Row, varying
from optimizer.units import show_seconds

METRICS = (
    ("output_tokens_per_s", "Output tokens/s", "more is better"), ("gpus", "GPUs", "as many as the plan uses"),
    ("tpot_s", "TPOT", "less is better"), ("ttft_s", "TTFT", "less is better"),
)  # fmt: skip
ALONG = "cluster"
"""What stands side by side inside a small chart."""
SERIES = "precision"
"""What has a colour of its own."""


def multiples(name: str, axes: Sequence[str], rows: Sequence[Row], plotly_js: str) -> str:
    """Return the page of a sweep as HTML text."""
    panels = [axis for axis in axes if axis not in (ALONG, SERIES) and len({row[axis] for row in rows}) > 1]
    drawn = {metric: _charts(metric, panels, rows) for metric, _, _ in METRICS}
    body = "".join(
        section(f"{metric}-part", title, f"{says}; one scale for each model and objective", _grid(drawn[metric]))
        for metric, title, says in METRICS
    ) + section("solves", "All solves", "Sortable.", _table(axes, rows))
    links = [*((f"{metric}-part", title) for metric, title, _ in METRICS), ("solves", "All solves")]
    solved = sum(row["status"] in ("optimal", "feasible") for row in rows)
    headline = f"{name}: {solved} of {len(rows)} combinations have a plan"
    every = [chart for charts in drawn.values() for chart in charts]
    return document(f"{name} (sweep)", headline, "", links, body, every, plotly_js)


def _grid(charts: Sequence[Chart]) -> str:
    inner = "".join(f"<div><h3>{escape(chart.title)}</h3>{chart_box(chart)}</div>" for chart in charts)
    return f'<div class="multiples">{inner}</div>'


def _charts(metric: str, panels: Sequence[str], rows: Sequence[Row]) -> list[Chart]:
    """Return one chart for each combination of the panels' axes; those of one model and objective share a scale."""
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[axis] for axis in panels), []).append(row)
    tops: dict[tuple[object, ...], float] = {}
    for row in rows:
        if isinstance(value := row[metric], int | float):
            tops[_scale(row)] = max(float(value), tops.get(_scale(row), 0.0))
    return [
        _chart(
            f"{metric}-{number}", ", ".join(map(str, key)) or metric, metric, group, tops.get(_scale(group[0]), 1.0)
        )
        for number, (key, group) in enumerate(groups.items())
    ]  # fmt: skip


def _scale(row: Row) -> tuple[object, ...]:
    return row["model"], row["objective"]


def _chart(key: str, title: str, metric: str, rows: Sequence[Row], top: float) -> Chart:
    series = list(dict.fromkeys(str(row[SERIES]) for row in rows))
    data = tuple(
        {
            "type": "bar", "name": name or "as the workload says", "x": [str(row[ALONG]) for row in mine],
            "y": [row[metric] for row in mine], "text": [str(row["layout"] or row["status"]) for row in mine],
            "textposition": "none", "marker": {"color": GROUPS[number % len(GROUPS)]},
            "hovertemplate": "%{x}<br>%{text}<br>%{y:.4s}<extra></extra>",
        }
        for number, name in enumerate(series)
        for mine in [[row for row in rows if str(row[SERIES]) == name]]
    )  # fmt: skip
    ticks: dict[str, object] = {"dtick": max(1, math.ceil(top / 4))} if metric == "gpus" else {}
    scale = {"range": [0, top * 1.05], **(SECONDS if metric in ("tpot_s", "ttft_s") else ticks)}
    layout: dict[str, object] = {
        "barmode": "group", "yaxis": scale, "xaxis": {"type": "category"}, "showlegend": len(series) > 1,
    }  # fmt: skip
    cells = tuple((str(row[ALONG]), str(row[SERIES]) or "-", _shown(metric, row[metric])) for row in rows)
    return Chart(key, title, "", data, layout, (ALONG, SERIES, metric), cells)


def _shown(metric: str, value: object) -> str:
    if not isinstance(value, int | float):
        return "-"
    return show_seconds(value) if metric in ("tpot_s", "ttft_s") else f"{value:,.6g}"


def _table(axes: Sequence[str], rows: Sequence[Row]) -> str:
    named = varying(axes, rows)
    heads = (*named, "status", "layout", *(title for _, title, _ in METRICS), "message")
    text = len(named) + 2
    top = "".join(
        f'<th scope="col"{" class=text" if index < text else ""}><button type="button">{escape(head)}</button></th>'
        for index, head in enumerate(heads)
    )
    lines = "".join(
        "<tr>" + "".join(_word(row[name]) for name in (*named, "status", "layout"))
        + "".join(_figure(metric, row[metric]) for metric, _, _ in METRICS)
        + f'<td class="text wrap">{escape(str(row["message"] or ""))}</td></tr>'
        for row in rows
    )  # fmt: skip
    table = f'<table class="sortable"><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table>'
    return f'<div class="scroll tall" tabindex="0" aria-label="All solves">{table}</div>'


def _word(value: object) -> str:
    return f'<td class="text">{escape("-" if value in (None, "") else str(value))}</td>'


def _figure(metric: str, value: object) -> str:
    known = isinstance(value, int | float)
    return f'<td data-value="{value if known else ""}">{escape(_shown(metric, value))}</td>'
