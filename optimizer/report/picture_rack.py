"""Many nodes at a glance: each a card of small GPUs, framed by leaf group or NVLink domain; or one card per kind."""

from collections.abc import Mapping, Sequence

from optimizer.report.drawing import Canvas, fit
from optimizer.report.picture_gpu import draw_gpu
from optimizer.report.scene import Alike, Scene, alike, domains, gpu_kinds
from optimizer.topology.graph import Node
from optimizer.topology.health import GONE

SIDE, GAP, PAD, CARD_GAP = 30, 3, 9, 12
PAGE_W = 1120
MOST_CARDS = 24
"""Of different nodes in a large cluster: those beyond are counted."""


def draw_racks(canvas: Canvas, shown: Scene, y: float, tips: Mapping[str, str]) -> float:
    """Add every node in the frame of its domain; return where the picture ends."""
    for name, nodes in domains(shown):
        y = _frame(canvas, shown, name, nodes, y, tips) + CARD_GAP
    return y


def _frame(
    canvas: Canvas, shown: Scene, name: str | None, nodes: Sequence[Node], y: float, tips: Mapping[str, str]
) -> float:
    inner = Canvas()
    top, left = y + (28 if name else 0), float(PAD)
    x, bottom, row_h, widest = left, top, 0.0, 0.0
    for node in nodes:
        width, height = card_size(node)
        if x > left and x + width > PAGE_W - PAD:
            x, top, row_h = left, top + row_h + CARD_GAP, 0.0
        card(inner, shown, node, x, top, node.name, tips)
        row_h, widest = max(row_h, height), max(widest, x + width)
        bottom = max(bottom, top + height)
        x += width + CARD_GAP
    if name:
        canvas.rect(0, y, max(widest + PAD, 420), bottom - y + PAD, "tp-frame", radius=8)
        what = "NVLink domain" if nodes[0].nvlink_domain else "leaf group"
        label = name.removesuffix("/nvswitch")
        title = f"{what} {'of ' if nodes[0].nvlink_domain else ''}{label}: {len(nodes)} nodes, {gpu_kinds(nodes)}"
        canvas.text(PAD, y + 18, title, size=12, bold=True)
    canvas.group(inner)
    return bottom + (PAD if name else 0)


def card_size(node: Node) -> tuple[float, float]:
    """Return width and height of a node's card."""
    columns = min(8, len(node.gpus))
    rows = -(-len(node.gpus) // columns)
    width = max(columns * SIDE + (columns - 1) * GAP, 104) + 2 * PAD
    return width, 22 + 9 + rows * (SIDE + GAP) + (11 if node.nics else 0) + PAD


def card(
    canvas: Canvas, shown: Scene, node: Node, x: float, y: float, title: str, tips: Mapping[str, str],
    *, by_group: bool = False,
) -> None:  # fmt: skip
    """Add a node: name, a bar for its NVSwitch or mesh, GPUs, a dot for each NIC."""
    width, height = card_size(node)
    canvas.rect(x, y, width, height, "tp-card", radius=6)
    canvas.text(x + PAD, y + 15, fit(title, width - 2 * PAD, 11), size=11, bold=True)
    columns = min(8, len(node.gpus))
    rates = {int(u): arc["bytes_per_s"] for u, v, arc in node.blueprint.arcs if arc["kind"] == "nvlink" and u.isdigit()}
    best = max((rate for rate in rates.values() if isinstance(rate, float)), default=None)
    if rates or any(arc["kind"] == "xgmi" for _, _, arc in node.blueprint.arcs):
        canvas.rect(x + PAD, y + 22, columns * (SIDE + GAP) - GAP, 4, "tp-part", radius=2)
    for gpu in shown.gpus(node):
        row, column = divmod(gpu.local_index, columns)
        at = (x + PAD + column * (SIDE + GAP), y + 31 + row * (SIDE + GAP))
        draw_gpu(canvas, shown, gpu, (*at, SIDE, SIDE), tips, by_group=by_group)
        rate = rates.get(gpu.local_index)
        if isinstance(rate, float) and best is not None and rate < best and gpu.state not in GONE:
            look = "tp-bad" if rate == 0 else "tp-weak"
            canvas.line(at[0] + SIDE / 2, y + 24, at[0] + SIDE / 2, at[1], look, width=2.5)
    _nic_dots(canvas, node, x, y + height - PAD - 6)


def _nic_dots(canvas: Canvas, node: Node, x: float, y: float) -> None:
    columns = min(8, len(node.gpus))
    spread = (columns * (SIDE + GAP)) / max(1, len(node.nics))
    rates = {u: arc["bytes_per_s"] for u, _, arc in node.blueprint.arcs if arc["kind"] == "nic"}
    known = [rate for rate in rates.values() if isinstance(rate, float)]
    width = min(12.0, spread - 2)
    for number, (name, full) in enumerate(zip(node.blueprint.nics, node.nics, strict=True)):
        rate = rates[name]
        weak = isinstance(rate, float) and rate < max(known)
        look = "tp-gone" if rate == 0 else "tp-nic" + (" tp-weakline" if weak else "")
        at = x + PAD + spread * number + (spread - width - GAP) / 2
        canvas.rect(at, y, width, 6, look, radius=1.5, tip=f"NIC {full}" + (": down" if rate == 0 else ""))


def draw_kinds(canvas: Canvas, shown: Scene, y: float, tips: Mapping[str, str]) -> float:
    """Add one card for each kind of node with how many there are of it; return where the picture ends."""
    kinds = sorted(alike(shown, by_replica=False), key=lambda kind: not _busy(shown, kind))
    kinds = sorted(kinds, key=lambda kind: -len(kind.nodes))
    x, top, row_h = 0.0, y, 0.0
    for kind in kinds[:MOST_CARDS]:
        width, height = card_size(kind.first)
        width = max(width, 300)
        if x > 0 and x + width > PAGE_W:
            x, top, row_h = 0.0, top + row_h + CARD_GAP, 0.0
        canvas.text(x, top + 16, f"{len(kind.nodes):,} x {kind.first.template}", size=14, bold=True)
        canvas.text(x, top + 31, fit(_where(kind), width, 10), "tp-dim", size=10)
        card(canvas, shown, kind.first, x, top + 38, kind.first.name, tips, by_group=True)
        row_h = max(row_h, 38 + height)
        x += width + CARD_GAP
    bottom = top + row_h
    if len(kinds) > MOST_CARDS:
        rest = sum(len(kind.nodes) for kind in kinds[MOST_CARDS:])
        canvas.text(0, bottom + 20, f"and {rest:,} more nodes of {len(kinds) - MOST_CARDS} other kinds", "tp-dim")
        bottom += 26
    return bottom


def _busy(shown: Scene, kind: Alike) -> bool:
    return any(gpu in shown.sitters for gpu in kind.first.gpus)


def _where(kind: Alike) -> str:
    leaves = list(dict.fromkeys(node.leaf for node in kind.nodes if node.leaf))
    under = f", under {len(leaves):,} leaf groups" if len(leaves) > 1 else f", under {leaves[0]}" if leaves else ""
    ends = kind.first.name if len(kind.nodes) == 1 else f"{kind.first.name} to {kind.nodes[-1].name}"
    return ends + under
