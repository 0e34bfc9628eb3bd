"""validate's answer for people: predicted beside measured, error per metric."""

from collections import Counter

from rich.console import Group, RenderableType
from rich.text import Text

from optimizer.host_fit import HostFit
from optimizer.report.records import MAX_WORST
from optimizer.report.tables import bullets, columns, percent
from optimizer.units import show_seconds
from optimizer.validation import Errors, Prediction, Validation

MAX_LINES = 10


def measured(validation: Validation) -> RenderableType:
    """Return errors by metric, model and layout, the rows furthest off, why rows have none, what is not measured."""
    heads = ("", "rows", "mean |error|", "median |error|", "bias")
    by_model = validation.by(lambda one: f"{one.metric}, {_short(one.model)}")
    by_layout = validation.by(lambda one: f"{one.metric}, {one.layout}")
    return Group(
        columns("Error by metric: (predicted - measured) / measured", heads, _errors(validation.metrics)),
        columns("By model", heads, _errors(dict(sorted(by_model.items())))),
        columns("By layout", heads, _errors(dict(sorted(by_layout.items())))),
        _worst(validation.worst(MAX_WORST)),
        _unpriced(validation.unpriced),
        bullets("Notes", validation.notes),
    )


def host(found: HostFit, source: str) -> RenderableType:
    """Return a fitted host: lines for a cluster file, and how well first tokens are met by it and by what ships."""
    kinds = {"host that ships": found.shipped, "fitted": found.fitted}
    kinds |= {} if found.left_out is None else {"fitted to the other runs": found.left_out}
    figures = {"launch": found.figures.launch, "piece": found.figures.piece}
    stated = [f"  {name}: {show_seconds(seconds)}" for name, seconds in figures.items() if seconds is not None]
    unseen = [f"  # {name}: no first token waited for it" for name, seconds in figures.items() if seconds is None]
    lines = ("host:", *stated, *unseen, f"  source: {found.fitted.n} first tokens of {source}")
    heads = ("", "rows", "mean |error|", "median |error|", "bias")
    return Group(
        Text("\n".join(lines)),
        columns("First tokens: (predicted - measured) / measured", heads, _errors(kinds)),
        _unpriced(found.unpriced),
    )


def _short(model: str) -> str:
    """Return a hub name without its organisation."""
    return model.rsplit("/", 1)[-1]


def _errors(by_name: dict[str, Errors]) -> list[tuple[str, ...]]:
    return [
        (name, str(errors.n), percent(errors.mape), percent(errors.median_ape), _signed(errors.bias))
        for name, errors in by_name.items()
    ]


def _signed(share: float) -> str:
    return ("+" if share > 0 else "-" if share < 0 else "") + percent(abs(share))


def _worst(worst: tuple[Prediction, ...]) -> RenderableType:
    rows = [
        (
            str(one.row + 2), _short(one.model), one.layout, one.metric, f"{one.measured or 0.0:,.4g}",
            f"{one.predicted or 0.0:,.4g}", _signed(one.error or 0.0),
        )
        for one in worst
    ]  # fmt: skip
    heads = ("line", "model", "layout", "metric", "measured", "predicted", "error")
    return columns("Furthest off", heads, rows, left=(1, 2, 3)) if rows else Group()


def _unpriced(unpriced: tuple[Prediction, ...]) -> RenderableType:
    reasons = Counter(one.reason for one in unpriced)
    rows = [(str(count), reason) for reason, count in reasons.most_common(MAX_LINES)]
    title = f"Not priced: {len(unpriced)} rows"
    return columns(title, ("rows", "reason"), rows, left=(1,)) if rows else Group()
