"""NCCL graph XML (`NCCL_GRAPH_DUMP_FILE`): the channels that NCCL found and the speed it plans for each.

Channels x speed is the bandwidth that NCCL will use, in GB/s per GPU and direction (NCCL `src/graph/search.cc`).
"""

import re
import xml.etree.ElementTree as ET

from optimizer.errors import InputError
from optimizer.inputs.importers.facts import MAX_GPUS, Facts, Finding, GpuFacts, NicFacts, NodeFacts, Pasted
from optimizer.inputs.importers.text import parse_xml
from optimizer.units import parse_bytes_per_s, show_bytes_per_s

KIND = "NCCL graph XML"
_RING = "4"
_FAST = ("NVL", "NVB", "C2C")


def recognises(pasted: Pasted) -> bool:
    """Whether the text is such a file."""
    return re.search(r"<graphs[\s>]", pasted.text) is not None


def read(pasted: Pasted) -> Facts:
    """Return one node with the bandwidth that NCCL plans for its ring."""
    root, findings = parse_xml(pasted.text, pasted.where, "graphs")
    graphs = root.findall("graph")
    ring = next((g for g in graphs if g.get("pattern") == _RING), graphs[0] if graphs else None)
    if ring is None:
        raise InputError(f"{pasted.where}: {KIND} without a graph; dump it again with NCCL_GRAPH_DUMP_FILE")
    ranks = sorted(
        {int(gpu.get("dev", "")) for gpu in root.iter("gpu") if re.fullmatch(r"\d{1,4}", gpu.get("dev", ""))}
    )
    if not 0 < len(ranks) <= MAX_GPUS:
        raise InputError(f"{pasted.where}: {KIND} with {len(ranks)} GPUs; dump it again on one whole node")
    rate = _rate(ring)
    medium = ring.get("typeintra", "")
    is_fast = medium in _FAST
    nets = sorted({net.get("dev", "") for net in root.iter("net")})
    node = NodeFacts(
        where=pasted.where,
        kind=KIND,
        gpus=tuple(GpuFacts(position, switch_links=1 if is_fast else None) for position in range(len(ranks))),
        nics=tuple(NicFacts(f"net{dev}") for dev in nets),
        knows_links=True,
        pcie_bytes_per_s=None if is_fast else rate,
    )
    told = f"{pasted.where}: {KIND}: {len(ranks)} GPUs, ring of {ring.get('nchannels')} channels over {medium or '?'}"
    speed = f", {show_bytes_per_s(rate)} per GPU as NCCL plans it" if rate else "; no speed in the file"
    return Facts(nodes=(node,), findings=(Finding("read", told + speed), *findings))


def _rate(ring: ET.Element) -> float | None:
    channels, speed = ring.get("nchannels", ""), ring.get("speedintra", "")
    if not re.fullmatch(r"\d{1,3}", channels) or not re.fullmatch(r"\d{1,4}(\.\d{1,6})?", speed):
        return None
    return int(channels) * parse_bytes_per_s(f"{speed} GB/s") or None
