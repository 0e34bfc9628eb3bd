"""What ships: every GPU and every cluster reads, builds and answers; some of it against what its makers publish."""

from typing import Any

import pytest
import yaml

from optimizer.inputs.presets import load_cluster, load_gpu, names, preset_root
from optimizer.topology.bandwidth import wiring
from optimizer.topology.classes import node_classes
from optimizer.topology.graph import Topology, build


def preset(name: str) -> Topology:
    return build(load_cluster(name))


def test_enough_ships() -> None:
    assert len(names("gpus")) >= 24
    assert len(names("clusters")) >= 25


@pytest.mark.parametrize("name", names("gpus"))
def test_every_number_of_a_gpu_has_a_source(name: str) -> None:
    gpu = load_gpu(name)
    assert gpu.id == name
    numbers = ("memory", "memory_bandwidth", "peak", "pcie_bandwidth", "tdp")
    assert all(key in gpu.sources or "*" in gpu.sources for key in numbers)
    assert set(gpu.sources) <= {*type(gpu).model_fields, "*"}


@pytest.mark.parametrize("name", names("gpus"))
def test_links_of_a_gpu_agree_with_each_other(name: str) -> None:
    up = load_gpu(name).scale_up
    if up is not None and up.kind == "mesh":
        assert up.pair_bandwidth is not None
        assert up.bandwidth == pytest.approx(7 * up.pair_bandwidth), "one cable to each of seven peers"


@pytest.mark.parametrize("name", names("clusters"))
def test_every_cluster_builds_and_its_gpus_reach_each_other(name: str) -> None:
    found = preset(name)
    assert node_classes(found)
    on_one_node = found.node(found.nodes[0]).gpus
    group = wiring(found, [on_one_node]).group
    assert group.ranks == len(on_one_node)
    if found.cluster.fabric is not None or found.node(found.nodes[0]).nvlink_domain:
        first, last = found.node(found.nodes[0]), found.node(found.nodes[-1])
        assert wiring(found, [(first.gpus[0],), (last.gpus[0],)]).hops[0].bytes_per_s > 0


@pytest.mark.parametrize("name", names("clusters"))
def test_every_part_of_a_cluster_has_a_source(name: str) -> None:
    raw: dict[str, Any] = yaml.safe_load((preset_root() / "clusters" / f"{name}.yaml").read_text())
    said = {
        key for template in raw.get("templates", {}).values() for key in template if key in ("nics", "pcie", "mesh")
    }
    said |= {key for key in ("fabric", "prices") if key in raw}
    assert said <= set(raw["sources"])


@pytest.mark.parametrize(
    ("name", "gpus", "node_bytes_per_s"),
    [
        ("hgx-h200", 8, 400e9), ("hgx-h200-x2", 16, 400e9), ("dgx-h100-superpod-su", 256, 400e9),
        ("aws-p4d", 8, 50e9), ("aws-p5", 8, 400e9), ("aws-p5en", 8, 400e9), ("aws-p6-b300", 8, 800e9),
        ("gcp-a3-high", 8, 100e9), ("gcp-a3-mega", 8, 200e9), ("gb200-nvl72", 72, 200e9), ("mi300x-8", 8, 400e9),
    ],
)  # fmt: skip
def test_the_adapters_of_a_node_add_up(name: str, gpus: int, node_bytes_per_s: float) -> None:
    found = preset(name)
    assert len(found.gpus) == gpus
    node = found.node(found.nodes[0])
    assert sum(found.graph[nic][v]["bytes_per_s"] for nic in node.nics for v, arc in found.graph[nic].items()
               if arc["kind"] == "nic") == node_bytes_per_s  # fmt: skip


def test_a_rack_of_72_is_one_nvlink_domain() -> None:
    rack = preset("gb200-nvl72")
    seats = tuple(gpu.id for gpu in rack.gpus)
    assert wiring(rack, [seats]).group.inner == "nvswitch"
    assert wiring(rack, [seats]).group.inner_bytes_per_s == 900e9


def test_the_superpod_unit_is_not_oversubscribed() -> None:
    unit = preset("dgx-h100-superpod-su")
    assert unit.graph["su1/rail0"]["spine"]["bytes_per_s"] == 32 * 50e9, "32 ports of 400 Gb/s up, as many as down"


def test_the_cube_mesh_gives_each_gpu_six_links() -> None:
    box = preset("dgx-1-v100")
    totals = {gpu.id: sum(arc["bytes_per_s"] for arc in box.graph[gpu.id].values() if arc["kind"] == "bridge")
              for gpu in box.gpus}  # fmt: skip
    assert set(totals.values()) == {150e9}
    assert wiring(box, [tuple(totals)]).group.inner_bytes_per_s == 150e9
