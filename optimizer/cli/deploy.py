"""export: a plan to deployment files."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optimizer.cli import checks, output
from optimizer.cli.options import DebugOption
from optimizer.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from optimizer.export import Artifact
    from optimizer.plan import Plan

TARGETS = "vllm, sglang, slurm, compose, systemd, lws, ray, dynamo, llm-d, trtllm"
"""Names of EXPORTERS, said here so that --help loads none of them; a test holds them equal."""


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(export)


def export(
    plan: Annotated[str, typer.Argument(metavar="PLAN", help="plan.json of tpopt solve -o")],
    out: Annotated[str, typer.Option("-o", "--output", metavar="DIR", help="folder to write to; made when missing")],
    target: Annotated[str, typer.Option(metavar="NAME", help=f"what to write for: {TARGETS}")] = "vllm",
    force: Annotated[bool, typer.Option("--force", help="overwrite files that tpopt did not write")] = False,
    check: Annotated[bool, typer.Option("--check", help="check what was written with the means at hand")] = False,
    debug: DebugOption = False,  # noqa: ARG001 (read at the edge)
) -> None:
    """Write the files that start a plan on exactly its seats."""
    from optimizer.export import EXPORTERS
    from optimizer.inputs.complaints import did_you_mean
    from optimizer.report.records import read_plan

    if target not in EXPORTERS:
        raise InputError(f"--target: {target!r} is not known; {did_you_mean(target, EXPORTERS, what='one of')}")
    chosen = read_plan(plan)
    _refuse_broken(plan, chosen)
    artifacts = EXPORTERS[target](chosen)
    written = write_all(Path(out), artifacts, force=force)
    output.answer("".join(f"{path}\n" for path in written))
    if check:
        checks.check(chosen, artifacts, written)


def _refuse_broken(path: str, plan: "Plan") -> None:
    """InputError when a plan breaks a rule: it was changed by hand, or is predicted otherwise by this version."""
    from optimizer.verify import check

    if broken := check(plan):
        more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        raise InputError(f"{path}: {broken[0]}{more}; it is not what this tpopt would write: solve again")


def write_all(folder: Path, artifacts: "Sequence[Artifact]", *, force: bool) -> tuple[Path, ...]:
    """Write all artifacts below ``folder`` and return their paths; InputError before the first when one is foreign."""
    paths = tuple(folder / artifact.path for artifact in artifacts)
    foreign = [path for path in paths if path.exists() and not _is_ours(path)]
    if foreign and not force:
        told = ", ".join(map(str, foreign[:5]))
        raise InputError(f"{told}: not written by tpopt; choose another folder with -o, or --force to overwrite")
    for path, artifact in zip(paths, artifacts, strict=True):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{path.parent}: cannot be made: {error.strerror}; choose another folder with -o"
            ) from error
        output.write(path, artifact.text, executable=artifact.executable)
    stale = sorted(path for path in folder.iterdir() if path not in paths and path.is_file() and _is_ours(path))
    if stale:
        output.progress(
            f"left from an earlier export: {', '.join(path.name for path in stale)}; remove what is not used"
        )
    return paths


def _is_ours(path: Path) -> bool:
    """Return whether a file carries tpopt's mark in its first lines."""
    from optimizer.export.artifact import MARK

    try:
        with path.open("rb") as file:
            return MARK.encode() in file.read(200)
    except OSError:
        return False
