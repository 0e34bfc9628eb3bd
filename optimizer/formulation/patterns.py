"""Patterns: the ways one node can be filled with pieces, so that equal nodes are counted instead of assigned."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from optimizer.formulation.columns import Piece
from optimizer.topology.classes import NodeClass

_SLACK = 1e-9


@dataclass(frozen=True)
class Pattern:
    """How many of each piece one node holds at the same time."""

    pieces: tuple[tuple[Piece, int], ...]

    def count(self, piece: Piece) -> int:
        """Return how many of ``piece`` the node holds."""
        return next((n for p, n in self.pieces if p == piece), 0)


def patterns(node_class: NodeClass, pieces: Sequence[Piece]) -> tuple[Pattern, ...]:
    """Return every maximal filling of a node of this class; smaller ones are covered by leaving pieces out."""
    sizes = tuple(island.size for island in node_class.islands)
    links = {name: 1.0 for piece in pieces for name, _ in piece.shares}
    return tuple(_fill(sizes, links, tuple(pieces), ()))


def _fill(
    sizes: tuple[int, ...], links: dict[str, float], pieces: tuple[Piece, ...], held: tuple[tuple[Piece, int], ...]
) -> Iterator[Pattern]:
    """Yield maximal fillings: decide how many of the first piece, most first, then go on with the rest."""
    if not pieces:
        if held and not any(_room(sizes, links, piece) for piece, _ in _candidates(held)):
            yield Pattern(tuple((p, n) for p, n in held if n))
        return
    piece = pieces[0]
    for n in range(_room(sizes, links, piece), -1, -1):
        left = tuple(s - n * c for s, c in zip(sizes, piece.counts, strict=True))
        free = links | {name: links[name] - n * share for name, share in piece.shares}
        yield from _fill(left, free, pieces[1:], (*held, (piece, n)))


def _candidates(held: tuple[tuple[Piece, int], ...]) -> tuple[tuple[Piece, int], ...]:
    """Return all pieces decided on, those left out included: a maximal pattern has no room for any of them."""
    return held


def _room(sizes: tuple[int, ...], links: dict[str, float], piece: Piece) -> int:
    """Return how many of a piece still fit on what is left of a node."""
    by_gpus = min(s // c for s, c in zip(sizes, piece.counts, strict=True) if c)
    by_links = [int(links[name] / share + _SLACK) for name, share in piece.shares if share > 0]
    return min([by_gpus, *by_links])
