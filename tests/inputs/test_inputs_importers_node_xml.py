"""One node's inside by NCCL, RCCL, rocm-smi and hwloc."""

import pytest
from importing import cluster, imported, template, told
from operator_files import GRAPH, bridge, gpu_xml, hgx, hwloc, matrix, rocm, switched, system

from optimizer.errors import InputError
from optimizer.units import parse_bytes_per_s


def test_a_dump_gives_gpus_nics_links_and_type() -> None:
    found = cluster(hgx())
    (node,) = found.templates.values()
    assert (node.gpu, node.gpus) == ("h100-sxm", 8)
    assert node.nvswitch is not None
    assert node.nics is not None
    assert (node.nics.count, node.nics.bandwidth) == (8, parse_bytes_per_s("400 Gb/s"))
    assert node.nics.names[:2] == ("mlx5_0", "mlx5_1")
    assert found.nodes[0].gpu_ids[0] == "0000:10:00.0"
    assert found.overrides == ()


def test_links_to_four_switches_add_up() -> None:
    four = "".join(
        f'<nvlink target="0000:{i}0:00.0" count="{n}" tclass="0x068000"/>' for i, n in enumerate((5, 4, 4, 5), 2)
    )
    node = template(hgx(dict.fromkeys(range(8), four)))
    assert node.nvswitch is not None
    assert node.nvswitch.bandwidth is None


def test_a_gpu_without_its_nvlink_child_is_off_nvlink() -> None:
    found = imported(hgx({5: ""}))
    assert "GPU5 is off NVLink" in told(found, "broken")
    assert found.cluster is not None
    (override,) = found.cluster.overrides
    assert (override.match.gpu, override.match.link, override.state) == ("0000:15:00.0", "nvlink", "down")
    (node,) = found.cluster.templates.values()
    assert node.pcie is not None
    assert (node.pcie.sockets, node.pcie.socket_bandwidth) == (2, parse_bytes_per_s("22 GB/s"))


def test_some_missing_links_are_a_share() -> None:
    (override,) = cluster(hgx({1: switched(12)})).overrides
    assert override.links_active == "12/18"


def test_a_slow_nic_and_a_narrow_gpu_are_overrides() -> None:
    found = imported(hgx(nics={3: 200000}, width={6: 8}))
    assert found.cluster is not None
    by_nic = {o.match.nic: o.bandwidth for o in found.cluster.overrides if o.match.nic}
    assert by_nic == {"mlx5_3": parse_bytes_per_s("200 Gb/s")}
    assert "GPU6 (0000:16:00.0): PCIe runs at 50%" in told(found, "broken")


def test_nvlinks_between_gpus_are_bridges() -> None:
    pairs = {
        0: '<nvlink target="0000:11:00.0" count="12" tclass="0x030200"/>',
        1: '<nvlink target="0000:10:00.0" count="12" tclass="0x030200"/>',
    }
    text = system("".join(gpu_xml(i, pairs.get(i, ""), device="0x20b5") for i in range(4)))
    (bridged,) = template(text).bridges
    assert bridged.gpus == (0, 1)
    assert bridged.bandwidth == parse_bytes_per_s("300 GB/s")


def test_a_link_to_itself_is_told_and_not_used() -> None:
    loop = '<nvlink target="0000:10:00.0" count="12" tclass="0x030200"/>'
    found = imported(system(gpu_xml(0, loop, device="0x20b5") + gpu_xml(1, "", device="0x20b5")))
    assert "to itself" in told(found, "broken")


def test_virtual_bridges_are_not_believed() -> None:
    text = system(bridge(200, gpu_xml(0, switched()), "2.5 GT/s PCIe", 1) + gpu_xml(1, switched(), width=0))
    found = imported(text)
    assert "cannot be real" in told(found, "broken")
    assert found.cluster is not None
    assert found.cluster.overrides == ()


def test_a_providers_file_has_only_pcie_and_says_so() -> None:
    def pair(i: int) -> str:
        gpu = f'<pci busid="0000:{i:02x}:1c.0" class="0x030200" vendor="0x10de" device="0x20b0" link_speed="8 GT/s"/>'
        return gpu + f'<pci busid="0000:{i:02x}:1b.0" class="0x020000" vendor="0x1d0f" device="0xefa0"/>'

    leaves = "".join(bridge(i + 32, pair(i)) for i in range(1, 5))
    found = imported("<!-- for p4d.24xlarge -->" + system(leaves))
    assert found.cluster is not None
    (node,) = found.cluster.templates.values()
    assert "provider's file" in told(found, "missing")
    assert "nvswitch as a100-40-sxm boards have" in told(found, "guessed")
    assert node.nics is not None
    assert (node.nics.transport, node.nics.bandwidth) == ("efa", parse_bytes_per_s("100 Gb/s"))


def test_two_ports_of_one_card_are_one_nic() -> None:
    nets = '<net name="mlx5_0" dev="0" speed="200000"/><net name="mlx5_1" dev="1" speed="200000"/>'
    card = f'<pci busid="0000:40:00.0" class="0x020700"><nic>{nets}</nic></pci>'
    node = template(system(gpu_xml(0, switched()) + card))
    assert node.nics is not None
    assert (node.nics.count, node.nics.bandwidth) == (1, parse_bytes_per_s("400 Gb/s"))


def test_several_hosts_of_one_dump_are_several_nodes() -> None:
    def host(name: str) -> str:
        return f'<cpu numaid="0" host_hash="{name}">{gpu_xml(0, switched())}{gpu_xml(1, switched())}</cpu>'

    found = imported(f'<system version="1">{host("0xa")}{host("0xb")}</system>')
    assert (found.nodes, found.gpus) == (2, 4)


def test_a_dump_that_breaks_off_is_read_up_to_there() -> None:
    whole = hgx()
    found = imported(whole[: whole.index("mlx5_2")])
    assert "breaks off" in told(found, "broken")
    assert found.gpus == 3


def test_xgmi_links_are_a_mesh() -> None:
    def gpu(i: int) -> str:
        links = "".join(
            f'<xgmi target="0000:{j + 16:02x}:00.0" count="1" tclass="0x120000"/>' for j in range(4) if j != i
        )
        head = f'<pci busid="0000:{i + 16:02x}:00.0" class="0x120000" vendor="0x1002" device="0x74a1">'
        return f'{head}<gpu dev="{i}" gcn="gfx942">{links}</gpu></pci>'

    node = template(f'<system version="2"><cpu numaid="0">{"".join(map(gpu, range(4)))}</cpu></system>')
    assert node.gpu == "mi300x"
    assert node.mesh is not None


def test_a_graph_gives_what_nccl_plans() -> None:
    found = imported(GRAPH.format(n=2, speed=12, kind="PHB"), gpu="l40s")
    assert "24 GB/s per GPU as NCCL plans it" in told(found, "read")
    assert found.cluster is not None
    (node,) = found.cluster.templates.values()
    assert node.pcie is not None
    assert node.pcie.bandwidth == parse_bytes_per_s("24 GB/s")


def test_a_graph_over_nvlink_is_a_switch_of_the_catalogues_rate() -> None:
    node = template(GRAPH.format(n=16, speed=20, kind="NVL"), gpu="h100-sxm")
    assert node.nvswitch is not None
    assert node.nvswitch.bandwidth is None


def test_the_dump_and_the_matrix_make_one_node_with_the_dumps_rates() -> None:
    text = matrix("NV18", 8, 8) + "\nNIC Legend:\n" + "\n".join(f"  NIC{i}: mlx5_{i}" for i in range(8))
    found = cluster(hgx(nics={2: 200000}), text)
    assert len(found.nodes) == 1
    assert [o.match.nic for o in found.overrides] == ["mlx5_2"]


def test_entities_are_refused() -> None:
    bomb = '<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><system>&b;<cpu id="0"/></system>'
    with pytest.raises(InputError, match="entities"):
        imported(bomb)
    with pytest.raises(InputError, match="document type"):
        imported('<!DOCTYPE system [ <!ELEMENT cpu ANY> ]><system version="1"><cpu numaid="0"/></system>')


def test_rocm_links_are_a_mesh() -> None:
    node = template(rocm(8), gpu="mi300x")
    assert (node.gpus, node.mesh is not None, node.nics) == (8, True, None)


def test_a_broken_xgmi_pair_leaves_the_other_links() -> None:
    found = imported(rocm(4, (1, 3)), gpu="mi300x")
    assert "no xGMI between GPU1-GPU3" in told(found, "broken")
    assert found.cluster is not None
    (node,) = found.cluster.templates.values()
    assert len(node.bridges) == 5


def test_hwloc_gives_host_gpus_and_rdma_devices() -> None:
    found = imported(hwloc())
    assert found.cluster is not None
    (node,) = found.cluster.templates.values()
    assert found.cluster.nodes[0].name == "box7"
    assert found.cluster.nodes[0].gpu_ids[3] == "GPU-aa-3"
    assert (node.gpu, node.gpus) == ("h100-sxm", 4)
    assert node.nics is not None
    assert node.nics.names == ("mlx5_0", "mlx5_1", "mlx5_2", "mlx5_3")
    assert "NVLinkBandwidth" in told(found, "missing")


def test_hwlocs_nvlink_matrix_shows_who_is_on_the_switch() -> None:
    rows = [
        [0, 0, 0, 0, 478125],
        [0, 0, 0, 0, 478125],
        [0, 0, 0, 0, 478125],
        [0, 0, 0, 0, 0],
        [478125, 478125, 478125, 0, 0],
    ]
    values = " ".join(str(cell) for row in rows for cell in row)
    text = hwloc(
        '<distances2hetero nbobjs="5" kind="25" name="NVLinkBandwidth">'
        '<indexes length="40">OS:40 OS:41 OS:42 OS:43 OS:90 </indexes>'
        f'<u64values length="90">{values} </u64values></distances2hetero>'
    )
    found = imported(text)
    assert found.cluster is not None
    (node,) = found.cluster.templates.values()
    assert node.nvswitch is not None
    assert [o.match.gpu for o in found.cluster.overrides] == ["GPU-aa-3"]
