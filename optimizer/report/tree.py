"""A cluster as a tree for the terminal: leaf groups, nodes, what joins the GPUs of a node, who sits where."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree

from optimizer.inputs.cluster import Torus
from optimizer.report.drawing import REPLICA_COLOURS
from optimizer.report.picture_torus import lines, told
from optimizer.report.scene import Alike, Scene, alike, counted, faults, gpu_kinds
from optimizer.report.tables import bullets
from optimizer.topology.graph import Gpu
from optimizer.topology.health import GONE
from optimizer.topology.reach import is_narrow, leaf_switches
from optimizer.units import show_bytes, show_bytes_per_s

MOST_LINES = 40
"""Nodes (or runs of equal ones) listed; the others are counted."""
MOST_FAULTS = 20


def tree(shown: Scene) -> RenderableType:
    """Return the tree; equal neighbours share a branch, in a large cluster all equal nodes do."""
    cluster, nodes = shown.topology.cluster, shown.nodes
    top = Tree(Text(f"{cluster.name}: {counted(len(nodes), 'node')}, {gpu_kinds(nodes)}", style="bold"))
    branches: dict[str | None, Tree] = {}
    runs = alike(shown, by_replica=not shown.is_large)
    for run in runs[:MOST_LINES]:
        group = None if shown.is_large else run.leaf
        if group not in branches:
            branches[group] = top if group is None else top.add(_leaf_group(shown, group))
        _node(branches[group], shown, run)
    if len(runs) > MOST_LINES:
        rest = sum(len(run.nodes) for run in runs[MOST_LINES:])
        top.add(Text(f"and {rest:,} more nodes", style="dim"))
    if isinstance(cluster.fabric, Torus):
        top.add(Text("\n").join([Text(told(cluster.fabric)), *lines(shown)]))
    elif shown.is_large and cluster.fabric is not None:
        _fabric(top, shown)
    broken = list(faults(shown))
    listed = broken[:MOST_FAULTS] + ([f"and {len(broken) - MOST_FAULTS} more"] if len(broken) > MOST_FAULTS else [])
    return Group(top, _key(shown), bullets("Faults and reservations", listed))


def _leaf_group(shown: Scene, group: str) -> Text:
    leaves = leaf_switches(shown.topology, group)
    ups = [_up(shown, leaf) for leaf in leaves]
    known = sorted({rate for rate in ups if rate is not None})
    words = f"{group}: {len(leaves)} leaf switch{'es' if len(leaves) != 1 else ''}"
    if known:
        words += f", {' to '.join(dict.fromkeys(show_bytes_per_s(rate) for rate in (known[0], known[-1])))} up each"
    narrow = any(is_narrow(shown.topology, leaf) for leaf in leaves)
    return Text(words + (", less than comes in" if narrow else ""), style="yellow" if narrow else "")


def _up(shown: Scene, leaf: str) -> float | None:
    rates = [arc["bytes_per_s"] for arc in shown.topology.graph.adj[leaf].values() if arc["kind"] == "leaf-uplink"]
    return sum(rates) if rates else None


def _fabric(top: Tree, shown: Scene) -> None:
    """Add leaf groups, equal ones in one line."""
    same: dict[str, list[str]] = {}
    for group in dict.fromkeys(node.leaf for node in shown.nodes if node.leaf):
        same.setdefault(_leaf_group(shown, group).plain.removeprefix(group), []).append(group)
    fabric = top.add(Text("fabric"))
    for words, groups in list(same.items())[:MOST_LINES]:
        names = groups[0] if len(groups) == 1 else f"{groups[0]} to {groups[-1]} ({len(groups):,} groups)"
        fabric.add(Text(names + words))


def _node(branch: Tree, shown: Scene, run: Alike) -> None:
    node, words = run.first, Text()
    words.append(f"{len(run.nodes):,} x {node.template}" if shown.is_large else run.label, style="bold")
    words.append(
        f"  {run.label}" if shown.is_large else f"  {node.template}" * (node.template != node.name), style="dim"
    )
    leaf = branch.add(words)
    for label, gpus in _islands(shown, run):
        line = Text(f"{label}: " if gpus else label)
        for index, gpus_alike in enumerate(_runs(shown, gpus)):
            line.append("  " if index else "")
            line.append_text(_gpus(shown, gpus_alike))
        leaf.add(line)
    if nics := _nics(run):
        leaf.add(nics)


def _islands(shown: Scene, run: Alike) -> list[tuple[str, list[Gpu]]]:
    """Return GPUs by what joins them: one NVSwitch, mesh or set of cables, else the PCIe switch or socket."""
    node, gpus = run.first, shown.gpus(run.first)
    arcs = node.blueprint.arcs
    ports = {int(u): arc["bytes_per_s"] for u, v, arc in arcs if arc["kind"] == "nvlink" and v == "nvswitch"}
    if ports:
        joined = [gpu for gpu in gpus if ports[gpu.local_index] != 0 or gpu.state in GONE]
        off = [gpu for gpu in gpus if gpu not in joined]
        label = f"NVSwitch {_most(ports)} a GPU"
        return [(label, joined), *([("off the NVSwitch", off)] if off else [])]
    mesh = {u: arc["bytes_per_s"] for u, _, arc in arcs if arc["kind"] == "xgmi"}
    if mesh:
        return [(f"direct links {_most(mesh)} a pair", list(gpus))]
    parents = {int(u): v for u, v, arc in arcs if arc["kind"] == "pcie" and u.isdigit()}
    kinds = {name: marks["kind"] for name, marks in node.blueprint.vertices}
    groups: dict[str, list[Gpu]] = {}
    for gpu in gpus:
        groups.setdefault(parents[gpu.local_index], []).append(gpu)
    told = [(f"{'PCIe switch' if kinds[name] == 'pcie' else 'CPU'} {name[-1]}", g) for name, g in groups.items()]
    bridges = [arc["bytes_per_s"] for _, _, arc in arcs if arc["kind"] == "bridge"]
    cables = sorted({rate for rate in bridges if isinstance(rate, float) and rate}, reverse=True)
    if cables:
        rates = ", ".join(map(show_bytes_per_s, cables))
        pairs = " ".join(f"{u}-{v}" for u, v, arc in arcs if arc["kind"] == "bridge" and int(u) < int(v))
        told.append((f"direct cables {rates}, {pairs}", []))
    return told


def _most(rates: Mapping[Any, object]) -> str:
    known = [rate for rate in rates.values() if isinstance(rate, float)]
    return show_bytes_per_s(max(known)) if known else "unknown"


def _runs(shown: Scene, gpus: Sequence[Gpu]) -> Iterator[tuple[Gpu, ...]]:
    """Yield neighbours that are told together: ranks of one replica in order, or GPUs in one state."""

    def key(pair: tuple[int, Gpu]) -> tuple[object, ...]:
        index, gpu = pair
        sitter = shown.sitters.get(gpu.id)
        seat = () if sitter is None else (sitter.replica, sitter.rank - index)
        return (gpu.local_index - index, gpu.state, gpu.speed_factor, _weak_port(shown, gpu), *seat)

    return (tuple(gpu for _, gpu in run) for _, run in groupby(enumerate(gpus), key=key))


def _weak_port(shown: Scene, gpu: Gpu) -> float | None:
    """Return the bytes/s of a GPU's NVLink port where it is less than that of the node's best."""
    arcs = shown.topology.node(gpu.node).blueprint.arcs
    rates = {u: arc["bytes_per_s"] for u, v, arc in arcs if arc["kind"] == "nvlink" and v == "nvswitch"}
    known = [rate for rate in rates.values() if isinstance(rate, float)]
    own = rates.get(str(gpu.local_index))
    return own if isinstance(own, float) and 0 < own < max(known) else None


def _gpus(shown: Scene, run: Sequence[Gpu]) -> Text:
    """Return neighbours: "4-7 R1.0-3" for ranks 0 to 3 of replica 1 on GPUs 4 to 7, or their state."""
    first, last = run[0], run[-1]
    words = Text(_span(first.local_index, last.local_index))
    sitter, end = shown.sitters.get(first.id), shown.sitters.get(last.id)
    if sitter is not None and end is not None:
        number = sitter.group if shown.is_large else sitter.replica
        mark = " ranks " if shown.is_large else f" R{sitter.replica}."
        words.append(mark + _span(sitter.rank, end.rank), style=REPLICA_COLOURS[number % len(REPLICA_COLOURS)])
    elif first.state != "up":
        words.append(f" {first.state}", style="red" if first.state in GONE else "dim")
    if first.placeable and first.speed_factor < 1:
        words.append(f" {first.speed_factor:.0%} speed", style="yellow")
    if (port := _weak_port(shown, first)) is not None:
        words.append(f" NVLink {show_bytes_per_s(port)}", style="yellow")
    return words


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def _nics(run: Alike) -> Text | None:
    rates = {u: arc["bytes_per_s"] for u, _, arc in run.first.blueprint.arcs if arc["kind"] == "nic"}
    rates = {name: rates[name] for name in run.first.blueprint.nics}
    if not rates:
        return None
    best = _most(rates)
    words = Text(f"NICs: {len(rates)} x {best}")
    for name, rate in rates.items():
        if isinstance(rate, float) and show_bytes_per_s(rate) != best:
            words.append(f", {name} {'down' if rate == 0 else show_bytes_per_s(rate)}", style="red")
    return words


def _key(shown: Scene) -> RenderableType:
    """Return what the marks stand for, and the GPU types with their memory."""
    specs = {spec.id: spec for node in shown.nodes for spec in node.blueprint.specs}
    lines = [
        f"{name}: {spec.name}, {show_bytes(spec.memory)}, {show_bytes_per_s(spec.memory_bandwidth)}"
        for name, spec in specs.items()
    ]
    if shown.sitters:
        lines.append("; ".join(shown.groups) + ("" if shown.is_large else "; R2.5 is rank 5 of replica 2"))
    return Group(*(Text(f"  {line}", style="dim") for line in lines))
