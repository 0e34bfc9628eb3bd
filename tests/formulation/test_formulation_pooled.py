"""GPUs of equal nodes counted instead of packed: as good as packing, wherever the sizes divide one another."""

import pytest
from formulation.instances import column, instance, nodes, point
from hypothesis import given
from hypothesis import strategies as st

from optimizer.formulation.columns import Piece
from optimizer.formulation.pooled import fill_freely, laid_out
from optimizer.formulation.solve import Limits, choose


def piece(gpus: int, *, spans: int = 1, share: float = 0.0) -> Piece:
    return Piece(0, (gpus,), (("nics", share),) if share else (), spans)


@pytest.mark.parametrize(
    ("size", "pieces", "expected"),
    [
        (8, [piece(1), piece(2), piece(8)], True),
        (7, [piece(1), piece(3)], True),
        (8, [piece(2), piece(3)], False),
        (8, [piece(4, spans=2)], False),
        (8, [piece(8, spans=2, share=1.0)], True),
        (8, [piece(4, share=0.5)], True),
        (8, [piece(4, share=0.6)], False),
    ],
)
def test_only_sizes_that_divide_and_links_that_never_bind_are_pooled(
    size: int, pieces: list[Piece], expected: bool
) -> None:
    assert fill_freely(nodes(3, size), pieces) is expected


def test_islands_apart_are_not_pooled() -> None:
    assert not fill_freely(nodes(3, 4, 4), [Piece(0, (1, 0), (), 1)])


def fits_by_force(size: int, count: int, wanted: dict[int, int]) -> bool:
    """Try every way to share the pieces out among the nodes, largest first."""

    def place(left: list[int], free: tuple[int, ...]) -> bool:
        if not left:
            return True
        options = {
            tuple(sorted((*free[:n], free[n] - left[0], *free[n + 1 :]))) for n in range(count) if free[n] >= left[0]
        }
        return any(place(left[1:], option) for option in options)

    return place(sorted((s for s, n in wanted.items() for _ in range(n)), reverse=True), (size,) * count)


@given(
    st.sampled_from([(1, 2, 4), (1, 3, 6), (2, 4), (1, 2, 6), (3,)]),
    st.integers(3, 9),
    st.integers(2, 3),
    st.lists(st.integers(0, 5), min_size=3, max_size=3),
)
def test_counting_agrees_with_packing(chain: tuple[int, ...], size: int, count: int, wanted: list[int]) -> None:
    usable = [s for s in chain if s <= size]
    asked = dict(zip(usable, wanted, strict=False))
    room = all(
        sum(s * n for s, n in asked.items() if s >= least) <= count * (size // least) * least for least in usable
    )
    assert room == fits_by_force(size, count, asked)
    if room:
        held = laid_out(nodes(count, size), {piece(s): n for s, n in asked.items()})
        assert all(sum(p.counts[0] * n for p, n in on.items()) <= size for on in held.values())
        assert {s: sum(on.get(piece(s), 0) for on in held.values()) for s in asked} == asked


def test_a_size_that_leaves_a_rest_is_not_overcounted() -> None:
    """Two nodes of seven hold six pairs, not seven."""
    choice = choose(instance(nodes(2, 7), column((2,), gives=point(1.0))), Limits(), lambda _: None)
    assert choice is not None
    assert choice.replicas == (6,)
    assert [sum(on.values()) for on in choice.held.values()] == [3, 3]


def test_a_rest_that_pieces_of_two_sizes_leave_is_not_filled() -> None:
    """Beside a piece of four, seven GPUs hold one pair: two nodes hold two pairs, though six GPUs are left."""
    four, pair = column((4,), gives=point(9.0)), column((2,), gives=point(2.0))
    choice = choose(instance(nodes(2, 7), four, pair), Limits(), lambda _: None)
    assert choice is not None
    assert choice.replicas == (2, 2)


def test_whole_nodes_of_one_replica_are_different_ones() -> None:
    wide = column((4,), (4,), gives=point(2.0))
    choice = choose(instance(nodes(3, 4), wide, column((2,), gives=point(0.4))), Limits(), lambda _: None)
    assert choice is not None
    assert choice.replicas == (1, 2)
    hosts = [{node for node, on in choice.held.items() if p in on} for p in set(wide.pieces)]
    assert all(len(found) == 2 for found in hosts)
