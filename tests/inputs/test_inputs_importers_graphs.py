"""Users' own graphs and simulators' files."""

import json

import networkx as nx
import pytest
from importing import cluster, imported, template, told
from operator_files import node_link, rails, simai

from optimizer.errors import InputError
from optimizer.inputs.cluster import FatTree, OneSwitch, RailClos
from optimizer.units import parse_bytes_per_s


@pytest.mark.parametrize("edges", ["links", "edges"])
def test_node_link_json_gives_hosts_switches_and_rails(edges: str) -> None:
    found = cluster(node_link(rails(), edges))
    (node,) = found.templates.values()
    assert (node.gpu, node.gpus) == ("h100-sxm", 4)
    assert node.nvswitch is not None
    assert node.nvswitch.bandwidth == parse_bytes_per_s("450 GB/s")
    assert node.nics is not None
    assert (node.nics.count, node.nics.bandwidth) == (4, parse_bytes_per_s("400 Gb/s"))
    assert isinstance(found.fabric, RailClos)
    assert found.fabric.oversubscription == 2.0
    assert [e.gpu_ids[0] for e in found.nodes] == ["GPU-0-0", "GPU-1-0"]


def test_the_two_arcs_of_a_cable_are_one_cable() -> None:
    found = cluster(node_link(nx.DiGraph(rails())))
    assert isinstance(found.fabric, RailClos)
    assert found.fabric.oversubscription == 2.0


def test_parallel_cables_add_up() -> None:
    graph: nx.MultiGraph[str] = nx.MultiGraph()
    graph.add_nodes_from(["a/gpu0", "a/gpu1"], kind="gpu", gpu="a100-80-pcie")
    for _ in range(4):
        graph.add_edge("a/gpu0", "a/gpu1", bandwidth="25 GB/s")
    (bridge,) = template(node_link(graph)).bridges
    assert bridge.bandwidth == parse_bytes_per_s("100 GB/s")


def test_graphml_is_read_as_node_link_is() -> None:
    text = "\n".join(nx.generate_graphml(rails()))
    other = node_link(rails())
    assert template(text).model_copy(update={"source": None}) == template(other).model_copy(update={"source": None})
    assert cluster(text).fabric == cluster(other).fabric


def test_a_gpu_without_the_switch_of_its_peers_is_off_nvlink() -> None:
    graph = rails(hosts=1)
    graph.remove_edge("h0/gpu2", "h0/nvswitch")
    found = imported(node_link(graph))
    assert "GPU2 is off NVLink" in told(found, "broken")


def test_kinds_from_names_are_a_guess_that_is_told() -> None:
    graph = rails()
    for _, attributes in graph.nodes(data=True):
        attributes.pop("kind", None)
    assert "from their names" in told(imported(node_link(graph)), "guessed")


def test_hosts_without_a_name_are_what_is_wired_together() -> None:
    graph: nx.Graph[str] = nx.Graph()
    for i in range(4):
        graph.add_edge(f"gpu{i}", f"nvswitch{i // 2}", bandwidth="450 GB/s")
    assert imported(node_link(graph), gpu="h100-sxm").nodes == 2


def test_a_rate_of_both_directions_is_told_and_not_used() -> None:
    graph = rails(hosts=1)
    for i in range(4):
        graph.edges[f"h0/gpu{i}", "h0/nvswitch"]["bandwidth"] = "900 GB/s"
    found = imported(node_link(graph))
    assert "both directions?" in told(found, "broken")
    assert found.cluster is not None
    (node,) = found.cluster.templates.values()
    assert node.nvswitch is not None
    assert node.nvswitch.bandwidth is None


def test_a_graph_without_a_gpu_says_so() -> None:
    with pytest.raises(InputError, match="no node is a GPU"):
        imported(json.dumps({"nodes": [{"id": "x", "kind": "leaf"}], "links": []}))
    with pytest.raises(InputError, match="without `id`"):
        imported(json.dumps({"nodes": [{"name": "x"}], "links": []}))


def test_astra_sim_dimensions_are_nodes_and_fabric() -> None:
    text = "topology: [ Switch, Ring ]\nnpus_count: [ 8, 4 ]\nbandwidth: [ 400.0, 50.0 ] # GB/s\n"
    text += "latency: [ 900, 5000.0 ] # ns\n"
    found = cluster(text, gpu="h100-sxm")
    (node,) = found.templates.values()
    assert node.nvswitch is not None
    assert node.nvswitch.bandwidth == parse_bytes_per_s("400 GB/s")
    assert node.nics is not None
    assert (node.nics.count, node.nics.bandwidth) == (8, parse_bytes_per_s("50 GB/s"))
    assert isinstance(found.fabric, OneSwitch)
    assert found.fabric.latency == 5e-6
    assert sum(e.name is not None for e in found.nodes) == 1


def test_a_fully_connected_dimension_is_a_mesh() -> None:
    text = "topology: [FullyConnected]\nnpus_count: [8]\nbandwidth: [448]\nlatency: [700]\n"
    node = template(text, gpu="mi300x")
    assert node.mesh is not None
    assert node.mesh.pair_bandwidth == parse_bytes_per_s("64 GB/s")


def test_astra_sim_lists_of_unequal_length_are_refused() -> None:
    with pytest.raises(InputError, match="one length"):
        imported("topology: [Switch]\nnpus_count: [8, 2]\nbandwidth: [400]\n", gpu="h100-sxm")


def test_simai_cables_are_hosts_and_rails() -> None:
    found = cluster(simai(), gpu="h100-sxm")
    (node,) = found.templates.values()
    assert node.nvswitch is not None
    assert node.nvswitch.bandwidth == parse_bytes_per_s("360 GB/s")
    assert node.nics is not None
    assert node.nics.bandwidth == parse_bytes_per_s("200 Gb/s")
    assert isinstance(found.fabric, RailClos)
    assert found.fabric.oversubscription == 1.0
    assert len(found.nodes) == 1


def test_simai_says_when_cables_are_missing() -> None:
    cut = simai().rsplit("\n", 2)[0] + "\n"
    assert "announces 10 cables, 9 are there" in told(imported(cut, gpu="h100-sxm"), "broken")


def test_leaves_of_racks_are_a_fat_tree() -> None:
    graph: nx.Graph[str] = nx.Graph()
    for h in range(4):
        graph.add_node(f"h{h}/gpu0", kind="gpu", gpu="l40s")
        graph.add_edge(f"h{h}/gpu0", f"h{h}/nic0", bandwidth="31 GB/s")
        graph.add_edge(f"h{h}/nic0", f"leaf{h // 2}", bandwidth="200 Gb/s")
    graph.add_edge("leaf0", "spine", bandwidth="400 Gb/s")
    graph.add_edge("leaf1", "spine", bandwidth="400 Gb/s")
    fabric = cluster(node_link(graph)).fabric
    assert isinstance(fabric, FatTree)
    assert (fabric.nodes_per_leaf, fabric.oversubscription) == (2, 1.0)
