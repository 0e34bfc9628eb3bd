"""validate: predictions beside measurements. calibrate: what measured first tokens say of their host."""

from functools import lru_cache
from pathlib import Path
from typing import Annotated

import typer

from optimizer.cli import output
from optimizer.cli.options import DebugOption, JsonOption

NEEDED = ("model", "gpu", "metric", "value")


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(validate)
    app.command()(calibrate)


def validate(
    measurements: Annotated[str, typer.Argument(metavar="CSV", help="measurements, one value a row")],
    out: Annotated[
        str | None, typer.Option("-o", "--output", metavar="FILE", help="write the rows with predicted, error, reason")
    ] = None,
    json: JsonOption = False,
    debug: DebugOption = False,  # noqa: ARG001 (read at the edge)
) -> None:
    """Set predictions beside measurements: error per metric."""
    from optimizer.inputs import presets, read
    from optimizer.report import records
    from optimizer.report.measured import measured
    from optimizer.validation import validate as price_rows

    output.check_folder(out)
    names, rows = read.read_measurements(measurements, NEEDED)
    validation = price_rows(
        rows,
        load_model=lru_cache(read.read_model),
        load_gpu=presets.load_gpu,
        load_calibration=presets.load_calibration,
        load_engine=presets.load_engine,
    )
    if out is not None:
        output.write(Path(out), records.predictions_text(names, rows, validation.predictions))
    if json:
        output.answer(records.json_text(records.validation_record(validation)))
    else:
        output.console().print(measured(validation))


def calibrate(
    measurements: Annotated[str, typer.Argument(metavar="CSV", help="measurements of one host: rows of ttft are read")],
    json: JsonOption = False,
    debug: DebugOption = False,  # noqa: ARG001 (read at the edge)
) -> None:
    """Fit a host to measured first tokens: what a cluster file states as host."""
    from optimizer.host_fit import fit
    from optimizer.inputs import read
    from optimizer.report import records
    from optimizer.report.measured import host

    _, rows = read.read_measurements(measurements, NEEDED)
    found = fit(rows, lru_cache(read.read_model))
    if json:
        output.answer(records.json_text(records.host_record(found)))
    else:
        output.console().print(host(found, Path(measurements).name))
