"""The combinations of a sweep and the lines of its results: plain values, known without what solves them."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, product

from optimizer import __version__
from optimizer.inputs import presets
from optimizer.inputs.cluster import ClusterSpec
from optimizer.inputs.model import ModelSpec
from optimizer.inputs.sweep import Grid, Precision, SweepObjective
from optimizer.inputs.workload import WorkloadSpec

AXES = ("cluster", "model", "workload", "precision", "objective", "max_gpus")
FIGURES = (
    "status", "layout", "replicas", "gpus", "output_tokens_per_s", "requests_per_s", "ttft_s", "tpot_s", "value",
    "bound", "gap", "cost_per_h", "currency", "weights", "kv_cache", "message",
)  # fmt: skip
COLUMNS = (*AXES, *FIGURES)

MOST_TOGETHER = 4
"""Combinations solved in a row by one worker."""

Result = dict[str, str | float | int | None]
"""One line of the results, by column."""


@dataclass(frozen=True)
class Cell:
    """One combination of a grid."""

    axes: tuple[str | int | None, ...]
    cluster: ClusterSpec
    model: ModelSpec
    workload: WorkloadSpec
    """Limited to the precision."""
    objective: SweepObjective
    max_gpus: int | None
    time_limit_s: float | None
    seed: int

    @property
    def priced(self) -> tuple[str | int | None, ...]:
        """The axes that prices depend on."""
        return self.axes[: AXES.index("objective")]


Numbered = tuple[int, Cell]
"""A combination and its place in the grid."""


def cells(grid: Grid) -> tuple[Cell, ...]:
    """Return every combination of a grid, the last axis turning fastest; those alike in an input share its record."""
    spec = grid.spec
    workloads = {
        (name, precision): _limited(grid.workloads[name], precision)
        for name, precision in product(spec.workloads, spec.precisions)
    }
    return tuple(
        Cell(
            (cluster, model, workload, precision.label, objective, most),
            grid.clusters[cluster], grid.models[model], workloads[workload, precision],
            objective, most, spec.time_limit, spec.seed,
        )
        for cluster, model, workload, precision, objective, most in product(
            spec.clusters, spec.models, spec.workloads, spec.precisions, spec.objectives, spec.max_gpus
        )
    )  # fmt: skip


def _limited(workload: WorkloadSpec, precision: Precision) -> WorkloadSpec:
    changes: dict[str, object] = {}
    if precision.weights is not None:
        changes["weights"] = (precision.weights,)
    if precision.kv_cache is not None:
        changes["kv_cache"] = (precision.kv_cache,)
    return workload.model_copy(update=changes)


def together(cells: Sequence[Cell]) -> Iterator[tuple[Numbered, ...]]:
    """Yield the combinations by number in groups that share their prices: neighbours that ask for something else.

    A group is at most ``MOST_TOGETHER`` long, since its results are kept when all of them are known.
    """
    for _, same in groupby(enumerate(cells), key=lambda numbered: numbered[1].priced):
        group = tuple(same)
        yield from (group[start : start + MOST_TOGETHER] for start in range(0, len(group), MOST_TOGETHER))


def keys(cells: Sequence[Cell]) -> tuple[str, ...]:
    """Return for each combination a digest of all that its result depends on: inputs, options, tpopt, calibrations."""
    records = {id(record): record for cell in cells for record in (cell.cluster, cell.model, cell.workload)}
    digests = {number: _digest(_told(record)) for number, record in records.items()}
    return tuple(
        _digest(
            __version__, cell.axes, cell.time_limit_s, cell.seed,
            *(digests[id(record)] for record in (cell.cluster, cell.model, cell.workload)),
        )[:32]
        for cell in cells
    )  # fmt: skip


def _told(record: ClusterSpec | ModelSpec | WorkloadSpec) -> list[str]:
    gpus = [gpu for _, gpu in sorted(record.gpus.items())] if isinstance(record, ClusterSpec) else []
    return [record.model_dump_json(), *(presets.load_calibration(gpu).model_dump_json() for gpu in gpus)]


def _digest(*told: object) -> str:
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()
