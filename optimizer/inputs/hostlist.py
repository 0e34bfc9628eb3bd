"""Host lists as schedulers write them: "node[01-16,19]" names seventeen nodes."""

import itertools
import re
from collections.abc import Iterable, Sequence

from optimizer.inputs.cluster import NodeEntry

_LIMIT = 1_000_000
_HOST = re.compile(r"(?:[^\[\],\s]|\[[^\[\]]*\])+")
_NUMBERED = re.compile(r"(.*?)(\d+)(\D*)")
_RANGE = re.compile(r"\s*(\d+)(?:\s*-\s*(\d+))?\s*")


def expand(text: str) -> tuple[str, ...]:
    """Return the names of a host list in its order, zeros kept; ValueError says what is wrong and how to write it."""
    hosts = _HOST.findall(text)
    if not hosts or re.sub(r"[,\s]", "", "".join(_HOST.split(text))):
        raise ValueError(f"{text!r} is no host list: write names and ranges, such as node[01-16,19]")
    return tuple(itertools.chain.from_iterable(_expand_one(host) for host in hosts))


def _expand_one(host: str) -> list[str]:
    """Return the names of one item; several brackets multiply, the last one runs fastest."""
    names = [""]
    for piece in re.split(r"(\[[^\]]*\])", host):
        suffixes = _numbers(piece, host) if piece.startswith("[") else [piece]
        if len(names) * len(suffixes) > _LIMIT:
            raise ValueError(f"{host!r} names more than {_LIMIT:,} nodes: shorten the ranges")
        names = [name + suffix for name in names for suffix in suffixes]
    return names


def _numbers(bracket: str, host: str) -> list[str]:
    """Return the numbers of "[01-03,7]" as text."""
    numbers: list[str] = []
    for item in bracket[1:-1].split(","):
        match = _RANGE.fullmatch(item)
        first, last = match.groups() if match else (None, None)
        if first is None or int(last or first) < int(first):
            raise ValueError(f"{host!r}: {item!r} is no range: write first-last with the smaller number first")
        if int(last or first) - int(first) >= _LIMIT:
            raise ValueError(f"{host!r} names more than {_LIMIT:,} nodes: shorten the ranges")
        numbers += [f"{n:0{len(first)}d}" for n in range(int(first), int(last or first) + 1)]
    return numbers


def folded(names: Sequence[str]) -> str:
    """Return a host list of names in their order: "node[01-03,07]"; ``expand`` gives them back."""
    parts = [match.groups() if (match := _NUMBERED.fullmatch(name)) else (name, "", "") for name in names]
    found = []
    for (before, after), same in itertools.groupby(parts, key=lambda part: (part[0], part[2])):
        numbers = [number for _, number, _ in same]
        several = len(numbers) > 1 and all(numbers)
        found += [f"{before}[{_ranges(numbers)}]{after}"] if several else [f"{before}{n}{after}" for n in numbers]
    return ",".join(found)


def _ranges(numbers: Sequence[str]) -> str:
    """Return "01-03,07": what counts up with the same zeros is a range."""
    runs: list[list[str]] = []
    for number in numbers:
        if runs and number == f"{int(runs[-1][-1]) + 1:0{len(runs[-1][0])}d}":
            runs[-1] = [runs[-1][0], number]
        else:
            runs.append([number])
    return ",".join("-".join(run) for run in runs)


def hosts(entry: NodeEntry, first: int = 1) -> tuple[str, ...]:
    """Return the node names of an entry; ``count`` numbers them from ``first`` after ``name`` ("node" if none).

    ValueError when a host list and ``count`` disagree.
    """
    if entry.count is None:
        return expand(entry.name or f"node{first}")
    if entry.name is not None and re.search(r"[\[,]", entry.name):
        names = expand(entry.name)
        if len(names) != entry.count:
            raise ValueError(f"{entry.name!r} names {len(names)} nodes, count says {entry.count}: leave one out")
        return names
    return tuple(f"{entry.name or 'node'}{n}" for n in range(first, first + entry.count))


def all_hosts(entries: Sequence[NodeEntry]) -> tuple[tuple[str, ...], ...]:
    """Return the node names of each entry; entries without a name are numbered on from one to the next."""
    named: list[tuple[str, ...]] = []
    unnamed = 0
    for entry in entries:
        names = hosts(entry, 1 if entry.name else unnamed + 1)
        unnamed += 0 if entry.name else len(names)
        named.append(names)
    return tuple(named)


def duplicates(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names that occur more than once, in order of their second occurrence."""
    seen: set[str] = set()
    twice: dict[str, None] = {}
    for name in names:
        if name in seen:
            twice[name] = None
        seen.add(name)
    return tuple(twice)
