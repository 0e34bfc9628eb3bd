"""The graph holds what the cluster says, per direction, under names that people know."""

import networkx as nx
import pytest
from topology_cases import HGX, PCIE, cluster, fault, topology

from optimizer.errors import InputError
from optimizer.topology.bandwidth import wiring
from optimizer.topology.graph import build


def test_every_cable_is_two_arcs_of_equal_bandwidth() -> None:
    graph = topology(PCIE, 2, fabric={"kind": "fat-tree", "nodes_per_leaf": 1}).graph
    assert all(graph[v][u]["bytes_per_s"] == arc["bytes_per_s"] for u, v, arc in graph.edges(data=True))


def test_an_nvswitch_is_a_star_and_a_mesh_has_direct_cables() -> None:
    star = topology(HGX).graph
    assert star["n1/0"]["n1/nvswitch"] == {"kind": "nvlink", "bytes_per_s": 450e9, "state": "up", "links": 18}
    assert not star.has_edge("n1/0", "n1/1")
    mesh = topology({"gpu": "meshed", "gpus": 8, "mesh": {}}).graph
    assert sum(arc["kind"] == "xgmi" for arc in mesh["n1/0"].values()) == 7
    assert mesh["n1/0"]["n1/7"]["bytes_per_s"] == 64e9


def test_the_graph_is_frozen() -> None:
    graph = topology(HGX).graph
    with pytest.raises(nx.NetworkXError, match="rozen"):
        graph.add_node("more")


def test_gpus_come_in_rank_order_and_by_stable_id() -> None:
    ids = [f"GPU-{index}" for index in range(8)]
    nodes = [{"name": "b", "template": "t"}, {"name": "a", "template": "t", "gpu_ids": ids}]
    found = build(cluster(HGX, nodes=nodes))
    assert [gpu.id for gpu in found.gpus][6:10] == ["b/6", "b/7", "GPU-0", "GPU-1"]
    assert found.gpu("GPU-1").local_index == 1
    assert found.graph.has_edge("GPU-1", "a/nvswitch")


def test_one_nvlink_domain_may_span_trays() -> None:
    rack = topology({"gpu": "switched", "gpus": 4, "nvswitch": {"nodes": 3}}, 5)
    assert rack.graph.in_degree("n1/nvswitch") == 12
    assert rack.graph.in_degree("n4/nvswitch") == 8
    assert rack.node("n3").nvlink_domain == "n1/nvswitch"


def test_racks_with_missing_trays_are_named() -> None:
    nodes = [
        {"name": "r1[1-2]", "template": "t", "nvlink_domain": "r1"},
        {"name": "r2[1-3]", "template": "t", "nvlink_domain": "r2"},
        {"name": "single", "template": "t"},
    ]
    racks = build(cluster({"gpu": "switched", "gpus": 4, "nvswitch": {}}, nodes=nodes))
    assert wiring(racks, [("r11/0", "r12/0")]).group.inner == "nvswitch"
    assert racks.graph.in_degree("nvlink/r2") == 12
    assert racks.node("single").nvlink_domain is None
    with pytest.raises(InputError, match="has no nvswitch"):
        build(cluster({"gpu": "switched", "gpus": 4}, nodes=nodes))


def test_a_rail_leaf_holds_one_nic_of_each_node_and_goes_up_by_its_oversubscription() -> None:
    found = topology(HGX, 4, fabric={"kind": "rail-clos", "nodes_per_leaf": 2, "oversubscription": 2.0})
    assert found.graph["n1/nic3"]["su1/rail3"]["bytes_per_s"] == 50e9
    assert found.graph["n3/nic3"]["su2/rail3"]["kind"] == "port"
    assert found.graph["su1/rail3"]["spine"]["bytes_per_s"] == 50e9
    assert found.node("n4").leaf == "su2"


def test_a_fat_tree_of_three_tiers_has_pods() -> None:
    fabric = {
        "kind": "fat-tree", "nodes_per_leaf": 1, "oversubscription": 2.0,
        "leaves_per_pod": 2, "pod_oversubscription": 4.0,
    }  # fmt: skip
    graph = topology(HGX, 4, fabric=fabric).graph
    assert graph["leaf1"]["pod1"]["bytes_per_s"] == 200e9
    assert graph["pod2"]["core"]["bytes_per_s"] == 100e9


def test_leaves_may_be_named_by_the_user() -> None:
    nodes = [{"name": "a[1-2]", "template": "t", "leaf": "rack7"}, {"name": "b1", "template": "t"}]
    found = build(cluster(HGX, fabric={"kind": "rail-clos"}, nodes=nodes))
    assert [found.node(name).leaf for name in found.nodes] == ["rack7", "rack7", "su1"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nodes": [{"name": "a,a", "template": "t"}]}, "'a' occurs twice"),
        ({"nodes": [{"name": "a", "template": "tt"}]}, "no template 'tt'; did you mean t"),
        ({"nodes": [{"name": "a[", "template": "t"}]}, "no host list"),
        ({"nodes": [{"name": "a", "template": "t", "gpu_ids": ["x"]}]}, "1 ids for 1 nodes of 8 GPUs"),
        ({"templates": {"t": HGX | {"gpu": "swtched"}}}, "did you mean switched"),
        ({"templates": {"t": HGX | {"gpu": None}}}, "gpu: missing"),
        ({"templates": {"t": HGX | {"nvswitch": {"bandwidth": "900 GB/s"}}}}, "sum of both directions"),
        ({"templates": {"t": HGX | {"nics": {"count": 2, "bandwidth": "1 GB/s", "nearest": [0, 9]}}}}, "nics.nearest"),
        ({"templates": {"t": HGX | {"nics": {"count": 2, "bandwidth": "1 GB/s", "names": ["a"]}}}}, "nics.names"),
        ({"templates": {"t": HGX | {"bridges": [{"gpus": [0, 8], "bandwidth": "1 GB/s"}]}}}, "bridges"),
    ],
)
def test_what_is_wrong_is_named_with_its_remedy(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(cluster(HGX, **changes))


def test_a_group_that_needs_a_bandwidth_nobody_gave_is_told_the_key() -> None:
    pcie = topology(PCIE | {"pcie": {"sockets": 2, "gpus_per_switch": 4}})
    assert wiring(pcie, [["n1/0", "n1/1"]]).group.inner == "pcie"
    with pytest.raises(InputError, match=r"templates\.t\.pcie\.socket_bandwidth: missing"):
        wiring(pcie, [["n1/0", "n1/4"]])
    mesh = topology({"gpu": "plain", "gpus": 4, "mesh": {}})
    with pytest.raises(InputError, match=r"templates\.t\.mesh\.pair_bandwidth: missing"):
        wiring(mesh, [["n1/0", "n1/1"]])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (fault("down", node="n9"), "no node 'n9'; did you mean n"),
        (fault("down", node="n1", gpu=8), "no GPU 8; the node has 8"),
        (fault("down", gpu="GPU-x"), "no GPU 'GPU-x'"),
        (fault("down", node="n1", nic="nic9"), "no NIC 'nic9'; did you mean nic"),
        (fault("down", leaf="su1/rail9"), "no leaf 'su1/rail9'; did you mean su1/rail"),
        (fault("cordoned", node="n1", nic=0), "a NIC is not cordoned"),
        (fault("down"), "names no object"),
        (fault(node="n1"), "says nothing"),
        (fault(node="n1", gpu=0, bandwidth="1 GB/s"), "link: nvlink"),
        (fault(node="n1", gpu=0, link="nvlink", links_active="19/18"), "no share"),
        (fault("down", node="n1", leaf="su1"), "a leaf and a node"),
    ],
)
def test_an_override_of_something_unknown_is_an_error(override: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=rf"overrides.*{message}"):
        topology(HGX, 2, fabric={"kind": "rail-clos"}, overrides=[override])


def test_a_lost_gpu_carries_nothing_and_a_cordoned_one_stays_wired() -> None:
    faults = [fault("lost", node="n1", gpu=5, reason="Xid 79"), fault("cordoned", node="n2")]
    found = topology(HGX, 2, overrides=faults)
    assert found.graph["n1/5"]["n1/nvswitch"] == {"kind": "nvlink", "bytes_per_s": 0.0, "state": "down", "links": 18}
    assert found.graph.nodes["n1/5"]["reason"] == "Xid 79"
    assert [gpu.id for gpu in found.gpus if gpu.placeable] == [f"n1/{i}" for i in range(8) if i != 5]
    assert found.graph["n2/0"]["n2/nvswitch"]["bytes_per_s"] == 450e9


def test_a_cordon_does_not_bring_back_a_lost_gpu() -> None:
    found = topology(HGX, overrides=[fault("lost", node="n1", gpu=0), fault("drained", node="n1")])
    assert [found.gpu(f"n1/{i}").state for i in (0, 1)] == ["lost", "drained"]


def test_links_slow_down_as_told() -> None:
    faults = [
        fault(node="n1", gpu=0, link="nvlink", links_active="12/18"),
        fault(node="n1", gpu=1, link="pcie", bandwidth="16 GB/s"),
        fault(node="n1", nic=3, bandwidth="200 Gb/s"),
        fault(leaf="su1/rail2", uplinks="14/18"),
        fault(node="n1", gpu=2, speed_factor=0.9),
    ]
    found = topology(HGX, 2, fabric={"kind": "rail-clos", "nodes_per_leaf": 1}, overrides=faults)
    assert found.graph["n1/0"]["n1/nvswitch"]["bytes_per_s"] == pytest.approx(300e9)
    assert found.graph["n1/1"]["n1/socket0"]["bytes_per_s"] == 16e9
    assert found.graph["n1/nic3"]["su1/rail3"]["bytes_per_s"] == 25e9
    assert found.graph["su1/rail2"]["spine"]["bytes_per_s"] == pytest.approx(50e9 * 14 / 18)
    assert found.gpu("n1/2").speed_factor == 0.9
