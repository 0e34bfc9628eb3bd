"""hwloc XML (`lstopo topo.xml`): sockets, PCIe tree, GPUs and RDMA devices, and NVLink rates when built with NVML."""

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass

from optimizer.errors import InputError
from optimizer.inputs.importers.facts import MAX_GPUS, Facts, Finding, GpuFacts, NicFacts, NodeFacts, Pair, Pasted
from optimizer.inputs.importers.nearness import by_key, nearest
from optimizer.inputs.importers.text import parse_xml
from optimizer.units import parse_bytes_per_s

KIND = "hwloc XML"
_GPU_CLASS = re.compile(r"^(?:030[02]|0380|1200)\b")
_NET_CLASS = re.compile(r"^(?:0200|0207)\b")
_MAKERS = re.compile(r"\[(10de|1002|1da3):([0-9a-f]{4})", re.IGNORECASE)


@dataclass(frozen=True)
class _Device:
    element: ET.Element
    path: tuple[str, ...]


def recognises(pasted: Pasted) -> bool:
    """Whether the text is such a file."""
    return re.search(r"<topology[\s>]", pasted.text) is not None and 'type="Machine"' in pasted.text


def read(pasted: Pasted) -> Facts:
    """Return one node."""
    root, findings = parse_xml(pasted.text, pasted.where, "topology")
    devices = _devices(root, ())
    gpus = [d for d in devices if _GPU_CLASS.match(_pci_type(d)) and _MAKERS.search(_pci_type(d))]
    nics = [d for d in devices if _NET_CLASS.match(_pci_type(d)) and _rdma(d)]
    if not 0 < len(gpus) <= MAX_GPUS:
        raise InputError(
            f"{pasted.where}: {KIND} with {len(gpus)} GPUs; export with I/O devices: lstopo --whole-io topo.xml"
        )
    names = [_rdma(nic) or "nic" for nic in nics]
    rates, switched = _nvlink(root, gpus)
    node = NodeFacts(
        where=pasted.where,
        kind=KIND,
        host=_info(root.find("object"), "HostName"),
        gpus=tuple(_gpu(i, d, int(i in switched) if switched else None) for i, d in enumerate(gpus)),
        nics=tuple(NicFacts(name, _port_rate(nic)) for name, nic in zip(names, nics, strict=True)),
        nearest=nearest(len(gpus), len(nics), lambda g, n: _distance(gpus[g], nics[n])),
        pairs={} if switched else dict.fromkeys(rates, 1),
        knows_links=bool(rates or switched),
        pair_bytes_per_s={} if switched else rates,
        pcie_groups=by_key([(*d.path[:2], "" if len(d.path) > 2 else str(i)) for i, d in enumerate(gpus)]),
        sockets=by_key([d.path[0] if d.path else "" for d in gpus]),
    )
    said = [Finding("read", f"{pasted.where}: {KIND}: {len(gpus)} GPUs, {len(nics)} RDMA devices"), *findings]
    if not rates and not switched:
        said.append(
            Finding(
                "missing", f"{pasted.where}: no NVLinkBandwidth matrix: hwloc was built without NVML, or there is none"
            )
        )
    if switched:
        said.append(Finding("read", f"{pasted.where}: NVLinks lead to an NVSwitch"))
    return Facts(nodes=(node,), findings=tuple(said))


def _devices(parent: ET.Element, path: tuple[str, ...]) -> list[_Device]:
    """Return PCI devices with their socket and the bridges above them."""
    found = []
    for child in parent.findall("object"):
        kind = child.get("type", "")
        step = f"{kind}{child.get('gp_index') or child.get('os_index') or child.get('bridge_pci') or ''}"
        if kind == "PCIDev":
            found.append(_Device(child, path))
        elif kind == "Bridge" or kind in ("Package", "Socket"):
            found += _devices(child, (*path, step))
        else:
            found += _devices(child, path)
    return found


def _pci_type(device: _Device) -> str:
    return device.element.get("pci_type", "")


def _info(element: ET.Element | None, name: str) -> str | None:
    infos = element.iter("info") if element is not None else ()
    return next((info.get("value") for info in infos if info.get("name") == name), None)


def _gpu(index: int, device: _Device, links: int | None) -> GpuFacts:
    maker = _MAKERS.search(_pci_type(device))
    product = _info(device.element, "GPUModel") or (f"{maker[1]}:{maker[2]}".lower() if maker else None)
    uuid = _info(device.element, "NVIDIAUUID") or _info(device.element, "AMDUUID")
    return GpuFacts(index, product, device.element.get("pci_busid"), uuid, switch_links=links)


def _rdma(device: _Device) -> str | None:
    """Return the verbs device of a NIC (osdev_type 3: OpenFabrics)."""
    children = device.element.findall("object")
    return next((o.get("name") for o in children if o.get("osdev_type") in ("3", "OpenFabrics")), None)


def _port_rate(device: _Device) -> float | None:
    rate = _info(device.element, "Port1Rate") or ""
    match = re.match(r"(\d{1,4})\s*Gb", rate)
    return parse_bytes_per_s(f"{match[1]} Gb/s") if match else None


def _distance(a: _Device, b: _Device) -> int:
    shared = 0
    for one, other in zip(a.path, b.path, strict=False):
        if one != other:
            break
        shared += 1
    return max(0, 50 - shared)


def _nvlink(root: ET.Element, gpus: list[_Device]) -> tuple[dict[Pair, float], frozenset[int]]:
    """Return the rate of each pair from the NVLinkBandwidth matrix (MB/s), and the GPUs with links into a switch."""
    index = {o.get("gp_index"): i for i, d in enumerate(gpus) for o in d.element.findall("object")}
    for matrix in (*root.findall("distances2hetero"), *root.findall("distances2")):
        if matrix.get("name") != "NVLinkBandwidth":
            continue
        objects = re.findall(r"(?:\w+:)?(\d+)", " ".join(e.text or "" for e in matrix.findall("indexes")))
        values = [int(v) for v in re.findall(r"\d{1,9}", " ".join(e.text or "" for e in matrix.findall("u64values")))]
        if len(values) != len(objects) ** 2:
            break
        places = [index.get(o) for o in objects]
        cells = [(a, b, values[i * len(objects) + j]) for i, a in enumerate(places) for j, b in enumerate(places)]
        rates = {
            (a, b): parse_bytes_per_s(f"{v} MB/s")
            for a, b, v in cells
            if a is not None and b is not None and a < b and v
        }
        return rates, frozenset(a for a, b, v in cells if a is not None and b is None and v)
    return {}, frozenset()
