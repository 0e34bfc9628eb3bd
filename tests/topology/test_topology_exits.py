"""The way of KV out of a replica: hand-worked cases."""

import pytest
from topology_cases import HGX, PCIE, fault, on, topology

from optimizer.errors import NoPathError
from optimizer.topology.bandwidth import reservations, wiring
from optimizer.topology.exits import kept_free, leaving, role_reservations, role_wiring
from optimizer.topology.wiring import HopPath

RAILS = {"kind": "rail-clos"}
FOUR_NICS = HGX | {"nics": {"count": 4, "bandwidth": "400 Gb/s"}}


def test_in_the_only_node_kv_moves_over_nvlink_and_nothing_is_kept_free() -> None:
    box, seats = topology(HGX), [on("n1", 0, 1)]
    assert leaving(box, seats) == HopPath("nvswitch", 450e9, 2)
    assert kept_free(box, seats) == ()


def test_between_nodes_each_rank_has_the_nic_of_its_gpu() -> None:
    two, seats = topology(HGX, 2, fabric=RAILS), [on("n1", 2, 3)]
    assert leaving(two, seats) == HopPath("rdma", 50e9, 2)
    assert dict(kept_free(two, seats)) == {"n1/nic2": 50e9, "n1/nic3": 50e9}
    assert reservations(two, seats) == ()


def test_a_nic_that_two_gpus_are_next_to_gives_each_its_half_or_one_all() -> None:
    two, near, spread = topology(FOUR_NICS, 2, fabric=RAILS), [on("n1", 0, 1)], [on("n1", 0, 2)]
    assert leaving(two, near) == HopPath("rdma", 25e9, 2)
    assert dict(kept_free(two, near)) == {"n1/nic0": 50e9}
    assert leaving(two, spread) == HopPath("rdma", 25e9, 2)
    assert leaving(two, spread, "alone") == HopPath("rdma", 50e9, 2)
    assert dict(kept_free(two, spread)) == {"n1/nic0": 25e9, "n1/nic1": 25e9}
    assert dict(kept_free(two, spread, "alone")) == {"n1/nic0": 50e9, "n1/nic1": 50e9}


def test_kv_shares_with_the_collectives_and_takes_nothing_twice() -> None:
    two, seats = topology(HGX, 2, fabric=RAILS), [(*on("n1", 0, 1), *on("n2", 0, 1))]
    assert kept_free(two, seats) == reservations(two, seats)
    stages = [on("n1", 0, 1), on("n1", 2, 3), on("n2", 0, 1)]
    assert {name for name, _ in reservations(two, stages)} == {"n1/nic2", "n1/nic3", "n2/nic0", "n2/nic1"}
    assert dict(kept_free(two, stages)) == dict(reservations(two, stages)) | {"n1/nic0": 50e9, "n1/nic1": 50e9}


def test_narrow_uplinks_are_on_the_way_where_there_are_several_leaf_groups() -> None:
    tree = {"kind": "fat-tree", "nodes_per_leaf": 2, "oversubscription": 4.0}
    one, several = topology(HGX, 2, fabric=tree), topology(HGX, 4, fabric=tree)
    assert leaving(one, [on("n1", 0)]) == HopPath("rdma", 50e9, 1)
    assert leaving(several, [on("n1", 0)]) == HopPath("rdma", 12.5e9, 1)
    assert leaving(several, [on("n1", 0)], "alone") == HopPath("rdma", 50e9, 1)
    assert dict(kept_free(several, [on("n1", 0)])) == {"n1/nic0": 50e9, "leaf1": 12.5e9}


def test_narrow_pods_are_on_the_way_where_there_are_several() -> None:
    tree = {"kind": "fat-tree", "nodes_per_leaf": 1, "leaves_per_pod": 2, "pod_oversubscription": 2.0}
    seats = [on("n1", 0, 1)]
    assert leaving(topology(HGX, 2, fabric=tree), seats).bytes_per_s == 50e9
    assert leaving(topology(HGX, 4, fabric=tree), seats).bytes_per_s == 25e9
    assert dict(kept_free(topology(HGX, 4, fabric=tree), seats))["pod1"] == 50e9


def test_a_gpu_whose_nic_is_down_sends_over_its_neighbours() -> None:
    dead = topology(HGX, 2, fabric=RAILS, overrides=[fault("down", node="n1", nic=3)])
    assert leaving(dead, [on("n1", 3)]) == HopPath("rdma", 25e9, 1)
    assert leaving(dead, [on("n1", 0, 3)]).bytes_per_s == 25e9
    assert dict(kept_free(dead, [on("n1", 3)])) == {"n1/nic2": 25e9}


def test_nodes_that_nothing_joins_exchange_no_kv() -> None:
    with pytest.raises(NoPathError, match="fabric: missing, so no KV moves between nodes"):
        leaving(topology(HGX, 2), [on("n1", 0)])
    with pytest.raises(NoPathError, match="no way for KV out of n1/0"):
        leaving(topology(HGX | {"nics": None}, 2, fabric=RAILS), [on("n1", 0)])


def test_a_node_of_which_all_others_are_lost_keeps_kv_to_itself() -> None:
    lost = [fault("lost", node="n2")]
    assert leaving(topology(HGX, 2, overrides=lost), [on("n1", 0)]).medium == "nvswitch"


def test_trays_of_one_rack_exchange_kv_over_nvlink_and_racks_over_nics() -> None:
    tray = {"gpu": "switched", "gpus": 4, "nvswitch": {"nodes": 2}, "nics": {"count": 4, "bandwidth": "400 Gb/s"}}
    assert leaving(topology(tray, 2), [on("n1", 0)]) == HopPath("nvswitch", 450e9, 1)
    assert leaving(topology(tray, 4, fabric=RAILS), [on("n1", 0)]) == HopPath("rdma", 50e9, 1)


def test_a_mesh_gives_a_rank_one_cable_and_bridges_serve_who_reaches_all() -> None:
    mesh = topology({"gpu": "meshed", "gpus": 8, "mesh": {}})
    assert leaving(mesh, [on("n1", 0, 1)]) == HopPath("mesh", 64e9, 2)
    bridge = [{"gpus": [0, 1], "bandwidth": "50 GB/s"}]
    assert leaving(topology({"gpu": "plain", "gpus": 2, "bridges": bridge}), [on("n1", 0)]) == HopPath(
        "nvlink", 50e9, 1
    )
    assert leaving(topology({"gpu": "plain", "gpus": 4, "bridges": bridge}), [on("n1", 0)]).medium == "host"


def test_a_mesh_of_which_a_gpu_is_reserved_exchanges_kv_among_the_others() -> None:
    mesh = {"gpu": "meshed", "gpus": 4, "mesh": {}}
    box = topology(mesh, overrides=[fault("reserved", node="n1", gpu=0)])
    assert leaving(box, [on("n1", 2)]) == HopPath("mesh", 64e9, 1)


def test_without_links_of_their_own_gpus_of_a_node_share_switches_and_sockets() -> None:
    box = topology(PCIE)
    assert leaving(box, [on("n1", 0, 1)]) == HopPath("host", 5e9, 2)
    assert dict(kept_free(box, [on("n1", 0, 1)])) == {"n1/pcie0": 32e9, "n1/socket0": 10e9}
    one_switch = topology(PCIE | {"gpus": 4})
    assert leaving(one_switch, [on("n1", 0)]) == HopPath("pcie", 64e9, 1)


def test_a_gpu_that_lost_its_nvlink_sends_over_pcie() -> None:
    box = topology(HGX, overrides=[fault("down", node="n1", gpu=2, link="nvlink")])
    assert leaving(box, [on("n1", 1)]) == HopPath("nvswitch", 450e9, 1)
    assert leaving(box, [on("n1", 2)]) == HopPath("host", 64e9, 1)


def test_equal_replicas_leave_alike_each_from_its_own_place() -> None:
    four = topology(FOUR_NICS, 4, fabric=RAILS)
    assert leaving(four, [on("n3", 4, 5)]) is leaving(four, [on("n1", 4, 5)])
    assert dict(kept_free(four, [on("n3", 4, 5)])) == {"n3/nic2": 50e9}


def test_only_a_replica_of_one_phase_has_a_way_out() -> None:
    two, seats = topology(HGX, 2, fabric=RAILS), [on("n1", 0, 1)]
    assert role_wiring(two, seats, "fair", "both") == wiring(two, seats)
    assert role_wiring(two, seats, "fair", "prefill").exit == leaving(two, seats)
    assert role_reservations(two, seats, "fair", "both") == ()
    assert role_reservations(two, seats, "fair", "decode") == kept_free(two, seats)
