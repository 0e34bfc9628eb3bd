"""Files about many nodes: Slurm, Kubernetes, Kueue, AWS and ibnetdiscover."""

import json

import pytest
from importing import cluster, imported, told
from operator_files import TORUS, TREE, YAML, ibnet, matrix, node, nodes, off_nvlink

from optimizer.errors import InputError
from optimizer.inputs.cluster import FatTree, RailClos, Torus
from optimizer.inputs.hostlist import all_hosts
from optimizer.topology.graph import build
from optimizer.units import parse_bytes_per_s


def test_a_slurm_tree_gives_leaves() -> None:
    text = TREE.replace("leaf[A-B]", "leafA,leafB")
    found = cluster(text, gpu="h100-sxm")
    assert [(e.name, e.leaf) for e in found.nodes] == [("n[01-04]", "leafA"), ("n[05-08]", "leafB")]
    assert isinstance(found.fabric, FatTree)
    assert found.fabric.nodes_per_leaf == 4


def test_a_slurm_file_says_what_it_does_not_give() -> None:
    found = imported(TREE, gpu="h100-sxm")
    assert "no GPU, no NIC and no bandwidth" in told(found, "missing")
    assert "8 GPUs per node" in told(found, "guessed")
    assert "oversubscription" in told(found, "missing")


def test_a_cut_host_list_is_told_and_left_out() -> None:
    found = imported(TREE + "SwitchName=leafC Nodes=n[09-1", gpu="h100-sxm")
    assert found.nodes == 8
    assert ":5:" in told(found, "broken")


def test_three_tiers_make_pods() -> None:
    text = "".join(f"SwitchName=l{i} Nodes=n[{i}0-{i}3]\n" for i in range(1, 5))
    text += "SwitchName=s1 Switches=l[1-2]\nSwitchName=s2 Switches=l[3-4]\nSwitchName=core Switches=s[1-2]\n"
    found = cluster(text, gpu="h200-sxm")
    assert isinstance(found.fabric, FatTree)
    assert found.fabric.leaves_per_pod == 2


def test_several_roots_and_a_node_under_two_leaves_are_told() -> None:
    found = imported("SwitchName=a Nodes=n[1-2]\nSwitchName=b Nodes=n[2-3]\n", gpu="h100-sxm")
    assert "2 roots" in told(found, "guessed")
    assert "n2 named under two leaves" in told(found, "broken")


def test_slurm_blocks_of_rack_scale_gpus_are_nvlink_domains() -> None:
    found = cluster("BlockName=r1 Nodes=t[01-18]\nBlockName=r2 Nodes=t[19-35]\nBlockSizes=18\n", gpu="gb200")
    spans = {name: t.nvswitch.nodes for name, t in found.templates.items() if t.nvswitch}
    assert sorted(spans.values()) == [17, 18]


def test_slurm_yaml_is_read_as_topology_conf_is() -> None:
    found = imported(YAML, gpu="h100-sxm")
    assert found.cluster is not None
    assert [e.leaf for e in found.cluster.nodes] == ["sw1", "sw2"]
    assert "loop is left out" in told(found, "missing")


def test_a_slurm_torus_is_one_with_x_running_fastest_and_lacks_the_bandwidth_of_its_links() -> None:
    found = imported(TORUS, matrix("NV18", 8, 8), gpu="h200-sxm")
    assert found.cluster is not None
    assert isinstance(found.cluster.fabric, Torus)
    assert (found.cluster.fabric.shape, found.cluster.fabric.link) == ((1, 3, 2), None)
    assert [e.name for e in found.cluster.nodes] == ["gpu[1-6]"]
    assert "no file tells what a link of the torus carries" in told(found, "missing")
    assert {n.name: n.at for n in build(found.cluster).node_by_name.values()}["gpu2"] == (0, 0, 1)


def test_regions_of_a_slurm_torus_give_nodes_their_coordinates() -> None:
    text = """- topology: parts
  torus3d:
    - name: t
      dims: 4x1x2
      regions:
        - {anchor: {x: 0, y: 0, z: 0}, dims: {x: 2, y: 1, z: 1}, nodes: "a[1-2]"}
        - {anchor: {x: 2, y: 0, z: 1}, dims: {x: 2, y: 1, z: 1}, nodes: "b[1-2]"}
        - {anchor: {x: 0, y: 0, z: 1}, dims: {x: 2, y: 1, z: 1}, nodes: "c1"}
"""
    found = imported(text, matrix("NV18", 8, 8), gpu="h200-sxm")
    assert found.cluster is not None
    assert [(e.name, e.at) for e in found.cluster.nodes] == [
        ("a1", (0, 0, 0)), ("a2", (0, 0, 1)), ("b1", (1, 0, 2)), ("b2", (1, 0, 3))
    ]  # fmt: skip
    assert "1 node for 2 x 1 x 1 places" in told(found, "broken")


@pytest.mark.parametrize(
    "text",
    [
        "- topology: r\n  ring:\n    rings:\n    - {ring: loop, nodes: 'n[1-5]'}\n    - {ring: two, nodes: 'm[1-2]'}\n",
        "RingName=loop Nodes=n[1-5]\nRingName=two Nodes=m[1-2]\n",
    ],
    ids=["yaml", "conf"],
)  # fmt: skip
def test_a_slurm_ring_is_a_torus_of_one_dimension(text: str) -> None:
    found = imported(text, matrix("NV18", 8, 8), gpu="h200-sxm")
    assert found.cluster is not None
    assert isinstance(found.cluster.fabric, Torus)
    assert found.cluster.fabric.shape == (5,)
    assert "two left out" in told(found, "missing")


@pytest.mark.parametrize("dims", ["{x: 0, y: 1, z: 1}", "{x: 2, y: 3}", "2x2", "{x: 9999, y: 9999, z: 9999}", "null"])
def test_a_slurm_torus_without_three_sizes_is_reported(dims: str) -> None:
    text = f"- topology: t\n  torus3d:\n    toruses:\n      - {{torus: t, dims: {dims}, nodes: 'n[1-4]'}}\n"
    with pytest.raises(InputError, match=r"without tree, block, ring or torus3d|no three sizes"):
        imported(text, gpu="h200-sxm")


def test_one_nodes_file_stands_for_all_hosts() -> None:
    found = imported(TREE, matrix("NV18", 8, 8), gpu="h200-sxm")
    assert (found.nodes, found.gpus, found.nics) == (8, 64, 64)
    assert "8 others are taken to be built alike" in told(found, "guessed")


def test_files_of_some_hosts_stand_for_the_others() -> None:
    found = imported(TREE, ("n01.txt", matrix("NV18", 8, 8)), ("n02.txt", matrix("NV18", 8, 8)), gpu="h200-sxm")
    assert (found.nodes, found.gpus) == (8, 64)


def test_a_nodes_file_does_not_stand_for_hosts_of_another_kind() -> None:
    other = {"nvidia.com/gpu.product": "NVIDIA-L40S", "nvidia.com/gpu.memory": "46068"}
    found = cluster(nodes(node("a"), node("b"), node("c", other)), ("a.txt", matrix("NV18", 8, 8)))
    by_host = {e.name: found.templates[e.template] for e in found.nodes}
    assert by_host["a,b" if "a,b" in by_host else "a"].nics is not None
    assert by_host["c"].gpu == "l40s"
    assert by_host["c"].nvswitch is None


def test_a_nodes_file_named_after_its_host_keeps_its_fault_there() -> None:
    found = cluster(TREE, ("n03.txt", off_nvlink(matrix("NV18", 8, 8), 4)), gpu="h200-sxm")
    (override,) = found.overrides
    assert (override.match.node, override.match.gpu) == ("n03", 4)
    assert len([name for hosts in all_hosts(found.nodes) for name in hosts]) == 8


def test_a_broken_nodes_file_without_a_host_is_told_and_not_spread() -> None:
    found = imported(TREE, off_nvlink(matrix("NV18", 8, 8), 4), gpu="h200-sxm")
    assert found.cluster is not None
    assert found.cluster.overrides == ()
    assert "name the file after its host" in told(found, "missing")


@pytest.mark.parametrize(
    ("leaf", "pod"),
    [
        ("fabric.topograph.run/tier-0", "fabric.topograph.run/tier-1"),
        ("network.topology.nvidia.com/tier-0", "network.topology.nvidia.com/tier-1"),
        ("network.topology.nvidia.com/block", "network.topology.nvidia.com/spine"),
        ("cloud.google.com/gce-topology-subblock", "cloud.google.com/gce-topology-block"),
        ("topology.k8s.aws/network-node-layer-3", "topology.k8s.aws/network-node-layer-2"),
        ("oci.oraclecloud.com/host.rack_id", "oci.oraclecloud.com/host.network_block_id"),
    ],
)
def test_every_label_scheme_gives_leaves(leaf: str, pod: str) -> None:
    found = cluster(nodes(*(node(f"n{i}", {leaf: f"l{i // 2}", pod: f"p{i // 4}"}) for i in range(8))))
    assert [e.leaf for e in found.nodes] == ["l0", "l1", "l2", "l3"]
    assert isinstance(found.fabric, FatTree)
    assert found.fabric.leaves_per_pod == 2
    assert list(found.gpus) == ["h100-sxm"]


def test_node_states_become_overrides() -> None:
    text = nodes(
        node("a", unschedulable=True),
        node("b", ready=False),
        node("c", taints=[{"key": "example.com/gpu-unhealthy", "effect": "NoSchedule"}]),
        node("d", taints=[{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]),
        node("e", usable=7),
    )
    found = imported(text)
    assert found.cluster is not None
    states = {(o.match.node, o.match.gpu): o.state for o in found.cluster.overrides}
    assert states == {("a", None): "cordoned", ("b", None): "down", ("c", None): "cordoned", ("e", 7): "lost"}
    assert "e: 7 of 8 GPUs can be allocated" in told(found, "broken")


def test_cliques_of_rack_scale_gpus_are_nvlink_domains() -> None:
    gb = {"nvidia.com/gpu.product": "NVIDIA-GB200", "nvidia.com/gpu.count": "4", "nvidia.com/gpu.memory": "189471"}
    items = [node(f"t{i}", gb | {"nvidia.com/gpu.clique": f"aaaa.{i // 3}"}, gpus=4, usable=4) for i in range(6)]
    (only,) = cluster(nodes(*items)).templates.values()
    assert only.nvswitch is not None
    assert only.nvswitch.nodes == 3


def test_a_kueue_topology_names_the_labels_to_use() -> None:
    levels = "".join(f"  - nodeLabel: {label}\n" for label in ("dc/row", "dc/rack", "kubernetes.io/hostname"))
    kueue = f"apiVersion: kueue.x-k8s.io/v1beta1\nkind: Topology\nspec:\n  levels:\n{levels}"
    found = cluster(kueue, nodes(*(node(f"n{i}", {"dc/row": "r", "dc/rack": f"k{i // 2}"}) for i in range(4))))
    assert [e.leaf for e in found.nodes] == ["k0", "k1"]
    with pytest.raises(InputError, match="add a file with nodes"):
        imported(kueue)


def test_slices_are_whole_gpus_and_hand_made_labels_are_read() -> None:
    bare = json.dumps(
        {
            "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB-MIG-3g.40gb",
            "nvidia.com/gpu.count": "8",
            "nvidia.com/gpu.memory": "40192",
        }
    )
    found = imported(bare)
    assert found.cluster is not None
    assert list(found.cluster.gpus) == ["a100-80-sxm"]
    assert "names a slice" in told(found, "guessed")
    hand = json.dumps(
        {"nvidia.com/gpu.product": "H100-SXM5", "nvidia.com/gpu.count": "8", "nvidia.com/gpu.memory": "80GB"}
    )
    assert list(cluster(hand).gpus) == ["h100-sxm"]


def test_nodes_without_gpus_are_left_out() -> None:
    plain = {"kind": "Node", "metadata": {"name": "control", "labels": {}}, "spec": {}, "status": {}}
    found = imported(nodes(node("a"), plain))
    assert found.nodes == 1
    assert "control" in told(found, "read")


def test_aws_instances_have_leaf_and_machine() -> None:
    items = [
        {
            "InstanceId": f"i-{i}",
            "InstanceType": "p5en.48xlarge",
            "NetworkNodes": ["nn-0", "nn-1", f"nn-2{i // 2}"],
            "CapacityBlockId": "null",
        }
        for i in range(4)
    ]
    items.append({"InstanceId": "i-t", "InstanceType": "trn2.48xlarge", "NetworkNodes": ["nn-0"]})
    found = imported(json.dumps({"Instances": items}))
    assert (found.nodes, found.gpus, found.nics) == (4, 32, 64)
    assert found.cluster is not None
    (only,) = found.cluster.templates.values()
    assert only.nics is not None
    assert (only.gpu, only.nics.transport) == ("h200-sxm", "efa")
    assert "trn2" in told(found, "read")


def test_infiniband_rails_are_a_rail_clos() -> None:
    found = cluster(ibnet({0: 4, 1: 4}), gpu="gb200")
    assert isinstance(found.fabric, RailClos)
    assert (found.fabric.nodes_per_leaf, found.fabric.oversubscription) == (4, 1.0)
    (only,) = found.templates.values()
    assert only.nics is not None
    assert (only.nics.count, only.nics.bandwidth) == (2, parse_bytes_per_s("400 Gb/s"))


def test_a_leaf_with_missing_uplinks_is_told_and_overridden() -> None:
    found = imported(ibnet({0: 4, 1: 3}), gpu="h100-sxm")
    assert "leaf leaf-1: 3 of 4 uplinks" in told(found, "broken")
    assert found.cluster is not None
    (override,) = found.cluster.overrides
    assert (override.match.leaf, override.uplinks) == ("unit-1/rail1", "3/4")


def test_leaves_with_half_the_uplinks_are_oversubscribed() -> None:
    found = cluster(ibnet({0: 2, 1: 2}), gpu="h100-sxm")
    assert isinstance(found.fabric, RailClos)
    assert found.fabric.oversubscription == 2.0


def test_one_adapter_per_host_is_a_fat_tree() -> None:
    found = cluster(ibnet({0: 4}, rails=1), gpu="h100-sxm")
    assert isinstance(found.fabric, FatTree)
    assert found.nodes[0].leaf == "leaf-0"


def test_generic_adapter_names_prove_nothing() -> None:
    with pytest.raises(InputError, match="generic"):
        imported(ibnet({0: 2, 1: 2}, names="MT4129 ConnectX7 Mellanox Technologies"), gpu="h100-sxm")


def test_an_adapter_that_the_node_has_and_the_fabric_lacks_is_down() -> None:
    text = ibnet({0: 4, 1: 4}).replace('[2]\t"H-00000000000001b1"', '#[2]\t"H-00000000000001b1"')
    legend = "\nNIC Legend:\n  NIC0: mlx5_0\n  NIC1: mlx5_1\n"
    found = imported(text, matrix("NV18", 2, 2) + legend, gpu="h100-sxm")
    assert found.cluster is not None
    down = [(o.match.node, o.match.nic, o.state) for o in found.cluster.overrides]
    assert down == [("h1", "mlx5_1", "down")]


def test_a_fabric_file_without_a_switch_says_that_it_breaks_off() -> None:
    with pytest.raises(InputError, match="breaks off"):
        imported('vendid=0x2c9\nCa\t1 "H-b8e92403009ca838"\t\t# "host HCA-1"\n')


def test_the_imported_leaf_override_fits_the_graph() -> None:
    from optimizer.topology.graph import build

    found = cluster(ibnet({0: 4, 1: 3}), gpu="h100-sxm")
    assert len(build(found).gpus) == 32
