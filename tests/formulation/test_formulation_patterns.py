"""Fillings of one node: all of them where they are few, none where they are too many, however many pieces there are."""

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.formulation.columns import Piece
from optimizer.formulation.patterns import patterns, room
from optimizer.topology.classes import IslandShape, NodeClass


def node_of(*sizes: int) -> NodeClass:
    """Return a class of two nodes with islands of so many GPUs."""
    return NodeClass(("n0", "n1"), tuple(IslandShape("gpu", size, 1.0) for size in sizes), None)


@st.composite
def pieces(draw: st.DrawFn, most: int) -> tuple[Piece, ...]:
    """Draw different pieces of an island, some of which set aside a part of a link."""
    sizes = draw(st.lists(st.integers(1, most), min_size=1, max_size=4))
    shares = st.sampled_from([(), (("nics", 0.5),), (("nics", 0.25),)])
    return tuple(dict.fromkeys(Piece(0, (size,), draw(shares), 1, draw(st.integers(0, 1))) for size in sizes))


@settings(max_examples=60, derandomize=True, deadline=None, database=None)
@given(st.integers(1, 5).flatmap(lambda size: st.tuples(st.just(size), pieces(size))))
def test_every_filling_is_listed_once_and_maximal_ones_take_no_more(drawn: tuple[int, tuple[Piece, ...]]) -> None:
    size, offered = drawn
    counts = product(*(range(size // piece.counts[0] + 1) for piece in offered))
    fits = {n for n in counts if _fits(size, offered, n)}
    listed = patterns(node_of(size), offered, maximal=False)
    assert listed is not None
    assert sorted(tuple(p.count(piece) for piece in offered) for p in listed) == sorted(fits)
    fullest = patterns(node_of(size), offered)
    assert fullest is not None
    larger = {n for n in fits if any((*n[:i], n[i] + 1, *n[i + 1 :]) in fits for i in range(len(n)))}
    assert sorted(tuple(p.count(piece) for piece in offered) for p in fullest) == sorted(fits - larger)


def _fits(size: int, offered: tuple[Piece, ...], n: tuple[int, ...]) -> bool:
    gpus = sum(k * piece.counts[0] for k, piece in zip(n, offered, strict=True))
    share = sum(k * part for k, piece in zip(n, offered, strict=True) for _, part in piece.shares)
    return gpus <= size and share <= 1 + 1e-9


def test_more_pieces_than_python_may_nest_are_too_many_fillings_to_list() -> None:
    many = tuple(Piece(0, (1,), (), 1, owner) for owner in range(2000))
    assert room((72,), {}, many[0]) == 72
    assert patterns(node_of(72), many) is None
    assert patterns(node_of(72), many, maximal=False) is None
