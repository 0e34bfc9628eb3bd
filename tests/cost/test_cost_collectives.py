from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ideal import IDEAL

from optimizer.cost.collectives import collective, hand_over, part, volume_factor
from optimizer.errors import InputError
from optimizer.inputs import presets
from optimizer.inputs.calibration import Calibration, Operation
from optimizer.topology.wiring import ALONE, GroupPath, HopPath, Medium

EIGHT = GroupPath(8, 1, "nvswitch", 450e9, "local", inf)
OPERATIONS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all")


def calibration(gpu: str) -> Calibration:
    return presets.load_calibration(presets.load_gpu(gpu))


def test_busbw_is_what_every_rank_sends_over_its_link() -> None:
    # nccl-tests: busbw = S / t x 2(n-1)/n for all-reduce, (n-1)/n otherwise: at the link's rate that is 450 GB/s
    size = 1e9
    assert size / collective(IDEAL, "all_reduce", size, EIGHT) * 2 * 7 / 8 == pytest.approx(450e9)
    assert size / collective(IDEAL, "all_gather", size, EIGHT) * 7 / 8 == pytest.approx(450e9)
    assert size / collective(IDEAL, "reduce_scatter", size, EIGHT) * 7 / 8 == pytest.approx(450e9)
    assert size / collective(IDEAL, "all_to_all", size, EIGHT) * 7 / 8 == pytest.approx(450e9)


def test_an_all_reduce_is_a_reduce_scatter_and_an_all_gather() -> None:
    assert collective(IDEAL, "all_reduce", 1e8, EIGHT) == pytest.approx(
        collective(IDEAL, "reduce_scatter", 1e8, EIGHT) + collective(IDEAL, "all_gather", 1e8, EIGHT)
    )


def test_one_rank_has_nobody_to_talk_to() -> None:
    assert collective(IDEAL, "all_reduce", 1e9, ALONE) == 0.0
    assert part(EIGHT, 1) == ALONE


def test_two_nodes_are_bound_by_their_nics() -> None:
    # 2 x 8 GPUs, NICs of 200 GB/s a node: by levels 2(k-1)/k S = S goes out of a node, while reduce-scatter and
    # all-gather take 2 x 7/8 S / 450 GB/s inside at the same time: algbw = 200 GB/s, busbw = 2 x 15/16 x 200 = 375
    # GB/s (340 measured on GCP a3-mega). Gathering goes around: busbw is what leaves a node (188 measured).
    path = GroupPath(16, 2, "nvswitch", 450e9, "rdma", 200e9)
    assert collective(IDEAL, "all_reduce", 1e9, path) == pytest.approx(1e9 / 200e9)
    assert collective(IDEAL, "all_gather", 1e9, path) == pytest.approx(15 / 16 * 1e9 / 200e9)


def test_with_fast_nics_a_ring_around_all_ranks_beats_levels_or_not_whichever_is_faster() -> None:
    wide = GroupPath(32, 4, "nvswitch", 450e9, "rdma", 400e9)
    by_levels, around = max(2 * 7 / 8 / 450e9, 2 * 3 / 4 / 400e9), 2 * 31 / 32 / 400e9
    assert collective(IDEAL, "all_reduce", 1e9, wide) == pytest.approx(1e9 * min(by_levels, around))


def test_a_rank_that_copies_its_own_part_makes_small_groups_slower() -> None:
    fit = IDEAL.links["nvswitch"].operations["all_gather"].model_copy(update={"own_part": 0.4})
    link = IDEAL.links["nvswitch"].model_copy(update={"operations": {"all_gather": fit}})
    copying = IDEAL.model_copy(update={"links": {"nvswitch": link}})
    pair = GroupPath(2, 1, "nvswitch", 450e9, "local", inf)
    assert collective(copying, "all_gather", 1e9, pair) == pytest.approx((1 + 0.4) / 2 * 1e9 / 450e9)
    assert collective(copying, "all_gather", 1e9, EIGHT) == pytest.approx((7 + 0.4) / 8 * 1e9 / 450e9)


def test_one_rank_a_node_leaves_nothing_to_do_inside() -> None:
    path = GroupPath(4, 4, "local", inf, "rdma", 50e9)
    assert collective(IDEAL, "all_reduce", 1e9, path) == pytest.approx(2 * 3 / 4 * 1e9 / 50e9)


def test_all_to_all_over_nodes_sends_what_all_ranks_of_a_node_hold_for_the_others() -> None:
    # 8 ranks of a node hold 8 S, half of it for the other node
    path = GroupPath(16, 2, "nvswitch", 450e9, "rdma", 400e9)
    assert collective(IDEAL, "all_to_all", 1e9, path) == pytest.approx(max(8e9 / 2 / 400e9, 7 / 8 * 1e9 / 450e9))


def test_a_part_of_a_group_that_fits_into_a_domain_does_not_straddle() -> None:
    path = GroupPath(16, 2, "nvswitch", 450e9, "rdma", 400e9)
    assert part(path, 8) == GroupPath(8, 1, "nvswitch", 450e9, "local", inf)
    assert part(path, 16) is path


def test_stages_hand_over_in_slices_by_as_many_ranks_as_can_send() -> None:
    assert hand_over(IDEAL, 1e9, HopPath("rdma", 50e9, 4), 8) == pytest.approx(1e9 / 4 / 50e9)
    assert hand_over(IDEAL, 1e9, HopPath("local", inf, 1), 1) == 0.0


def test_a_link_that_nobody_measured_is_an_error() -> None:
    bare = IDEAL.model_copy(update={"links": {"nvswitch": IDEAL.links["nvswitch"]}})
    with pytest.raises(InputError, match="rdma is not among nvswitch"):
        collective(bare, "all_reduce", 1e6, GroupPath(2, 2, "local", inf, "rdma", 50e9))


@pytest.mark.parametrize(
    ("gpu", "ranks", "n_bytes", "microseconds"),
    [
        ("h200-sxm", 2, 8192, 4.6), ("h200-sxm", 4, 8192, 4.8), ("h200-sxm", 8, 8192, 5.1),
        ("h200-sxm", 8, 2**20, 14.1), ("h200-sxm", 4, 2**20, 12.1), ("h100-sxm", 8, 8192, 5.1),
        ("a100-80-sxm", 8, 8192, 6.3), ("a100-80-sxm", 8, 2**20, 21.7), ("b200-sxm", 8, 8192, 7.8),
    ],
)  # fmt: skip
def test_short_all_reduces_take_what_vllm_in_a_graph_was_measured_to_take(
    gpu: str, ranks: int, n_bytes: float, microseconds: float
) -> None:
    # AIConfigurator 0.12.0's tables, vLLM's own all-reduce replayed from a graph
    spec = presets.load_gpu(gpu)
    assert spec.scale_up is not None
    path = GroupPath(ranks, 1, "nvswitch", spec.scale_up.bandwidth, "local", inf)
    assert collective(calibration(gpu), "all_reduce", n_bytes, path) == pytest.approx(microseconds * 1e-6, rel=0.2)


@pytest.mark.parametrize(
    ("gpu", "ranks", "rate", "busbw"),
    [("h200-sxm", 8, 450e9, 460e9), ("h100-sxm", 4, 450e9, 366e9), ("a100-80-sxm", 8, 300e9, 222e9)],
)
def test_long_all_reduces_reach_the_measured_busbw(gpu: str, ranks: int, rate: float, busbw: float) -> None:
    # 512 MiB and more: nccl-tests on 8 H200 with NVLS, AIConfigurator's tables on 4 H100 and 8 A100
    size = 512 * 2**20
    path = GroupPath(ranks, 1, "nvswitch", rate, "local", inf)
    seconds = collective(calibration(gpu), "all_reduce", size, path)
    assert size / seconds * volume_factor("all_reduce", ranks) == pytest.approx(busbw, rel=0.15)


@given(
    operation=st.sampled_from(OPERATIONS), size=st.floats(1, 1e10), more=st.floats(1, 10),
    ranks=st.sampled_from([2, 4, 8]), gpu=st.sampled_from(["h200-sxm", "a100-80-sxm", "l40s"]),
    medium=st.sampled_from(["nvswitch", "pcie", "host", "rdma", "mesh", "nvlink"]),
)  # fmt: skip
def test_faster_links_and_shorter_messages_are_never_slower(
    operation: Operation, size: float, more: float, ranks: int, gpu: str, medium: Medium
) -> None:
    fits = calibration(gpu)
    slow = GroupPath(ranks, 1, medium, 50e9, "local", inf)
    fast = GroupPath(ranks, 1, medium, 50e9 * more, "local", inf)
    seconds = collective(fits, operation, size, slow)
    assert collective(fits, operation, size, fast) <= seconds * (1 + 1e-12)
    assert seconds > 0.0
