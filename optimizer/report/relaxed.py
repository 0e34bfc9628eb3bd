"""The answer that nothing fits, for people: the nearest miss, and what single change would give which plan."""

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from optimizer.errors import InfeasibleError
from optimizer.relaxation import Given, Kind, Relaxation, Value
from optimizer.report.tables import bullets
from optimizer.units import show_number, show_seconds

_NAMES: dict[Kind, str] = {
    "ttft": "TTFT", "tpot": "TPOT", "request_rate": "request rate", "concurrency": "requests in flight",
    "gpus": "GPUs", "isl": "ISL", "osl": "OSL", "max_gpus": "--max-gpus", "survive": "--survive", "fix": "--fix",
    "exclude": "--exclude",
}  # fmt: skip
"""What limits are called, where not by their keys."""


NONE = "no single change that was tried gives an answer; several together may"
"""Told where no relaxation was found."""


def infeasible(
    error: InfeasibleError, relaxations: Sequence[Relaxation] | None = None, skipped: Sequence[Kind] = ()
) -> RenderableType:
    """Return the answer that nothing fits; ``skipped`` are kinds of change that were not looked at to the end.

    ``relaxations`` None: none was looked for.
    """
    return Group(
        Text(f"No feasible layout: {error}", style="bold red"),
        bullets("Nearest miss", error.nearest_miss),
        bullets("What would make it fit", (*remedies(error, relaxations), *_skipped(skipped))),
    )


def remedies(error: InfeasibleError, relaxations: Sequence[Relaxation] | None) -> tuple[str, ...]:
    """Return what would help: each single change with its plan, else what the error knows."""
    if relaxations:
        return tuple(map(line, relaxations))
    return error.remedies if relaxations is None else (NONE, *error.remedies)


def _skipped(kinds: Sequence[Kind]) -> Iterator[str]:
    if kinds:
        yield f"not looked at to the end, as it takes long here: {', '.join(_NAMES.get(kind, kind) for kind in kinds)}"


def line(one: Relaxation) -> str:
    """Return a change and its plan: "TTFT 1 s -> 1.083 s: 2 x tp4 bf16 on h200-sxm on 8 GPUs (...)"."""
    name = _NAMES.get(one.kind, one.kind) + (f" of {one.model}" if one.model else "")
    return f"{_change(one, name)}: {_given(one.plan)}"


def _change(one: Relaxation, name: str) -> str:
    asked = _shown(one.kind, one.asked)
    if one.kind == "faults":
        return f"repair what is broken ({asked})"
    if one.enough is None:
        return f"without {name} {asked}"
    detail = f" ({one.detail})" if one.detail else ""
    return f"{name} {asked} -> {_shown(one.kind, one.enough)}{detail}"


def _shown(kind: Kind, value: Value) -> str:
    match kind, value:
        case "faults", tuple():
            return "; ".join(value)
        case _, tuple():
            return ",".join(value)
        case "ttft" | "tpot", int() | float():
            return _seconds(value)
        case "request_rate", int() | float():
            return f"{show_number(value)} requests/s"
        case "isl" | "osl" | "max_model_len", int():
            return f"{value:,} tokens"
        case "margin", int() | float():
            return f"{value:.0%}"
        case _:
            return f"{value:,}" if isinstance(value, int) else str(value)


def _seconds(seconds: float) -> str:
    """Return seconds to four digits: so many has a bound that gives an answer."""
    return f"{seconds:.4g} s" if seconds >= 1 else f"{seconds * 1000:.4g} ms"


def _given(plan: Given) -> str:
    figures = (
        f"TTFT {show_seconds(plan.ttft_s)}, TPOT {show_seconds(plan.tpot_s)}, "
        f"{show_number(plan.requests_per_s)} requests/s"
    )
    return f"{plan.layout}, {plan.gpus} GPU{'s' * (plan.gpus != 1)} ({figures})"
