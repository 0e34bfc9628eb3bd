"""What ships, for people."""

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType

from optimizer.inputs.cluster import ClusterSpec, NodeTemplate
from optimizer.inputs.gpu import GpuSpec
from optimizer.inputs.hostlist import all_hosts
from optimizer.inputs.model import ModelSpec
from optimizer.report.tables import Screen, columns, pairs
from optimizer.units import show_bytes, show_bytes_per_s

FULL_NAMES = 100
"""Width from which on the long names fit beside the short ones; `presets show` tells them in any case."""


def gpu_table(gpus: Sequence[GpuSpec], screen: Screen) -> RenderableType:
    """Return the GPU catalogue."""
    long = screen.width >= FULL_NAMES
    rows = [
        (
            gpu.id, *([gpu.name] if long else []), show_bytes(gpu.memory), show_bytes_per_s(gpu.memory_bandwidth),
            show_bytes_per_s(gpu.scale_up.bandwidth) if gpu.scale_up else "-", f"{gpu.tdp:,.0f} W",
        )
        for gpu in gpus
    ]  # fmt: skip
    heads = ("id", *(["name"] if long else []), "memory", "bandwidth", "links", "TDP")
    return columns("GPUs", heads, rows, left=(0, 1) if long else (0,))


def cluster_table(clusters: Mapping[str, ClusterSpec]) -> RenderableType:
    """Return the cluster presets."""
    rows = [
        (name, f"{sum(map(len, all_hosts(cluster.nodes))):,}", *_nodes(cluster), _fabric(cluster))
        for name, cluster in clusters.items()
    ]
    return columns("Clusters", ("name", "nodes", "GPUs", "per node", "fabric"), rows, left=(0, 3, 4))


def _nodes(cluster: ClusterSpec) -> tuple[str, str]:
    names = all_hosts(cluster.nodes)
    counts = [(cluster.templates[entry.template], len(n)) for entry, n in zip(cluster.nodes, names, strict=True)]
    total = sum(template.size * count for template, count in counts)
    kinds = dict.fromkeys(_kind(template) for template, _ in counts)
    return f"{total:,}", ", ".join(kinds)


def _kind(template: NodeTemplate) -> str:
    if isinstance(template.gpus, int):
        return f"{template.gpus} x {template.gpu}"
    return " + ".join(f"{group.count} x {group.gpu}" for group in template.gpus)


def _fabric(cluster: ClusterSpec) -> str:
    return cluster.fabric.kind if cluster.fabric else "none"


def model_table(models: Mapping[str, ModelSpec], screen: Screen) -> RenderableType:
    """Return the model presets."""
    long = screen.width >= FULL_NAMES
    rows = [
        (
            name, *([model.name] if long else []), str(model.num_layers), f"{model.hidden:,}",
            "MoE" if model.is_moe else "dense", f"{model.context:,}", model.checkpoint_scheme,
        )
        for name, model in models.items()
    ]  # fmt: skip
    heads = ("name", *(["hub name"] if long else []), "layers", "hidden", "kind", "context", "weights")
    return columns("Models", heads, rows, left=(0, 1, 4, 6) if long else (0, 3, 5))


def name_table(names: Mapping[str, Sequence[str]]) -> RenderableType:
    """Return the names of every kind of preset."""
    return Group(*(pairs(kind, [("", ", ".join(known) or "none")]) for kind, known in names.items()))
