"""presets and schema: what ships, and how inputs are written."""

from typing import TYPE_CHECKING, Annotated

import typer

from optimizer.cli import output
from optimizer.cli.options import DebugOption, JsonOption
from optimizer.errors import InputError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from optimizer.inputs.presets import Kind
    from optimizer.report.tables import Screen


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command()(presets)
    app.command()(schema)


def presets(
    what: Annotated[
        str | None, typer.Argument(metavar="[KIND|show]", help="gpus, clusters, models, ... or show")
    ] = None,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="the preset to show")] = None,
    json: JsonOption = False,
    debug: DebugOption = False,  # noqa: ARG001 (read at the edge)
) -> None:
    """List what ships, or show one preset with its sources."""
    from optimizer.inputs import presets as shipped
    from optimizer.inputs.complaints import did_you_mean
    from optimizer.report import records
    from optimizer.report.catalogue import name_table
    from optimizer.report.tables import screen

    if what == "show":
        _show(name, json=json)
        return
    kinds = [kind for kind in shipped.KINDS if what in (None, kind)]
    if not kinds:
        raise InputError(f"presets: {what!r} is not known; {did_you_mean(str(what), (*shipped.KINDS, 'show'))}")
    names: dict[str, tuple[str, ...]] = {kind: shipped.names(kind) for kind in kinds}
    if json:
        output.answer(records.json_text(names))
    else:
        console = output.console()
        console.print(name_table(names) if what is None else _table(kinds[0], screen(console)))


def _table(kind: "Kind", screen: "Screen") -> "RenderableType":
    from optimizer.inputs import presets as shipped
    from optimizer.report import catalogue

    names = shipped.names(kind)
    match kind:
        case "gpus":
            return catalogue.gpu_table([shipped.load_gpu(name) for name in names], screen)
        case "clusters":
            return catalogue.cluster_table({name: shipped.load_cluster(name) for name in names})
        case "models":
            return catalogue.model_table({name: shipped.load_model(name) for name in names}, screen)
        case "calibrations" | "engines":
            return catalogue.name_table({kind: names})


def _show(name: str | None, *, json: bool) -> None:
    from optimizer.inputs import presets as shipped
    from optimizer.inputs.complaints import did_you_mean
    from optimizer.inputs.documents import parse_yaml
    from optimizer.report import records

    if name is None:
        raise InputError("presets show: no name given; `tpopt presets` lists all")
    found = shipped.find(name)
    if not found:
        known = {preset for kind in shipped.KINDS for preset in shipped.names(kind)}
        raise InputError(
            f"presets show: {name!r} does not ship; {did_you_mean(name, known)} (`tpopt presets` lists all)"
        )
    texts = {(kind, preset): shipped.text(kind, preset) for kind, preset in found}
    if json:
        told = {kind: {preset: parse_yaml(text, preset)} for (kind, preset), text in texts.items()}
        output.answer(records.json_text(told))
    else:
        output.answer("\n".join(f"# {kind}/{preset}.yaml\n{text}" for (kind, preset), text in texts.items()))


def schema(
    what: Annotated[
        str, typer.Argument(metavar="cluster|model|models|workload|plan|routed-plan", help="the file to describe")
    ],
    debug: DebugOption = False,  # noqa: ARG001 (read at the edge)
) -> None:
    """Print the JSON Schema of an input or of plan.json, for editors."""
    from optimizer.inputs.complaints import did_you_mean
    from optimizer.report import records
    from optimizer.report.schemas import SCHEMAS

    if what not in SCHEMAS:
        raise InputError(f"schema: {what!r} is not known; {did_you_mean(what, SCHEMAS, what='one of')}")
    output.answer(records.json_text(SCHEMAS[what]()))
