"""explain, diff: where a plan's numbers come from, and why two plans differ."""

from typing import Annotated

import typer

from optimizer.cli import output
from optimizer.cli.options import DebugOption, JsonOption
from optimizer.cli.plans import whole_plan

PlanArg = Annotated[str, typer.Argument(metavar="PLAN", help="plan.json of tpopt solve -o")]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command()(explain)
    app.command()(diff)


def explain(
    plan: PlanArg,
    level: Annotated[int, typer.Option("-l", "--level", min=1, max=6, metavar="N", help="how deep, 1 to 6")] = 2,
    of: Annotated[str | None, typer.Option(metavar="NAME", help="only numbers whose name holds this")] = None,
    json: JsonOption = False,
    debug: DebugOption = False,  # noqa: ARG001 (read at the edge)
) -> None:
    """Trace every number of a plan to formula, inputs and calibration, a level at a time."""
    from optimizer.report import records
    from optimizer.report.explained import explain as traced
    from optimizer.report.explained import explained, stale
    from optimizer.report.facts import named, pruned, record

    read = whole_plan(plan)
    found = pruned(named(traced(read), of), level)
    if json:
        told = {"level": level, "facts": [record(one) for one in found], "notes": list(stale(read))}
        output.answer(records.json_text(told))
    else:
        output.console().print(explained(found, stale(read)))


def diff(
    first: Annotated[str, typer.Argument(metavar="A", help="a plan.json")],
    second: Annotated[str, typer.Argument(metavar="B", help="the plan.json to hold against it")],
    json: JsonOption = False,
    debug: DebugOption = False,  # noqa: ARG001 (read at the edge)
) -> None:
    """Say what changed between two plans, and why: inputs, calibration, version."""
    from optimizer.report import records
    from optimizer.report.changes import changed, changes

    found = changes(records.read_plan(first), records.read_plan(second))
    if json:
        output.answer(records.json_text({"plans": [first, second], **found.record()}))
    else:
        output.console().print(changed((first, second), found))
