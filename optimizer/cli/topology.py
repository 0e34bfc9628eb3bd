"""topology: operators' own files in, a cluster out; a cluster in, a picture out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optimizer.cli import output
from optimizer.cli.options import DebugOption, JsonOption
from optimizer.cli.topology_show import show
from optimizer.errors import InputError

if TYPE_CHECKING:
    from optimizer.inputs.importers import Imported


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    group = typer.Typer(help="Operators' own topology files in, pictures out.", no_args_is_help=True)
    group.command(name="import")(import_)
    group.command()(show)
    app.add_typer(group, name="topology")


def import_(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="topo -m, NCCL XML, Slurm, Kubernetes, ...")],
    gpu: Annotated[str | None, typer.Option(metavar="ID", help="GPU type, where files do not name it")] = None,
    out: Annotated[str | None, typer.Option("-o", "--output", metavar="FILE", help="write cluster.yaml here")] = None,
    json: JsonOption = False,
    debug: DebugOption = False,  # noqa: ARG001 (read at the edge)
) -> None:
    """Merge files about one cluster into cluster.yaml, and tell what was read, guessed, missing and broken."""
    from optimizer.inputs import presets
    from optimizer.inputs.importers import import_files, to_yaml

    output.check_folder(out)
    known = presets.names("gpus")
    contents = [(file, _content(file)) for file in files]
    found = import_files(contents, gpu=gpu, load_gpu=presets.load_gpu, gpu_ids=known)
    text = None if found.cluster is None else to_yaml(found.cluster, catalogue=known)
    if out is not None and text is not None:
        output.write(Path(out), text)
    _tell(found, json=json, text=None if out is not None else text)
    if out is not None and text is None:
        raise InputError(f"-o {out}: not written: the files do not tell enough; see what is missing above")


def _content(file: str) -> bytes:
    from optimizer.inputs.importers.text import MAX_FILE_BYTES

    try:
        with Path(file).open("rb") as opened:
            return opened.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _tell(found: "Imported", *, json: bool, text: str | None) -> None:
    """Answer with counts and report as JSON, or with the cluster, the report beside it on stderr."""
    from optimizer.report import records

    if json:
        report = [{"level": finding.level, "message": finding.message} for finding in found.report]
        counts = {"nodes": found.nodes, "gpus": found.gpus, "nics": found.nics}
        output.answer(records.json_text({**counts, "report": report}))
        return
    for finding in found.report:
        output.progress(f"{finding.level}: {finding.message}")
    output.progress(f"{found.nodes} nodes, {found.gpus} GPUs, {found.nics} NICs")
    if text is not None:
        output.answer(text)
