"""One GPU in a picture: whose rank sits on it, or why none can."""

from collections.abc import Mapping

from optimizer.report.drawing import REPLICA_COLOURS, Canvas
from optimizer.report.scene import Scene
from optimizer.topology.graph import Gpu
from optimizer.topology.health import GONE


def draw_gpu(
    canvas: Canvas, shown: Scene, gpu: Gpu, place: tuple[float, float, float, float], tips: Mapping[str, str],
    *, by_group: bool = False,
) -> None:  # fmt: skip
    """Add a GPU at (x, y, width, height); small ones carry two short lines, large ones say them in words."""
    x, y, w, h = place
    sitter = shown.sitters.get(gpu.id)
    box, tip = Canvas(), tips.get(gpu.id) or gpu_tip(shown, gpu)
    large = w >= 48
    if sitter is not None:
        number = sitter.group if by_group else sitter.replica
        box.rect(x, y, w, h, f"tp-r{number % len(REPLICA_COLOURS)}")
        first = ("" if by_group else f"R{sitter.replica}") or f"rank {sitter.rank}"
        second = f"rank {sitter.rank}" if large and not by_group else f"r{sitter.rank}"
        lines = [(first if not by_group or large else f"r{sitter.rank}", True), (second, False)]
        if by_group:
            lines = lines[:1]
        if large and any(other.stage for other in shown.sitters.values()):
            lines.append((f"stage {sitter.stage}", False))
        _lines(box, place, lines, "tp-on", large=large)
    else:
        box.rect(x, y, w, h, _empty_look(gpu))
        word = _state_word(gpu, large=large)
        look = "tp-badtext" if gpu.state in GONE else "tp-dim"
        _lines(box, place, [(str(gpu.local_index), False), *([(word, True)] if word else [])], look, large=large)
    if gpu.placeable and gpu.speed_factor < 1:
        box.rect(x - 2, y - 2, w + 4, h + 4, "tp-weak", radius=5)
    canvas.group(box, focus=tip)


def _empty_look(gpu: Gpu) -> str:
    if gpu.placeable:
        return "tp-gpu"
    return "tp-gone" if gpu.state in GONE else "tp-held"


def _state_word(gpu: Gpu, *, large: bool) -> str:
    if gpu.state == "up":
        return "" if gpu.speed_factor == 1 else f"{gpu.speed_factor:.0%}"
    return gpu.state if large else "✕" if gpu.state in GONE else ""


def _lines(
    box: Canvas, place: tuple[float, float, float, float], lines: list[tuple[str, bool]], look: str, *, large: bool
) -> None:
    x, y, w, h = place
    size = 10.5 if large else 9.0
    step = size * 1.25
    top = y + h / 2 - (len(lines) - 1) * step / 2 + size * 0.35
    for row, (words, bold) in enumerate(lines):
        box.text(x + w / 2, top + row * step, words, look, size=size, anchor="middle", bold=bold)


def gpu_tip(shown: Scene, gpu: Gpu) -> str:
    """Return what a GPU is and who sits on it, for people."""
    spec = shown.topology.spec(gpu)
    told = [f"{gpu.node} GPU {gpu.local_index}: {spec.name}"]
    if gpu.id != f"{gpu.node}/{gpu.local_index}":
        told.append(f"id {gpu.id}")
    reason = shown.topology.graph.nodes[gpu.id].get("reason")
    if gpu.state != "up":
        told.append(gpu.state + (f" ({reason})" if reason else ""))
    if gpu.speed_factor < 1:
        told.append(f"at {gpu.speed_factor:.0%} of its speed" + (f" ({reason})" if reason else ""))
    sitter = shown.sitters.get(gpu.id)
    if sitter is not None:
        told.append(f"replica {sitter.replica}, rank {sitter.rank}, stage {sitter.stage}")
    elif gpu.placeable:
        told.append("no rank on it" if shown.sitters else "free")
    return "\n".join(told)
