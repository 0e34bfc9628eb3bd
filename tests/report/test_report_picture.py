"""Pictures and trees of clusters: everything that is there, everything that is broken, everyone who sits there."""

import xml.etree.ElementTree as ET

import handmade
import pytest
from rich.console import Console

from optimizer.errors import InputError
from optimizer.inputs.cluster import ClusterSpec
from optimizer.plan import Plan
from optimizer.report.loads import tips
from optimizer.report.picture import svg
from optimizer.report.scene import Scene, alike, faults, scene
from optimizer.report.tree import tree
from optimizer.topology.graph import build

FAULTS = [
    {"match": {"node": "node01", "gpu": 1, "link": "nvlink"}, "links_active": "12/18"},
    {"match": {"node": "node01", "gpu": 2, "link": "nvlink"}, "state": "down"},
    {"match": {"node": "node02", "gpu": 5}, "state": "lost", "reason": "Xid 79 <&>"},
    {"match": {"node": "node02", "gpu": 0}, "speed_factor": 0.8},
    {"match": {"node": "node01", "nic": 3}, "state": "down"},
    {"match": {"leaf": "su1/rail6"}, "uplinks": "14/18"},
]


def shown(cluster: ClusterSpec, plan: Plan | None = None) -> Scene:
    return scene(build(cluster), plan)


def words(picture: str) -> str:
    """Return all text of a picture; it must be well-formed XML."""
    return " ".join(text.strip() for text in ET.fromstring(picture).itertext() if text.strip())


def printed(what: Scene) -> str:
    console = Console(width=80, record=True, force_terminal=False, color_system=None)
    with console.capture() as captured:
        console.print(tree(what))
    return captured.get()


def test_every_gpu_nic_and_leaf_is_in_the_picture() -> None:
    told = words(svg(shown(handmade.cluster())))
    for part in ("node01", "node02", "NVSwitch, 450 GB/s a GPU", "nic7", "su1/rail0", "spine", "16 x h200-sxm"):
        assert part in told


def test_a_plan_puts_replica_rank_and_stage_on_its_gpus() -> None:
    plan = handmade.plan()
    told = words(svg(shown(handmade.cluster(), plan), tips(shown(handmade.cluster(), plan), plan)))
    for part in ("R3 rank 3", "4 x tp4 bf16 on h200-sxm", "replica 3, rank 3, stage 0", "all-reduce over NVSwitch"):
        assert part in told


def test_faults_are_marked_where_they_are_and_told_in_words() -> None:
    told = words(svg(shown(handmade.cluster(overrides=FAULTS))))
    for part in ("300 GB/s", "down", "lost", "80%", "node02 GPU 5: lost (Xid 79 <&>)", "leaf su1/rail6: 14/18 uplinks"):
        assert part in told


@pytest.mark.parametrize(("nodes", "marks"), [(4, 32), (32, 256), (33, 8), (2048, 8)])
def test_beyond_32_nodes_equal_nodes_are_drawn_once(nodes: int, marks: int) -> None:
    many = handmade.cluster(nodes=[{"count": nodes, "template": "hgx-h200"}])
    assert svg(shown(many)).count("data-tip=") == marks
    assert len(printed(shown(many)).splitlines()) < 20


def test_a_large_cluster_counts_equal_nodes_and_shows_each_odd_one() -> None:
    odd = [{"match": {"node": "node7", "gpu": 0}, "state": "lost"}]
    large = shown(handmade.cluster(nodes=[{"count": 100, "template": "hgx-h200"}], overrides=odd))
    assert sorted(len(kind.nodes) for kind in alike(large, by_replica=False)) == [1, 99]
    assert "99 x hgx-h200" in words(svg(large))
    assert "99 x hgx-h200" in printed(large)


def test_an_inline_picture_leaves_style_and_size_to_its_page() -> None:
    alone, inline = (svg(shown(handmade.cluster()), inline=inside) for inside in (False, True))
    assert "<style>" in alone
    assert "<style>" not in inline
    assert "http" not in alone.replace("http://www.w3.org/2000/svg", "")


def test_direct_cables_pcie_switches_and_sockets_are_drawn() -> None:
    node = {
        "gpu": "h200-sxm", "gpus": 4, "bridges": [{"gpus": [0, 1], "bandwidth": "300 GB/s"}],
        "pcie": {"gpus_per_switch": 2, "sockets": 2, "socket_bandwidth": "20 GB/s"},
        "nics": {"count": 8, "bandwidth": "100 Gb/s"},
    }  # fmt: skip
    box = shown(
        handmade.cluster(nodes=[{"name": "a", "template": "hgx-h200"}], templates={"hgx-h200": node}, fabric=None)
    )
    told = words(svg(box))
    for part in ("PCIe switch 1", "CPU 1, 20 GB/s across", "nic0 to 1", "2 x 12.5 GB/s", "direct cables 300 GB/s"):
        assert part in told
    assert "direct cables 300 GB/s, 0-1" in printed(box)


def test_the_tree_tells_who_sits_where_and_what_is_broken() -> None:
    told = printed(shown(handmade.cluster(), handmade.plan()))
    assert "0-3 R0.0-3  4-7 R1.0-3" in told
    told = printed(shown(handmade.cluster(overrides=FAULTS)))
    for part in (
        "1 NVLink 300 GB/s",
        "off the NVSwitch: 2",
        "5 lost",
        "0 80% speed",
        "nic3 down",
        "less than comes in",
    ):
        assert part in told


def test_a_plan_for_another_cluster_is_refused() -> None:
    with pytest.raises(InputError, match="two-hgx-h200"):
        shown(handmade.cluster(nodes=[{"name": "x", "template": "hgx-h200"}]), handmade.plan())


def test_every_override_has_words() -> None:
    assert list(faults(shown(handmade.cluster(overrides=FAULTS))))[3] == "node02 GPU 0: at 80% of its speed"
