"""Where replicas sit, for people: those that sit alike on several nodes share a line."""

from itertools import groupby

from rich.console import Group, RenderableType
from rich.text import Text

from optimizer.compare import Piece, pieces, runs
from optimizer.inputs.hostlist import folded
from optimizer.plan import Plan
from optimizer.report.tables import columns

MOST_LINES = 24
"""More than these are counted, not listed; plan.json holds every seat."""

HEADS = ("replica", "node", "stages", "ranks", "GPUs in rank order")


def seats_part(plan: Plan, *, full: bool) -> RenderableType:
    """Return the seats of all replicas; ``full``: each replica by itself, however many there are."""
    found = list(pieces(plan.replicas, alike=not full))
    shown = found if full else found[:MOST_LINES]
    several = any(len(piece.nodes) > 1 for piece in shown)
    title = "Seats, nodes in the order of the replicas" if several else "Seats"
    table = columns(title, HEADS, map(_row, shown), left=(0, 1, 2, 3, 4))
    left_out = len(found) - len(shown)
    return Group(table, Text(f"  and {left_out} more lines: --full, or plan.json")) if left_out else table


def _row(piece: Piece) -> tuple[str, ...]:
    """Return replicas, nodes, stages, ranks and local indices, a bar between stages of several ranks."""
    stages = [(stage, list(own)) for stage, own in groupby(piece.held, key=lambda seat: seat.stage)]
    gpus = (" ".join(str(seat.local_index) for seat in own) for _, own in stages)
    bar = " | " if len(piece.held) > len(stages) else " "
    return (
        runs(piece.replicas), folded(piece.nodes), runs([stage for stage, _ in stages]),
        runs([seat.rank for seat in piece.held]), bar.join(gpus),
    )  # fmt: skip
