"""NCCL and RCCL topology XML: `NCCL_TOPO_DUMP_FILE` of a run, or the file that a cloud provider ships.

A dump holds `<gpu>` with its NVLinks and `<net>` with its rate; a provider's file holds PCIe leaves only, and its link
speeds are often not those of the hardware. PCI classes and attributes: NCCL `src/graph/xml.cc` and `topo.cc`.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass

from optimizer.errors import InputError
from optimizer.inputs.importers.facts import (
    MAX_GPUS,
    Facts,
    Finding,
    GpuFacts,
    NicFacts,
    NodeFacts,
    Pair,
    Pasted,
    Transport,
    listed,
)
from optimizer.inputs.importers.machines import MACHINES, machine
from optimizer.inputs.importers.nearness import by_key, nearest
from optimizer.inputs.importers.text import parse_xml
from optimizer.units import parse_bytes_per_s, show_bytes_per_s

KIND = "NCCL topology XML"
_TAG = re.compile(r"<system[\s>][^<>]*>?")
_SWITCH_CLASS = "0x068000"
_UNKNOWN_SWITCH = "fffffff:ff:ff.0"
MAX_HOSTS = 1024

SOCKET_RATES = {"79": "6 GB/s", "85": "10 GB/s", "106": "10 GB/s", "143": "22 GB/s", "207": "40 GB/s", "173": "40 GB/s"}
"""Between two Intel sockets by CPU model, as NCCL plans with (`src/graph/topo.h`)."""
OTHER_SOCKET_RATES = {"AuthenticAMD": "16 GB/s", "GenuineIntel": "10 GB/s", "ARM": "6 GB/s"}


@dataclass(frozen=True)
class _Device:
    element: ET.Element
    path: tuple[str, ...]
    """Socket, then the bridges from the root down."""
    cpu: ET.Element
    bridges: tuple[ET.Element, ...] = ()

    @property
    def host(self) -> str:
        return self.cpu.get("host_hash", "")

    @property
    def bus_id(self) -> str:
        return self.element.get("busid", "")


def recognises(pasted: Pasted) -> bool:
    """Whether the text is such a file."""
    return _TAG.search(pasted.text) is not None and re.search(r"<(?:cpu|pci|gpu)[\s>]", pasted.text) is not None


def read(pasted: Pasted) -> Facts:
    """Return one node per host in the file."""
    system, findings = parse_xml(pasted.text, pasted.where, "system")
    devices = [d for cpu in system.iter("cpu") for d in _devices(cpu, cpu, ())]
    hosts = list(dict.fromkeys(d.host for d in devices))
    if len(hosts) > MAX_HOSTS:
        raise InputError(f"{pasted.where}: more than {MAX_HOSTS} hosts in one dump; give the files of fewer")
    named = next((kind for kind in MACHINES if kind in pasted.text.lower()), None)
    nodes, said = [], list(findings)
    for position, host in enumerate(hosts):
        mine = [d for d in devices if d.host == host]
        where = pasted.where if len(hosts) == 1 else f"{pasted.where} host {position + 1}"
        node, more = _node(mine, where, named)
        nodes.append(node)
        said += more
    if len(hosts) > 1:
        said.insert(0, Finding("read", f"{pasted.where}: {len(hosts)} hosts (by host_hash) in one file"))
    if not any(node.gpus for node in nodes):
        raise InputError(f"{pasted.where}: {KIND} without a GPU; dump it again with NCCL_TOPO_DUMP_FILE")
    return Facts(nodes=tuple(n for n in nodes if n.gpus), findings=tuple(said))


def _devices(parent: ET.Element, cpu: ET.Element, bridges: tuple[ET.Element, ...]) -> list[_Device]:
    found = []
    path = (cpu.get("numaid", ""), *(bridge.get("busid", "") for bridge in bridges))
    for child in parent:
        if child.tag == "pci" and _is_class(child, "0x06") and not _is_class(child, _SWITCH_CLASS):
            found += _devices(child, cpu, (*bridges, child))
        elif child.tag in ("pci", "nic"):
            found.append(_Device(child, path, cpu, bridges))
    return found


def _is_class(element: ET.Element, *prefixes: str) -> bool:
    return element.get("class", "").lower().startswith(prefixes)


def _node(devices: list[_Device], where: str, named: str | None) -> tuple[NodeFacts, list[Finding]]:
    gpu_devices = sorted((d for d in devices if _is_gpu(d)), key=_gpu_order)
    nic_devices = sorted((d for d in devices if _is_nic(d)), key=_nic_order)
    if len(gpu_devices) > MAX_GPUS or len(nic_devices) > 4 * MAX_GPUS:
        raise InputError(f"{where}: more than {MAX_GPUS} GPUs or {4 * MAX_GPUS} NICs in one host; give one host's file")
    is_dump = any(d.element.find("gpu") is not None for d in gpu_devices)
    findings: list[Finding] = []
    links = _links(gpu_devices, where, findings)
    shares = _pcie_shares(gpu_devices) if is_dump else {}
    gpus = tuple(
        GpuFacts(i, _product(d), d.bus_id or None, None, None, links[1].get(i), shares.get(i))
        for i, d in enumerate(gpu_devices)
    )
    nics = _known_rates(tuple(_nic(d, where, findings) for d in nic_devices), named, where, findings)
    near = nearest(len(gpus), len(nics), lambda g, n: _distance(gpu_devices[g], nic_devices[n]))
    used = sorted(set(near))
    node = NodeFacts(
        where=where,
        kind=KIND,
        gpus=gpus,
        nics=tuple(nics[n] for n in used),
        nearest=tuple(used.index(n) for n in near),
        pairs=links[0],
        is_mesh=any(d.element.find("gpu/xgmi") is not None for d in gpu_devices),
        counts_links=True,
        knows_links=is_dump,
        pcie_groups=_under_one_switch(gpu_devices),
        sockets=by_key([d.path[0] for d in gpu_devices]),
        socket_bytes_per_s=_socket_rate(devices),
        transport=_transport(nic_devices),
    )
    said = Finding("read", f"{where}: {KIND}: {len(gpus)} GPUs, {len(nics)} NICs")
    spare = [nic.name for n, nic in enumerate(nics) if n not in used]
    return node, [said, *findings, *_report(gpu_devices, nic_devices, is_dump, spare, shares, where)]


def _is_gpu(device: _Device) -> bool:
    return device.element.tag == "pci" and _is_class(device.element, "0x03", "0x12")


def _is_nic(device: _Device) -> bool:
    return device.element.tag == "nic" or _is_class(device.element, "0x02")


def _order(text: str | None) -> int:
    return int(text) if text and re.fullmatch(r"\d{1,6}", text) else 10**6


def _gpu_order(device: _Device) -> tuple[int, str]:
    gpu = device.element.find("gpu")
    return (_order(gpu.get("dev")) if gpu is not None else 0, device.bus_id)


def _nic_order(device: _Device) -> tuple[int, str]:
    nets = list(device.element.iter("net"))
    return (_order(nets[0].get("dev")) if nets else 0, device.bus_id)


def _product(device: _Device) -> str | None:
    vendor, part = (device.element.get(key, "").lower().removeprefix("0x") for key in ("vendor", "device"))
    return f"{vendor}:{part}" if re.fullmatch(r"[0-9a-f]{4}:[0-9a-f]{4}", f"{vendor}:{part}") else None


def _links(devices: list[_Device], where: str, findings: list[Finding]) -> tuple[dict[Pair, int], dict[int, int]]:
    """Return direct links per pair, and links into a switch per GPU where any GPU has such."""
    index = {d.bus_id.lower(): i for i, d in enumerate(devices)}
    pairs: dict[Pair, int] = {}
    switch: dict[int, int] = {}
    odd: list[str] = []
    for i, device in enumerate(devices):
        for link in (*device.element.findall("gpu/nvlink"), *device.element.findall("gpu/xgmi")):
            target, count = link.get("target", "").lower(), min(_order(link.get("count")), 64)
            if link.get("tclass", "").lower() == _SWITCH_CLASS or target == _UNKNOWN_SWITCH:
                switch[i] = switch.get(i, 0) + count
            elif target in index and index[target] != i:
                pair = (min(i, index[target]), max(i, index[target]))
                pairs[pair] = max(pairs.get(pair, 0), count)
            else:
                odd.append(f"GPU{i} ({count} links to {'itself' if index.get(target) == i else target or 'nothing'})")
    if odd:
        message = (
            f"{where}: NVLinks lead to no GPU of the file: {listed(odd)}; a virtual machine hides the peer, not used"
        )
        findings.append(Finding("broken", message))
    return pairs, {i: switch.get(i, 0) for i in range(len(devices))} if switch else {}


def _gigatransfers(element: ET.Element) -> float:
    """Return link_speed x link_width in GT/s, 0 when the file does not tell."""
    speed = re.match(r"\s*(\d{1,3}(?:\.\d{1,2})?)", element.get("link_speed", ""))
    return float(speed[1]) * min(_order(element.get("link_width")), 32) if speed else 0.0


def _pcie_shares(devices: list[_Device]) -> dict[int, float]:
    """Return the share of its peers' PCIe rate for each GPU that is slower than the best."""
    rates = {i: _gigatransfers(d.element) for i, d in enumerate(devices)}
    best = max(rates.values(), default=0.0)
    return {i: rate / best for i, rate in rates.items() if 0 < rate < best}


def _nic(device: _Device, where: str, findings: list[Finding]) -> NicFacts:
    nets = [device.element] if device.element.tag == "net" else list(device.element.iter("net"))
    if not nets:
        return NicFacts(device.bus_id or "nic")
    rate = float(
        sum(parse_bytes_per_s(f"{min(_order(n.get('speed')), 10**7)} Mb/s") for n in nets if _order(n.get("speed")) > 0)
    )
    names = [n.get("name") or "nic" for n in nets]
    if len(nets) > 1:
        findings.append(Finding("read", f"{where}: {listed(names)} are ports of one card; taken as one NIC"))
    return NicFacts(names[0], rate or None)


def _known_rates(
    nics: tuple[NicFacts, ...], named: str | None, where: str, findings: list[Finding]
) -> tuple[NicFacts, ...]:
    """Give NICs without a rate that of the machine type which the file's comments name."""
    kind = machine(named)
    if kind is None or any(nic.bytes_per_s for nic in nics):
        return nics
    message = f"{where}: NICs of {show_bytes_per_s(kind.nic_bytes_per_s)}: those of {named}, which the file names"
    findings.append(Finding("guessed", message))
    return tuple(NicFacts(nic.name, kind.nic_bytes_per_s) for nic in nics)


def _distance(gpu: _Device, nic: _Device) -> int:
    """Return fewer for more shared bridges; another socket is farthest."""
    if gpu.path[0] != nic.path[0]:
        return 100
    shared = sum(1 for a, b in zip(gpu.path, nic.path, strict=False) if a == b)
    return 50 if shared == 1 else max(0, 49 - shared)


def _under_one_switch(devices: list[_Device]) -> tuple[tuple[int, ...], ...]:
    return by_key([d.path[:2] if len(d.path) > 1 else (*d.path, d.bus_id, str(i)) for i, d in enumerate(devices)])


def _socket_rate(devices: Sequence[_Device]) -> float | None:
    cpu = devices[0].cpu
    vendor = cpu.get("vendor", "")
    rate = SOCKET_RATES.get(cpu.get("modelid", "")) if vendor == "GenuineIntel" and cpu.get("familyid") == "6" else None
    rate = rate or OTHER_SOCKET_RATES.get("ARM" if cpu.get("arch") == "arm64" else vendor)
    return parse_bytes_per_s(rate) if rate else None


def _transport(nics: list[_Device]) -> Transport | None:
    names = [net.get("name", "") for d in nics for net in d.element.iter("net")]
    if any(d.element.get("vendor", "").lower() == "0x1d0f" for d in nics) or any(
        "efa" in n or "rdmap" in n for n in names
    ):
        return "efa"
    if names and all(re.match(r"eth|ens|enp|eno", n) for n in names):
        return "tcp"
    return "infiniband" if any(_is_class(d.element, "0x0207") for d in nics) else "roce" if names else None


def _report(
    gpus: list[_Device], nics: list[_Device], is_dump: bool, spare: list[str], shares: dict[int, float], where: str
) -> list[Finding]:
    said = []
    if not is_dump:
        message = (
            f"{where}: a provider's file: PCIe only, no NVLink; its link speeds are not trusted, the catalogue's are"
        )
        said.append(Finding("missing", f"{message}; GPU order by bus id"))
    bogus = [d for d in gpus if _gigatransfers(d.element) == 0 or _narrow_bridge(d)]
    if bogus and is_dump:
        message = f"{where}: PCIe speeds of {listed([d.bus_id for d in bogus])} cannot be real (a virtual machine's)"
        said.append(Finding("broken", f"{message}; the catalogue's figure is used"))
    said += [
        Finding("broken", f"{where}: GPU{i} ({gpus[i].bus_id}): PCIe runs at {share:.0%} of its peers'")
        for i, share in shares.items()
    ]
    if any(d.path[0] == "-1" for d in gpus):
        said.append(
            Finding(
                "missing",
                f"{where}: numaid is -1: a virtual machine hides sockets and PCIe speeds; the catalogue's are used",
            )
        )
    if spare:
        said.append(Finding("read", f"{where}: {listed(spare)} are nearest to no GPU: spare"))
    if not nics:
        said.append(Finding("missing", f"{where}: no NIC; the node can be joined to no other"))
    return said


def _narrow_bridge(device: _Device) -> bool:
    """Whether a bridge above the device claims less than the device itself, as virtual bridges do."""
    return any(_gigatransfers(bridge) < _gigatransfers(device.element) for bridge in device.bridges)
