"""Answers to stdout, progress to stderr, files whole or not at all."""

import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from optimizer.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console


TELL_EVERY_S = 10.0
"""How often a line tells how far it is, where no bar can."""

_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


def be_quiet(*, quiet: bool) -> None:
    """Leave progress out (or tell it again); warnings and errors are always told."""
    _quiet.set(quiet)


def progress(line: str) -> None:
    """Tell on stderr what is going on."""
    if not _quiet.get():
        typer.echo(f"tpopt: {line}", err=True)


def answer(text: str) -> None:
    """Write text that ends in a line break to stdout."""
    typer.echo(text, nl=False)


def console() -> "Console":
    """Return the screen for tables: 80 columns and no colour when piped; names are never read as markup."""
    from rich.console import Console

    return Console(markup=False, highlight=False, emoji=False)


def check_folder(path: str | None, option: str = "-o") -> None:
    """Raise InputError when a file cannot be written at ``path``, before any work is done for it."""
    if path is None:
        return
    folder = Path(path).resolve().parent
    if not folder.is_dir():
        raise InputError(f"{option} {path}: no folder {folder}; create it or choose another place")
    if Path(path).is_dir():
        raise InputError(f"{option} {path}: is a folder; name a file in it")
    if not os.access(folder, os.W_OK):
        raise InputError(f"{option} {path}: folder {folder} may not be written to; choose another place")


@contextmanager
def bar(title: str, *, total: int, done: int = 0) -> Iterator[Callable[[], None]]:
    """Show a bar with the time left on a terminal's stderr, elsewhere a line now and then.

    Yields what to call when one more is done.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if _quiet.get() or not console.is_terminal:
        yield _counter(title, total, done)
        return
    shown = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*shown, console=console, transient=True) as progress_bar:
        task = progress_bar.add_task(title, total=total, completed=done)
        yield lambda: progress_bar.advance(task)


def _counter(title: str, total: int, done: int) -> Callable[[], None]:
    """Return what tells every ``TELL_EVERY_S`` seconds how many are done."""
    count, told_s = done, time.monotonic()

    def step() -> None:
        nonlocal count, told_s
        count += 1
        if time.monotonic() - told_s >= TELL_EVERY_S:
            told_s = time.monotonic()
            progress(f"{title}: {count} of {total}")

    return step


def write(path: Path, text: str, *, executable: bool = False) -> None:
    """Write a text file whole or not at all: beside its place first, then renamed onto it."""
    write_bytes(path, text.encode(), executable=executable)


def write_bytes(path: Path, content: bytes, *, executable: bool = False) -> None:
    """Write a file whole or not at all."""
    target = path.resolve()
    if target.exists() and not target.is_file():  # a device or pipe such as /dev/stdout
        target.write_bytes(content)
        return
    beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        mode = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(beside, mode, 0o777 if executable else 0o666), "wb") as file:
            file.write(content)
        beside.replace(target)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}; choose another place") from error
    finally:
        beside.unlink(missing_ok=True)
