"""topology show: a tree for the terminal, a picture as SVG."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optimizer.cli import output
from optimizer.cli.options import ClusterArg, DebugOption, JsonOption
from optimizer.errors import InputError

if TYPE_CHECKING:
    from optimizer.report.scene import Scene


def show(
    cluster: ClusterArg,
    plan: Annotated[
        str | None, typer.Option(metavar="PLAN", help="plan.json whose ranks to show on their GPUs")
    ] = None,
    out: Annotated[str | None, typer.Option("-o", "--output", metavar="FILE", help="write the picture (SVG)")] = None,
    json: JsonOption = False,
    debug: DebugOption = False,  # noqa: ARG001 (read at the edge)
) -> None:
    """Show a cluster: what is there, how it is wired, what is broken, and who sits where."""
    output.check_folder(out)
    if out is not None and Path(out).suffix.lower() != ".svg":
        raise InputError(f"-o {out}: pictures are written as SVG; name a file that ends in .svg")
    from optimizer.inputs import read
    from optimizer.report import records
    from optimizer.report.loads import tips
    from optimizer.report.picture import svg
    from optimizer.report.scene import scene
    from optimizer.report.tree import tree
    from optimizer.topology.graph import build

    placed = None if plan is None else records.read_plan(plan)
    shown = scene(build(read.read_cluster(cluster)), placed)
    if out is not None:
        output.write(Path(out), svg(shown, tips(shown, placed) if placed else None))
    if json:
        output.answer(records.json_text(_record(shown)))
    else:
        output.console().print(tree(shown))


def _record(shown: "Scene") -> dict[str, object]:
    from optimizer.report.scene import faults

    gpus = []
    for gpu in shown.topology.gpus:
        sitter = shown.sitters.get(gpu.id)
        rank = None if sitter is None else {"replica": sitter.replica, "rank": sitter.rank, "stage": sitter.stage}
        place = {"id": gpu.id, "node": gpu.node, "local_index": gpu.local_index, "type": gpu.type}
        gpus.append({**place, "state": gpu.state, "speed_factor": gpu.speed_factor, "placed": rank})
    return {"cluster": shown.topology.cluster.name, "gpus": gpus, "faults": list(faults(shown))}
