"""Links promised twice and links that are not there, each rejected by its rule."""

from typing import Any

import pytest
from spoiled import broken_rules, with_estimate, with_inputs, with_replica
from typed_plans import MODEL, WORKLOAD, Put, cluster, plan

from optimizer.inputs.cluster import ClusterSpec, FatTree, Match, NodeTemplate, Override
from optimizer.plan import Plan
from optimizer.verify import check

TWO_NODES = cluster()


def _crossing(*gpus: int, share: Any) -> Put:
    """One GPU of each of two nodes, joined by NICs."""
    return Put(tuple((f"n{node}/{gpu}",) for node, gpu in enumerate(gpus)), share=share)


def test_two_replicas_cannot_both_have_one_nic_alone() -> None:
    """Two GPUs share the only NIC of each node."""
    one_nic = cluster(nodes=2, gpus=2, nics=1)
    both = broken_rules(plan(one_nic, [_crossing(0, 0, share="alone"), _crossing(1, 1, share="alone")]))
    assert both >= {"links_carry_what_is_promised", "nics_and_uplinks_are_not_promised_twice"}


def test_a_nic_given_to_one_replica_alone_is_closed_to_a_fair_one() -> None:
    one_nic = cluster(nodes=2, gpus=2, nics=1)
    both = broken_rules(plan(one_nic, [_crossing(0, 0, share="alone"), _crossing(1, 1, share="fair")]))
    assert both >= {"links_carry_what_is_promised", "nics_and_uplinks_are_not_promised_twice"}


def test_fair_shares_of_one_nic_add_up_to_the_nic() -> None:
    one_nic = cluster(nodes=2, gpus=2, nics=1)
    assert check(plan(one_nic, [_crossing(0, 0, share="fair"), _crossing(1, 1, share="fair")])) == ()


def test_replicas_with_a_nic_each_may_both_have_it_alone() -> None:
    assert check(plan(cluster(nodes=2, gpus=2), [_crossing(0, 0, share="alone"), _crossing(1, 1, share="alone")])) == ()


def test_the_sum_over_a_node_does_not_hide_one_nic_promised_twice() -> None:
    """Four GPUs on two NICs: both replicas want the first NIC, the second idles, the node's sum would do."""
    two_nics = cluster(nodes=2, gpus=4, nics=2)
    both = broken_rules(plan(two_nics, [_crossing(0, 0, share="alone"), _crossing(1, 1, share="alone")]))
    assert "nics_and_uplinks_are_not_promised_twice" in both


def test_uplinks_of_a_leaf_are_not_promised_twice() -> None:
    """Each node is its own leaf, every GPU has its NIC: only the uplinks are shared."""
    racks = cluster(nodes=2, gpus=2, fabric=FatTree(nodes_per_leaf=1, oversubscription=2.0))
    both = broken_rules(plan(racks, [_crossing(0, 0, share="alone"), _crossing(1, 1, share="fair")]))
    assert both >= {"links_carry_what_is_promised", "nics_and_uplinks_are_not_promised_twice"}


# -- mean traffic -------------------------------------------------------------------------------------------------

SLOW_UPLINKS = cluster(nodes=2, gpus=2, fabric=FatTree(nodes_per_leaf=1, oversubscription=2000.0))
"""Each node is its own leaf with 50 MB/s of uplinks: hidden states of two stages fill them."""


def _busy_hop() -> Plan:
    return plan(SLOW_UPLINKS, [Put((("n0/0",), ("n1/0",)), concurrency=64, share="alone")])


def test_a_pipeline_over_a_slow_uplink_sends_no_more_than_is_set_aside() -> None:
    busy = _busy_hop()
    (replica,) = busy.replicas
    leaf_bytes_per_s = min(r.bytes_per_s for r in replica.reservations)
    assert check(busy) == ()
    assert 0.5 < replica.estimate.crossing_bytes_per_s / leaf_bytes_per_s <= 1.0


@pytest.mark.parametrize("share_of_uplink", [1.01, 100.0])
def test_a_replica_that_sends_more_than_is_set_aside_is_rejected(share_of_uplink: float) -> None:
    busy = _busy_hop()
    sent = share_of_uplink * min(r.bytes_per_s for r in busy.replicas[0].reservations)
    assert "mean_traffic_is_reserved" in broken_rules(with_estimate(busy, crossing_bytes_per_s=sent))


# -- absent links -------------------------------------------------------------------------------------------------


def _moved(before: ClusterSpec, after: ClusterSpec, put: Put) -> Plan:
    """Return a plan made for one cluster, claimed for another with the same names."""
    return with_inputs(plan(before, [put]), cluster=after)


PAIR = Put((("n0/0", "n1/0"),))
"""A TP group over two nodes."""


NICS_DOWN = tuple(Override(match=Match(node="n1", nic=nic), state="down") for nic in range(4))


@pytest.mark.parametrize(
    "absent",
    [
        cluster(fabric=None),
        TWO_NODES.model_copy(update={"overrides": NICS_DOWN}),
        TWO_NODES.model_copy(update={"templates": {"t": NodeTemplate(gpu="big", gpus=4)}}),
    ],
    ids=["no-fabric", "all-nics-down", "no-nics"],
)
def test_a_tp_group_over_an_absent_link_is_rejected(absent: ClusterSpec) -> None:
    assert check(plan(TWO_NODES, [PAIR])) == ()
    assert "replicas_are_wired" in broken_rules(_moved(TWO_NODES, absent, PAIR))


def test_a_tp_group_off_nvlink_and_pcie_is_rejected() -> None:
    one = cluster(nodes=1)
    off = tuple(Override(match=Match(node="n0", gpu=0, link=link), state="down") for link in ("nvlink", "pcie"))
    group = Put((("n0/0", "n0/1"),))
    assert check(plan(one, [group])) == ()
    assert "replicas_are_wired" in broken_rules(_moved(one, one.model_copy(update={"overrides": off}), group))


def test_a_plan_priced_over_nvlink_is_rejected_where_nvlink_is_down() -> None:
    one = cluster(nodes=1)
    down = one.model_copy(update={"overrides": (Override(match=Match(node="n0", gpu=0, link="nvlink"), state="down"),)})
    group = Put((("n0/0", "n0/1"),))
    assert "estimate_is_as_recomputed" in broken_rules(_moved(one, down, group))


def test_more_requests_than_memory_holds_are_rejected() -> None:
    """One GPU of 4 GB holds the weights and little else."""
    small = cluster(nodes=1, gpus=1, memory="4 GB")
    crowded = plan(small, [Put((("n0/0",),), concurrency=256)], workload=WORKLOAD, model=MODEL)
    assert broken_rules(crowded) >= {"memory_is_as_recomputed"}


APART = WORKLOAD.model_copy(update={"roles": ("prefill", "decode")})


def _pair(where: ClusterSpec, share: Any, *, here: str = "n0/0", there: str = "n0/1") -> Plan:
    """One GPU that computes prompts and one that decodes."""
    puts = [Put(((here,),), share=share, role="prefill"), Put(((there,),), share=share, role="decode")]
    return plan(where, puts, workload=APART)


PAIR_RULES = {
    "links_carry_what_is_promised", "nics_and_uplinks_are_not_promised_twice", "reservations_are_as_recomputed",
    "estimate_is_as_recomputed", "mean_traffic_is_reserved", "replicas_are_wired", "memory_is_as_recomputed",
}  # fmt: skip


def test_a_pair_keeps_its_nics_free_for_kv() -> None:
    stated = _pair(cluster(), "fair")
    assert [r.reservations[0].domain for r in stated.replicas] == ["n0/nic0", "n0/nic1"]
    assert not broken_rules(stated) & PAIR_RULES


def test_the_only_nic_cannot_be_kept_free_twice() -> None:
    one_nic = cluster(nodes=2, gpus=2, nics=1)
    assert not broken_rules(_pair(one_nic, "fair")) & PAIR_RULES
    assert broken_rules(_pair(one_nic, "alone")) & PAIR_RULES == {
        "links_carry_what_is_promised", "nics_and_uplinks_are_not_promised_twice"
    }  # fmt: skip
    assert not broken_rules(_pair(one_nic, "alone", there="n1/0")) & PAIR_RULES


def test_a_way_out_that_is_not_kept_free_is_found() -> None:
    stated = with_replica(_pair(cluster(), "fair"), 0, reservations=())
    assert "reservations_are_as_recomputed" in broken_rules(stated)


def test_kv_that_moves_faster_than_the_nic_is_found() -> None:
    stated = _pair(cluster(), "fair")
    assert "estimate_is_as_recomputed" in broken_rules(with_estimate(stated, 0, transfer_s=1e-6))


def test_a_prefill_replica_on_nodes_that_nothing_joins_is_not_wired() -> None:
    stated = _pair(cluster(), "fair")
    loose = with_inputs(stated, cluster=cluster(fabric=None))
    assert "replicas_are_wired" in broken_rules(loose)


def test_in_the_only_node_kv_takes_no_nic() -> None:
    stated = _pair(cluster(nodes=1, gpus=2, nics=1), "fair")
    assert [r.reservations for r in stated.replicas] == [(), ()]
    assert not broken_rules(stated) & PAIR_RULES
