"""Small files in the formats that operators have, written by hand for the importer tests."""

import json
from collections.abc import Callable

import networkx as nx


def matrix(links: str, gpus: int, nics: int = 0, near: str = "PIX", numa: bool = True) -> str:
    """Write `nvidia-smi topo -m` of GPUs that all see each other by ``links``, NIC i nearest to GPU i."""
    names = [f"GPU{i}" for i in range(gpus)] + [f"NIC{i}" for i in range(nics)]
    lines = ["\t" + "\t".join(names) + "\tCPU Affinity\tNUMA Affinity\tGPU NUMA ID"]
    for row, name in enumerate(names):
        cells = []
        for column in range(len(names)):
            if row == column:
                cells.append(" X ")
            elif row < gpus and column < gpus:
                cells.append(links)
            elif row >= gpus and column >= gpus:
                cells.append("NODE")
            else:
                cells.append(near if min(row, column) == max(row, column) - gpus else "NODE")
        half = int(row >= gpus / 2) if numa else 0
        lines.append(
            name + "\t" + "\t".join(cells) + (f"\t{half * 32}-{half * 32 + 31}\t{half}\t\tN/A" if row < gpus else "")
        )
    return "\n".join(lines) + "\n"


QUERY = (
    "index, name, uuid, pci.bus_id, memory.total [MiB], "
    "pcie.link.gen.max, pcie.link.gen.current, pcie.link.width.max, pcie.link.width.current\n"
)


def query(name: str, count: int, memory: int, widths: "dict[int, int] | None" = None) -> str:
    rows = [
        f"{i}, {name}, GPU-0000-{i:04d}, 00000000:{i + 16:02X}:00.0, {memory} MiB, 5, 1, 16, "
        f"{(widths or {}).get(i, 16)}"
        for i in range(count)
    ]
    return QUERY + "\n".join(rows) + "\n"


def off_nvlink(text: str, gpu: int) -> str:
    rows = []
    for line in text.split("\n"):
        cells = line.split("\t")
        if cells[0] == f"GPU{gpu}":
            cells = ["NODE" if cell.startswith("NV") else cell for cell in cells]
        elif cells[0].startswith("GPU") and len(cells) > gpu + 1 and cells[gpu + 1].startswith("NV"):
            cells[gpu + 1] = "NODE"
        rows.append("\t".join(cells))
    return "\n".join(rows)


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


def hgx(
    links: "dict[int, str] | None" = None, nics: "dict[int, int] | None" = None, width: "dict[int, int] | None" = None
) -> str:
    def pair(i: int) -> str:
        gpu = gpu_xml(i, (links or {}).get(i, switched()), width=(width or {}).get(i, 16))
        return bridge(i + 128, gpu + nic_xml(i, (nics or {}).get(i, 400000)))

    return system("".join(map(pair, range(4))), "".join(map(pair, range(4, 8))))


GRAPH = """<graphs version="1"><graph id="0" pattern="4" nchannels="{n}" speedintra="{speed}" typeintra="{kind}">
<channel><gpu dev="0"/><gpu dev="1"/></channel></graph></graphs>"""


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


def amd(count: int, cut: "tuple[int, int] | None" = None, far: "tuple[int, int] | None" = None) -> str:
    names = [f"0000:{i + 12:02x}:00.0" for i in range(count)]

    def table(title: str, cell: "Callable[[set[int]], str]", own: str) -> str:
        rows = [
            f"{a} " + " ".join(f"{own if a == b else cell({i, j}):<12}" for j, b in enumerate(names))
            for i, a in enumerate(names)
        ]
        return f"{title} TABLE:\n{' ' * 13}{' '.join(names)}\n" + "\n".join(rows) + "\n\n"

    return (
        table("ACCESS", lambda _: "ENABLED", "ENABLED")
        + table("WEIGHT", lambda _: "15", "0")
        + table("HOPS", lambda _: "1", "0")
        + table("LINK TYPE", lambda pair: "PCIE" if cut and pair == set(cut) else "XGMI", "SELF")
        + table("NUMA BW", lambda pair: "0-0" if far and pair == set(far) else "50000-100000", "N/A")
    )


def amd_json(count: int, cut: "tuple[int, int] | None" = None) -> str:
    names = [f"0000:{i + 12:02x}:00.0" for i in range(count)]

    def link(a: int, b: int) -> "dict[str, object]":
        kind = "SELF" if a == b else "XGMI"
        status = "DISABLED" if cut and {a, b} == set(cut) else "ENABLED"
        rate = "N/A" if a == b else "50000-100000"
        return {"gpu": b, "bdf": names[b], "weight": 15 * (a != b), "link_status": status, "link_type": kind,
                "num_hops": int(a != b), "bandwidth": rate, "coherent": "C", "bi_dir": "T"}  # fmt: skip

    gpus = range(count)
    return json.dumps([{"gpu": a, "bdf": names[a], "links": [link(a, b) for b in gpus]} for a in gpus])


SHOWN_TREE = """SwitchName=leaf1 Level=0 LinkSpeed=1 Nodes=gpu[01-02]
SwitchName=leaf2 Level=0 LinkSpeed=1 Nodes=gpu[03-04]
SwitchName=top Level=1 LinkSpeed=1 Nodes=gpu[01-04] Switches=leaf[1-2]
"""


def shown_node(name: str, gres: str = "gpu:h200:8(S:0-1)", state: str = "IDLE", reason: str = "") -> str:
    why = f"   Reason={reason} [root@2026-03-01T10:00:00]\n" if reason else ""
    return (
        f"NodeName={name} Arch=x86_64 CoresPerSocket=48\n   CPUAlloc=0 CPUEfctv=192 CPUTot=192 CPULoad=0.5\n"
        f"   Gres={gres}\n   NodeAddr={name} NodeHostName={name} Version=24.11.0\n"
        f"   State={state} ThreadsPerCore=2 TmpDisk=0 Weight=1\n   CfgTRES=cpu=192,gres/gpu=8\n{why}\n"
    )


def hwloc(matrix_text: str = "") -> str:
    def gpu(i: int) -> str:
        return (
            f'<object type="PCIDev" gp_index="{20 + i}" '
            f'pci_busid="0000:{i + 16:02x}:00.0" pci_type="0302 [10de:2330] [10de:16c1]">'
            f'<object type="OSDev" gp_index="{40 + i}" name="nvml{i}" subtype="NVML" osdev_type="1">'
            f'<info name="GPUModel" value="NVIDIA H100 80GB HBM3"/>'
            f'<info name="NVIDIAUUID" value="GPU-aa-{i}"/></object></object>'
        )

    def nic(i: int) -> str:
        return (
            f'<object type="PCIDev" gp_index="{60 + i}" '
            f'pci_busid="0000:{i + 80:02x}:00.0" pci_type="0207 [15b3:1021] [15b3:0041] 00">'
            f'<object type="OSDev" name="mlx5_{i}" osdev_type="3"/></object>'
        )

    def socket(number: int) -> str:
        bridges = "".join(
            f'<object type="Bridge" gp_index="{10 + i}" bridge_type="1-1">{gpu(i)}{nic(i)}</object>'
            for i in (2 * number, 2 * number + 1)
        )
        root = f'<object type="Bridge" gp_index="{5 + number}" bridge_type="0-1">{bridges}</object>'
        return f'<object type="Package" os_index="{number}">{root}</object>'

    machine = f'<object type="Machine" os_index="0"><info name="HostName" value="box7"/>{socket(0)}{socket(1)}</object>'
    head = '<?xml version="1.0"?><!DOCTYPE topology SYSTEM "hwloc2.dtd">'
    return f'{head}<topology version="2.0">{machine}{matrix_text}</topology>'


TREE = """# fabric
SwitchName=leafA Nodes=n[01-04]   # rack 1
switchname=leafB nodes=n[05-08] LinkSpeed=100
SwitchName=top Switches=leaf[A-B]
"""


YAML = """- topology: one
  cluster_default: true
  tree:
    switches:
      - switch: root
        children: sw[1-2]
      - switch: sw1
        nodes: gpu[001-002]
      - switch: sw2
        nodes: gpu[003-004]
- topology: two
  block:
    block_sizes: [2]
    blocks:
      - block: b1
        nodes: gpu[001-002]
- topology: three
  ring:
    rings:
      - ring: loop
        nodes: gpu[001-004]
"""

TORUS = """- topology: cube
  torus3d:
    toruses:
      - torus: t1
        dims: {x: 2, y: 3, z: 1}
        nodes: gpu[1-6]
        placements:
          - dims: {x: 2, y: 1, z: 1}
"""


def node(
    name: str, labels: "dict[str, str] | None" = None, gpus: int = 8, usable: int = 8, **more: object
) -> "dict[str, object]":
    given = {
        "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
        "nvidia.com/gpu.count": "8",
        "nvidia.com/gpu.memory": "81559",
    }
    status = {
        "capacity": {"nvidia.com/gpu": str(gpus)},
        "allocatable": {"nvidia.com/gpu": str(usable)},
        "conditions": [{"type": "Ready", "status": str(more.pop("ready", True))}],
    }
    return {
        "kind": "Node",
        "metadata": {"name": name, "labels": given | (labels or {})},
        "spec": more,
        "status": status,
    }


def nodes(*items: object) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(items)})


def ibnet(leaf_ups: "dict[int, int]", hosts: int = 4, rails: int = 2, names: str = "h{host} mlx5_{rail}") -> str:
    """Write a fabric of one leaf per rail, each host on every rail, ``leaf_ups`` cables from each leaf to one spine."""
    lines = ["# Topology file: generated by hand", ""]
    for rail in range(rails):
        lines.append(f'Switch\t65 "S-00000000000000a{rail}"\t\t# "leaf-{rail}" enhanced port 0 lid {rail} lmc 0')
        for host in range(hosts):
            what = names.format(host=host, rail=rail)
            lines.append(f'[{host + 1}]\t"H-0000000000000{host}b{rail}"[1](b{host}{rail})\t\t# "{what}" lid 9 4xNDR')
        for cable in range(leaf_ups[rail]):
            lines.append(f'[{40 + cable}]\t"S-00000000000000ff"[{cable + 1}]\t\t# "spine" lid 7 4xNDR')
        lines.append(
            f'[65]\t"H-000000000000ee0{rail}"[1](ee)\t\t# "Mellanox Technologies Aggregation Node" lid 8 4xNDR'
        )
        lines.append("")
    lines.append('Switch\t65 "S-00000000000000ff"\t\t# "spine" enhanced port 0 lid 7 lmc 0')
    lines += [f'[{r + 1}]\t"S-00000000000000a{r}"[40]\t\t# "leaf-{r}" lid {r} 4xNDR' for r in range(rails)]
    return "\n".join(lines) + "\n"


def rails(hosts: int = 2, gpus: int = 4, up: str = "400 Gb/s") -> "nx.Graph[str]":
    """Hosts with an NVSwitch and a NIC per GPU, NIC i on leaf i, leaves under one spine."""
    graph: nx.Graph[str] = nx.Graph()
    for h in range(hosts):
        for i in range(gpus):
            graph.add_node(f"h{h}/gpu{i}", kind="gpu", gpu="h100-sxm", uuid=f"GPU-{h}-{i}")
            graph.add_edge(f"h{h}/gpu{i}", f"h{h}/nvswitch", bandwidth="450 GB/s")
            graph.add_edge(f"h{h}/gpu{i}", f"h{h}/nic{i}", bandwidth="63 GB/s")
            graph.add_edge(f"h{h}/nic{i}", f"leaf{i}", bandwidth="400 Gb/s")
    for i in range(gpus):
        graph.add_edge(f"leaf{i}", "spine", bandwidth=up)
    return graph


def node_link(graph: "nx.Graph[str]", edges: str = "links") -> str:
    return json.dumps(nx.node_link_data(graph, edges=edges))


def simai() -> str:
    """Two servers of two GPUs, an NVSwitch each, two leaves under one spine: 4 + 2 + 3 nodes."""
    cables = ["0 4 2880Gbps", "1 4 2880Gbps", "2 5 2880Gbps", "3 5 2880Gbps"]
    cables += ["0 6 200Gbps", "1 7 200Gbps", "2 6 200Gbps", "3 7 200Gbps", "6 8 400Gbps", "7 8 400Gbps"]
    lines = [f"{cable} 0.0005ms 0" for cable in cables]
    return f"9 2 2 3 {len(lines)} H100\n4 5 6 7 8\n" + "\n".join(lines) + "\n"
