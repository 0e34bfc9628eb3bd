"""The NICs of one node to its template."""

import re

from optimizer.inputs.cluster import Match, Nics, Override
from optimizer.inputs.gpu import GpuSpec
from optimizer.inputs.importers.facts import Finding, NodeFacts, listed
from optimizer.inputs.importers.shaped import Shaped, rate_text
from optimizer.units import parse_bytes_per_s, show_bytes_per_s

NIC_RATES = tuple(parse_bytes_per_s(rate) for rate in ("100 Gb/s", "200 Gb/s", "400 Gb/s", "800 Gb/s"))
_DEVICE = re.compile(r"[A-Za-z0-9][\w.:-]*")
_PART = re.compile(r"\d+|nvswitch|smp|(?:pcie|socket)\d+")
"""What the graph of a node calls its other parts."""


def nics_of(node: NodeFacts, spec: GpuSpec, shaped: Shaped) -> Nics | None:
    """Return the node's compute NICs; slow and absent ones become overrides."""
    if not node.nics:
        return None
    rates = [nic.bytes_per_s for nic in node.nics if nic.bytes_per_s]
    rate = max(rates) if rates else guessed_nic_rate(spec)
    if not rates:
        message = f"{node.where}: NICs of {show_bytes_per_s(rate)}: the largest that the PCIe link of {spec.id} carries"
        shaped.findings.append(Finding("guessed", f"{message}; no file tells the rate"))
    names = tuple(nic.name for nic in node.nics)
    if not all(_DEVICE.fullmatch(name) and not _PART.fullmatch(name) for name in names):
        names = tuple(f"nic{index}" for index in range(len(names)))
    for index, nic in enumerate(node.nics):
        mark = names[index] if len(set(names)) == len(names) else index
        if nic.is_down:
            shaped.overrides.append(Override(match=Match(nic=mark), state="down", reason="NIC is down or absent"))
        elif nic.bytes_per_s and nic.bytes_per_s < rate:
            slow, full = show_bytes_per_s(nic.bytes_per_s), show_bytes_per_s(rate)
            message = f"{node.where}: NIC {nic.name} runs at {slow}, others at {full}"
            shaped.findings.append(Finding("broken", message))
            shaped.overrides.append(
                Override(match=Match(nic=mark), bandwidth=rate_text(nic.bytes_per_s), reason="slower than its peers")
            )
    near = node.nearest if len(node.nearest) == len(node.gpus) else ()
    _say_order(near, names, node.where, shaped)
    usual = tuple(gpu * len(names) // len(node.gpus) for gpu in range(len(node.gpus)))
    return Nics(
        count=len(names),
        bandwidth=rate_text(rate),
        names=names if len(set(names)) == len(names) else (),
        nearest=() if near == usual or len(names) > len(node.gpus) else near,
        transport=node.transport or "infiniband",
    )


def guessed_nic_rate(spec: GpuSpec) -> float:
    """Return the fastest Ethernet or InfiniBand rate that fits through the GPU's PCIe link."""
    return max((rate for rate in NIC_RATES if rate <= spec.pcie_bandwidth), default=NIC_RATES[0])


def _say_order(near: tuple[int, ...], names: tuple[str, ...], where: str, shaped: Shaped) -> None:
    first_used = list(dict.fromkeys(near))
    if first_used != sorted(first_used):
        pairs = listed([f"GPU{g} {names[n]}" for g, n in enumerate(near)], 16)
        shaped.findings.append(Finding("read", f"{where}: NIC order differs from GPU order: {pairs}"))
