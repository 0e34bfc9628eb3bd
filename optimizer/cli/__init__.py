"""How it is asked: parse, call, print, exit code. All that is heavy is imported inside the commands."""

import signal
import sys
from contextvars import copy_context
from functools import partial
from types import FrameType
from typing import Annotated, NoReturn

import typer

from optimizer import __version__
from optimizer.cli import catalogue, curves, deploy, measured, output, planning, reporting, sweeping, telling, topology
from optimizer.cli.edge import collect_garbage_rarely, exit_code_of
from optimizer.errors import Stopped

app = typer.Typer(
    name="tpopt",
    help="Which layout serves a model best on a GPU cluster, on exactly which GPUs, with a proof.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
planning.register(app)
curves.register(app)
deploy.register(app)
measured.register(app)
catalogue.register(app)
topology.register(app)
telling.register(app)
reporting.register(app)
sweeping.register(app)


def _version(asked: bool) -> None:
    if asked:
        output.answer(f"tpopt {__version__}\n")
        raise typer.Exit


@app.callback()
def _before(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no progress on stderr; may stand anywhere")] = False,
    _shown: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version and end")
    ] = False,
) -> None:
    output.be_quiet(quiet=quiet)


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code: 0 answer, 1 infeasible, 2 wrong input, 3 no answer, 70 our bug."""
    asked = [argument for argument in arguments if argument in ("--quiet", "-q")][:1]
    rest = [argument for argument in arguments if argument not in ("--quiet", "-q")]
    command = partial(exit_code_of, lambda: app([*asked, *rest], prog_name="tpopt"), debug="--debug" in arguments)
    return copy_context().run(command)  # what one command is told to leave out, the next one tells


def main() -> NoReturn:
    """Be the ``tpopt`` command."""
    collect_garbage_rarely()
    signal.signal(signal.SIGINT, _stop)
    for stream in (sys.stdout, sys.stderr):
        if not str(stream.encoding).lower().startswith("utf") and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))


def _stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise Stopped
