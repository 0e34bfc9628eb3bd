"""Where replicas sit, for people: those that sit alike on several nodes share a line."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter

from rich.console import Group, RenderableType
from rich.text import Text

from optimizer.inputs.hostlist import folded
from optimizer.plan import Plan, Replica, Seat
from optimizer.report.tables import columns, runs

MOST_LINES = 40
"""More than these are counted, not listed; plan.json holds every seat."""

HEADS = ("replica", "node", "stages", "ranks", "GPUs in rank order")

Piece = tuple[str, str, str]
"""Stages, ranks and local indices on one node, as text."""


def seats_part(plan: Plan, *, full: bool) -> RenderableType:
    """Return the seats of all replicas; ``full``: each replica by itself, however many there are."""
    rows = [row for numbers in _alike(plan.replicas, full=full) for row in _rows(plan.replicas, numbers)]
    shown = rows if full else rows[:MOST_LINES]
    title = "Seats" if full or len(rows) == sum(len(_pieces(one)) for one in plan.replicas) else "Seats, nodes in order"
    table = columns(title, HEADS, shown, left=(0, 1, 2, 3, 4))
    left_out = len(rows) - len(shown)
    return Group(table, Text(f"  and {left_out} more lines: --full, or plan.json")) if left_out else table


def _alike(replicas: Sequence[Replica], *, full: bool) -> list[list[int]]:
    """Return the numbers of replicas whose nodes hold the same pieces, each replica by itself if ``full``."""
    found: dict[object, list[int]] = {}
    for number, one in enumerate(replicas):
        found.setdefault(number if full else tuple(piece for _, piece in _pieces(one)), []).append(number)
    return list(found.values())


def _rows(replicas: Sequence[Replica], numbers: Sequence[int]) -> Iterator[tuple[str, ...]]:
    """Yield a line for each piece, with its nodes in the order of the replicas."""
    for held in zip(*(_pieces(replicas[number]) for number in numbers), strict=True):
        yield runs(numbers), folded([node for node, _ in held]), *held[0][1]


def _pieces(replica: Replica) -> list[tuple[str, Piece]]:
    """Return each node with what it holds, in rank order, a bar between the stages of a node."""
    seats = sorted(replica.seats, key=attrgetter("rank"))
    by_node = [(node, list(on_node)) for node, on_node in groupby(seats, key=attrgetter("node"))]
    return [(node, _piece(replica, on_node)) for node, on_node in by_node]


def _piece(replica: Replica, seats: Sequence[Seat]) -> Piece:
    stages = [(stage, list(own)) for stage, own in groupby(seats, key=attrgetter("stage"))]
    gpus = (" ".join(str(seat.local_index) for seat in own) for _, own in stages)
    return (
        _span([stage for stage, _ in stages]), _span([seat.rank for seat in seats]),
        (" | " if replica.tp > 1 else " ").join(gpus),
    )  # fmt: skip


def _span(numbers: Sequence[int]) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]}"
