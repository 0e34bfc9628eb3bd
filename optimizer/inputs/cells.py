"""Cells of a row of measurements: text as numbers. InputError names the column and says what is wrong with it."""

from collections.abc import Mapping
from math import isfinite, nan

from optimizer.errors import InputError

Row = Mapping[str, str]

SECONDS = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e3, "us": 1e6}
RATES = dict.fromkeys(("tokens/s", "token/s", "tok/s", "tokens per s", "tokens_per_s", "tps"), 1.0)
COUNTS = dict.fromkeys(("tokens", "token"), 1.0)


def text(row: Row, key: str) -> str:
    """Return what a cell holds, "" where the row has no such column."""
    return (row.get(key) or "").strip()


def needed(row: Row, key: str) -> str:
    """Return what a cell holds; InputError if that is nothing."""
    if value := text(row, key):
        return value
    raise InputError(f"{key}: empty; the row cannot be priced without it")


def number(row: Row, key: str) -> float:
    """Return a cell that must hold a finite number."""
    value = needed(row, key)
    try:
        found = float(value)
    except ValueError:
        found = nan
    if not isfinite(found):
        raise InputError(f"{key}: {value!r} is no number")
    return found


def whole(row: Row, key: str, default: int | None = None) -> int:
    """Return a cell that must hold a positive whole number, or ``default`` where it is empty."""
    if default is not None and not text(row, key):
        return default
    found = number(row, key)
    if found != int(found) or found < 1:
        raise InputError(f"{key}: {row[key]!r} is no positive whole number")
    return int(found)


def whole_or_none(row: Row, key: str) -> int | None:
    """Return a cell that may be empty and else must hold a positive whole number."""
    return whole(row, key) if text(row, key) else None


def wholes(row: Row, key: str) -> tuple[int, ...]:
    """Return the positive whole numbers of a cell, set apart by blanks or commas."""
    return tuple(whole({key: word}, key) for word in text(row, key).replace(",", " ").split())


def share(row: Row, key: str) -> str | float | None:
    """Return a share as it is written, "90 %", or as a number; None where the cell is empty."""
    value = text(row, key)
    return value if value.endswith("%") else number(row, key) if value else None


def units(row: Row, metric: str) -> float:
    """Return how many of the row's units are one second, token or token/s, whichever ``metric`` is counted in."""
    known = COUNTS if metric == "kv_tokens" else RATES if metric.endswith("_per_s") else SECONDS
    unit = text(row, "unit")
    if unit and unit.lower() not in known:
        raise InputError(f"unit: {unit!r} is none of {metric}; known: {', '.join(known)}")
    return known[unit.lower()] if unit else 1.0
