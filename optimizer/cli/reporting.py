"""report: a plan as one page that opens anywhere."""

from pathlib import Path
from typing import Annotated

import typer

from optimizer.cli import output
from optimizer.cli.options import DebugOption
from optimizer.cli.plans import whole_plan
from optimizer.cli.telling import PlanArg
from optimizer.errors import InputError


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(report)


def report(
    plan: PlanArg,
    out: Annotated[str, typer.Option("-o", "--output", metavar="FILE", help="the page to write")] = "report.html",
    debug: DebugOption = False,  # noqa: ARG001 (read at the edge)
) -> None:
    """Write a plan as one HTML page: picture, charts, comparison, provenance; it opens offline."""
    output.check_folder(out)
    from optimizer.report.page import page

    output.write(Path(out), page(whole_plan(plan), plotly_js()))
    output.answer(f"{out}\n")


def plotly_js() -> str:
    """Return the text of plotly.js as the Python package ships it; InputError names the extra when it is missing."""
    try:
        from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]
    except ImportError as error:
        raise InputError("report: plotly draws the charts and is not installed: pip install 'tpopt[report]'") from error
    text: str = get_plotlyjs()
    return text
