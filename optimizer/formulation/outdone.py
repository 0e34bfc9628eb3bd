"""Which of many rows of numbers no other reaches in all of them."""

from bisect import bisect_left
from collections.abc import Callable, Sequence

Row = tuple[float, ...]


def best(rows: Sequence[Row]) -> list[int]:
    """Return the places of the rows that no other is at least as large as everywhere; the first of equals stays.

    Rows are of one length. In descending order of the first number only those before can outdo a row, and of the other
    two of three the last are kept as stairs, so that all of n rows take n log n steps; longer ones are compared.
    """
    if not rows:
        return []
    order = sorted(range(len(rows)), key=lambda place: tuple(-number for number in rows[place]))
    rests = [rows[place][1:] for place in order]
    outdone = _stairs() if len(rests[0]) <= 2 else _compared()
    return [place for place, rest in zip(order, rests, strict=True) if not outdone(rest)]


def _compared() -> Callable[[Row], bool]:
    """Return whether a row is outdone by one that was asked of before."""
    kept: list[Row] = []

    def outdone(row: Row) -> bool:
        if any(all(a >= b for a, b in zip(other, row, strict=True)) for other in kept):
            return True
        kept.append(row)
        return False

    return outdone


def _stairs() -> Callable[[Row], bool]:
    """Return the same for rows of two numbers at most: the second falls where the first rises."""
    firsts: list[float] = []
    seconds: list[float] = []

    def outdone(row: Row) -> bool:
        first, second = (*row, 0.0, 0.0)[:2]
        place = bisect_left(firsts, first)
        if place < len(firsts) and seconds[place] >= second:
            return True
        end = place + (place < len(firsts) and firsts[place] == first)
        while place and seconds[place - 1] <= second:
            place -= 1
        firsts[place:end], seconds[place:end] = [first], [second]
        return False

    return outdone
