"""solve, compare, estimate: the commands that price layouts."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optimizer.cli import curves, options, output, routing
from optimizer.cli.answers import file_named, show_infeasible
from optimizer.cli.asking import ask, load_of
from optimizer.cli.options import (
    ClusterArg,
    DebugOption,
    EngineOption,
    ExcludeOption,
    FixOption,
    GapOption,
    JsonOption,
    MarginOption,
    MaxGpusOption,
    ModelArg,
    ModelsArg,
    ObjectiveOption,
    RolesOption,
    SeedOption,
    SurviveOption,
    TimeLimitOption,
    WorkersOption,
    WorkloadOption,
)
from optimizer.errors import InfeasibleError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from optimizer.pipeline import Request
    from optimizer.pipeline.prepare import Known
    from optimizer.plan import Candidate


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command()(solve)
    app.command()(compare)
    app.command()(estimate)


def solve(
    cluster: ClusterArg,
    model: ModelsArg,
    workload: WorkloadOption = None,
    out: Annotated[str | None, typer.Option("-o", "--output", metavar="FILE", help="write plan.json")] = None,
    pareto: Annotated[bool, typer.Option("--pareto", help="throughput against TPOT: every best trade-off")] = False,
    against: Annotated[str, typer.Option(metavar="tpot|gpus|tpot,gpus", help="what --pareto trades")] = "tpot",
    routed: Annotated[
        bool,
        typer.Option(
            "--routed",
            help="machines hold layer ranges and requests flow through paths that share them; long paths answer slowly",
        ),
    ] = False,
    objective: ObjectiveOption = "throughput",
    engine: EngineOption = None,
    json: JsonOption = False,
    fix: FixOption = None,
    max_gpus: MaxGpusOption = None,
    exclude: ExcludeOption = None,
    roles: RolesOption = None,
    margin: MarginOption = None,
    survive: SurviveOption = None,
    time_limit: TimeLimitOption = None,
    gap: GapOption = None,
    workers: WorkersOption = 1,
    seed: SeedOption = 0,
    faults: Annotated[
        bool, typer.Option("--faults/--no-faults", help="solve again without each fault, to tell what it costs")
    ] = True,
    debug: DebugOption = False,  # noqa: ARG001 (read at the edge)
) -> None:
    """Pick the best layout and the GPU of every rank, with a proof."""
    output.check_folder(out)
    request = ask(
        cluster, model, workload, engine, objective=objective, fix=fix, max_gpus=max_gpus, exclude=exclude,
        roles=roles, margin=margin, survive=survive, time_limit=time_limit, gap=gap, workers=workers, seed=seed,
        faults=faults,
    )  # fmt: skip
    if pareto and routed:
        raise InputError("--pareto and --routed exclude each other: choose one")
    if pareto:
        curves.show_front(cluster, request, against, out, json=json)
        return
    if routed:
        routing.show_routed(cluster, request, out, json=json)
        return
    from optimizer import pipeline
    from optimizer.report import records
    from optimizer.report.solved import solved
    from optimizer.report.tables import screen

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
    else:
        console = output.console()
        console.print(solved(found.plan, found.seconds, screen(console), assumed=workload is None))


def compare(
    first: Annotated[str, typer.Argument(metavar="CLUSTER|PLAN", help="cluster (file or preset), or a plan.json")],
    second: Annotated[
        str, typer.Argument(metavar="MODEL|PLAN", help="model (file or preset), models.yaml, or a plan.json")
    ],
    workload: WorkloadOption = None,
    layouts: Annotated[str | None, typer.Option(metavar="tp8,tp4pp2,tp1attndp8ep8", help="only these layouts")] = None,
    objective: ObjectiveOption = "throughput",
    engine: EngineOption = None,
    json: JsonOption = False,
    csv: Annotated[bool, typer.Option("--csv", help="answer as CSV, in seconds and bytes")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="answer as a Markdown table")] = False,
    fix: FixOption = None,
    max_gpus: MaxGpusOption = None,
    exclude: ExcludeOption = None,
    roles: RolesOption = None,
    margin: MarginOption = None,
    debug: DebugOption = False,  # noqa: ARG001 (read at the edge)
) -> None:
    """List layouts, or two plans, side by side."""
    form = options.one_form(json=json, csv=csv, markdown=markdown)
    if _is_plan(first) or _is_plan(second):
        _compare_plans(first, second, form)
        return
    request = ask(
        first, second, workload, engine, objective=objective, fix=fix, max_gpus=max_gpus, exclude=exclude,
        roles=roles, margin=margin,
    )  # fmt: skip
    labels = options.parse_layouts(layouts)
    from optimizer import pipeline
    from optimizer.report import pasted, records
    from optimizer.report.candidates import candidate_table, seconds_table
    from optimizer.report.tables import screen

    try:
        with file_named(first, request.cluster.name):
            candidates = pipeline.compare(request, labels, output.progress)
    except InfeasibleError as error:
        show_infeasible(error, json=json)
        raise
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
                console.print(candidate_table(title, own, screen(console)), seconds_table(own))


def _by_model(request: "Request", candidates: "Sequence[Candidate]") -> "Iterator[tuple[str, list[Candidate]]]":
    """Yield the candidates of each model under a title."""
    from optimizer.compare import service_names

    for number, name in enumerate(service_names(request.services)):
        own = [candidate for candidate in candidates if candidate.service == number]
        yield f"{name} on {request.cluster.name}: {len(own)} layouts for {request.objective}, best first", own


def estimate(
    cluster: ClusterArg,
    model: ModelArg,
    tp: Annotated[int, typer.Option(min=1, help="tensor parallel degree")],
    batch: Annotated[int, typer.Option(min=1, metavar="N", help="concurrent requests")],
    pp: Annotated[int, typer.Option(min=1, help="pipeline stages")] = 1,
    attn_dp: Annotated[
        int, typer.Option(min=1, help="attention replicas that share the experts, each of TP ranks")
    ] = 1,
    ep: Annotated[int, typer.Option(min=1, help="GPUs over which whole experts are spread")] = 1,
    dcp: Annotated[int, typer.Option(min=1, help="ranks over which cached tokens are spread in decode")] = 1,
    pcp: Annotated[int, typer.Option(min=1, help="ranks over which a prompt is split, each group of TP ranks")] = 1,
    isl: Annotated[int | None, typer.Option(min=1, metavar="TOKENS", help="input tokens")] = None,
    osl: Annotated[int | None, typer.Option(min=1, metavar="TOKENS", help="output tokens")] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="SCHEME", help="bf16, fp8, ...: default the checkpoint's")
    ] = None,
    kv_cache: Annotated[str | None, typer.Option(metavar="SCHEME", help="bf16 or fp8")] = None,
    role: Annotated[
        str, typer.Option(metavar="ROLE", help="both, prefill or decode: what it does of a request")
    ] = "both",
    workload: WorkloadOption = None,
    engine: EngineOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,  # noqa: ARG001 (read at the edge)
) -> None:
    """Price one layout, fitting or not, with its breakdown."""
    from optimizer import pipeline
    from optimizer.inputs import read
    from optimizer.report import records
    from optimizer.report.estimated import estimated
    from optimizer.report.tables import screen

    phase = options.parse_role(role)
    hardware, spec = read.read_cluster(cluster, output.progress), read.read_model(model)
    changes = {"isl": isl, "osl": osl, "weights": weights and [weights], "kv_cache": kv_cache and [kv_cache]}
    load = load_of(spec, model, workload, engine, {key: value for key, value in changes.items() if value is not None})
    with file_named(cluster, hardware.name):
        price, settings = pipeline.estimate(
            hardware, spec, load, {"tp": tp, "pp": pp, "attn_dp": attn_dp, "ep": ep, "dcp": dcp, "pcp": pcp},
            batch=batch, weights=load.weights[0] if load.weights else None, kv_cache=load.kv_cache[0], role=phase,
        )  # fmt: skip
    if json:
        output.answer(records.json_text(records.estimate_record(price, asdict(settings))))
    else:
        console = output.console()
        more = {"attention DP": attn_dp, "EP": ep, "DCP": dcp, "PCP": pcp}
        told = "".join(f", {name}{degree}" for name, degree in more.items() if degree > 1)
        title = f"{spec.name} on {hardware.name}, TP{tp} x PP{pp}{told}"
        title += "" if phase == "both" else f", {phase} only"
        console.print(estimated(title, price, asdict(settings), screen(console)))


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
