"""What commands that plan have in common when there is no plan: the user's file in the message, the nearest miss."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from optimizer.cli import output
from optimizer.errors import InfeasibleError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from optimizer.pipeline import Request
    from optimizer.pipeline.prepare import Known
    from optimizer.relaxation import Kind, Relaxation


@contextmanager
def file_named(source: str, cluster: str) -> Iterator[None]:
    """Let errors about the hardware name the user's file in place of the cluster in it."""
    try:
        yield
    except InputError as error:
        rest = str(error).removeprefix(f"cluster {cluster}: ")
        raise (error if rest == str(error) else InputError(f"{source}: {rest}")) from error


def show_infeasible(
    error: InfeasibleError, *, json: bool, request: "Request | None" = None, prices: "Known | None" = None
) -> None:
    """Print the nearest miss and what would help: that nothing fits is an answer.

    With the ``request``, and the ``prices`` made for it, it is asked again, each time with one limit relaxed.
    """
    from optimizer.report import records
    from optimizer.report.relaxed import infeasible

    told: Sequence[Relaxation] | None = None
    skipped: Sequence[Kind] = ()
    if request is not None:
        from optimizer.pipeline.relax import relaxations

        found = relaxations(request, output.progress, prices)
        told, skipped = [one.told for one in found.found], found.skipped
    if json:
        output.answer(records.json_text(records.infeasible_record(error, told, skipped)))
    else:
        output.console().print(infeasible(error, told, skipped))
