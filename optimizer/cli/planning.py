"""solve, compare, estimate: the commands that price layouts."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optimizer.cli import curves, options, output, routing
from optimizer.cli.answers import file_named, show_infeasible
from optimizer.cli.asking import ask, load_of
from optimizer.cli.grouped import Allowed, Degrees, Load, Search, grouped
from optimizer.cli.options import (
    ClusterArg,
    DebugOption,
    FullOption,
    JsonOption,
    ModelArg,
    ModelsArg,
    ObjectiveOption,
    WorkloadOption,
)
from optimizer.errors import InfeasibleError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from optimizer.pipeline import Request, Solved
    from optimizer.pipeline.prepare import Known
    from optimizer.plan import Candidate


RoutedOption = Annotated[
    bool,
    typer.Option(
        "--routed",
        help="machines hold layer ranges and requests flow through paths that share them; long paths answer slowly",
    ),
]
FaultsOption = Annotated[
    bool, typer.Option("--faults/--no-faults", help="solve again without each fault, to tell what it costs")
]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command()(grouped(solve))
    app.command()(grouped(compare))
    app.command()(grouped(estimate))


def solve(
    cluster: ClusterArg,
    model: ModelsArg,
    *,
    workload: WorkloadOption = None,
    objective: ObjectiveOption = "throughput",
    out: Annotated[str | None, typer.Option("-o", "--output", metavar="FILE", help="write plan.json")] = None,
    allowed: Allowed,
    search: Search,
    pareto: Annotated[bool, typer.Option("--pareto", help="throughput against TPOT: every best trade-off")] = False,
    against: Annotated[str, typer.Option(metavar="tpot|gpus|tpot,gpus", help="what --pareto trades")] = "tpot",
    routed: RoutedOption = False,
    faults: FaultsOption = True,
    full: FullOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,  # noqa: ARG001 (read at the edge)
) -> None:
    """Pick the best layout and the GPU of every rank, with a proof."""
    output.check_folder(out)
    request = ask(cluster, model, workload, allowed, objective=objective, search=search, faults=faults)
    if pareto and routed:
        raise InputError("--pareto and --routed exclude each other: choose one")
    if pareto:
        curves.show_front(cluster, request, against, out, json=json)
    elif routed:
        routing.show_routed(cluster, request, out, json=json)
    elif (found := _solved(cluster, request, out, json=json)) is not None:
        from optimizer.report.solved import solved
        from optimizer.report.tables import screen

        console = output.console()
        console.print(solved(found.plan, found.seconds, screen(console), assumed=workload is None, full=full))


def _solved(cluster: str, request: "Request", out: str | None, *, json: bool) -> "Solved | None":
    """Return the plan, written to ``out``; None when it is answered already, as JSON."""
    from optimizer import pipeline
    from optimizer.report import records

    prices: Known = {}
    try:
        with file_named(cluster, request.cluster.name):
            found = pipeline.solve(request, output.progress, prices)
    except InfeasibleError as error:
        show_infeasible(error, json=json, request=request, prices=prices)
        raise
    if out is not None:
        output.write(Path(out), records.plan_text(found.plan))
    if json:
        output.answer(records.solved_text(found.plan, found.seconds))
    return None if json else found


def compare(
    first: Annotated[str, typer.Argument(metavar="CLUSTER|PLAN", help="cluster (file or preset), or a plan.json")],
    second: Annotated[
        str, typer.Argument(metavar="MODEL|PLAN", help="model (file or preset), models.yaml, or a plan.json")
    ],
    *,
    workload: WorkloadOption = None,
    objective: ObjectiveOption = "throughput",
    allowed: Allowed,
    layouts: Annotated[str | None, typer.Option(metavar="tp8,tp4pp2,tp1attndp8ep8", help="only these layouts")] = None,
    full: FullOption = False,
    json: JsonOption = False,
    csv: Annotated[bool, typer.Option("--csv", help="answer as CSV, in seconds and bytes")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="answer as a Markdown table")] = False,
    debug: DebugOption = False,  # noqa: ARG001 (read at the edge)
) -> None:
    """List layouts, or two plans, side by side."""
    form = options.one_form(json=json, csv=csv, markdown=markdown)
    if _is_plan(first) or _is_plan(second):
        _compare_plans(first, second, form)
        return
    request = ask(first, second, workload, allowed, objective=objective)
    labels = options.parse_layouts(layouts)
    from optimizer import pipeline

    try:
        with file_named(first, request.cluster.name):
            candidates = pipeline.compare(request, labels, output.progress)
    except InfeasibleError as error:
        show_infeasible(error, json=json)
        raise
    _show_candidates(request, candidates, form, full=full or labels is not None)


def _show_candidates(request: "Request", candidates: "Sequence[Candidate]", form: options.Form, *, full: bool) -> None:
    from optimizer.report import pasted, records
    from optimizer.report.candidates import side_by_side
    from optimizer.report.tables import screen

    told = list(_by_model(request, candidates))
    match form:
        case "json":
            output.answer(records.json_text({"candidates": [records.candidate_record(c) for c in candidates]}))
        case "csv":
            output.answer(pasted.candidates_csv(candidates))
        case "markdown":
            output.answer("\n".join(pasted.candidates_markdown(title, own) for title, own in told))
        case _:
            console = output.console()
            for title, own in told:
                console.print(side_by_side(title, own, screen(console), full=full))


def _by_model(request: "Request", candidates: "Sequence[Candidate]") -> "Iterator[tuple[str, list[Candidate]]]":
    """Yield the candidates of each model under a title."""
    from optimizer.compare import service_names

    for number, name in enumerate(service_names(request.services)):
        own = [candidate for candidate in candidates if candidate.service == number]
        yield f"{name} on {request.cluster.name}: {len(own)} layouts for {request.objective}, best first", own


def estimate(
    cluster: ClusterArg,
    model: ModelArg,
    degrees: Degrees,
    asked: Load,
    json: JsonOption = False,
    debug: DebugOption = False,  # noqa: ARG001 (read at the edge)
) -> None:
    """Price one layout, fitting or not, with its breakdown."""
    from optimizer import pipeline
    from optimizer.inputs import read
    from optimizer.report import records
    from optimizer.report.estimated import estimated
    from optimizer.report.tables import screen

    role = options.parse_role(asked.role)
    hardware, spec = read.read_cluster(cluster, output.progress), read.read_model(model)
    load = load_of(spec, model, asked)
    with file_named(cluster, hardware.name):
        price, settings = pipeline.estimate(
            hardware, spec, load, asdict(degrees), batch=asked.batch,
            weights=load.weights[0] if load.weights else None, kv_cache=load.kv_cache[0], role=role,
        )  # fmt: skip
    if json:
        output.answer(records.json_text(records.estimate_record(price, asdict(settings))))
    else:
        console, phase = output.console(), "" if role == "both" else f", {role} only"
        title = f"{spec.name} on {hardware.name}, {_told(degrees)}{phase}"
        console.print(estimated(title, price, asdict(settings), screen(console)))


def _told(degrees: Degrees) -> str:
    """Return "TP4 x PP2, EP4"."""
    more = {"attention DP": degrees.attn_dp, "EP": degrees.ep, "DCP": degrees.dcp, "PCP": degrees.pcp}
    rest = "".join(f", {name}{degree}" for name, degree in more.items() if degree > 1)
    return f"TP{degrees.tp} x PP{degrees.pp}{rest}"


def _is_plan(source: str) -> bool:
    """Return whether ``source`` is a file that holds a plan."""
    from optimizer.inputs.documents import read_document

    path = Path(source)
    if path.suffix.lower() != ".json" or not path.is_file():
        return False
    document = read_document(path)
    return isinstance(document, dict) and "schema_version" in document


def _compare_plans(first: str, second: str, form: options.Form) -> None:
    from rich.console import Group

    from optimizer.compare import input_differences, plan_rows
    from optimizer.report import pasted, records
    from optimizer.report.candidates import input_table, plan_table

    plans = [records.read_plan(source) for source in (first, second)]
    rows, inputs = plan_rows(plans), input_differences(*plans)
    match form:
        case "json":
            told = {"properties": rows, "inputs": inputs}
            record = {key: [records.row_record(row) for row in rows] for key, rows in told.items()}
            output.answer(records.json_text({"plans": [first, second], **record}))
        case "csv":
            output.answer(pasted.rows_csv((first, second), (*rows, *inputs)))
        case "markdown":
            output.answer(pasted.rows_markdown((first, second), (*rows, *inputs)))
        case _:
            output.console().print(Group(plan_table((first, second), rows), input_table((first, second), inputs)))
