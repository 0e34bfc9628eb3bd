"""Patterns: the ways one node can be filled with pieces, so that equal nodes are counted instead of assigned."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice

from optimizer.formulation.columns import Piece
from optimizer.topology.classes import NodeClass

MOST_PATTERNS = 3000
"""Beyond so many, the nodes of a class are filled one by one instead."""

MOST_LOOKED = 1_000_000
"""So many times pieces are looked at for fillings, maximal or not; each takes a look at every piece."""

_SLACK = 1e-9

Held = tuple[tuple[Piece, int], ...]


@dataclass(frozen=True)
class Pattern:
    """How many of each piece one node holds at the same time."""

    pieces: Held

    def count(self, piece: Piece) -> int:
        """Return how many of ``piece`` the node holds."""
        return self._counts.get(piece, 0)

    @cached_property
    def _counts(self) -> dict[Piece, int]:
        return dict(self.pieces)


def patterns(node_class: NodeClass, pieces: Sequence[Piece], *, maximal: bool = True) -> tuple[Pattern, ...] | None:
    """Return every maximal filling of a node of this class, None when they are too many to list.

    Smaller fillings are covered, since a node need not be given all that its pattern offers; where it matters what
    breaks with a node they are listed too.
    """
    sizes = tuple(island.size for island in node_class.islands)
    return _listed(sizes, tuple(pieces), MOST_PATTERNS, maximal=maximal)


@lru_cache(maxsize=256)
def _listed(
    sizes: tuple[int, ...], pieces: tuple[Piece, ...], at_most: int, *, maximal: bool
) -> tuple[Pattern, ...] | None:
    """Return the fillings of a node: models of the same columns, one after the other, ask for the same."""
    links = {name: 1.0 for piece in pieces for name, _ in piece.shares}
    most = MOST_LOOKED // max(1, len(pieces))
    looked = tuple(islice(_fill(sizes, links, pieces, (), maximal=maximal), most + 1))
    found = tuple(filter(None, looked))
    return found if len(looked) <= most and len(found) <= at_most else None


def _fill(
    sizes: tuple[int, ...],
    links: Mapping[str, float],
    pieces: tuple[Piece, ...],
    held: Held,
    *,
    maximal: bool,
    start: int = 0,
) -> Iterator[Pattern | None]:
    """Yield fillings, None where one is not maximal, most of the first piece first; ``held``: before ``start``."""
    for place, piece in enumerate(pieces[start:], start):
        most = room(sizes, links, piece)
        least = most if maximal and place == len(pieces) - 1 else 1
        for n in range(most, max(1, least) - 1, -1):
            left = tuple(s - n * c for s, c in zip(sizes, piece.counts, strict=True))
            free = {**links, **{name: links[name] - n * share for name, share in piece.shares}}
            yield from _fill(left, free, pieces, (*held, (piece, n)), maximal=maximal, start=place + 1)
    full = not maximal or not any(_has_room(sizes, links, piece) for piece in pieces)
    yield Pattern(held) if full else None


def room(sizes: tuple[int, ...], links: Mapping[str, float], piece: Piece) -> int:
    """Return how many of a piece still fit on what is left of a node."""
    by_gpus = min([s // c for s, c in zip(sizes, piece.counts, strict=True) if c])
    if not by_gpus or not piece.shares:
        return by_gpus
    return min([by_gpus, *(int(links[name] / share + _SLACK) for name, share in piece.shares if share > 0)])


def _has_room(sizes: tuple[int, ...], links: Mapping[str, float], piece: Piece) -> bool:
    """Whether one of a piece still fits, which is asked most often: of full nodes, GPUs tell at once."""
    for left, needed in zip(sizes, piece.counts, strict=True):
        if left < needed:
            return False
    return all(links[name] / share + _SLACK >= 1 for name, share in piece.shares if share > 0)
