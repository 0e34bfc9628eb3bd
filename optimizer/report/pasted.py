"""Comparisons to paste elsewhere: CSV for spreadsheets in base units, Markdown for pages in units for people."""

import csv
import io
from collections.abc import Iterable, Sequence

from optimizer.compare import Row, candidate_label, shares
from optimizer.plan import Candidate
from optimizer.report.tables import of_capacity, percent
from optimizer.units import show_seconds

PARTS = ("gemm", "attention", "collectives", "pipeline", "overhead")
_PLAIN = (
    "tp", "pp", "dp", "ep", "attn_dp", "dcp", "pcp", "weights", "kv_cache", "gpu_type", "span", "gpus", "fits", "meets",
    "chosen", "concurrency", "ttft_s", "tpot_s", "output_tokens_per_s", "memory_bytes", "capacity_bytes", "kv_tokens",
)  # fmt: skip


def candidates_csv(candidates: Sequence[Candidate]) -> str:
    """Return one line for each candidate, seconds and bytes, with the seconds of both steps by cause."""
    heads = ("layout", *_PLAIN, *(f"{phase}_{part}_s" for phase in ("prefill", "decode") for part in PARTS), "why")
    return _csv(heads, map(_fields, candidates))


def _fields(candidate: Candidate) -> tuple[object, ...]:
    plain = (getattr(candidate, name) for name in _PLAIN)
    seconds = ((steps or {}).get(part, "") for steps in (candidate.prefill, candidate.decode) for part in PARTS)
    return (candidate_label(candidate), *plain, *seconds, candidate.why)


def candidates_markdown(title: str, candidates: Sequence[Candidate]) -> str:
    """Return a table for a page, the chosen layout in bold."""
    heads = ("layout", "DP", "GPUs", "weights", "KV", "tokens/s", "TTFT", "TPOT", "fullest GPU", "decode", "loses on")
    return f"**{title}**\n\n{_markdown(heads, map(_cells, candidates), left=(0, 3, 4, 9, 10))}"


def _cells(candidate: Candidate) -> tuple[str, ...]:
    label = candidate_label(candidate)
    served = candidate.fits and candidate.output_tokens_per_s is not None
    main = next(iter(shares(candidate.decode).items()), None)
    return (
        f"**{label}**" if candidate.chosen else label, str(candidate.dp or "-"), str(candidate.gpus),
        candidate.weights, candidate.kv_cache, f"{candidate.output_tokens_per_s:,.0f}" if served else "-",
        show_seconds(candidate.ttft_s) if served and candidate.ttft_s is not None else "-",
        show_seconds(candidate.tpot_s) if served and candidate.tpot_s is not None else "-",
        of_capacity(candidate.memory_bytes, candidate.capacity_bytes),
        f"{percent(main[1])} {main[0]}" if main else "-", candidate.why,
    )  # fmt: skip


def rows_csv(names: Sequence[str], rows: Sequence[Row]) -> str:
    """Return compared properties of plans, one a line, with whether they differ."""
    return _csv(("property", *names, "differs"), ((row.key, *row.values, row.differs) for row in rows))


def rows_markdown(names: Sequence[str], rows: Sequence[Row]) -> str:
    """Return compared properties of plans as a table for a page; what differs is bold."""
    cells = ((f"**{row.key}**" if row.differs else row.key, *row.values) for row in rows)
    return _markdown(("", *names), cells, left=range(len(names) + 1))


def _csv(heads: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows([_field(value) for value in row] for row in rows)
    return text.getvalue()


def _field(value: object) -> object:
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else value


def _markdown(heads: Sequence[str], rows: Iterable[Sequence[str]], *, left: Sequence[int]) -> str:
    rule = (":--" if index in left else "--:" for index in range(len(heads)))
    lines = (heads, tuple(rule), *rows)
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)
