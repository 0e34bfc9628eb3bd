import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.cost.operators import (
    Experts,
    Matrix,
    Rate,
    attention_decode,
    causal_pairs,
    distinct_experts,
    gemm,
    imbalance,
    moe,
    roofline,
)

H200 = Rate(bytes_per_s=4.8e12, flop_per_s=989e12, power=4.0)
"""H200 datasheet."""


def test_one_row_through_a_matrix_takes_as_long_as_reading_its_weights() -> None:
    # 8192 x 28672 in 16 bits: 469.76 MB at 4.8 TB/s = 97.9 us; 2 x 8192 x 28672 FLOP take only 0.5 us
    matrix = Matrix(8192 * 28672 * 2, 2 * 8192 * 28672, (8192 + 28672) * 2, H200)
    assert gemm(matrix, 1) == pytest.approx(97.9e-6, rel=0.002)


def test_many_rows_through_a_matrix_take_as_long_as_their_flop() -> None:
    # 8192 rows: 2 x 8192 x 8192 x 28672 = 3.848e12 FLOP at 989e12 /s = 3.891 ms; bytes take 0.22 ms
    matrix = Matrix(8192 * 28672 * 2, 2 * 8192 * 28672, (8192 + 28672) * 2, H200)
    assert gemm(matrix, 8192) == pytest.approx(3.891e-3, rel=0.001)


def test_at_the_corner_a_kernel_takes_longer_than_either_bound() -> None:
    assert roofline(4.8e12, 989e12, H200) == pytest.approx(2 ** (1 / 4))


def test_nothing_to_do_takes_only_the_fixed_time() -> None:
    assert roofline(0.0, 0.0, Rate(1.0, 1.0, 2.0, fixed_s=5e-6)) == 5e-6


@given(n_bytes=st.floats(0, 1e13), flop=st.floats(0, 1e16), power=st.floats(0.5, 32), more=st.floats(1, 100))
def test_a_kernel_is_never_faster_than_its_bounds_nor_slower_on_faster_memory(
    n_bytes: float, flop: float, power: float, more: float
) -> None:
    at = Rate(3e12, 9e14, power)
    seconds = roofline(n_bytes, flop, at)
    assert seconds >= max(n_bytes / 3e12, flop / 9e14) * (1 - 1e-12)
    assert roofline(n_bytes, flop, Rate(3e12 * more, 9e14, power)) <= seconds * (1 + 1e-9)


def test_decode_reads_every_kv_head_once_for_its_group_of_queries() -> None:
    # 8 KV heads of 128, keys and values in 16 bits: 4096 B a token; 32 sequences of 8192 tokens = 1.074 GB = 223.7 us
    assert attention_decode(4096, 4 * 32 * 128, 32, 8192, H200) == pytest.approx(223.7e-6, rel=0.001)


@pytest.mark.parametrize(
    ("tokens", "past", "reach", "pairs"),
    [(4, 0, None, 10), (4, 6, None, 4 * 6 + 10), (4, 0, 2, 1 + 2 + 2 + 2), (3, 5, 4, 12), (1, 0, 1, 1)],
)
def test_causal_pairs_count_what_each_query_sees(tokens: int, past: int, reach: int | None, pairs: float) -> None:
    assert causal_pairs(tokens, past, reach) == pairs
    seen = (min(past + i + 1, reach or past + i + 1) for i in range(tokens))
    assert sum(seen) == pairs


def test_eight_tokens_hit_57_of_256_experts_when_each_chooses_8() -> None:
    # 256 (1 - (1 - 8/256)^8) = 57.4; a simulation gave 57.2
    assert distinct_experts(256, 8 / 256, 8) == pytest.approx(57.4, abs=0.05)


def test_one_token_hits_exactly_its_top_k() -> None:
    assert distinct_experts(128, 8 / 128, 1) == pytest.approx(8)


def test_all_experts_chosen_are_all_hit() -> None:
    assert distinct_experts(8, 1.0, 3) == 8


def test_expert_ranks_differ_by_what_a_simulation_shows() -> None:
    # 128 tokens of top-8 over 8 ranks: 1 + 0.9 sqrt(2 ln 8 x 7/8 x 8 / 1024) = 1.15; the simulation gave 1.12
    assert imbalance(8, 1024) == pytest.approx(1.15, abs=0.005)
    assert imbalance(1, 1024) == 1.0
    assert imbalance(8, 1) <= 8


def experts(**changes: float) -> Experts:
    settled = {"local": 128, "hit_share": 8 / 128, "expert_bytes": 9.4e6, "flop_per_token": 75e6} | changes
    return Experts(**settled, io_bytes_per_token=40e3, ranks=1, top_k=8, rate=H200)


def test_experts_that_no_token_chose_are_not_read() -> None:
    # one token, 8 experts of 9.4 MB: 75.2 MB at 4.8 TB/s = 15.7 us, not the 251 us of all 128
    assert moe(experts(), 1) == pytest.approx(15.7e-6, rel=0.01)


def test_a_router_that_does_not_spread_tokens_reads_fewer_experts() -> None:
    assert moe(experts(), 64, distinct=10) < moe(experts(), 64) / 5


@given(tokens=st.floats(1, 1e5), more=st.floats(1, 10))
def test_more_tokens_never_make_experts_faster(tokens: float, more: float) -> None:
    assert moe(experts(), tokens * more) >= moe(experts(), tokens) * (1 - 1e-9)
