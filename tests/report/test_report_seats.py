"""Seats for people: replicas that sit alike share a line, and each can still be had by itself."""

import handmade
import pytest
from rich.console import Console

from optimizer.plan import Plan
from optimizer.report.seats import MOST_LINES, seats_part


def lines(plan: Plan, *, full: bool = False) -> list[list[str]]:
    """Return the words of each line below the heads."""
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        console.print(seats_part(plan, full=full))
    return [line.split() for line in capture.get().splitlines()[3:]]


def test_replicas_that_sit_alike_share_a_line_with_their_nodes_in_order() -> None:
    assert lines(handmade.plan()) == [
        ["0,", "2", "node[01-02]", "0", "0-3", "0", "1", "2", "3"],
        ["1,", "3", "node[01-02]", "0", "0-3", "4", "5", "6", "7"],
    ]


def test_full_names_every_replica_by_itself() -> None:
    found = lines(handmade.plan(), full=True)
    assert [line[:2] for line in found] == [["0", "node01"], ["1", "node01"], ["2", "node02"], ["3", "node02"]]


def test_a_replica_over_nodes_has_a_line_for_each_piece_of_it() -> None:
    eight = list(range(8))
    two = [handmade.replica([(f"n{n}", eight), (f"n{n + 1}", eight)], tp=8, pp=2) for n in (1, 3)]
    assert [line[:4] for line in lines(handmade.plan(*two))] == [
        ["0-1", "n[1,3]", "0", "0-7"], ["0-1", "n[2,4]", "1", "8-15"],
    ]  # fmt: skip


@pytest.mark.parametrize("full", [False, True])
def test_lines_beyond_the_most_are_counted_until_all_are_asked_for(full: bool) -> None:
    plan = handmade.plan(*(handmade.replica([("n1", [n])], tp=1) for n in range(50)))
    found = lines(plan, full=full)
    assert len(found) == (50 if full else MOST_LINES + 1)
    assert ("more" in found[-1]) is not full
