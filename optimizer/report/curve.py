"""Curves for people: what each request rate needs, and the best trade-offs, with a bar for each row."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from optimizer.curves import Capacity, Need, TradeOff
from optimizer.inputs.workload import ROLES, WorkloadSpec
from optimizer.report.models import workload_line
from optimizer.report.tables import Screen, bullets, columns, memory_bar, pairs
from optimizer.units import show_number, show_seconds

BAR = 10


def capacity_table(
    title: str, found: Capacity, workload: WorkloadSpec, screen: Screen, *, assumed: bool
) -> RenderableType:
    """Return the answer of ``capacity``: the largest rate, then a row for each rate."""
    most = max((need.gpus or 0 for need in (*found.points, found.largest)), default=0)
    rows = [_need_row(need, most, screen) for need in found.points]
    heads = ("requests/s", "GPUs", f"{found.currency or 'cost'}/h", "kW", "proof", "TTFT", "TPOT", "layout", "")
    served = workload.model_copy(update={"request_rate": None, "concurrency": None})
    load = workload_line(served).replace(", saturating load", "")
    return Group(
        Text(title, style="bold green"),
        pairs(
            "Largest rate",
            (
                ("carried", f"{show_number(found.largest.requests_per_s)} requests/s on {found.largest.gpus} GPUs"),
                ("proof", _proof(found.largest)),
                ("workload", load + (" (assumed: no workload was given)" if assumed else "")),
                ("layout", found.largest.layout),
            ),
        ),
        columns(f"Least {found.objective} for each rate", heads, rows, left=(7, 8)),
        bullets("Notes", ["GPUs, money and TDP are those of the plan; rates beyond the largest have none"]),
    )


def _need_row(need: Need, most: int, screen: Screen) -> tuple[str, ...]:
    rate = f"{need.requests_per_s:,.4g}"
    if need.gpus is None:
        return (rate, "-", "-", "-", need.status, "-", "-", "", "")
    cost = "-" if need.cost_per_h is None else f"{need.cost_per_h:,.2f}"
    power = "-" if need.power_w is None else f"{need.power_w / 1000:,.1f}"
    ttft, tpot = (show_seconds(seconds or 0.0) for seconds in (need.ttft_s, need.tpot_s))
    bar = memory_bar((need.gpus,), most, width=BAR, unicode=screen.unicode)
    return (rate, str(need.gpus), cost, power, _proof(need), ttft, tpot, short(need.layout), bar)


def short(layout: str) -> str:
    """Return "4 x tp4 + 1 x tp2", with roles: replicas in short, without what they all share."""
    parts = [named(part.split(" ")) for part in layout.split(" + ")]
    shared = len({rest for _, rest in parts}) == 1
    return " + ".join(name if shared else f"{name} {rest}" for name, rest in parts)


def named(words: Sequence[str]) -> tuple[str, str]:
    """Return how many of which layout in which role, and the rest of the words."""
    end = 4 if words[3:4] and words[3] in ROLES else 3
    return " ".join(words[:end]), " ".join(words[end:])


def _proof(need: Need) -> str:
    return need.status if need.status == "optimal" or need.gap is None else f"gap {need.gap:.2%}"


def front_table(title: str, points: Sequence[TradeOff], workload: WorkloadSpec, screen: Screen) -> RenderableType:
    """Return the answer of ``solve --pareto``: a row for each trade-off, most throughput first."""
    most = max(point.output_tokens_per_s for point in points)
    rows = [
        (
            f"{point.output_tokens_per_s:,.0f}", show_seconds(point.tpot_s), show_seconds(point.ttft_s),
            str(point.gpus), point.status if point.status == "optimal" else f"gap {point.gap:.2%}", short(point.layout),
            memory_bar((point.output_tokens_per_s,), most, width=BAR, unicode=screen.unicode),
        )
        for point in points
    ]  # fmt: skip
    heads = ("tokens/s", "TPOT", "TTFT", "GPUs", "proof", "layout", "")
    return Group(
        Text(title, style="bold green"),
        pairs("Question", (("workload", workload_line(workload)), ("points", f"{len(points)}, each proven by itself"))),
        columns("Best trade-offs (TPOT and TTFT of the slowest replica)", heads, rows, left=(5, 6)),
    )
