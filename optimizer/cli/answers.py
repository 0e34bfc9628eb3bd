"""What commands that plan have in common when there is no plan: the user's file in the message, the nearest miss."""

from collections.abc import Iterator
from contextlib import contextmanager

from optimizer.cli import output
from optimizer.errors import InfeasibleError, InputError


@contextmanager
def file_named(source: str, cluster: str) -> Iterator[None]:
    """Let errors about the hardware name the user's file in place of the cluster in it."""
    try:
        yield
    except InputError as error:
        rest = str(error).removeprefix(f"cluster {cluster}: ")
        raise (error if rest == str(error) else InputError(f"{source}: {rest}")) from error


def show_infeasible(error: InfeasibleError, *, json: bool) -> None:
    """Print the nearest miss and what would help: that nothing fits is an answer."""
    from optimizer.report import records
    from optimizer.report.estimated import infeasible

    if json:
        output.answer(records.json_text(records.infeasible_record(error)))
    else:
        output.console().print(infeasible(error))
