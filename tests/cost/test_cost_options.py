"""Which numbers of requests in flight there are to choose from."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from optimizer.cost.options import between, concurrencies, numbers_above
from optimizer.inputs.workload import WorkloadSpec


def test_attention_replicas_have_equally_many_requests_each() -> None:
    steps = concurrencies(WorkloadSpec(), 12, attention_replicas=3)
    assert steps == (1, 3, 6, 9, 12)
    assert [*between(9, 12, attention_replicas=3)] == []
    assert [*between(3 * 192, 3 * 200, attention_replicas=3)] == [3 * 194, 3 * 196, 3 * 198]


@given(most=st.integers(1, 2048), shared=st.integers(1, 8))
def test_some_number_is_short_of_any_by_less_than_a_64th_and_by_none_up_to_128(most: int, shared: int) -> None:
    ladder = concurrencies(WorkloadSpec(), 2048 * shared, attention_replicas=shared)
    every = {n for low, high in pairwise(ladder) for n in (low, *between(low, high, attention_replicas=shared))}
    nearest = max(n for n in {*every, ladder[-1]} if n <= most * shared)
    assert nearest % shared == 0 or nearest == 1
    assert most * shared - nearest < max(1, most * shared / 64)


def test_captured_batches_are_among_the_finer_numbers() -> None:
    for low, high, step in ((128, 192, 8), (256, 384, 16), (512, 768, 16), (768, 1024, 16)):
        assert {*range(low + step, high, step)} <= {*between(low, high)}


def test_beyond_a_number_come_the_next_of_the_finer_ones_and_the_ladder() -> None:
    ladder = concurrencies(WorkloadSpec(), 512)
    assert numbers_above(ladder, 200) == (202, 256, 384, 512)
    assert numbers_above(ladder, 254) == (256, 384, 512)
    assert numbers_above(ladder, 512) == ()
