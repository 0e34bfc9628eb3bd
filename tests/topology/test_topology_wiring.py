"""What the ranks of a replica may send to each other: hand-worked cases."""

from itertools import pairwise

import pytest
from topology_cases import HGX, PCIE, fault, on, topology

from optimizer.errors import InputError, NoPathError
from optimizer.topology.bandwidth import capacity, group_path, reservations, wiring
from optimizer.topology.wiring import ALONE, GroupPath, HopPath

INF = float("inf")
RAILS = {"kind": "rail-clos"}


@pytest.mark.parametrize("ranks", [2, 4, 7, 8])
def test_a_group_on_one_nvswitch_has_the_rate_of_a_port(ranks: int) -> None:
    found = wiring(topology(HGX), [on("n1", *range(ranks))])
    assert found.group == GroupPath(ranks, 1, "nvswitch", 450e9, "local", INF)
    assert reservations(topology(HGX), [on("n1", *range(ranks))]) == ()


def test_a_single_rank_needs_no_link() -> None:
    assert wiring(topology(HGX), [on("n1", 3)]).group == ALONE


def test_a_group_that_straddles_two_nodes_leaves_each_over_the_nics_of_its_own_gpus() -> None:
    seats = [(*on("n1", 4, 5, 6, 7), *on("n2", 0, 1, 2, 3))]
    cluster = topology(HGX, 2, fabric=RAILS)
    assert wiring(cluster, seats).group == GroupPath(8, 2, "nvswitch", 450e9, "rdma", 4 * 50e9)
    assert dict(reservations(cluster, seats))["n1/nic4"] == 50e9
    assert len(reservations(cluster, seats)) == 8


def test_stages_on_two_nodes_meet_over_each_gpus_own_nic() -> None:
    found = wiring(topology(HGX, 2, fabric=RAILS), [on("n1", *range(8)), on("n2", *range(8))])
    assert found.group.outer == "local"
    assert found.hops == (HopPath("rdma", 50e9, 8),)


def test_stages_on_one_nvswitch_meet_over_it() -> None:
    found = wiring(topology(HGX), [on("n1", 0, 1), on("n1", 2, 3), on("n1", 4, 5)])
    assert found.hops == (HopPath("nvswitch", 450e9, 2),) * 2


@pytest.mark.parametrize(("ranks", "rate"), [(2, 64e9), (4, 192e9), (8, 448e9)])
def test_a_mesh_gives_each_rank_one_cable_to_every_peer_in_the_group(ranks: int, rate: float) -> None:
    mesh = topology({"gpu": "meshed", "gpus": 8, "mesh": {}})
    assert wiring(mesh, [on("n1", *range(ranks))]).group == GroupPath(ranks, 1, "mesh", rate, "local", INF)


def test_a_hop_over_a_mesh_has_one_cable() -> None:
    mesh = topology({"gpu": "meshed", "gpus": 8, "mesh": {}})
    assert wiring(mesh, [on("n1", 0, 1, 2, 3), on("n1", 4, 5, 6, 7)]).hops == (HopPath("mesh", 64e9, 4),)


def test_pcie_groups_meet_under_a_switch_or_through_the_sockets() -> None:
    box = topology(PCIE)
    assert wiring(box, [on("n1", 0, 1, 2, 3)]).group == GroupPath(4, 1, "pcie", 64e9, "local", INF)
    assert wiring(box, [on("n1", *range(8))]).group == GroupPath(8, 2, "pcie", 64e9, "host", 20e9)
    half = wiring(box, [on("n1", 0, 1, 4, 5)]).group
    assert half == GroupPath(4, 2, "pcie", 64e9, "host", 10e9)
    assert wiring(box, [on("n1", 0, 1, 4, 5)], "alone").group.outer_bytes_per_s == 20e9
    assert dict(reservations(box, [on("n1", 0, 1, 4, 5)])) == {
        "n1/pcie0": 32e9, "n1/pcie1": 32e9, "n1/socket0": 10e9, "n1/socket1": 10e9,
    }  # fmt: skip


def test_unequal_parts_of_a_pcie_tree_are_one_domain_with_the_least_cut() -> None:
    group = wiring(topology(PCIE), [on("n1", 0, 1, 2, 4)]).group
    assert (group.domains, group.inner, group.inner_bytes_per_s) == (1, "host", 5e9)


def test_gpus_on_root_ports_meet_in_their_socket() -> None:
    box = topology({"gpu": "plain", "gpus": 4})
    assert wiring(box, [on("n1", *range(4))]).group == GroupPath(4, 1, "host", 64e9, "local", INF)


def test_without_peer_to_peer_even_neighbours_share_the_uplink() -> None:
    box = topology({"gpu": "host-only", "gpus": 4, "pcie": {"gpus_per_switch": 4}})
    assert wiring(box, [on("n1", 0, 1)]).group == GroupPath(2, 1, "host", 8e9, "local", INF)
    assert wiring(box, [on("n1", 0, 1)], "alone").group.inner_bytes_per_s == 16e9


def test_bridged_pairs_are_fast_inside_and_meet_over_pcie() -> None:
    pairs = [{"gpus": pair, "bandwidth": "300 GB/s"} for pair in ([0, 1], [2, 3])]
    box = topology({"gpu": "plain", "gpus": 4, "bridges": pairs})
    assert wiring(box, [on("n1", 0, 1)]).group.inner == "nvlink"
    assert wiring(box, [on("n1", 0, 2)]).group == GroupPath(2, 1, "host", 64e9, "local", INF)
    assert wiring(box, [on("n1", *range(4))]).group == GroupPath(4, 2, "nvlink", 300e9, "host", 128e9)


def test_a_chain_of_cables_is_as_fast_as_its_least_cut() -> None:
    chain = [{"gpus": pair, "bandwidth": f"{rate} GB/s"} for *pair, rate in ((0, 1, 100), (1, 2, 50), (2, 3, 100))]
    box = topology({"gpu": "plain", "gpus": 4, "bridges": chain})
    assert wiring(box, [on("n1", *range(4))]).group == GroupPath(4, 1, "nvlink", 50e9, "local", INF)
    assert wiring(box, [on("n1", 0, 2)]).group.inner == "host", "GPU 1 is not in the group and does not forward"


def test_a_nic_is_shared_by_the_gpus_next_to_it() -> None:
    two = topology(HGX | {"nics": {"count": 4, "bandwidth": "100 Gb/s"}}, 2, fabric=RAILS)
    seats = [(*on("n1", 0, 1), *on("n2", 0, 1))]
    assert wiring(two, seats).group.outer_bytes_per_s == 12.5e9
    assert dict(reservations(two, seats)) == {"n1/nic0": 12.5e9, "n2/nic0": 12.5e9}
    spread = [(*on("n1", 0, 2), *on("n2", 0, 2))]
    assert wiring(two, spread).group.outer_bytes_per_s == 12.5e9
    assert wiring(two, spread, "alone").group.outer_bytes_per_s == 25e9
    assert dict(reservations(two, spread, "alone")) == dict.fromkeys(
        ("n1/nic0", "n1/nic1", "n2/nic0", "n2/nic1"), 12.5e9
    )


def test_a_gpu_may_have_several_nics() -> None:
    two = topology(HGX | {"nics": {"count": 32, "bandwidth": "100 Gb/s"}}, 2, fabric={"kind": "switch"})
    assert wiring(two, [on("n1", 1), on("n2", 1)]).hops == (HopPath("rdma", 50e9, 1),)
    assert dict(reservations(two, [on("n1", 1), on("n2", 1)]))["n1/nic7"] == 12.5e9


def test_an_oversubscribed_leaf_narrows_what_leaves_it_and_nothing_else() -> None:
    tree = topology(HGX, 4, fabric={"kind": "fat-tree", "nodes_per_leaf": 2, "oversubscription": 4.0})
    inside = [(*on("n1", *range(8)), *on("n2", *range(8)))]
    across = [(*on("n2", *range(8)), *on("n3", *range(8)))]
    assert wiring(tree, inside).group.outer_bytes_per_s == 400e9
    assert wiring(tree, across).group.outer_bytes_per_s == 100e9
    assert wiring(tree, across, "alone").group.outer_bytes_per_s == 200e9
    assert dict(reservations(tree, across))["leaf1"] == 100e9
    assert capacity(tree, "leaf1") == 200e9
    ring = [tuple(gpu for n in range(1, 5) for gpu in on(f"n{n}", *range(8)))]
    assert wiring(tree, ring).group.outer_bytes_per_s == 200e9, "a leaf of two nodes is left once"


def test_rails_without_nvlink_are_joined_by_the_spine() -> None:
    box = {"gpu": "plain", "gpus": 2, "nics": {"count": 2, "bandwidth": "400 Gb/s"}}
    rails = topology(box, 2, fabric=RAILS | {"oversubscription": 2.0})
    assert wiring(rails, [(*on("n1", 0), *on("n2", 1))]).group.outer_bytes_per_s == 25e9


def test_a_dead_nic_sends_its_gpu_to_the_next_one() -> None:
    dead = topology(HGX, 2, fabric=RAILS, overrides=[fault("down", node="n1", nic=3)])
    seats = [(*on("n1", *range(8)), *on("n2", *range(8)))]
    assert wiring(dead, seats).group.outer_bytes_per_s == pytest.approx(350e9)
    assert wiring(dead, [on("n1", 3), on("n2", 3)]).hops[0].bytes_per_s == 25e9
    assert "n1/nic3" not in dict(reservations(dead, seats))


def test_a_gpu_without_nvlink_is_left_out_of_groups_that_it_would_drag_to_pcie() -> None:
    box = topology(HGX, overrides=[fault("down", node="n1", gpu=2, link="nvlink")])
    with pytest.raises(NoPathError, match="n1/2 lost its NVLink"):
        wiring(box, [on("n1", *range(8))])
    assert group_path(box, on("n1", *range(8))) == GroupPath(8, 1, "host", 64e9, "local", INF)
    assert wiring(box, [on("n1", 0, 1, 3, 4)]).group.inner == "nvswitch"
    assert wiring(box, [on("n1", 1), on("n1", 2)]).hops == (HopPath("host", 64e9, 1),)


def test_lost_links_slow_the_whole_group() -> None:
    box = topology(HGX, overrides=[fault(node="n1", gpu=2, link="nvlink", links_active="12/18")])
    assert wiring(box, [on("n1", 0, 1, 2, 3)]).group.inner_bytes_per_s == pytest.approx(300e9)


def test_seven_healthy_gpus_make_a_group_and_a_lost_one_makes_none() -> None:
    box = topology(HGX, overrides=[fault("lost", node="n1", gpu=5)])
    assert wiring(box, [on("n1", 0, 1, 2, 3, 4, 6, 7)]).group.ranks == 7
    with pytest.raises(InputError, match="n1/5 is lost"):
        wiring(box, [on("n1", 4, 5)])


def test_a_slow_gpu_sets_the_pace() -> None:
    box = topology(HGX, overrides=[fault(node="n1", gpu=1, speed_factor=0.8)])
    assert wiring(box, [on("n1", 0), on("n1", 1)]).speed_factor == 0.8


def test_two_gpu_types_on_one_switch_meet_at_the_slower_port() -> None:
    mixed = {"gpus": [{"gpu": "switched", "count": 2}, {"gpu": "other", "count": 2}], "nvswitch": {}}
    box = topology(mixed)
    assert [gpu.type for gpu in box.gpus] == ["switched", "switched", "other", "other"]
    assert wiring(box, [on("n1", *range(4))]).group.inner_bytes_per_s == 300e9


def test_trays_of_a_rack_are_one_domain_and_racks_meet_over_nics() -> None:
    tray = {"gpu": "switched", "gpus": 4, "nvswitch": {"nodes": 2}, "nics": {"count": 4, "bandwidth": "400 Gb/s"}}
    racks = topology(tray, 4, fabric=RAILS)
    inside = [(*on("n1", *range(4)), *on("n2", *range(4)))]
    assert wiring(racks, inside).group == GroupPath(8, 1, "nvswitch", 450e9, "local", INF)
    across = [tuple(gpu for n in range(1, 5) for gpu in on(f"n{n}", *range(4)))]
    assert wiring(racks, across).group == GroupPath(16, 2, "nvswitch", 450e9, "rdma", 400e9)
    assert wiring(topology(tray, 2), inside).group.inner == "nvswitch", "no fabric is needed inside a rack"


def test_nodes_without_a_fabric_or_a_nic_are_not_joined() -> None:
    with pytest.raises(NoPathError, match="fabric: missing"):
        wiring(topology(HGX, 2), [(*on("n1", 0), *on("n2", 0))])
    with pytest.raises(NoPathError, match="no working way"):
        wiring(topology(HGX | {"nics": None}, 2, fabric=RAILS), [(*on("n1", 0), *on("n2", 0))])


def test_a_leaf_without_uplinks_joins_only_its_own_nodes() -> None:
    tree = topology(
        HGX, 3, fabric={"kind": "fat-tree", "nodes_per_leaf": 2}, overrides=[fault(leaf="leaf1", uplinks="0/8")]
    )
    assert wiring(tree, [(*on("n1", 0), *on("n2", 0))]).group.outer_bytes_per_s == 50e9
    with pytest.raises(NoPathError):
        wiring(tree, [(*on("n1", 0), *on("n3", 0))])


def test_stages_are_of_equal_size_and_hold_no_gpu_twice() -> None:
    for stages in ([on("n1", 0), on("n1", 1, 2)], [on("n1", 0), on("n1", 0)], [()]):
        with pytest.raises(InputError, match="stages"):
            wiring(topology(HGX), stages)


def test_the_capacity_of_a_domain_is_what_leaves_it() -> None:
    clos = topology(HGX, 4, fabric={"kind": "rail-clos", "nodes_per_leaf": 2, "oversubscription": 2.0})
    assert capacity(clos, "n1/nic0") == 50e9
    assert capacity(clos, "n1") == 400e9
    assert capacity(clos, "su1/rail0") == 50e9
    assert capacity(clos, "su1") == 400e9
    with pytest.raises(InputError, match="no domain"):
        capacity(clos, "su9")


def test_a_long_pipeline_reserves_a_share_once() -> None:
    chain = topology(HGX, 3, fabric=RAILS)
    stages = [on(f"n{n}", 0) for n in (1, 2, 3)]
    assert dict(reservations(chain, stages)) == {f"n{n}/nic0": 50e9 for n in (1, 2, 3)}
    assert all(a < b for a, b in pairwise(name for name, _ in reservations(chain, stages)))
