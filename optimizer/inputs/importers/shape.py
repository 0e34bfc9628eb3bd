"""One node's facts and its GPU type to a node template, and what is broken in it to overrides.

A GPU without the links that its peers have is marked, never averaged.
"""

from collections import Counter
from collections.abc import Mapping

from optimizer.inputs.cluster import Bridge, GpuGroup, Match, Mesh, NodeTemplate, NvSwitch, Override, Pcie
from optimizer.inputs.gpu import GpuSpec
from optimizer.inputs.importers.facts import Finding, NodeFacts, Pair, counted, listed
from optimizer.inputs.importers.nearness import group_size
from optimizer.inputs.importers.nic_shape import nics_of
from optimizer.inputs.importers.shaped import Shaped, rate_text
from optimizer.units import parse_bytes_per_s, show_bytes_per_s

NVLINK_RATES = {"volta": "25 GB/s", "ampere": "25 GB/s", "hopper": "25 GB/s", "blackwell": "50 GB/s"}
"""One NVLink per direction by generation (nvidia.com/en-us/data-center/nvlink)."""
MOST_LINKS = 18
"""NVLinks of any one GPU so far (NVLink 4 and 5)."""
SOCKET_RATE = parse_bytes_per_s("16 GB/s")
"""What NCCL plans with between AMD sockets (`src/graph/topo.h`); Intel's figures lie between 10 and 40."""
_TOO_MUCH = 1.2
"""A rate more than so far above the catalogue's is the sum of both directions, or of something else."""


def shape(node: NodeFacts, specs: tuple[GpuSpec, ...], gpu_ids: tuple[str, ...]) -> Shaped:
    """Return the template of a node whose GPUs are ``specs``; GPUs are matched by id where there are ids."""
    shaped = Shaped()
    marks: list[int | str] = list(gpu_ids) if gpu_ids else [gpu.index for gpu in node.gpus]
    nvswitch, mesh, bridges = _scale_up(node, specs, marks, shaped)
    _gpu_faults(node, specs, marks, shaped)
    is_fast = nvswitch is not None or mesh is not None
    pcie = None if is_fast and not shaped.overrides else _pcie(node, specs[0], shaped)
    kinds = _groups(specs)
    shaped.template = NodeTemplate(
        gpu=kinds[0].gpu if len(kinds) == 1 else None,
        gpus=len(specs) if len(kinds) == 1 else tuple(kinds),
        nvswitch=nvswitch,
        mesh=mesh,
        bridges=bridges,
        pcie=pcie,
        nics=nics_of(node, specs[0], shaped),
        source=f"imported from {node.kind}",
    )
    return shaped


def _groups(specs: tuple[GpuSpec, ...]) -> list[GpuGroup]:
    groups: list[GpuGroup] = []
    for spec in specs:
        if groups and groups[-1].gpu == spec.id:
            groups[-1] = GpuGroup(gpu=spec.id, count=groups[-1].count + 1)
        else:
            groups.append(GpuGroup(gpu=spec.id, count=1))
    return groups


# links between GPUs


def _scale_up(
    node: NodeFacts, specs: tuple[GpuSpec, ...], marks: list[int | str], shaped: Shaped
) -> tuple[NvSwitch | None, Mesh | None, tuple[Bridge, ...]]:
    """Return how GPUs reach each other faster than over PCIe."""
    spec = specs[0]
    if not node.knows_links:
        return (*_assumed(node, spec, shaped), ())
    links = {g.index: g.switch_links for g in node.gpus if g.switch_links is not None}
    if not any(links.values()) and not node.is_mesh and is_switched(node.pairs, spec):
        links = {g.index: max((c for p, c in node.pairs.items() if g.index in p), default=0) for g in node.gpus}
    if any(links.values()):
        _switch_faults(node, links, marks, shaped)
        return NvSwitch(bandwidth=rate_text(_switch_rate(node, max(links.values()), spec, shaped))), None, ()
    if node.switch_bytes_per_s:
        return NvSwitch(bandwidth=rate_text(_plausible(node.switch_bytes_per_s, spec, node.where, shaped))), None, ()
    if node.is_mesh and node.pairs:
        return _mesh(node, spec, marks, shaped)
    bridges = tuple(
        Bridge(gpus=pair, bandwidth=rate_text(_pair_rate(node, pair, count, spec)))
        for pair, count in sorted(node.pairs.items())
    )
    return None, None, bridges


def is_switched(pairs: Mapping[Pair, int], spec: GpuSpec) -> bool:
    """Whether pair counts can only come from a switch: they add up to more links than a GPU has, or fill all of them.

    DGX-1 (NV1 and NV2 cells) and bridges stay within a GPU's own links; behind NVSwitch every pair shows them all.
    """
    if not pairs:
        return False
    sums: Counter[int] = Counter()
    for pair, count in pairs.items():
        sums.update({pair[0]: count, pair[1]: count})
    own = spec.scale_up.links if spec.scale_up and spec.scale_up.links else MOST_LINKS
    fills = spec.scale_up is not None and spec.scale_up.kind == "nvswitch" and max(pairs.values()) == own
    return max(sums.values()) > own or fills


def _assumed(node: NodeFacts, spec: GpuSpec, shaped: Shaped) -> tuple[NvSwitch | None, Mesh | None]:
    """Return the board's wiring by GPU type when no file shows links."""
    kind = spec.scale_up.kind if spec.scale_up and len(node.gpus) > 1 else None
    if kind in ("nvswitch", "mesh"):
        shaped.findings.append(
            Finding("guessed", f"{node.where}: no file shows GPU links; {kind} as {spec.id} boards have")
        )
    elif kind:
        shaped.findings.append(Finding("missing", f"{node.where}: no file shows GPU links; no bridge is assumed"))
    return NvSwitch() if kind == "nvswitch" else None, Mesh() if kind == "mesh" else None


def _switch_faults(node: NodeFacts, links: Mapping[int, int], marks: list[int | str], shaped: Shaped) -> None:
    most = max(links.values())
    for gpu in node.gpus:
        count = links.get(gpu.index, 0)
        if gpu.state == "lost" or count == most:
            continue
        if count == 0:
            reason = f"no NVLink while its peers have {counted(most, 'link')}" if node.counts_links else "no NVLink"
            message = f"{node.where}: GPU{gpu.index} is off NVLink: {reason}; it must not be in a group with others"
            shaped.findings.append(Finding("broken", message))
            shaped.overrides.append(_link_down(marks[gpu.index], reason))
        elif node.counts_links:
            shaped.findings.append(Finding("broken", f"{node.where}: GPU{gpu.index} has {count} of {most} NVLinks"))
            match = Match(gpu=marks[gpu.index], link="nvlink")
            shaped.overrides.append(Override(match=match, links_active=f"{count}/{most}", reason="NVLinks missing"))


def _link_down(mark: int | str, reason: str) -> Override:
    return Override(match=Match(gpu=mark, link="nvlink"), state="down", reason=reason)


def _switch_rate(node: NodeFacts, links: int, spec: GpuSpec, shaped: Shaped) -> float | None:
    """Return the rate per GPU, None for the catalogue's."""
    if node.switch_bytes_per_s:
        return _plausible(node.switch_bytes_per_s, spec, node.where, shaped)
    own = spec.scale_up.links if spec.scale_up else None
    if spec.scale_up is not None and (not node.counts_links or own in (None, links)):
        return None
    rate = link_rate(spec)
    if rate is None:
        return None
    each = show_bytes_per_s(rate)
    message = f"{node.where}: {links} NVLinks per GPU of {each} each; the catalogue's {spec.id} has {own}"
    shaped.findings.append(Finding("guessed", message))
    return _plausible(links * rate, spec, node.where, shaped)


def link_rate(spec: GpuSpec) -> float | None:
    """Return bytes/s of one NVLink or xGMI link per direction."""
    up = spec.scale_up
    if up is not None and up.pair_bandwidth and up.kind == "mesh":
        return up.pair_bandwidth
    if up is not None and up.links:
        return up.bandwidth / up.links
    return parse_bytes_per_s(NVLINK_RATES[spec.architecture]) if spec.architecture in NVLINK_RATES else None


def _plausible(rate: float, spec: GpuSpec, where: str, shaped: Shaped) -> float | None:
    if spec.scale_up is not None and rate > _TOO_MUCH * spec.scale_up.bandwidth:
        own = show_bytes_per_s(spec.scale_up.bandwidth)
        message = f"{where}: {show_bytes_per_s(rate)} per GPU exceeds the {own} of {spec.id}"
        shaped.findings.append(Finding("broken", f"{message} (both directions?); the catalogue's figure is used"))
        return None
    return rate


def _pair_rate(node: NodeFacts, pair: Pair, count: int, spec: GpuSpec) -> float:
    told = node.pair_bytes_per_s.get(pair)
    return told or count * (link_rate(spec) or spec.pcie_bandwidth)


def _mesh(
    node: NodeFacts, spec: GpuSpec, marks: list[int | str], shaped: Shaped
) -> tuple[NvSwitch | None, Mesh | None, tuple[Bridge, ...]]:
    """Return a mesh when all linked GPUs see each other, else the links that are there; a GPU without any is marked."""
    linked = sorted({gpu for pair in node.pairs for gpu in pair})
    for gpu in node.gpus:
        if gpu.index not in linked and gpu.state is None:
            reason = "no xGMI link while its peers have"
            shaped.findings.append(Finding("broken", f"{node.where}: GPU{gpu.index} is off xGMI: {reason}"))
            shaped.overrides.append(_link_down(marks[gpu.index], reason))
    absent = [f"GPU{a}-GPU{b}" for a in linked for b in linked if a < b and (a, b) not in node.pairs]
    rates = {_pair_rate(node, pair, 1, spec) for pair in node.pairs}
    own = spec.scale_up is not None and spec.scale_up.kind == "mesh"
    if not absent and len(rates) == 1:
        return None, Mesh(pair_bandwidth=rate_text(None if own and not node.pair_bytes_per_s else rates.pop())), ()
    if absent:
        shaped.findings.append(
            Finding("broken", f"{node.where}: no xGMI between {listed(absent)}; links are written one by one")
        )
    return (
        None,
        None,
        tuple(Bridge(gpus=p, bandwidth=rate_text(_pair_rate(node, p, 1, spec))) for p in sorted(node.pairs)),
    )


# GPUs and PCIe


def _gpu_faults(node: NodeFacts, specs: tuple[GpuSpec, ...], marks: list[int | str], shaped: Shaped) -> None:
    for gpu, spec, mark in zip(node.gpus, specs, marks, strict=True):
        if gpu.state == "lost":
            shaped.overrides.append(Override(match=Match(gpu=mark), state="lost", reason=gpu.reason))
        elif gpu.pcie_share is not None:
            rate = spec.pcie_bandwidth * gpu.pcie_share
            match = Match(gpu=mark, link="pcie")
            shaped.overrides.append(
                Override(match=match, bandwidth=f"{rate!r} B/s", reason="PCIe link runs below its peers")
            )


def _pcie(node: NodeFacts, spec: GpuSpec, shaped: Shaped) -> Pcie | None:
    if len(node.gpus) == 1:
        return None
    per_switch = group_size(node.pcie_groups) or 1
    if any(len(group) > 1 for group in node.pcie_groups) and per_switch == 1:
        groups = "; ".join(listed([f"GPU{g}" for g in group]) for group in node.pcie_groups)
        shaped.findings.append(
            Finding("missing", f"{node.where}: unequal PCIe switches ({groups}) are not modelled; none is written")
        )
    sockets = len(node.sockets) if group_size(node.sockets) else 1
    if len(node.sockets) > 1 and sockets == 1:
        shaped.findings.append(
            Finding("missing", f"{node.where}: sockets with unequal GPUs are not modelled; one is written")
        )
    between = node.socket_bytes_per_s if sockets > 1 else None
    if sockets > 1 and between is None:
        between = SOCKET_RATE
        message = (
            f"{node.where}: {show_bytes_per_s(between)} between sockets, as NCCL plans for AMD; no file names the CPU"
        )
        shaped.findings.append(Finding("guessed", message))
    told = node.pcie_bytes_per_s
    rate = rate_text(told if told and told <= _TOO_MUCH * spec.pcie_bandwidth else None)
    return Pcie(bandwidth=rate, gpus_per_switch=per_switch, sockets=sockets, socket_bandwidth=rate_text(between))
