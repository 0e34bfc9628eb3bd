"""Candidates and plans side by side, for people."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from optimizer.compare import Row, candidate_label, shares
from optimizer.inputs.workload import Role
from optimizer.plan import Candidate
from optimizer.report.tables import Screen, columns, of_capacity, pairs, percent
from optimizer.units import show_seconds

PARTS = ("gemm", "attention", "collectives", "pipeline", "overhead")
WIDE = 120
"""From this width on the table shows every column."""


def candidate_table(title: str, candidates: Sequence[Candidate], screen: Screen) -> RenderableType:
    """Return candidates in the given order with what each loses on, below the table when the screen is narrow."""
    if not candidates:
        return Group(Text(), Text("No layout is admissible."))
    named = differing(candidates)
    wide = screen.width >= WIDE
    heads = (
        "layout",
        "DP",
        "GPUs",
        "tokens/s",
        "TTFT",
        "TPOT",
        "fullest GPU",
        *(("where", "loses on") if wide else ()),
    )
    rows = [_row(candidate, named, wide=wide) for candidate in candidates]
    table = columns(title, heads, rows, left=(0, 7, 8))
    losses = [(label(candidate, named), candidate.why) for candidate in candidates if candidate.why]
    return table if wide or not losses else Group(table, pairs("What they lose on", losses))


def _row(candidate: Candidate, named: Sequence[str], *, wide: bool) -> tuple[Text, ...]:
    style = "green" if candidate.chosen else "" if candidate.fits and candidate.meets else "dim"
    mark = " *" if candidate.chosen else ""
    served = candidate if candidate.fits else candidate.model_copy(update=_UNSERVED)
    cells = (
        label(candidate, named) + mark,
        str(candidate.dp) if candidate.dp else "-",
        str(candidate.gpus),
        "-" if served.output_tokens_per_s is None else f"{served.output_tokens_per_s:,.0f}",
        "-" if served.ttft_s is None else show_seconds(served.ttft_s),
        "-" if served.tpot_s is None or served.role == "prefill" else show_seconds(served.tpot_s),
        of_capacity(candidate.memory_bytes, candidate.capacity_bytes, " of " if wide else "/"),
        *((f"{candidate.span}, {candidate.gpu_type}", candidate.why) if wide else ()),
    )
    return tuple(Text(cell, style=style) for cell in cells)


_UNSERVED = {"output_tokens_per_s": None, "ttft_s": None, "tpot_s": None}
"""What does not fit serves nothing, whatever it was priced at."""


def label(candidate: Candidate, named: Sequence[str]) -> str:
    """Return a candidate's short name with the properties ``named``, nodes only where there are several."""
    uneven = "+".join(map(str, candidate.layers_per_stage))
    layers = [f"layers {uneven}"] if uneven else []
    more = (str(getattr(candidate, name)).removesuffix(" GPUs") for name in named)
    return " ".join([candidate_label(candidate), *(told for told in more if told != _ONE_NODE), *layers])


_ONE_NODE = "1 node"


def differing(candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """Return the properties that a label must name because the candidates do not share them."""
    names = ("role", "weights", "kv_cache", "gpu_type", "span")
    return tuple(name for name in names if len({getattr(c, name) for c in candidates}) > 1)


def seconds_table(candidates: Sequence[Candidate]) -> RenderableType:
    """Return where the seconds of one prefill and one decode step go, in percent of each."""
    told = [candidate for candidate in candidates if candidate.decode or candidate.prefill]
    if not told:
        return Group()
    apart = {candidate.role for candidate in told} == {"prefill", "decode"}  # each has one phase, told in any case
    named = [name for name in differing(told) if not (apart and name == "role")]
    rows = [
        (
            label(candidate, named),
            phase,
            show_seconds(sum(parts.values())),
            *(percent(shares(parts).get(part, 0.0)) for part in PARTS),
        )
        for candidate in told
        for phase, parts in (("prefill", candidate.prefill), ("decode", candidate.decode))
        if parts and any(parts.values())
    ]
    heads = ("layout", "phase", "step", *PARTS)
    return columns("Where the time goes", heads, rows, left=(0, 1))


MOST_COMPARED = 12
"""Layouts of each model and role that are listed before ``--full`` is asked for."""
MOST_TIMED = 4
"""Of those, layouts whose seconds are told."""


def side_by_side(title: str, candidates: Sequence[Candidate], screen: Screen, *, full: bool) -> RenderableType:
    """Return the answer of ``compare`` for one model: the best of each role, or all of them."""
    listed = list(candidates) if full else leading(candidates, MOST_COMPARED)
    timed = listed if full else leading(listed, MOST_TIMED)
    left_out = len(candidates) - len(listed)
    more = [Text(f"\n  and {left_out} more: --full lists them; --csv, --json have all columns")] if left_out else []
    return Group(candidate_table(title, listed, screen), seconds_table(timed), *more)


def leading(candidates: Sequence[Candidate], most: int) -> list[Candidate]:
    """Return the first so many of each model and role, in their order."""
    count: Counter[tuple[int, Role]] = Counter()
    found = []
    for one in candidates:
        count[one.service, one.role] += 1
        if count[one.service, one.role] <= most:
            found.append(one)
    return found


def plan_table(names: Sequence[str], rows: Sequence[Row]) -> RenderableType:
    """Return plans side by side; what differs is marked."""
    body = [
        tuple(
            Text(cell, style="bold" if row.differs else "dim")
            for cell in ("*" if row.differs else "", row.key, *row.values)
        )
        for row in rows
    ]
    return columns("Plans side by side (* differs)", ("", "", *names), body, left=tuple(range(len(names) + 2)))


def input_table(names: Sequence[str], rows: Sequence[Row]) -> RenderableType:
    """Return the input keys on which two plans differ."""
    if not rows:
        return Group(Text(), Text("Both plans have the same inputs."))
    body = [(row.key, *row.values) for row in rows]
    return columns("Inputs that differ", ("key", *names), body, left=tuple(range(len(names) + 1)))
