"""What a template says its node is made of, checked: GPU types, NIC names, bandwidths of one direction."""

import re

from optimizer.errors import InputError
from optimizer.inputs.cluster import ClusterSpec, GpuGroup, NodeTemplate
from optimizer.inputs.gpu import GpuSpec
from optimizer.topology.health import nearest
from optimizer.units import show_bytes_per_s

_TAKEN = re.compile(r"\d+|nvswitch|smp|router|(pcie|socket)\d+|.*/.*|")
"""Local names of other vertices, and what would not be one name."""

_TOLERANCE = 1.2
"""A port more than so much faster than the catalogue's is taken for the sum of both directions (which is twice)."""


def gpu_specs(cluster: ClusterSpec, name: str) -> tuple[GpuSpec, ...]:
    """Return the type of each GPU of a template, in local order; InputError names what is unknown."""
    if name not in cluster.templates:
        raise InputError(f"cluster {cluster.name}: template: no template {name!r}; {nearest(name, cluster.templates)}")
    template, where = cluster.templates[name], f"cluster {cluster.name}: templates.{name}"
    if isinstance(template.gpus, int):
        if template.gpu is None:
            raise InputError(f"{where}.gpu: missing; name the GPU type of the {template.gpus} GPUs")
        groups: tuple[GpuGroup, ...] = (GpuGroup(gpu=template.gpu, count=template.gpus),)
    else:
        groups = template.gpus
        if template.gpu is not None or not groups:
            raise InputError(f"{where}.gpu: gpus lists groups, each with its own type; leave gpu out")
    return tuple(spec for group in groups for spec in [_spec(cluster, group.gpu, where)] * group.count)


def _spec(cluster: ClusterSpec, gpu: str | GpuSpec, where: str) -> GpuSpec:
    if isinstance(gpu, GpuSpec):
        return gpu
    if gpu not in cluster.gpus:
        raise InputError(f"{where}.gpu: no GPU type {gpu!r}; {nearest(gpu, cluster.gpus)}")
    return cluster.gpus[gpu]


def nic_names(template: NodeTemplate, where: str) -> tuple[str, ...]:
    """Return the NICs' names in NIC order: those given, else nic0, nic1, ..."""
    nics = template.nics
    if nics is None:
        return ()
    if nics.names and len(set(nics.names)) != nics.count:
        raise InputError(f"{where}.nics.names: {len(set(nics.names))} different names for {nics.count} NICs")
    for name in nics.names:
        if _TAKEN.fullmatch(name):
            raise InputError(f"{where}.nics.names: {name!r} names another part of the node; use the device's name")
    return nics.names or tuple(f"nic{index}" for index in range(nics.count))


def check_one_direction(given: float | None, known: float | None, key: str) -> None:
    """Refuse a port faster than the catalogue's by more than tolerance; InputError asks for one direction."""
    if given is not None and known is not None and given > _TOLERANCE * known:
        shown = f"{show_bytes_per_s(given)} exceeds the catalogue's {show_bytes_per_s(known)}"
        raise InputError(f"{key}: {shown} per direction; did you give the sum of both directions?")
