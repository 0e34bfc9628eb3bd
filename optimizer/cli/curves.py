"""capacity, and solve --pareto: many answers from prices made once."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optimizer.cli import output
from optimizer.cli.answers import file_named, show_infeasible
from optimizer.cli.asking import ask
from optimizer.cli.grouped import Allowed, Search, grouped
from optimizer.cli.options import ClusterArg, DebugOption, JsonOption, ModelArg, WorkloadOption
from optimizer.errors import InfeasibleError, InputError

if TYPE_CHECKING:
    from optimizer.pipeline import Request
    from optimizer.pipeline.front import Axis

RATES = "1:1000"
MOST_RATES = 200


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(grouped(capacity))


def capacity(
    cluster: ClusterArg,
    model: ModelArg,
    *,
    workload: WorkloadOption = None,
    objective: Annotated[str, typer.Option(metavar="NAME", help="what is least: gpus, cost or energy")] = "gpus",
    rates: Annotated[
        str, typer.Option(metavar="FROM:TO[:COUNT]", help="requests/s on a log grid, or a list such as 1,5,20")
    ] = RATES,
    allowed: Allowed,
    search: Search,
    json: JsonOption = False,
    debug: DebugOption = False,  # noqa: ARG001 (read at the edge)
) -> None:
    """GPUs (and cost) needed against request rate, and the largest rate the cluster carries."""
    grid = parse_rates(rates)
    if objective not in LEAST:
        raise InputError(f"--objective: {objective!r} is nothing to be least; choose one of {', '.join(LEAST)}")
    request = ask(cluster, model, workload, allowed, objective=objective, search=search)
    one_model(request, "capacity")
    from optimizer.pipeline import capacity as curve
    from optimizer.report import records
    from optimizer.report.curve import capacity_table
    from optimizer.report.tables import screen

    try:
        with file_named(cluster, request.cluster.name):
            found = curve.capacity(request, grid, output.progress)
    except InfeasibleError as error:
        show_infeasible(error, json=json)
        raise
    if json:
        output.answer(records.json_text(found.model_dump()))
    else:
        console = output.console()
        title = f"{request.model.name} on {request.cluster.name}: {objective} against request rate"
        console.print(capacity_table(title, found, request.workload, screen(console), assumed=workload is None))


def one_model(request: "Request", what: str) -> None:
    """Raise InputError when a question about one model is asked of several."""
    if request.more:
        names = ", ".join(service.model.name for service in request.services)
        raise InputError(f"{what} is a question about one model, and MODEL lists {names}; give one of them as MODEL")


LEAST = ("gpus", "cost", "energy")


def parse_rates(text: str) -> tuple[float, ...]:
    """Return requests/s, ascending: of "1:1000" 20 on a log grid to three digits, or those listed."""
    if (match := re.fullmatch(r"\s*([\d.e+-]+)\s*:\s*([\d.e+-]+)\s*(?::\s*(\d+))?\s*", text)) is not None:
        first, last, count = _rate(match[1]), _rate(match[2]), int(match[3] or 20)
        if first >= last or not 2 <= count <= MOST_RATES:
            raise InputError(f"--rates: {text!r}: write FROM:TO[:COUNT], FROM below TO, 2 to {MOST_RATES} rates")
        grid = [first * (last / first) ** (n / (count - 1)) for n in range(count)]
        return tuple(sorted({float(f"{rate:.3g}") for rate in grid}))
    return tuple(sorted({_rate(part) for part in text.split(",")}))


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError as error:
        raise InputError(f"--rates: {text!r} is no rate; write requests/s, such as 1:1000 or 1,5,20") from error
    if not 0 < rate < float("inf"):
        raise InputError(f"--rates: {text!r}: a rate is above 0 and finite")
    return rate


AXES: dict[str, "frozenset[Axis]"] = {
    "tpot": frozenset({"tpot"}), "gpus": frozenset({"gpus"}), "tpot,gpus": frozenset({"tpot", "gpus"}),
}  # fmt: skip


def show_front(cluster: str, request: "Request", against: str, out: str | None, *, json: bool) -> None:
    """Answer ``solve --pareto``; ``out`` takes the JSON as well."""
    if against not in AXES:
        raise InputError(f"--against: {against!r} is not known; choose one of {', '.join(AXES)}")
    if request.objective != "throughput" or request.then:
        raise InputError("--pareto trades throughput; leave --objective out")
    one_model(request, "--pareto")
    from optimizer.pipeline.front import front
    from optimizer.report import records
    from optimizer.report.curve import front_table
    from optimizer.report.tables import screen

    try:
        with file_named(cluster, request.cluster.name):
            points = front(request, AXES[against], output.progress)
    except InfeasibleError as error:
        show_infeasible(error, json=json, request=request)
        raise
    told = records.json_text({"against": against.split(","), "points": [point.model_dump() for point in points]})
    if out is not None:
        output.write(Path(out), told)
    if json:
        output.answer(told)
    else:
        console = output.console()
        title = f"{request.model.name} on {request.cluster.name}: output tokens/s against {against}"
        console.print(front_table(title, points, request.workload, screen(console)))
