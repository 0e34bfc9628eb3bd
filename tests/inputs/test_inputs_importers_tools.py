"""What running clusters print: scontrol and amd-smi."""

import re

import pytest
from importing import cluster, imported, template, told
from operator_files import SHOWN_TREE, amd, amd_json, shown_node

from optimizer.errors import InputError
from optimizer.inputs.hostlist import all_hosts


def test_a_shown_tree_places_nodes_on_their_leaves_alone() -> None:
    found = imported(SHOWN_TREE, gpu="h100-sxm")
    assert found.cluster is not None
    assert [(entry.name, entry.leaf) for entry in found.cluster.nodes] == [
        ("gpu[01-02]", "leaf1"),
        ("gpu[03-04]", "leaf2"),
    ]
    assert "two leaves" not in told(found, "broken")


def test_shown_blocks_are_nvlink_domains_of_rack_scale_gpus() -> None:
    text = "BlockName=b1 BlockIndex=0 Nodes=t[01-18]\nBlockName=b2 BlockIndex=1 Nodes=t[19-36]\n"
    shown, written = cluster(text, gpu="gb200"), cluster(re.sub(r"BlockIndex=\d ", "", text), gpu="gb200")
    assert (shown.nodes, shown.templates) == (written.nodes, written.templates)
    assert [entry.leaf for entry in shown.nodes] == ["b1", "b2"]


def test_shown_nodes_have_their_gpus_and_states() -> None:
    states = {"a": "MIXED", "b": "IDLE+DRAIN", "c": "DOWN*", "d": "RESERVED", "e": "ALLOCATED*"}
    found = imported("".join(shown_node(name, state=state, reason="fan 3") for name, state in states.items()))
    assert found.cluster is not None
    assert {o.match.node: o.state for o in found.cluster.overrides} == {
        "b": "drained", "c": "down", "d": "cordoned", "e": "down",
    }  # fmt: skip
    assert {o.reason for o in found.cluster.overrides} == {"fan 3"}
    assert [spec.gpus for spec in found.cluster.templates.values()] == [8]


def test_nodes_on_one_line_each_are_read_alike() -> None:
    several = shown_node("a") + shown_node("b", state="DOWN", reason="no power")
    on_a_line = "\n".join(" ".join(record.split()) for record in several.split("\n\n"))
    assert cluster(on_a_line).overrides == cluster(several).overrides


@pytest.mark.parametrize(
    ("gres", "said"),
    [
        ("(null)", "without a node that has GPUs"),
        ("gpu:h100:4,gpu:l4:4", "without a node that has GPUs"),
        ("gpu:h100:4096", "without a node that has GPUs"),
    ],
)
def test_nodes_whose_gpus_are_not_known_are_refused(gres: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        imported(shown_node("a", gres=gres))


def test_a_tree_and_its_nodes_are_one_cluster() -> None:
    names = ["gpu01", "gpu02", "gpu03", "gpu04"]
    found = cluster(SHOWN_TREE, "".join(shown_node(name) for name in names))
    assert [name for hosts in all_hosts(found.nodes) for name in hosts] == names
    assert {entry.leaf for entry in found.nodes} == {"leaf1", "leaf2"}


def test_amd_smi_links_are_a_mesh() -> None:
    node = template(amd(8), gpu="mi300x")
    assert (node.gpus, node.mesh is not None, node.nics) == (8, True, None)
    assert cluster(amd(8), gpu="mi300x").nodes[0].gpu_ids[0] == "0000:0c:00.0"


def test_a_pair_without_xgmi_leaves_the_other_links() -> None:
    found = imported(amd(4, cut=(1, 3)), gpu="mi300x")
    assert "no xGMI between GPU1-GPU3" in told(found, "broken")


def test_amd_smi_json_says_what_its_tables_say() -> None:
    assert cluster(amd_json(8), gpu="mi300x") == cluster(amd(8), gpu="mi300x")
    found = imported(amd_json(4, cut=(1, 3)), gpu="mi300x")
    assert "no xGMI between GPU1-GPU3" in told(found, "broken")


def test_a_pair_that_is_not_wired_is_no_link() -> None:
    found = imported(amd(4, far=(0, 2)), gpu="mi250x")
    assert "GPU0-GPU2: xGMI through another GPU" in told(found, "read")
    assert found.cluster is not None
    (node,) = found.cluster.templates.values()
    assert len(node.bridges) == 5
