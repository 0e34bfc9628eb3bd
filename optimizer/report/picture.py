"""A cluster as one picture: nodes in full while they are few, at a glance up to 32, by kind beyond; then the fabric."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from optimizer.inputs.cluster import Torus
from optimizer.report.drawing import REPLICA_COLOURS, Canvas, document, fit
from optimizer.report.picture_node import Drawn, draw_node, node_width
from optimizer.report.picture_rack import PAGE_W, draw_kinds, draw_racks
from optimizer.report.picture_torus import draw_torus, fits
from optimizer.report.picture_torus import told as told_torus
from optimizer.report.scene import Scene, counted, faults, gpu_kinds
from optimizer.topology.reach import is_narrow, leaf_switches
from optimizer.units import show_bytes_per_s

MOST_IN_FULL = 4
"""Nodes drawn with every wire."""
MOST_CHIPS = 12
"""Replicas whose colours are listed: beyond, the marks on the GPUs say it."""
MOST_LEAVES = 16
MOST_FAULTS = 12


def svg(shown: Scene, tips: Mapping[str, str] | None = None, *, inline: bool = False) -> str:
    """Return the cluster as SVG text, ranks on their GPUs; ``tips`` says more of a GPU (by id) when pointed at."""
    canvas = Canvas()
    cluster, count = shown.topology.cluster, len(shown.nodes)
    canvas.text(0, 18, cluster.name, size=17, bold=True)
    canvas.text(0, 36, _subtitle(shown), "tp-dim", size=11.5)
    y = _legend(canvas, shown, 52)
    if fits(shown):
        y = draw_torus(canvas, shown, y, tips or {})
    elif count <= MOST_IN_FULL:
        y = _in_full(canvas, shown, y, tips or {})
    elif shown.is_large:
        y = draw_kinds(canvas, shown, y, tips or {})
        y = _fabric_words(canvas, shown, y + 14)
    else:
        y = draw_racks(canvas, shown, y, tips or {})
        y = _fabric_words(canvas, shown, y + 4)
    _faults(canvas, shown, y + 10)
    moved = Canvas(width=canvas.width + 16, height=canvas.height + 16)
    moved.marks = [f'<g transform="translate(16 16)">{"".join(canvas.marks)}</g>']
    ranks = f", {len(shown.sitters)} ranks of {shown.replicas} replicas on it" if shown.sitters else ""
    return document(moved, f"Topology of {cluster.name}", f"{_subtitle(shown)}{ranks}", inline=inline)


def _subtitle(shown: Scene) -> str:
    nodes, fabric = shown.nodes, shown.topology.cluster.fabric
    told = f"{counted(len(nodes), 'node')}, {gpu_kinds(nodes)}"
    if fabric is None:
        return told + (", nodes not joined by a fabric" if len(nodes) > 1 else "")
    if isinstance(fabric, Torus):
        return f"{counted(len(nodes), 'node')}, {gpu_kinds(nodes)}, {told_torus(fabric)}"
    ratio = getattr(fabric, "oversubscription", 1.0)
    return f"{told}, {fabric.kind}" + (f" oversubscribed {ratio:g}:1" if ratio > 1 else "")


def _legend(canvas: Canvas, shown: Scene, y: float) -> float:
    """Add what colours stand for; return where the picture may go on."""
    if not shown.sitters:
        return y + 6
    by_group = shown.is_large
    words = list(shown.groups) if by_group else [f"R{number}" for number in range(shown.replicas)]
    if not by_group and len(words) > MOST_CHIPS:
        canvas.text(0, y + 10, "R: replica, r: rank. " + "; ".join(shown.groups), "tp-dim", size=11)
        return y + 24
    x, row = 0.0, y
    for number, label in enumerate(words):
        width = 22 + len(label) * 6.6
        if x + width > PAGE_W:
            x, row = 0.0, row + 18
        canvas.rect(x, row, 12, 12, f"tp-r{number % len(REPLICA_COLOURS)}", radius=2)
        canvas.text(x + 17, row + 10, label, size=11)
        x += width + 8
    if not by_group:
        canvas.text(0, row + 30, "R: replica. " + "; ".join(shown.groups), "tp-dim", size=11)
        row += 20
    return row + 24


def _in_full(canvas: Canvas, shown: Scene, y: float, tips: Mapping[str, str]) -> float:
    """Add nodes one below the other, so that NICs of one rail share a column, and the fabric below them."""
    cards, wires = Canvas(), Canvas()
    drawn: list[Drawn] = []
    for node in shown.nodes:
        drawn.append(draw_node(cards, shown, node, 0, y, tips))
        y = drawn[-1].bottom + 18
    ports = {nic: at for one in drawn for nic, at in one.ports.items()}
    if ports and shown.topology.cluster.fabric is not None:
        y = _leaves(wires, shown, ports, y + 14)
    canvas.group(wires)
    canvas.group(cards)
    return y


def _leaves(canvas: Canvas, shown: Scene, ports: Mapping[str, tuple[float, float]], y: float) -> float:
    """Add leaf switches below the NICs cabled to them, and what joins them."""
    graph = shown.topology.graph
    cabled: dict[str, list[str]] = {}
    for nic in ports:
        for leaf, arc in graph.adj[nic].items():
            if arc["kind"] == "port":
                cabled.setdefault(leaf, []).append(nic)
    width = max(node_width(node) for node in shown.nodes)
    at = _leaf_places(cabled, ports, width)
    ups = {leaf: _uplink(shown, leaf) for leaf in cabled}
    for leaf, nics in cabled.items():
        left, right = at[leaf]
        for nic in nics:
            x, top = ports[nic]
            foot = min(max(x, left + 8), right - 8)
            down = graph.adj[nic][leaf]["bytes_per_s"] == 0
            canvas.path(f"M{x:.1f} {top}V{y - 12}L{foot:.1f} {y}", "tp-bad" if down else "tp-wire")
        _leaf(canvas, shown, leaf, (left, right, y), ups[leaf])
    joined = [leaf for leaf in cabled if ups[leaf] is not None]
    if not joined:
        return y + 40
    spine = y + 62
    for leaf in joined:
        middle = sum(at[leaf]) / 2
        rate = ups[leaf] or 0.0
        look = "tp-bad" if rate == 0 else "tp-weak" if is_narrow(shown.topology, leaf) else "tp-wire"
        canvas.line(middle, y + 34, middle, spine, look, width=2)
    canvas.rect(0, spine, width, 20, "tp-part")
    canvas.text(width / 2, spine + 14, "spine", size=10.5, anchor="middle")
    return spine + 30


def _leaf_places(
    cabled: Mapping[str, list[str]], ports: Mapping[str, tuple[float, float]], width: float
) -> dict[str, tuple[float, float]]:
    """Return (left, right) of each leaf: below its NICs where they share a column, else side by side."""
    columns = [{round(ports[nic][0]) for nic in nics} for nics in cabled.values()]
    if all(len(column) == 1 for column in columns) and len({min(c) for c in columns}) == len(columns):
        xs = sorted(min(column) for column in columns)
        step: float = min((b - a for a, b in pairwise(xs)), default=120)
        half = min(step, 120) / 2 - 2
        return {leaf: (min(c) - half, min(c) + half) for leaf, c in zip(cabled, columns, strict=True)}
    each = width / len(cabled)
    return {leaf: (number * each + 4, (number + 1) * each - 4) for number, leaf in enumerate(cabled)}


def _leaf(canvas: Canvas, shown: Scene, leaf: str, place: tuple[float, float, float], uplink: float | None) -> None:
    left, right, y = place
    marks = shown.topology.graph.nodes[leaf]
    gone = marks["state"] != "up" or uplink == 0
    weak = not gone and uplink is not None and is_narrow(shown.topology, leaf)
    up = "" if uplink is None else f", {show_bytes_per_s(uplink)} up"
    reason = f" ({marks['reason']})" if "reason" in marks else ""
    canvas.rect(left, y, right - left, 34, "tp-gone" if gone else "tp-part", tip=f"leaf switch {leaf}{up}{reason}")
    canvas.text((left + right) / 2, y + 14, fit(leaf, right - left, 10), size=10, anchor="middle")
    words = "one switch" if uplink is None else "no way up" if uplink == 0 else f"{show_bytes_per_s(uplink)} up"
    tone = "tp-badtext" if gone else "tp-weaktext" if weak else "tp-dim"
    canvas.text((left + right) / 2, y + 27, fit(words, right - left, 9), tone, size=9, anchor="middle")


def _uplink(shown: Scene, leaf: str) -> float | None:
    """Return the bytes/s a leaf sends up; None when it is the only switch."""
    ups: list[Any] = [
        arc["bytes_per_s"] for arc in shown.topology.graph.adj[leaf].values() if arc["kind"] == "leaf-uplink"
    ]
    return sum(ups) if ups else None


def _fabric_words(canvas: Canvas, shown: Scene, y: float) -> float:
    """Add what the leaves of each group send up, equal groups in one line; those that send less are marked."""
    topology = shown.topology
    same: dict[tuple[str, bool], list[str]] = {}
    for group in dict.fromkeys(node.leaf for node in shown.nodes if node.leaf):
        leaves = leaf_switches(topology, group)
        narrow = any(is_narrow(topology, leaf) for leaf in leaves)
        words = _group_words(len(leaves), [_uplink(shown, leaf) for leaf in leaves], narrow=narrow)
        same.setdefault((words, narrow), []).append(group)
    if not same:
        return y
    canvas.text(0, y + 12, "Fabric", size=13, bold=True)
    y += 20
    for (words, narrow), groups in list(same.items())[:MOST_LEAVES]:
        y += 17
        canvas.rect(0, y - 10, 12, 12, "tp-part" + (" tp-weakline" if narrow else ""), radius=2)
        names = groups[0] if len(groups) == 1 else f"{groups[0]} to {groups[-1]} ({len(groups):,} groups)"
        canvas.text(18, y, f"{names}: {words}", size=11)
    return y + 8


def _group_words(leaves: int, rates: list[float | None], *, narrow: bool) -> str:
    told = f"{leaves} leaf switch{'es' if leaves > 1 else ''}"
    known = [rate for rate in rates if rate is not None]
    if not known:
        return f"{told}, no way up needed"
    each = show_bytes_per_s(max(known)) if min(known) == max(known) else (
        f"{show_bytes_per_s(min(known))} to {show_bytes_per_s(max(known))}"
    )  # fmt: skip
    return f"{told}, {each} up{' each' if leaves > 1 else ''}" + (", less than comes in from below" if narrow else "")


def _faults(canvas: Canvas, shown: Scene, y: float) -> None:
    lines = list(faults(shown))
    if not lines:
        return
    canvas.text(0, y + 12, "Faults and reservations", size=13, bold=True)
    for row, line in enumerate(lines[:MOST_FAULTS]):
        canvas.text(0, y + 32 + 16 * row, line, "tp-badtext", size=11)
    if len(lines) > MOST_FAULTS:
        canvas.text(0, y + 32 + 16 * MOST_FAULTS, f"and {len(lines) - MOST_FAULTS:,} more", "tp-dim", size=11)
