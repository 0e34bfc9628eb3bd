"""What first tokens say of the host that launched them: two figures that a cluster file may state as ``host:``.

Whether the host decides a first token, and which of its figures, follows from the price: a prompt within the captured
graphs waits for its pieces, a longer one for every kernel, one that keeps the GPU busy for neither.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, log
from statistics import fmean
from typing import Literal

from optimizer.errors import InputError
from optimizer.inputs import presets
from optimizer.inputs.calibration import Calibration, Host, HostFigures, on_host
from optimizer.inputs.cells import Row
from optimizer.inputs.gpu import GpuSpec
from optimizer.inputs.model import ModelSpec
from optimizer.validation import Errors, Prediction, Validation, summary, validate

Figure = Literal["launch", "piece"]
FIGURES: tuple[Figure, ...] = ("launch", "piece")
FACTORS = tuple(exp(step / 20) for step in range(-24, 33))
"""Of a shipped figure: 0.3 to 5 times, in steps of 5 %."""

LoadModel = Callable[[str], ModelSpec]
"""Reads the model that a row names."""


@dataclass(frozen=True)
class HostFit:
    """A host in two figures."""

    figures: HostFigures
    """None where no first token waited for what the figure counts."""
    shipped: Errors
    """Of the rows on the host that ships."""
    fitted: Errors
    left_out: Errors | None
    """Every run with the figures that the others give; None where there is one run."""
    unpriced: tuple[Prediction, ...]


@dataclass(frozen=True)
class _Row:
    """A first token at every figure tried."""

    run: str
    shipped: float
    """log(predicted / measured)."""
    tried: dict[Figure, tuple[float, ...]]
    """The same by factor, for the one figure that its prediction hangs on."""


def shipped_host(row: Row) -> Host:
    """Return the host that ships for the GPU of a row."""
    return presets.load_calibration(presets.load_gpu(row["gpu"])).host


def priced(rows: Sequence[Row], load_model: LoadModel, figures: HostFigures | None = None) -> Validation:
    """Return rows priced on the host that ships for their GPU, or on one with other figures."""

    def calibration(gpu: GpuSpec) -> Calibration:
        fits = presets.load_calibration(gpu)
        return fits if figures is None else on_host(fits, figures)

    return validate(
        rows, load_model=load_model, load_gpu=presets.load_gpu, load_engine=presets.load_engine,
        load_calibration=calibration,
    )  # fmt: skip


def fit(rows: Sequence[Row], load_model: LoadModel) -> HostFit:
    """Return the figures that meet the first tokens among ``rows`` best: least mean |log(predicted / measured)|.

    InputError when no first token can be priced.
    """
    asked = [row for row in rows if row.get("metric") == "ttft"]
    if not asked:
        raise InputError(f"metric: no row is ttft, which tells of the host; {_REMEDY}")
    host = shipped_host(asked[0])
    found, unpriced = _tried(asked, host, load_model)
    if not found:
        raise InputError(f"no first token can be priced: {unpriced[0].reason}; {_REMEDY}")
    chosen = _best(found)
    figures = {name: f"{FACTORS[at] * getattr(host, name)!r} s" for name, at in chosen.items()}
    return HostFit(
        HostFigures.model_validate(figures),
        shipped=_errors([row.shipped for row in found]),
        fitted=_errors([_at(row, chosen) for row in found]),
        left_out=_left_out(found),
        unpriced=unpriced,
    )


_REMEDY = "measure single prompts of 16 to 2,048 tokens on an idle engine"


def _tried(asked: Sequence[Row], host: Host, load_model: LoadModel) -> tuple[list[_Row], tuple[Prediction, ...]]:
    """Return the rows that have a price, at every figure, and those that have none."""
    shipped = priced(asked, load_model)
    tables = {name: [_ratios(priced(asked, load_model, _stated(host, name, by))) for by in FACTORS] for name in FIGURES}
    found = []
    for index, (row, ratio) in enumerate(zip(asked, _ratios(shipped), strict=True)):
        if ratio is None:
            continue
        by_figure = {name: tuple(column[index] or 0.0 for column in table) for name, table in tables.items()}
        moved = max(FIGURES, key=lambda name: by_figure[name][-1] - by_figure[name][0])
        found.append(_Row(row.get("run") or "", ratio, {moved: by_figure[moved]}))
    return found, shipped.unpriced


def _stated(host: Host, name: Figure, factor: float) -> HostFigures:
    return HostFigures.model_validate({name: f"{factor * getattr(host, name)!r} s"})


def _ratios(found: Validation) -> list[float | None]:
    return [log(p.predicted / p.measured) if p.predicted and p.measured else None for p in found.predictions]


def _best(rows: Sequence[_Row]) -> dict[Figure, int]:
    """Return the index of the best factor of each figure that some row waits for there."""
    chosen: dict[Figure, int] = {}
    for name in FIGURES:
        tried = [row.tried[name] for row in rows if name in row.tried]
        if not tried:
            continue
        at = min(range(len(FACTORS)), key=lambda index: fmean(abs(row[index]) for row in tried))
        if at and any(row[at] > row[at - 1] for row in tried):
            chosen[name] = at
    return chosen


def _at(row: _Row, chosen: dict[Figure, int]) -> float:
    """Return log(predicted / measured) of a row with the chosen figures."""
    ((name, tried),) = row.tried.items()
    return tried[chosen[name]] if name in chosen else row.shipped


def _left_out(rows: Sequence[_Row]) -> Errors | None:
    runs = dict.fromkeys(row.run for row in rows)
    if len(runs) < 2:
        return None
    found: list[float] = []
    for run in runs:
        others = _best([row for row in rows if row.run != run])
        found += [_at(row, others) for row in rows if row.run == run]
    return _errors(found)


def _errors(ratios: Sequence[float]) -> Errors:
    return summary([exp(ratio) - 1 for ratio in ratios])
