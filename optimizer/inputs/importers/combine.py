"""Several files about one node to one: each value from the first file that knows it, disagreements told."""

from collections.abc import Sequence
from dataclasses import fields, replace

from optimizer.inputs.importers.facts import Finding, GpuFacts, NicFacts, NodeFacts, counted
from optimizer.inputs.importers.products import is_certain

_ORDER = ("NCCL topology XML", "nvidia-smi topo -m", "rocm-smi --showtopo", "hwloc XML", "nvidia-smi --query-gpu")
"""Most telling first; a NCCL graph, which knows least about the hardware, last."""


def combine(nodes: Sequence[NodeFacts]) -> tuple[NodeFacts, tuple[Finding, ...]]:
    """Return one node of all files about it."""
    ranked = sorted(nodes, key=lambda n: (not n.pairs and not _is_switched(n), _rank(n.kind)))
    merged, findings = ranked[0], []
    for other in ranked[1:]:
        findings += _compare(merged, other)
        merged = _join(merged, other)
    numbered = tuple(replace(gpu, index=position) for position, gpu in enumerate(merged.gpus))
    return replace(merged, gpus=numbered), tuple(findings)


def _rank(kind: str) -> int:
    return _ORDER.index(kind) if kind in _ORDER else len(_ORDER)


def _is_switched(node: NodeFacts) -> bool:
    return any(gpu.switch_links for gpu in node.gpus)


def _compare(first: NodeFacts, second: NodeFacts) -> list[Finding]:
    if len(first.gpus) == len(second.gpus):
        return []
    message = f"{first.where} has {counted(len(first.gpus), 'GPU')}, {second.where} {len(second.gpus)}"
    return [Finding("broken", f"{message}: a GPU may have fallen off the bus, indices then shift")]


def _join(first: NodeFacts, second: NodeFacts) -> NodeFacts:
    known = {
        f.name: getattr(second, f.name)
        for f in fields(NodeFacts)
        if f.name not in ("gpus", "nics", "nearest", "is_mesh")
        and not getattr(first, f.name)
        and getattr(second, f.name)
    }
    if {"pairs", "switch_bytes_per_s"} & set(known):
        known["is_mesh"] = second.is_mesh
    if first.knows_links and not first.pairs and not _is_switched(first) and "pairs" not in known:
        known.pop("pcie_bytes_per_s", None)
    nics, nearest = _nics(first, second)
    return replace(first, gpus=_gpus(first.gpus, second.gpus), nics=nics, nearest=nearest, **known)


def _nics(first: NodeFacts, second: NodeFacts) -> tuple[tuple[NicFacts, ...], tuple[int, ...]]:
    """Return the NICs of the first that has any, with rates that the other knows by name."""
    if not first.nics:
        return second.nics, second.nearest
    rates = {nic.name: nic.bytes_per_s for nic in second.nics}
    return tuple(replace(n, bytes_per_s=n.bytes_per_s or rates.get(n.name)) for n in first.nics), first.nearest


def same_bus(bus_id: str | None) -> str | None:
    """Return a bus id as the kernel writes it: nvidia-smi's domain has eight digits, others four."""
    return bus_id.lower()[-12:].rjust(12, "0") if bus_id else None


def _gpus(first: Sequence[GpuFacts], second: Sequence[GpuFacts]) -> tuple[GpuFacts, ...]:
    """Match by bus id where both know it, else by index; a GPU that one file lacks stays as the other knows it."""
    by_bus = {same_bus(g.bus_id): g for g in second if g.bus_id}
    has_buses = bool(by_bus) and all(g.bus_id for g in first)
    others = {g.index: g for g in second}
    joined = []
    for gpu in first:
        match = by_bus.get(same_bus(gpu.bus_id)) if has_buses else others.get(gpu.index)
        if match is not None:
            joined.append(_gpu(gpu, match))
        elif has_buses and len(second) < len(first):
            joined.append(replace(gpu, state="lost", reason="the other file lists no GPU at its bus id"))
        else:
            joined.append(gpu)
    extra = [g for g in second if not has_buses and g.index >= len(first)]
    return (*joined, *extra)


def _gpu(first: GpuFacts, second: GpuFacts) -> GpuFacts:
    known = {
        f.name: getattr(second, f.name)
        for f in fields(GpuFacts)
        if getattr(first, f.name) is None and getattr(second, f.name) is not None
    }
    if first.product and second.product and is_certain(first.product):
        known["product"] = second.product  # a name says more than a PCI device, which variants share
    return replace(first, **known)
