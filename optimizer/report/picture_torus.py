"""A torus at a glance: nodes at their places, a plane below the other, links between neighbours, broken ones marked."""

from collections.abc import Iterator, Mapping
from itertools import product

from rich.text import Text

from optimizer.inputs.cluster import Torus
from optimizer.report.drawing import Canvas
from optimizer.report.picture_rack import card, card_size
from optimizer.report.scene import Scene
from optimizer.topology.fabrics import Place, nominal_of, wraps
from optimizer.topology.lattice import Lattice, lattice
from optimizer.units import show_bytes_per_s

MOST_WIDE = 1700.0
"""Pixels beyond which nodes are not drawn side by side."""
MOST_COLUMNS = 10
"""Nodes of a line that a terminal shows."""
GAP, STUB = 36.0, 14.0


def told(spec: Torus) -> str:
    """Return a torus in words: "torus 4 x 4 x 2, 100 GB/s a link and direction, wraps along 1, 2"."""
    rates = ", ".join(dict.fromkeys(map(show_bytes_per_s, spec.link or ()))) or "unknown bandwidth"
    around = [str(d + 1) for d in range(len(spec.shape)) if wraps(spec, d)]
    wrap = "nothing wraps" if not around else f"wraps along {', '.join(around)}"
    shape = " x ".join(map(str, spec.shape))
    return f"torus {shape}, {rates} a link and direction, {wrap if len(around) < len(spec.shape) else 'wraps'}"


def planes(found: Lattice) -> Iterator[tuple[str, list[list[Place]]]]:
    """Yield planes of a torus with a name, each as rows of places along its last dimension."""
    *outer, columns = found.shape
    rows = outer.pop() if outer else None
    for first in product(*map(range, outer)):
        lines = [()] if rows is None else [(r,) for r in range(rows)]
        name = f"plane {', '.join(map(str, first))}" if outer else ""
        yield name, [[(*first, *line, c) for c in range(columns)] for line in lines]


def _health(found: Lattice, spec: Torus, here: Place, d: int) -> float | None:
    """Return the share of its rate that the link to the next node along a dimension carries; None: there is none."""
    there = (*here[:d], (here[d] + 1) % found.shape[d], *here[d + 1 :])
    rate = found.rates.get((here, there))
    nominal = nominal_of(spec, d) or rate
    return None if rate is None or nominal is None or here == there else rate / nominal if rate < nominal else 1.0


# -- for the terminal ----------------------------------------------------------------------------------------------


def lines(shown: Scene) -> Iterator[Text]:
    """Yield the planes of a torus: names in rows, links between them; an x where one is down, a ~ where it is slow."""
    found, spec = lattice(shown.topology), shown.topology.cluster.fabric
    if found is None or not isinstance(spec, Torus) or shown.is_large or found.shape[-1] > MOST_COLUMNS:
        return
    width = max(len(name) for name in found.at)
    last = len(found.shape) - 1
    for name, rows in planes(found):
        if name:
            yield Text(name, style="dim")
        for number, row in enumerate(rows):
            words = (found.node_at.get(place, "").center(width) for place in row)
            links = (_mark(_health(found, spec, place, last), "--") for place in row[:-1])
            yield Text("".join(a + b for a, b in zip(words, [*links, ""], strict=True)))
            if number + 1 < len(rows):
                yield Text((" " * 4).join(_mark(_health(found, spec, p, last - 1), "|").center(width) for p in row))


def _mark(health: float | None, whole: str) -> str:
    if health is None:
        return " " * (len(whole) + 2) if len(whole) > 1 else " "
    sign = whole if health >= 1 else "x" * len(whole) if health == 0 else "~" * len(whole)
    return f" {sign} " if len(whole) > 1 else sign


# -- as a picture --------------------------------------------------------------------------------------------------


def fits(shown: Scene) -> bool:
    """Return whether a cluster is a torus whose lines of nodes can be drawn side by side."""
    found = lattice(shown.topology)
    if found is None or shown.is_large or len(found.at) == 1:
        return False
    return found.shape[-1] * (max(card_size(node)[0] for node in shown.nodes) + GAP) <= MOST_WIDE


def draw_torus(canvas: Canvas, shown: Scene, y: float, tips: Mapping[str, str]) -> float:
    """Add every node at its place with its links; return where the picture ends."""
    found, spec = lattice(shown.topology), shown.topology.cluster.fabric
    assert found is not None
    assert isinstance(spec, Torus)
    sizes = [card_size(node) for node in shown.nodes]
    cell = (max(w for w, _ in sizes), max(h for _, h in sizes))
    canvas.text(0, y + 6, _reading(found), "tp-dim", size=11)
    y += 20
    for name, rows in planes(found):
        if name:
            canvas.text(0, y + 10, name, size=12, bold=True)
            y += 16
        y += STUB
        for number, row in enumerate(rows):
            for column, place in enumerate(row):
                node = found.node_at.get(place)
                at = (STUB + column * (cell[0] + GAP), y + number * (cell[1] + GAP))
                if node is not None:
                    _links(canvas, found, spec, place, at, cell)
                    card(canvas, shown, shown.topology.node(node), *at, node, tips)
        y += len(rows) * (cell[1] + GAP)
    return y


def _reading(found: Lattice) -> str:
    """Return how to read the marks at the edges and corners, as far as there are any."""
    around = ["short lines at the edges go around to the other side"] if any(found.wrap[-2:]) else []
    across = ["short lines at the corners go to the planes before and after"] if len(found.shape) > 2 else []
    return "; ".join((*around, *across))


def _links(
    canvas: Canvas, found: Lattice, spec: Torus, place: Place, at: tuple[float, float], cell: tuple[float, float]
) -> None:
    """Add the links of a node to the next along every dimension, and what is seen of those that come around."""
    (x, y), (w, h) = at, cell
    for d, n in enumerate(found.shape):
        depth = len(found.shape) - 1 - d
        health = _health(found, spec, place, d)
        before = _health(found, spec, (*place[:d], (place[d] - 1) % n, *place[d + 1 :]), d)
        inner = place[d] + 1 < n
        if depth == 0:
            _wire(canvas, health, (x + w, y + h / 2), (x + w + (GAP if inner else STUB), y + h / 2))
            if place[d] == 0 and found.wrap[d]:
                _wire(canvas, before, (x - STUB, y + h / 2), (x, y + h / 2))
        elif depth == 1:
            _wire(canvas, health, (x + w / 2, y + h), (x + w / 2, y + h + (GAP if inner else STUB)))
            if place[d] == 0 and found.wrap[d]:
                _wire(canvas, before, (x + w / 2, y - STUB), (x + w / 2, y))
        else:
            shift = 14.0 * (depth - 2)
            if inner or found.wrap[d]:
                _wire(canvas, health, (x + w - shift, y + h), (x + w - shift + 11, y + h + 11))
            if place[d] > 0 or found.wrap[d]:
                _wire(canvas, before, (x + shift - 11, y - 11), (x + shift, y))


def _wire(canvas: Canvas, health: float | None, a: tuple[float, float], b: tuple[float, float]) -> None:
    """Add a link: down or slow ones stand out; nothing where there is none."""
    if health is not None:
        look = "tp-bad" if health == 0 else "tp-weak" if health < 1 else "tp-wire"
        canvas.line(*a, *b, look, width=3 if health < 1 else 2)
