"""One combination of a sweep solved: its result is the same wherever and whenever that is done."""

from collections.abc import Iterator, Sequence

from optimizer import pipeline
from optimizer.compare import replica_groups
from optimizer.errors import InfeasibleError, InputError, NoAnswerError
from optimizer.grid import AXES, FIGURES, Cell, Numbered, Result
from optimizer.pipeline.prepare import Known
from optimizer.pipeline.request import Request
from optimizer.plan import Plan


def solve_group(group: Sequence[Numbered]) -> Iterator[tuple[int, Result]]:
    """Yield the result of each combination of a group; what is priced for one serves the next."""
    prices: Known = {}
    return ((number, solve_cell(cell, prices)) for number, cell in group)


def solve_cell(cell: Cell, prices: Known | None = None) -> Result:
    """Return the result of one combination; that nothing fits, or that an input does not suit, is a result too."""
    axes: Result = dict(zip(AXES, cell.axes, strict=True))
    try:
        found = _figures(pipeline.solve(_request(cell), prices=prices).plan)
    except InfeasibleError as error:
        found = {"status": "infeasible", "message": str(error)}
    except NoAnswerError as error:
        found = {"status": "no answer", "message": str(error)}
    except InputError as error:
        found = {"status": "refused", "message": str(error)}
    return axes | {name: found.get(name) for name in FIGURES}


def _request(cell: Cell) -> Request:
    return Request(
        cluster=cell.cluster, model=cell.model, workload=cell.workload, objective=cell.objective,
        max_gpus=cell.max_gpus, time_limit_s=cell.time_limit_s, workers=1, seed=cell.seed,
    )  # fmt: skip


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
