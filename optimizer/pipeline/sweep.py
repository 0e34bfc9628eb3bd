"""A grid of solves: each cell by itself, its result the same wherever and whenever it is solved."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, product

from optimizer import __version__, pipeline
from optimizer.compare import replica_groups
from optimizer.errors import InfeasibleError, InputError, NoAnswerError
from optimizer.inputs import presets
from optimizer.inputs.sweep import Grid, Precision
from optimizer.inputs.workload import WorkloadSpec
from optimizer.pipeline.prepare import Known
from optimizer.pipeline.request import Request
from optimizer.plan import Plan

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
    request: Request

    @property
    def priced(self) -> tuple[str | int | None, ...]:
        """The axes that prices depend on."""
        return self.axes[: AXES.index("objective")]

    @property
    def key(self) -> str:
        """Digest of all that the result depends on: inputs, options, tpopt and its calibrations."""
        request = self.request
        records = (request.cluster, request.model, request.workload)
        options = (request.objective, request.max_gpus, request.time_limit_s, request.seed)
        fits = [presets.load_calibration(gpu).model_dump_json() for _, gpu in sorted(request.cluster.gpus.items())]
        told = [__version__, self.axes, options, [record.model_dump_json() for record in records], fits]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]


Numbered = tuple[int, Cell]
"""A combination and its place in the grid."""


def cells(grid: Grid) -> tuple[Cell, ...]:
    """Return every combination of a grid, the last axis turning fastest."""
    spec = grid.spec
    return tuple(
        Cell(
            (cluster, model, workload, precision.label, objective, most),
            Request(
                cluster=grid.clusters[cluster], model=grid.models[model],
                workload=_limited(grid.workloads[workload], precision), objective=objective, max_gpus=most,
                time_limit_s=spec.time_limit, workers=1, seed=spec.seed,
            ),
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


def solve_group(group: Sequence[Numbered]) -> Iterator[tuple[int, Result]]:
    """Yield the result of each combination of a group; what is priced for one serves the next."""
    prices: Known = {}
    return ((number, solve_cell(cell, prices)) for number, cell in group)


def solved(group: Sequence[Numbered]) -> tuple[tuple[int, Result], ...]:
    """Return the results of a group together, as workers send them."""
    return tuple(solve_group(group))


def solve_cell(cell: Cell, prices: Known | None = None) -> Result:
    """Return the result of one combination; that nothing fits, or that an input does not suit, is a result too."""
    axes: Result = dict(zip(AXES, cell.axes, strict=True))
    try:
        found = _figures(pipeline.solve(cell.request, prices=prices).plan)
    except InfeasibleError as error:
        found = {"status": "infeasible", "message": str(error)}
    except NoAnswerError as error:
        found = {"status": "no answer", "message": str(error)}
    except InputError as error:
        found = {"status": "refused", "message": str(error)}
    return axes | {name: found.get(name) for name in FIGURES}


def _figures(plan: Plan) -> Result:
    totals, objective = plan.totals, plan.objective
    return {
        "status": plan.status,
        "layout": "; ".join(group.label for group in replica_groups(plan)),
        "replicas": totals.replicas, "gpus": totals.gpus, "output_tokens_per_s": totals.output_tokens_per_s,
        "requests_per_s": totals.requests_per_s, "ttft_s": totals.ttft_s, "tpot_s": totals.tpot_s,
        "value": objective.value, "bound": objective.bound, "gap": objective.gap,
        "cost_per_h": totals.cost_per_h, "currency": totals.currency,
        "weights": ", ".join(sorted({replica.weights for replica in plan.replicas})),
        "kv_cache": ", ".join(sorted({replica.kv_cache for replica in plan.replicas})),
    }  # fmt: skip
