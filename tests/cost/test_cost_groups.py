"""Attention replicas and context parallel ranks worked out by hand: what each computes, holds and sends."""

from dataclasses import replace
from math import inf

import pytest
from ideal import SETTINGS, case, grouped, routed
from topology_cases import HGX, PCIE, on, topology

from optimizer.cost.attention_replicas import misseated
from optimizer.cost.batch import Batch, fullest
from optimizer.cost.case import Case
from optimizer.cost.collectives import across, part
from optimizer.cost.memory import activation_bytes, kv_pool, weights_bytes
from optimizer.cost.step import decode, prefill, step
from optimizer.layout import Layout
from optimizer.topology.bandwidth import wiring
from optimizer.topology.wiring import GroupPath

LAYERS, HIDDEN = 4, 2048
EAGER = replace(SETTINGS, cuda_graphs=False)
ONE_NODE = GroupPath(8, 1, "nvswitch", 450e9, "local", inf)
TWO_NODES = GroupPath(16, 2, "nvswitch", 450e9, "rdma", 400e9)


def shared(attn_dp: int, *, tp: int = 1) -> Case:
    return case(routed(), attn_dp=attn_dp, ep=attn_dp * tp, tp=tp, settings=EAGER)


# -- attention replicas -------------------------------------------------------------------------------------------


def test_a_prompt_is_one_replicas_so_that_others_do_not_shorten_its_attention() -> None:
    alone = prefill(case(routed(), settings=EAGER), 1024)
    assert prefill(shared(4), 1024).attention == pytest.approx(alone.attention)
    assert prefill(shared(4), 1024, sequences=4).attention == pytest.approx(alone.attention)
    assert prefill(shared(4), 1024, sequences=5).attention == pytest.approx(2 * alone.attention)


def test_the_fullest_replica_takes_no_more_than_its_token_budget_unless_an_even_split_does() -> None:
    long = Batch(prompts=6.0, tokens=6000.0)  # a budget of 8192: a prompt and the next one's beginning
    assert fullest(shared(4), long).prompts == pytest.approx(1.5)
    assert fullest(shared(4), long._replace(prompts=5.0)).prompts == pytest.approx(8192 / 6000)
    assert fullest(shared(4), long._replace(prompts=1.0)).prompts == 1.0


def test_replicas_wait_for_the_fullest_of_them() -> None:
    assert decode(shared(4), 9, 1024).attention == pytest.approx(decode(shared(4), 12, 1024).attention)


def test_the_experts_gather_the_rows_of_all_replicas_and_scatter_their_sums() -> None:
    # 64 rows x 2048 x 2 B, of which 3/4 come from others, there and back, on each of 4 layers, at 450 GB/s
    sent = 2 * 64 * HIDDEN * 2 * 3 / 4 * LAYERS
    assert decode(shared(4), 64, 1).collectives == pytest.approx(sent / 450e9)


def test_a_tp_group_with_whole_experts_brings_a_part_each_and_gathers_its_rows_again() -> None:
    # per layer: all-reduce of 32 rows over 2 (factor 1), gather and scatter of 64 over 4, gather of 32 over 2; besides
    # the embedding's all-reduce of 32 rows and the logits, 32 x 32000 x 2 B gathered over 2
    rows, everyone = 32 * HIDDEN * 2, 64 * HIDDEN * 2
    each = rows + 2 * everyone * 3 / 4 + rows / 2
    sent = LAYERS * each + rows + 32 * 32000 * 2 / 2
    assert decode(shared(2, tp=2), 64, 1).collectives == pytest.approx(sent / 450e9)


def test_replicas_replay_graphs_of_one_size_with_all_their_padding() -> None:
    captured = replace(SETTINGS, cuda_graph_sizes=(16, 32))
    replayed = case(routed(), attn_dp=4, ep=4, settings=captured)
    assert decode(replayed, 65, 1).collectives == pytest.approx(decode(replayed, 128, 1).collectives)


def test_attention_is_held_by_every_replica_and_each_expert_once() -> None:
    model = routed()
    alone, spread = (weights_bytes(model, Layout(1, 1, (4,), ep=n, attn_dp=n), 0) for n in (1, 4))
    experts = 4 * 64 * 3 * HIDDEN * 1024 * 2
    assert alone - spread == experts * 3 // 4


def test_pools_of_replicas_add_up_and_their_steps_meet_at_the_experts() -> None:
    alone, spread = case(routed()), shared(4)
    at_the_experts = 2 * 8192 * 4 * 2 * HIDDEN  # rows of all, and as many sums
    workspace = 2 * 4 * (HIDDEN + max(HIDDEN, 2 * 1024)) * (16384 - 8192)  # worked off in chunks of 16384 rows
    assert activation_bytes(spread, 0) - activation_bytes(alone, 0) == at_the_experts + workspace
    assert kv_pool(spread) % 4 == 0
    assert kv_pool(spread) > 3 * kv_pool(alone)


# -- decode context parallelism -----------------------------------------------------------------------------------


def test_decode_context_ranks_read_less_and_compute_as_much() -> None:
    # 128 heads over 8 ranks: 576 numbers of 1 B, and 16 heads x 2 x 1088 FLOP, for each of 64 x 8192 tokens on 4 layers
    tokens = 4 * 64 * 8192
    whole, spread = (case(routed(latent=True, heads=128), tp=8, dcp=n, kv_cache="fp8") for n in (1, 8))
    assert decode(whole, 64, 8192).attention == pytest.approx(tokens * 576 / 3.35e12, rel=0.03)
    assert decode(spread, 64, 8192).attention == pytest.approx(tokens * 16 * 2176 / 989e12, rel=0.03)


def test_decode_context_ranks_gather_queries_and_reduce_outputs_weighed_by_what_they_gathered() -> None:
    # MLA: 16 heads of 512 + 64 numbers in, of 512 out, of 2 B, and a 4-byte sum from each of 4 ranks; factor 3/4
    plain, spread = (decode(case(routed(latent=True), tp=4, dcp=n, ep=4, settings=EAGER), 8, 1024) for n in (1, 4))
    sent = LAYERS * 8 * 16 * (576 * 2 + 512 * 2 + 4 * 4) * 3 / 4
    assert spread.collectives - plain.collectives == pytest.approx(sent / 450e9)


def test_prompts_that_find_nothing_cached_need_no_merging() -> None:
    plain, spread = (case(routed(latent=True), tp=4, dcp=n, ep=4) for n in (1, 4))
    assert prefill(spread, 1024).collectives == pytest.approx(prefill(plain, 1024).collectives)
    more = prefill(spread, 1024, past=512).collectives - prefill(plain, 1024, past=512).collectives
    assert more == pytest.approx(LAYERS * 512 * 1152 * 3 / 4 / 450e9)  # MLA gathers what is cached


def test_queries_of_prompts_cross_where_heads_are_grouped() -> None:
    plain, spread = (case(grouped(kv_heads=1), tp=2, dcp=n) for n in (1, 2))
    more = prefill(spread, 64, past=512).collectives - prefill(plain, 64, past=512).collectives
    assert more == pytest.approx(LAYERS * 64 * 16 * (128 * 2 + 128 * 2 + 4 * 2) / 2 / 450e9)


# -- prefill context parallelism ----------------------------------------------------------------------------------


def test_prefill_context_ranks_split_prompts_and_each_decode_all_sequences() -> None:
    alone, split = (case(routed(latent=True), pcp=n, ep=n, settings=EAGER) for n in (1, 2))
    assert prefill(split, 2048).attention == pytest.approx(prefill(alone, 2048).attention / 2)
    assert decode(split, 8, 4096).attention == pytest.approx(decode(alone, 8, 4096).attention)


def test_prefill_context_ranks_send_their_kv_and_the_rows_for_the_experts() -> None:
    split = case(routed(latent=True), pcp=2, ep=2, settings=EAGER)
    kv, rows = 2048 * 1152 / 2, 2 * 2048 * HIDDEN * 2 / 2
    assert prefill(split, 2048).collectives == pytest.approx(LAYERS * (kv + rows) / 450e9)


def test_over_prefill_context_ranks_decode_keeps_its_heads_and_reduces_whole_outputs() -> None:
    model = routed(latent=True, heads=128)
    whole, spread = (case(model, pcp=2, dcp=n, ep=2, settings=EAGER) for n in (1, 2))
    assert decode(spread, 64, 8192).attention == pytest.approx(decode(whole, 64, 8192).attention / 2, rel=0.03)
    sent = LAYERS * 64 * 128 * (4 * 2 / 2 + 512 * 2)  # all-reduce over 2: factor 1
    assert decode(spread, 64, 1).collectives - decode(whole, 64, 1).collectives == pytest.approx(sent / 450e9)


# -- parts of a stage ---------------------------------------------------------------------------------------------


def test_every_nth_rank_meets_inside_a_domain_or_with_its_part_of_the_boundary() -> None:
    assert across(ONE_NODE, 4, 2) == replace(ONE_NODE, ranks=4)
    assert across(TWO_NODES, 2, 8) == GroupPath(2, 2, "local", inf, "rdma", 50e9)
    assert across(TWO_NODES, 4, 4) == GroupPath(4, 2, "nvswitch", 450e9, "rdma", 100e9)
    assert across(TWO_NODES, 2, 4) == GroupPath(2, 1, "nvswitch", 450e9, "local", inf)


def test_consecutive_ranks_stay_in_a_domain_where_they_fit() -> None:
    assert part(TWO_NODES, 8) == GroupPath(8, 1, "nvswitch", 450e9, "local", inf)


@pytest.mark.parametrize(
    ("degrees", "first", "second", "fits"),
    [
        ({"tp": 4, "attn_dp": 4}, 8, 8, True),
        ({"tp": 8, "attn_dp": 2}, 8, 8, True),
        ({"tp": 4, "attn_dp": 3}, 6, 6, False),
        ({"attn_dp": 12}, 6, 6, True),
        ({"tp": 4, "attn_dp": 2, "pp": 2}, 8, 8, False),
        ({"tp": 12}, 6, 6, True),
    ],
)
def test_attention_replicas_are_whole_on_their_node(
    degrees: dict[str, int], first: int, second: int, fits: bool
) -> None:
    cluster = topology(HGX, 2, fabric={"kind": "rail-clos"})
    gpus = (*on("n1", *range(first)), *on("n2", *range(second)))
    pp = degrees.get("pp", 1)
    layout = replace(Layout(1, pp, (2,) * pp), **degrees)  # type: ignore[arg-type]
    size = layout.ranks_per_stage
    stages = [gpus[i : i + size] for i in range(0, len(gpus), size)]
    assert (misseated(cluster, stages, layout, wiring(cluster, stages).group) is None) == fits


def test_attention_replicas_inside_sockets_meet_there_and_over_uneven_parts_as_slowly_as_all() -> None:
    box, layout = topology(PCIE), Layout(2, 1, (4,), attn_dp=2)
    even, uneven = [on("n1", 0, 1, 4, 5)], [on("n1", 0, 1, 2, 4)]
    assert part(wiring(box, even).group, 2).inner == "pcie"
    assert part(wiring(box, uneven).group, 2).inner == "host"
    assert all(misseated(box, seats, layout, wiring(box, seats).group) is None for seats in (even, uneven))


def test_a_step_of_nothing_but_prompts_is_that_of_its_fullest_replica() -> None:
    two, one = (step(shared(2), Batch(prompts=n, tokens=512.0)) for n in (2.0, 1.0))
    assert two.attention == pytest.approx(one.attention)
    assert two.collectives == pytest.approx(2 * one.collectives)
