"""sweep: a grid of solves, resumed where it was stopped."""

import json as json_text
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optimizer.cli import output
from optimizer.cli.options import DebugOption, JsonOption
from optimizer.errors import InputError, NoAnswerError, Stopped

if TYPE_CHECKING:
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
    from optimizer.grid import AXES, COLUMNS, cells, together
    from optimizer.inputs.sweep import read_sweep

    workers.check_libraries(Path(out), report)
    asked = cells(read_sweep(grid))
    chosen = workers.backend(backend, min(jobs or os.cpu_count() or 1, sum(1 for _ in together(asked))))
    solves = _Solves.of(asked, _solves_folder(out))
    solving = chosen([asked[number] for number in solves.left]) if solves.left else iter(())
    from optimizer.report import records  # while the workers load the solver
    from optimizer.report.swept import results_csv, swept

    results = solves.gathered(solving)
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


@dataclass(frozen=True)
class _Solves:
    """The solves of a sweep, each in a file of its own."""

    files: "list[Path]"
    known: "dict[Path, Result]"

    @classmethod
    def of(cls, asked: "Sequence[Cell]", folder: Path) -> "_Solves":
        """Return what is known of the combinations from a sweep before this one."""
        from optimizer.grid import keys

        files = [folder / f"{key}.json" for key in keys(asked)]
        known = {file: found for file in files if (found := _read(file)) is not None}
        if known:
            output.progress(f"{len(known)} of {len(asked)} solves are already in {folder}")
        return cls(files, known)

    @property
    def left(self) -> list[int]:
        """What is not known, by number."""
        return [number for number, file in enumerate(self.files) if file not in self.known]

    def gathered(self, solving: "Iterator[tuple[int, Result]]") -> "list[Result]":
        """Return the results in the grid's order; each is written as soon as it is known."""
        left, known = self.left, dict(self.known)
        try:
            with output.bar("solving", total=len(self.files), done=len(known)) as step:
                for number, result in solving:
                    file = self.files[left[number]]
                    output.write(file, json_text.dumps(result, indent=1) + "\n")
                    known[file] = result
                    step()
        except (KeyboardInterrupt, Stopped) as stopped:
            kept = f"{len(known)} of {len(self.files)} solves are kept in {self.files[0].parent}"
            raise NoAnswerError(f"stopped: {kept}; the same command goes on from there") from stopped
        return [known[file] for file in self.files]


def _read(file: Path) -> "Result | None":
    """Return a finished solve; None when there is none, or the file is no such thing."""
    from optimizer.grid import COLUMNS

    try:
        found = json_text.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and tuple(found) == COLUMNS else None
