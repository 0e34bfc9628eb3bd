"""One node's inside by NCCL, RCCL, rocm-smi and hwloc."""

import pytest
from importing import cluster, imported, matrix, template, told

from optimizer.errors import InputError
from optimizer.units import parse_bytes_per_s


def gpu_xml(dev: int, links: str, device: str = "0x2330", speed: str = "32.0 GT/s PCIe", width: int = 16) -> str:
    return (
        f'<pci busid="0000:{dev + 16:02x}:00.0" class="0x030200" vendor="0x10de" device="{device}" '
        f'link_speed="{speed}" link_width="{width}"><gpu dev="{dev}" sm="90" rank="{dev}" gdr="1">{links}</gpu></pci>'
    )


def nic_xml(dev: int, speed: int = 400000) -> str:
    net = f'<net name="mlx5_{dev}" dev="{dev}" speed="{speed}" port="1"/>'
    return (
        f'<pci busid="0000:{dev + 64:02x}:00.0" class="0x020700" link_speed="32.0 GT/s PCIe" link_width="16">'
        f"<nic>{net}</nic></pci>"
    )


def switched(count: int = 18) -> str:
    return f'<nvlink target="fffffff:ff:ff.0" count="{count}" tclass="0x068000"/>'


def bridge(number: int, inside: str, speed: str = "32.0 GT/s PCIe", width: int = 16) -> str:
    head = f'<pci busid="0000:{number:02x}:00.0" class="0x060400" link_speed="{speed}" link_width="{width}">'
    return f"{head}{inside}</pci>"


def system(*sockets: str, cpu: str = 'arch="x86_64" vendor="GenuineIntel" familyid="6" modelid="143"') -> str:
    cpus = "".join(f'<cpu numaid="{i}" {cpu}>{inside}</cpu>' for i, inside in enumerate(sockets))
    return f'<system version="1">{cpus}</system>'


def hgx(links: "dict[int, str] | None" = None, nics: "dict[int, int] | None" = None, width: "dict[int, int] | None" = None) -> str:
    def pair(i: int) -> str:
        gpu = gpu_xml(i, (links or {}).get(i, switched()), width=(width or {}).get(i, 16))
        return bridge(i + 128, gpu + nic_xml(i, (nics or {}).get(i, 400000)))

    return system("".join(map(pair, range(4))), "".join(map(pair, range(4, 8))))


def test_a_dump_gives_gpus_nics_links_and_type():
    found = cluster(hgx())
    (node,) = found.templates.values()
    assert (node.gpu, node.gpus) == ("h100-sxm", 8)
    assert node.nvswitch is not None
    assert node.nics is not None
    assert (node.nics.count, node.nics.bandwidth) == (8, parse_bytes_per_s("400 Gb/s"))
    assert node.nics.names[:2] == ("mlx5_0", "mlx5_1")
    assert found.nodes[0].gpu_ids[0] == "0000:10:00.0"
    assert found.overrides == ()


def test_links_to_four_switches_add_up():
    four = "".join(
        f'<nvlink target="0000:{i}0:00.0" count="{n}" tclass="0x068000"/>' for i, n in enumerate((5, 4, 4, 5), 2)
    )
    node = template(hgx(dict.fromkeys(range(8), four)))
    assert node.nvswitch is not None
    assert node.nvswitch.bandwidth is None


def test_a_gpu_without_its_nvlink_child_is_off_nvlink():
    found = imported(hgx({5: ""}))
    assert "GPU5 is off NVLink" in told(found, "broken")
    assert found.cluster is not None
    (override,) = found.cluster.overrides
    assert (override.match.gpu, override.match.link, override.state) == ("0000:15:00.0", "nvlink", "down")
    (node,) = found.cluster.templates.values()
    assert node.pcie is not None
    assert (node.pcie.sockets, node.pcie.socket_bandwidth) == (2, parse_bytes_per_s("22 GB/s"))


def test_some_missing_links_are_a_share():
    (override,) = cluster(hgx({1: switched(12)})).overrides
    assert override.links_active == "12/18"


def test_a_slow_nic_and_a_narrow_gpu_are_overrides():
    found = imported(hgx(nics={3: 200000}, width={6: 8}))
    assert found.cluster is not None
    by_nic = {o.match.nic: o.bandwidth for o in found.cluster.overrides if o.match.nic}
    assert by_nic == {"mlx5_3": parse_bytes_per_s("200 Gb/s")}
    assert "GPU6 (0000:16:00.0): PCIe runs at 50%" in told(found, "broken")


def test_nvlinks_between_gpus_are_bridges():
    pairs = {0: '<nvlink target="0000:11:00.0" count="12" tclass="0x030200"/>', 1: '<nvlink target="0000:10:00.0" count="12" tclass="0x030200"/>'}
    text = system("".join(gpu_xml(i, pairs.get(i, ""), device="0x20b5") for i in range(4)))
    (bridged,) = template(text).bridges
    assert bridged.gpus == (0, 1)
    assert bridged.bandwidth == parse_bytes_per_s("300 GB/s")


def test_a_link_to_itself_is_told_and_not_used():
    loop = '<nvlink target="0000:10:00.0" count="12" tclass="0x030200"/>'
    found = imported(system(gpu_xml(0, loop, device="0x20b5") + gpu_xml(1, "", device="0x20b5")))
    assert "to itself" in told(found, "broken")


def test_virtual_bridges_are_not_believed():
    text = system(bridge(200, gpu_xml(0, switched()), "2.5 GT/s PCIe", 1) + gpu_xml(1, switched(), width=0))
    found = imported(text)
    assert "cannot be real" in told(found, "broken")
    assert found.cluster is not None
    assert found.cluster.overrides == ()


def test_a_providers_file_has_only_pcie_and_says_so():
    leaves = "".join(
        bridge(i + 32, f'<pci busid="0000:{i:02x}:1c.0" class="0x030200" vendor="0x10de" device="0x20b0" link_speed="8 GT/s" link_width="16"/>'
                       f'<pci busid="0000:{i:02x}:1b.0" class="0x020000" vendor="0x1d0f" device="0xefa0"/>')
        for i in range(1, 5)
    )  # fmt: skip
    found = imported("<!-- for p4d.24xlarge -->" + system(leaves))
    assert found.cluster is not None
    (node,) = found.cluster.templates.values()
    assert "provider's file" in told(found, "missing")
    assert "nvswitch as a100-40-sxm boards have" in told(found, "guessed")
    assert node.nics is not None
    assert (node.nics.transport, node.nics.bandwidth) == ("efa", parse_bytes_per_s("100 Gb/s"))


def test_two_ports_of_one_card_are_one_nic():
    nets = '<net name="mlx5_0" dev="0" speed="200000"/><net name="mlx5_1" dev="1" speed="200000"/>'
    card = f'<pci busid="0000:40:00.0" class="0x020700"><nic>{nets}</nic></pci>'
    node = template(system(gpu_xml(0, switched()) + card))
    assert node.nics is not None
    assert (node.nics.count, node.nics.bandwidth) == (1, parse_bytes_per_s("400 Gb/s"))


def test_several_hosts_of_one_dump_are_several_nodes():
    def host(name: str) -> str:
        return f'<cpu numaid="0" host_hash="{name}">{gpu_xml(0, switched())}{gpu_xml(1, switched())}</cpu>'

    found = imported(f'<system version="1">{host("0xa")}{host("0xb")}</system>')
    assert (found.nodes, found.gpus) == (2, 4)


def test_a_dump_that_breaks_off_is_read_up_to_there():
    whole = hgx()
    found = imported(whole[: whole.index("mlx5_2")])
    assert "breaks off" in told(found, "broken")
    assert found.gpus == 3


def test_xgmi_links_are_a_mesh():
    def gpu(i: int) -> str:
        links = "".join(f'<xgmi target="0000:{j + 16:02x}:00.0" count="1" tclass="0x120000"/>' for j in range(4) if j != i)
        return f'<pci busid="0000:{i + 16:02x}:00.0" class="0x120000" vendor="0x1002" device="0x74a1"><gpu dev="{i}" gcn="gfx942">{links}</gpu></pci>'

    node = template(f'<system version="2"><cpu numaid="0">{"".join(map(gpu, range(4)))}</cpu></system>')
    assert node.gpu == "mi300x"
    assert node.mesh is not None


GRAPH = """<graphs version="1"><graph id="0" pattern="4" nchannels="{n}" speedintra="{speed}" typeintra="{kind}">
<channel><gpu dev="0"/><gpu dev="1"/></channel></graph></graphs>"""


def test_a_graph_gives_what_nccl_plans():
    found = imported(GRAPH.format(n=2, speed=12, kind="PHB"), gpu="l40s")
    assert "24 GB/s per GPU as NCCL plans it" in told(found, "read")
    assert found.cluster is not None
    (node,) = found.cluster.templates.values()
    assert node.pcie is not None
    assert node.pcie.bandwidth == parse_bytes_per_s("24 GB/s")


def test_a_graph_over_nvlink_is_a_switch_of_the_catalogues_rate():
    node = template(GRAPH.format(n=16, speed=20, kind="NVL"), gpu="h100-sxm")
    assert node.nvswitch is not None
    assert node.nvswitch.bandwidth is None


def test_the_dump_and_the_matrix_make_one_node_with_the_dumps_rates():
    text = matrix("NV18", 8, 8) + "\nNIC Legend:\n" + "\n".join(f"  NIC{i}: mlx5_{i}" for i in range(8))
    found = cluster(hgx(nics={2: 200000}), text)
    assert len(found.nodes) == 1
    assert [o.match.nic for o in found.overrides] == ["mlx5_2"]


def test_entities_are_refused():
    bomb = '<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><system>&b;<cpu numaid="0"/></system>'
    with pytest.raises(InputError, match="entities"):
        imported(bomb)
    with pytest.raises(InputError, match="document type"):
        imported('<!DOCTYPE system [ <!ELEMENT cpu ANY> ]><system version="1"><cpu numaid="0"/></system>')


def rocm(count: int, cut: "tuple[int, int] | None" = None) -> str:
    def table(title: str, cell: "object", own: str = "0") -> str:
        head = "       " + "         ".join(f"GPU{i}" for i in range(count))
        rows = [
            f"GPU{a}   " + "   ".join(own if a == b else str(cell(a, b)) for b in range(count))  # type: ignore[operator]
            for a in range(count)
        ]
        return f"===== {title} between two GPUs =====\n{head}\n" + "\n".join(rows) + "\n\n"

    numa = "\n".join(f"GPU[{i}]\t\t: (Topology) Numa Node: {int(i >= count / 2)}" for i in range(count))
    kind = table("Link Type", lambda a, b: "PCIE" if cut and {a, b} == set(cut) else "XGMI")
    return table("Weight", lambda a, b: 15) + table("Hops", lambda a, b: 1) + kind + f"==== Numa Nodes ====\n{numa}\n"


def test_rocm_links_are_a_mesh():
    node = template(rocm(8), gpu="mi300x")
    assert (node.gpus, node.mesh is not None, node.nics) == (8, True, None)


def test_a_broken_xgmi_pair_leaves_the_other_links():
    found = imported(rocm(4, (1, 3)), gpu="mi300x")
    assert "no xGMI between GPU1-GPU3" in told(found, "broken")
    assert found.cluster is not None
    (node,) = found.cluster.templates.values()
    assert len(node.bridges) == 5


def hwloc(matrix_text: str = "") -> str:
    def gpu(i: int) -> str:
        return (
            f'<object type="PCIDev" gp_index="{20 + i}" pci_busid="0000:{i + 16:02x}:00.0" pci_type="0302 [10de:2330] [10de:16c1] a1">'
            f'<object type="OSDev" gp_index="{40 + i}" name="nvml{i}" subtype="NVML" osdev_type="1">'
            f'<info name="GPUModel" value="NVIDIA H100 80GB HBM3"/><info name="NVIDIAUUID" value="GPU-aa-{i}"/></object></object>'
        )

    def nic(i: int) -> str:
        return (
            f'<object type="PCIDev" gp_index="{60 + i}" pci_busid="0000:{i + 80:02x}:00.0" pci_type="0207 [15b3:1021] [15b3:0041] 00">'
            f'<object type="OSDev" name="mlx5_{i}" osdev_type="3"/></object>'
        )

    def socket(number: int) -> str:
        bridges = "".join(
            f'<object type="Bridge" gp_index="{10 + i}" bridge_type="1-1">{gpu(i)}{nic(i)}</object>' for i in (2 * number, 2 * number + 1)
        )
        return f'<object type="Package" os_index="{number}"><object type="Bridge" gp_index="{5 + number}" bridge_type="0-1">{bridges}</object></object>'

    machine = f'<object type="Machine" os_index="0"><info name="HostName" value="box7"/>{socket(0)}{socket(1)}</object>'
    return f'<?xml version="1.0"?><!DOCTYPE topology SYSTEM "hwloc2.dtd"><topology version="2.0">{machine}{matrix_text}</topology>'


def test_hwloc_gives_host_gpus_and_rdma_devices():
    found = imported(hwloc())
    assert found.cluster is not None
    (node,) = found.cluster.templates.values()
    assert found.cluster.nodes[0].name == "box7"
    assert found.cluster.nodes[0].gpu_ids[3] == "GPU-aa-3"
    assert (node.gpu, node.gpus) == ("h100-sxm", 4)
    assert node.nics is not None
    assert node.nics.names == ("mlx5_0", "mlx5_1", "mlx5_2", "mlx5_3")
    assert "NVLinkBandwidth" in told(found, "missing")


def test_hwlocs_nvlink_matrix_shows_who_is_on_the_switch():
    rows = [[0, 0, 0, 0, 478125], [0, 0, 0, 0, 478125], [0, 0, 0, 0, 478125], [0, 0, 0, 0, 0], [478125, 478125, 478125, 0, 0]]
    values = " ".join(str(cell) for row in rows for cell in row)
    text = hwloc(
        '<distances2hetero nbobjs="5" kind="25" name="NVLinkBandwidth"><indexes length="40">OS:40 OS:41 OS:42 OS:43 OS:90 </indexes>'
        f'<u64values length="90">{values} </u64values></distances2hetero>'
    )
    found = imported(text)
    assert found.cluster is not None
    (node,) = found.cluster.templates.values()
    assert node.nvswitch is not None
    assert [o.match.gpu for o in found.cluster.overrides] == ["GPU-aa-3"]
