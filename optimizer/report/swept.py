"""Results of a sweep: CSV for programs, a table for people."""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from optimizer.report.curve import named
from optimizer.report.tables import columns
from optimizer.units import show_seconds

Row = Mapping[str, str | float | int | None]
MOST_LINES = 40


def results_csv(names: Sequence[str], rows: Sequence[Row]) -> str:
    """Return one line for each solve in the grid's order; floats as the shortest text that reads to the same value."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(["" if row[name] is None else row[name] for name in names] for row in rows)
    return text.getvalue()


def varying(axes: Sequence[str], rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the axes on which the solves differ (all of them when none does)."""
    return tuple(axis for axis in axes if len({row[axis] for row in rows}) > 1) or tuple(axes[:2])


def swept(axes: Sequence[str], rows: Sequence[Row]) -> RenderableType:
    """Return the results as tables, one for each value of the first axis that varies."""
    first, *others = varying(axes, rows)
    tables = []
    for value in dict.fromkeys(row[first] for row in rows[:MOST_LINES]):
        lines = [_line(others, row) for row in rows[:MOST_LINES] if row[first] == value]
        heads = (", ".join(other.replace("_", " ") for other in others), "layout", "GPUs", "tokens/s", "TTFT", "TPOT")
        tables.append(columns(f"{first.replace('_', ' ')} {value or '-'}", heads, lines, left=(0, 1)))
    counts = Counter(str(row["status"]) for row in rows)
    told = ", ".join(f"{count} {status}" for status, count in counts.items())
    more = f"; {len(rows) - MOST_LINES} more in the results" if len(rows) > MOST_LINES else ""
    return Group(*tables, Text(f"\n{len(rows)} solves: {told}{more}", style="dim"))


def _line(axes: Sequence[str], row: Row) -> tuple[str, ...]:
    axis_words = ", ".join("-" if row[axis] in (None, "") else str(row[axis]) for axis in axes)
    rate, ttft, tpot = row["output_tokens_per_s"], row["ttft_s"], row["tpot_s"]
    if not (isinstance(rate, float) and isinstance(ttft, float) and isinstance(tpot, float)):
        return (axis_words, str(row["status"]), "-", "-", "-", "-")
    layouts = "; ".join(named(part.split())[0] for part in str(row["layout"]).split("; "))
    return (axis_words, layouts, str(row["gpus"]), f"{rate:,.0f}", show_seconds(ttft), show_seconds(tpot))
