"""The edge: every error becomes one message on stderr and an exit code; nothing is caught as broadly elsewhere."""

import gc
import os
import traceback
from collections.abc import Callable

import typer

from optimizer import __version__
from optimizer.errors import InfeasibleError, NoAnswerError, Stopped, TpoptError, VerificationError

BUG = 70
RARELY = (200_000, 50, 50)
READER_LEFT = 141
"""The answer could not be written to the end, as when it is piped into head: what shells report of SIGPIPE."""
REPORT = "this is a bug in tpopt: please report it with the inputs (--debug shows where)"


def collect_garbage_rarely() -> None:
    """Let this process search for cycles of garbage less often than Python does by itself.

    A plan for thousands of nodes is millions of objects that live to the end; searching them takes a fifth of the time
    and finds nothing.
    """
    gc.set_threshold(*RARELY)


def exit_code_of(command: Callable[[], object], *, debug: bool = False) -> int:
    """Run ``command`` and return its exit code, errors told on stderr."""
    debug = debug or bool(os.environ.get("TPOPT_DEBUG"))
    try:
        command()
    except SystemExit as done:
        code = done.code if isinstance(done.code, int) else 0
        return READER_LEFT if code == 1 else code  # click's only 1; ours, infeasible, is an error below
    except Stopped:
        typer.echo("tpopt: no answer: stopped by the user before an answer was known", err=True)
        return NoAnswerError.exit_code
    except TpoptError as error:
        _tell(error)
        if debug:
            _trace()
        return error.exit_code
    except Exception as error:  # the outermost edge: whatever is left is ours
        message = str(error).splitlines() or [""]
        typer.echo(f"tpopt {__version__}: {REPORT}: {type(error).__name__}: {message[0]}", err=True)
        if debug:
            _trace()
        return BUG
    return 0


def _tell(error: TpoptError) -> None:
    match error:
        case InfeasibleError():
            typer.echo(f"tpopt: infeasible: {error}", err=True)
        case NoAnswerError():
            typer.echo(f"tpopt: no answer: {error}", err=True)
        case VerificationError():
            typer.echo(f"tpopt {__version__}: {REPORT}: {error}", err=True)
        case _:
            typer.echo(f"tpopt: {error}", err=True)


def _trace() -> None:
    typer.echo(traceback.format_exc(), err=True, nl=False)
