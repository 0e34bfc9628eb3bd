"""solve --routed: a pool of machines that hold layer ranges, its flows, and what ordinary replicas would give."""

from pathlib import Path
from typing import TYPE_CHECKING

from optimizer.cli import output
from optimizer.cli.answers import file_named, show_infeasible
from optimizer.errors import InfeasibleError

if TYPE_CHECKING:
    from optimizer.pipeline import Request


def show_routed(cluster: str, request: "Request", out: str | None, *, json: bool) -> None:
    """Answer with the routed pool that carries most."""
    from optimizer.pipeline.routed import solve_routed
    from optimizer.report import records
    from optimizer.report.routed import routed

    try:
        with file_named(cluster, request.cluster.name):
            plan = solve_routed(request, output.progress)
    except InfeasibleError as error:
        show_infeasible(error, json=json)
        raise
    if out is not None:
        output.write(Path(out), records.plan_text(plan))
    if json:
        output.answer(records.plan_text(plan))
    else:
        output.console().print(routed(plan))
