"""The frame of a page: head, contents, charts with their numbers, scripts; it may load nothing but itself."""

import json
from collections.abc import Sequence
from html import escape

from optimizer.report import drawing
from optimizer.report.page.charts import Chart
from optimizer.report.page.script import JS
from optimizer.report.page.style import CSS

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:"
"""What the page may load: nothing but itself."""


def document(
    title: str, headline: str, top: str, links: Sequence[tuple[str, str]], body: str, drawn: Sequence[Chart],
    plotly_js: str,
) -> str:  # fmt: skip
    """Return a page as HTML text; ``top`` and ``body`` are HTML, the rest is escaped here."""
    nav = "".join(f'<li><a href="#{key}">{escape(words)}</a></li>' for key, words in links)
    data = json.dumps([{"key": c.key, "data": c.data, "layout": c.layout} for c in drawn]).replace("<", "\\u003c")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{CSS}{drawing.style()}</style></head><body>"
        f'<a class="skip" href="#{links[0][0]}">Skip to the content</a><main><h1>{escape(headline)}</h1>{top}'
        f'<nav aria-label="Contents"><ul>{nav}</ul></nav>{body}</main><div id="tip" role="status"></div>'
        f'<script type="application/json" id="charts">{data}</script>\n'
        f"<script>{plotly_js}</script>\n<script>{JS}</script></body></html>\n"
    )


def section(key: str, title: str, says: str, inner: str) -> str:
    """Return a part of the page; ``inner`` is HTML."""
    told = f'<p class="says">{escape(says)}</p>' if says else ""
    return f'<section id="{key}"><h2>{escape(title)}</h2>{told}{inner}</section>'


def chart_part(chart: Chart) -> str:
    """Return the place of a chart with the same numbers as a table."""
    return section(f"{chart.key}-part", chart.title, chart.says, chart_box(chart))


def chart_box(chart: Chart) -> str:
    """Return the place of a chart and its numbers, without a title."""
    box = (
        f'<div class="chart" id="{chart.key}" role="img" aria-label="{escape(chart.title)}; the numbers follow"></div>'
    )
    numbers = f'<div class="scroll tall" tabindex="0">{table(chart.heads, chart.rows)}</div>'
    return f"{box}<details><summary>The numbers</summary>{numbers}</details>"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a plain table."""
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    top = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
