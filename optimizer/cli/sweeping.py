"""sweep: a grid of solves, resumed where it was stopped."""

import json as json_text
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optimizer.cli import output
from optimizer.cli.options import DebugOption, JsonOption
from optimizer.errors import InputError, NoAnswerError

if TYPE_CHECKING:
    from optimizer.cli.workers import Backend
    from optimizer.grid import Cell, Result


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(sweep)


def sweep(
    grid: Annotated[str, typer.Argument(metavar="SWEEP", help="sweep.yaml")],
    out: Annotated[
        str, typer.Option("-o", "--output", metavar="FILE", help="results, .csv or .parquet; beside it FILE.solves/")
    ] = "sweep.csv",
    report: Annotated[str | None, typer.Option(metavar="FILE", help="write a page with small multiples")] = None,
    jobs: Annotated[
        int | None, typer.Option("-j", "--jobs", min=1, metavar="N", help="solves at a time; default: all cores")
    ] = None,
    backend: Annotated[str, typer.Option(metavar="NAME", help="local, ray or dask")] = "local",
    json: JsonOption = False,
    debug: DebugOption = False,  # noqa: ARG001 (read at the edge)
) -> None:
    """Solve every combination of clusters, models, workloads, precisions and objectives."""
    for path, option in ((out, "-o"), (report, "--report")):
        output.check_folder(path, option)
    if Path(out).suffix not in (".csv", ".parquet"):
        raise InputError(f"-o {out}: results are CSV or Parquet; name a file that ends in .csv or .parquet")
    from optimizer.cli import workers
    from optimizer.grid import AXES, COLUMNS, cells
    from optimizer.inputs.sweep import read_sweep
    from optimizer.report import records
    from optimizer.report.swept import results_csv, swept

    chosen = workers.backend(backend, jobs or os.cpu_count() or 1)
    asked = cells(read_sweep(grid))
    results = _solve_all(asked, _solves_folder(out), chosen)
    if Path(out).suffix == ".csv":
        output.write(Path(out), results_csv(COLUMNS, results))
    else:
        output.write_bytes(Path(out), workers.parquet(COLUMNS, results))
    if report is not None:
        from optimizer.cli.reporting import plotly_js
        from optimizer.report.page.multiples import multiples

        output.write(Path(report), multiples(Path(grid).stem, AXES, results, plotly_js()))
    if json:
        output.answer(records.json_text({"results": out, "solves": results}))
    else:
        output.console().print(swept(AXES, results))


def _solves_folder(out: str) -> Path:
    """Return the folder of finished solves, made when missing."""
    folder = Path(f"{out}.solves")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made: {error.strerror}; choose another place with -o") from error
    return folder


def _solve_all(asked: "Sequence[Cell]", folder: Path, backend: "Backend") -> "list[Result]":
    """Return the results in the grid's order; each is written as soon as it is known, and read if it already is."""
    from optimizer.grid import keys

    files = [folder / f"{key}.json" for key in keys(asked)]
    known = {file: found for file in files if (found := _read(file)) is not None}
    todo = [(cell, file) for cell, file in zip(asked, files, strict=True) if file not in known]
    if known:
        output.progress(f"{len(known)} of {len(asked)} solves are already in {folder}")
    try:
        with output.bar("solving", total=len(asked), done=len(known)) as step:
            for number, result in backend([cell for cell, _ in todo]):
                file = todo[number][1]
                output.write(file, json_text.dumps(result, indent=1) + "\n")
                known[file] = result
                step()
    except (KeyboardInterrupt, NoAnswerError) as stopped:
        said = f"stopped: {len(known)} of {len(asked)} solves are kept in {folder}; the same command goes on from there"
        raise NoAnswerError(said) from stopped
    return [known[file] for file in files]


def _read(file: Path) -> "Result | None":
    """Return a finished solve; None when there is none, or the file is no such thing."""
    from optimizer.grid import COLUMNS

    try:
        found = json_text.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and tuple(found) == COLUMNS else None
