"""One node in full: GPUs, the links between them, PCIe tree and NICs, each wire as the graph has it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optimizer.report.drawing import Canvas, fit
from optimizer.report.picture_gpu import draw_gpu
from optimizer.report.scene import Scene
from optimizer.topology.graph import Node
from optimizer.units import show_bytes_per_s

GPU_W, GPU_H, GAP, PAD = 62, 54, 10, 14
PART_H, NIC_H, ROW = 18, 30, 26
MOST_NARROW = 4
"""Fewer GPUs than this leave no room for a title: their card is wider than they are."""


@dataclass(frozen=True)
class Drawn:
    """Where a node was drawn."""

    bottom: float
    ports: Mapping[str, tuple[float, float]]
    """Where the wire of each NIC starts."""


def node_width(node: Node) -> float:
    """Return how wide the drawing of a node is."""
    columns = len(node.gpus)
    return 2 * PAD + columns * GPU_W + (columns - 1) * GAP + (60 if columns < MOST_NARROW else 0)


def draw_node(canvas: Canvas, shown: Scene, node: Node, x: float, y: float, tips: Mapping[str, str]) -> Drawn:
    """Add a node with its left upper corner at (x, y)."""
    card = _Card(shown, node, x, y)
    inner = Canvas()
    card.scale_up(inner)
    card.host(inner)
    frame = Canvas()
    frame.rect(x, y, node_width(node), card.bottom - y, "tp-card", radius=8)
    frame.text(x + PAD, y + 20, node.name, size=13, bold=True)
    frame.text(x + node_width(node) - PAD, y + 20, _kind(shown, node), "tp-dim", size=11, anchor="end")
    canvas.group(frame)
    canvas.group(inner)
    for gpu in shown.gpus(node):
        draw_gpu(canvas, shown, gpu, (card.gpu_x(gpu.local_index), card.gpu_y, GPU_W, GPU_H), tips)
    return Drawn(card.bottom, card.ports)


def _kind(shown: Scene, node: Node) -> str:
    names = dict.fromkeys(spec.name for spec in node.blueprint.specs)
    told = f"{len(node.gpus)} x {' / '.join(names)}"
    return (
        told if node.template == node.name or len(shown.topology.cluster.templates) == 1 else f"{node.template}, {told}"
    )


class _Card:
    """Rows of one node from top to bottom: direct cables or switch, GPUs, PCIe switches, sockets, NICs."""

    def __init__(self, shown: Scene, node: Node, x: float, y: float) -> None:
        self.shown, self.node, self.x = shown, node, x
        blueprint = node.blueprint
        self.parts = dict(blueprint.vertices)
        self.arcs = blueprint.arcs
        self.direct = [(int(u), int(v), arc) for u, v, arc in self.arcs
                       if arc["kind"] in ("bridge", "xgmi") and int(u) < int(v)]  # fmt: skip
        self.meshed = any(arc["kind"] == "xgmi" for _, _, arc in self.direct)
        switched = "nvswitch" in self.parts
        cabled = bool(self.direct) and not self.meshed
        top = y + (46 if cabled else 34)
        arcs_h = 10 + 8.5 * max(v - u for u, v, _ in self.direct) if cabled else 0
        self.top = top
        self.gpu_y = top + (PART_H + ROW if switched or self.meshed else arcs_h)
        self.tree = [name for name, marks in self.parts.items() if marks["kind"] in ("pcie", "socket")]
        self.has_switches = any(self.parts[name]["kind"] == "pcie" for name in self.tree)
        self.sockets = [name for name in self.tree if self.parts[name]["kind"] == "socket"]
        self.shows_sockets = len(self.sockets) > 1 or self.has_switches or not (switched or self.meshed)
        levels = (1 if self.has_switches else 0) + (1 if self.shows_sockets else 0)
        self.host_y = self.gpu_y + GPU_H + ROW
        self.nic_y = self.host_y + levels * (PART_H + ROW - 6)
        self.bottom = (
            self.nic_y + NIC_H if node.nics else self.nic_y - ROW + 6 if levels else self.gpu_y + GPU_H
        ) + PAD
        self.ports: dict[str, tuple[float, float]] = {}

    def gpu_x(self, index: int) -> float:
        """Return the left edge of a GPU."""
        return self.x + PAD + index * (GPU_W + GAP)

    def middle(self, index: int) -> float:
        """Return the middle of a GPU."""
        return self.gpu_x(index) + GPU_W / 2

    # -- between GPUs ----------------------------------------------------------------------------------------------

    def scale_up(self, canvas: Canvas) -> None:
        """Add the switch with every port into it, or the direct cables."""
        if "nvswitch" in self.parts or self.meshed:
            left, right = self.x + PAD, self.x + node_width(self.node) - PAD
            canvas.rect(left, self.top, right - left, PART_H, "tp-part")
            canvas.text((left + right) / 2, self.top + 13, self._scale_up_words(), size=10.5, anchor="middle")
        for u, v, arc in self.arcs:
            if arc["kind"] == "nvlink" and v == "nvswitch":
                self._port(canvas, int(u), arc)
        if self.meshed:
            self._mesh(canvas)
        else:
            self._cables(canvas)

    def _scale_up_words(self) -> str:
        if self.meshed:
            rates = {arc["bytes_per_s"] for _, _, arc in self.direct}
            return f"direct links, each pair of GPUs {_rate(max(rates, key=_number))}"
        best = self._best("nvlink")
        nodes = self.node.blueprint.nvlink_nodes
        wide = f", one domain of {nodes} nodes" if nodes > 1 else ""
        return f"NVSwitch, {_rate(best)} a GPU{wide}"

    def _best(self, kind: str) -> object:
        return max((arc["bytes_per_s"] for _, _, arc in self.arcs if arc["kind"] == kind), key=_number, default=None)

    def _port(self, canvas: Canvas, index: int, arc: Mapping[str, Any]) -> None:
        rate, best = arc["bytes_per_s"], self._best("nvlink")
        look, width = _wire(rate, best)
        canvas.line(self.middle(index), self.top + PART_H, self.middle(index), self.gpu_y, look, width=width + 0.8)
        if _number(rate) < _number(best):
            words, tone = _less(rate)
            canvas.text(self.middle(index) + 5, self.gpu_y - 9, words, tone, size=9)

    def _mesh(self, canvas: Canvas) -> None:
        for index in range(len(self.node.gpus)):
            own = [arc["bytes_per_s"] for u, v, arc in self.direct if index in (u, v)]
            best, worst = max(map(_number, own)), min(map(_number, own))
            self._stub(canvas, index, worst if all(_number(rate) < best for rate in own) or not any(own) else best)

    def _stub(self, canvas: Canvas, index: int, rate: float) -> None:
        look, width = _wire(rate, self._best("xgmi"))
        canvas.line(self.middle(index), self.top + PART_H, self.middle(index), self.gpu_y, look, width=width + 0.8)

    def _cables(self, canvas: Canvas) -> None:
        rates = {_number(arc["bytes_per_s"]) for _, _, arc in self.direct}
        best = max(rates, default=0.0)
        for u, v, arc in self.direct:
            rate = _number(arc["bytes_per_s"])
            look = "tp-bad" if rate == 0 else "tp-wire"
            lift = 10 + 11 * (v - u)
            x1, x2, foot = self.middle(u) + 3 * (v - u), self.middle(v) - 3 * (v - u), self.gpu_y
            d = f"M{x1:.1f} {foot}C{x1:.1f} {foot - lift:.1f} {x2:.1f} {foot - lift:.1f} {x2:.1f} {foot}"
            tip = f"GPU {u} to GPU {v}: {_rate(rate)} per direction"
            canvas.path(d, look, width=3.2 if rate == best else 1.5, tip=tip)
        told = ", ".join(_rate(rate) for rate in sorted(rates, reverse=True) if rate)
        if told:
            thin = "; thin: the lesser" if len([rate for rate in rates if rate]) > 1 else ""
            words = f"direct cables {told} per direction{thin}"
            canvas.text(self.x + node_width(self.node) / 2, self.top - 3, words, "tp-dim", size=10, anchor="middle")

    # -- host and NICs -----------------------------------------------------------------------------------------------

    def host(self, canvas: Canvas) -> None:
        """Add PCIe switches, sockets and NICs, wired as the graph has them."""
        bars: dict[str, tuple[float, float, float]] = {}
        y = self.host_y
        if self.has_switches:
            bars |= self._bars([name for name in self.tree if name not in self.sockets], y)
            y += PART_H + ROW - 6
        if self.shows_sockets:
            bars |= self._bars(self.sockets, y)
        self._wires_up(canvas, bars)
        self._nics(canvas, bars)
        for name, (left, right, top) in bars.items():
            canvas.rect(left, top, right - left, PART_H, "tp-part")
            words = fit(self._bar_words(name), right - left, 10)
            canvas.text((left + right) / 2, top + 13, words, size=10, anchor="middle")

    def _under(self, name: str) -> list[int]:
        """Return the GPUs below a PCIe switch or socket."""
        below = ("pcie",) if self.parts[name]["kind"] == "pcie" else ("pcie", "uplink")
        children = [u for u, v, arc in self.arcs if v == name and arc["kind"] in below]
        return [gpu for child in children for gpu in ([int(child)] if child.isdigit() else self._under(child))]

    def _bars(self, names: list[str], y: float) -> dict[str, tuple[float, float, float]]:
        """Return (left, right, top) of each PCIe switch or socket that has GPUs."""
        below = {name: gpus for name in names if (gpus := self._under(name))}
        return {name: (self.gpu_x(min(g)), self.gpu_x(max(g)) + GPU_W, y) for name, g in below.items()}

    def _bar_words(self, name: str) -> str:
        number = name.lstrip("abcdefghijklmnopqrstuvwxyz")
        if self.parts[name]["kind"] == "pcie":
            return f"PCIe switch {number}"
        between = next((arc["bytes_per_s"] for u, v, arc in self.arcs if u == name and arc["kind"] == "smp"), None)
        return f"CPU {number}" + (f", {_rate(between)} across" if between else "")

    def _wires_up(self, canvas: Canvas, bars: Mapping[str, tuple[float, float, float]]) -> None:
        """Add GPU to switch or socket, and switch to socket."""
        best = self._best("pcie")
        for u, v, arc in self.arcs:
            is_up = arc["kind"] == "pcie" or (arc["kind"] == "uplink" and self.parts[v]["kind"] == "socket")
            if v not in bars or not is_up:
                continue
            look, width = _wire(arc["bytes_per_s"], best if arc["kind"] == "pcie" else arc["bytes_per_s"])
            if u.isdigit():
                canvas.line(self.middle(int(u)), self.gpu_y + GPU_H, self.middle(int(u)), bars[v][2], look, width=width)
                if look != "tp-wire":
                    words, tone = _less(arc["bytes_per_s"])
                    canvas.text(self.middle(int(u)) + 5, self.gpu_y + GPU_H + 14, words, tone, size=9)
            else:
                middle = (bars[u][0] + bars[u][1]) / 2
                canvas.line(middle, bars[u][2] + PART_H, middle, bars[v][2], look, width=width)

    def _nics(self, canvas: Canvas, bars: Mapping[str, tuple[float, float, float]]) -> None:
        """Add NICs; where there are more than GPUs, neighbours share a box."""
        pairs = list(zip(self.node.blueprint.nics, self.node.nics, strict=True))
        each = -(-len(pairs) // len(self.node.gpus)) if pairs else 1
        boxes = [pairs[start : start + each] for start in range(0, len(pairs), each)]
        spread = len(self.node.gpus) * (GPU_W + GAP) / max(1, len(boxes))
        width = min(GPU_W + 30.0, spread - GAP)
        for number, box in enumerate(boxes):
            middle = self.x + PAD + number * spread + (spread - GAP) / 2
            for name, _ in box:
                self._nic_wires(canvas, name, middle, bars)
            self._nic_box(canvas, box, middle, width)

    def _nic_box(self, canvas: Canvas, box: list[tuple[str, str]], middle: float, width: float) -> None:
        best = _number(self._best("nic"))
        rates = {u: _number(arc["bytes_per_s"]) for u, _, arc in self.arcs if arc["kind"] == "nic"}
        worst = min(rates[name] for name, _ in box)
        tip = "\n".join(f"{known}: {_rate(rates[name])} per direction" for name, known in box)
        canvas.rect(middle - width / 2, self.nic_y, width, NIC_H, "tp-nic" if worst else "tp-gone", tip=tip)
        first, last = box[0][0], box[-1][0]
        label = first if len(box) == 1 else f"{first} to {last.lstrip('abcdefghijklmnopqrstuvwxyz_')}"
        canvas.text(middle, self.nic_y + 12, fit(label, width, 10), size=10, anchor="middle")
        tone = "tp-badtext" if not worst else "tp-weaktext" if worst < best else "tp-dim"
        times = "" if len(box) == 1 else f"{len(box)} x "
        words = f"{times}{_rate(worst)}" if worst else "down" if len(box) == 1 else "one down"
        canvas.text(middle, self.nic_y + 24, words, tone, size=9 if len(box) == 1 else 8.5, anchor="middle")
        self.ports |= {known: (middle, self.nic_y + NIC_H) for _, known in box}

    def _nic_wires(
        self, canvas: Canvas, name: str, middle: float, bars: Mapping[str, tuple[float, float, float]]
    ) -> None:
        """Add the wire from the NIC's parent, or straight from the GPUs that use it where the host is not shown."""
        parent = next(v for u, v, arc in self.arcs if u == name and arc["kind"] == "nic")
        if parent in bars:
            left, right, y = bars[parent]
            at = min(max(middle, left + 6), right - 6)
            canvas.line(at, y + PART_H, middle, self.nic_y)
            return
        for index in range(len(self.node.gpus)):
            ways = self.parts[str(index)]["nics"]
            if isinstance(ways, tuple) and name in ways:
                look = "tp-weak" if self.parts[str(index)]["borrows"] else "tp-wire"
                canvas.line(self.middle(index), self.gpu_y + GPU_H, middle, self.nic_y, look)


def _number(rate: object) -> float:
    return rate if isinstance(rate, float) else 0.0


def _rate(rate: object) -> str:
    return show_bytes_per_s(rate) if isinstance(rate, float) else "unknown rate"


def _wire(rate: object, best: object) -> tuple[str, float]:
    """Return how a wire looks beside the best of its kind: down, weak or whole."""
    if isinstance(rate, float) and rate == 0:
        return "tp-bad", 1.2
    return ("tp-weak", 1.6) if _number(rate) < _number(best) else ("tp-wire", 1.2)


def _less(rate: object) -> tuple[str, str]:
    return ("down", "tp-badtext") if _number(rate) == 0 else (_rate(rate), "tp-weaktext")
