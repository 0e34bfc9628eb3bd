"""The few marks that pictures are made of, as SVG text: every text is escaped, every colour is a class."""

from dataclasses import dataclass, field
from html import escape

REPLICA_COLOURS = (
    "#2f6db3", "#b9531a", "#27804f", "#7d4a9e", "#0b7a82", "#a83d7c", "#866a14", "#52677a", "#5c7a1e", "#9c4f4f",
)  # fmt: skip
"""Of replicas in turn; white text is readable on each of them (contrast 4.5 and more), red is left to faults."""

_LIGHT = {
    "tp-ink": "fill:#1f2933", "tp-dim": "fill:#5f6b7a", "tp-card": "fill:#ffffff;stroke:#c9d1da",
    "tp-frame": "fill:#f3f5f8;stroke:#d7dde4", "tp-gpu": "fill:#eef2f6;stroke:#8a97a6",
    "tp-held": "fill:url(#tp-hatch);stroke:#8a97a6", "tp-gone": "fill:#fde8e8;stroke:#c62828",
    "tp-part": "fill:#e4e9ef;stroke:#aab4c0", "tp-nic": "fill:#ffffff;stroke:#8a97a6",
    "tp-wire": "fill:none;stroke:#9aa6b4", "tp-bad": "fill:none;stroke:#c62828;stroke-dasharray:3 3",
    "tp-weak": "fill:none;stroke:#b26a00", "tp-badtext": "fill:#b71c1c", "tp-weaktext": "fill:#8a5200",
    "tp-page": "fill:#ffffff", "tp-weakline": "stroke:#b26a00;stroke-width:2", "tp-hatchline": "stroke:#aab4c0",
}  # fmt: skip
_DARK = {
    "tp-ink": "fill:#e6eaf0", "tp-dim": "fill:#9aa7b6", "tp-card": "fill:#1b2229;stroke:#3a4552",
    "tp-frame": "fill:#141a20;stroke:#303a45", "tp-gpu": "fill:#27313b;stroke:#66727f",
    "tp-held": "fill:url(#tp-hatch);stroke:#66727f", "tp-gone": "fill:#46191c;stroke:#ff6b6b",
    "tp-part": "fill:#2d3843;stroke:#4b5866", "tp-nic": "fill:#1b2229;stroke:#66727f",
    "tp-wire": "fill:none;stroke:#66727f", "tp-bad": "fill:none;stroke:#ff6b6b;stroke-dasharray:3 3",
    "tp-weak": "fill:none;stroke:#e0a030", "tp-badtext": "fill:#ff8a8a", "tp-weaktext": "fill:#e8b45a",
    "tp-page": "fill:#10151a", "tp-weakline": "stroke:#e0a030;stroke-width:2", "tp-hatchline": "stroke:#4b5866",
}  # fmt: skip


def style() -> str:
    """Return the style sheet of all pictures: light, dark when the reader's system is, light on paper."""
    replicas = "".join(f".tp-r{index}{{fill:{colour};stroke:{colour}}}" for index, colour in enumerate(REPLICA_COLOURS))
    fonts = "system-ui,'Segoe UI','Noto Sans','DejaVu Sans',sans-serif"
    base = f".tp-topology text{{font-family:{fonts}}}.tp-on{{fill:#ffffff}}{replicas}"
    return f"{base}{_rules(_LIGHT)}@media screen and (prefers-color-scheme:dark){{{_rules(_DARK)}}}"


def _rules(colours: dict[str, str]) -> str:
    return "".join(f".{name}{{{rule}}}" for name, rule in colours.items())


_MOST_ZOOM = 1.25
"""A picture in a page fills its place, but is not blown up further than this."""


@dataclass
class Canvas:
    """Marks in the order in which they are drawn, and how far they reach."""

    marks: list[str] = field(default_factory=list)
    width: float = 0.0
    height: float = 0.0

    def rect(self, x: float, y: float, w: float, h: float, look: str, *, radius: float = 3, tip: str = "") -> None:
        """Add a box; ``tip`` is told when it is pointed at or has the focus."""
        self._reach(x + w, y + h)
        box = f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(w)}" height="{_n(h)}" rx="{_n(radius)}" class="{look}"'
        self.marks.append(f"{box}><title>{escape(tip)}</title></rect>" if tip else f"{box}/>")

    def line(self, x1: float, y1: float, x2: float, y2: float, look: str = "tp-wire", *, width: float = 1.2) -> None:
        """Add a straight wire."""
        self.path(f"M{_n(x1)} {_n(y1)}L{_n(x2)} {_n(y2)}", look, width=width)

    def path(self, d: str, look: str = "tp-wire", *, width: float = 1.2, tip: str = "") -> None:
        """Add a wire of any form."""
        title = f"<title>{escape(tip)}</title>" if tip else ""
        self.marks.append(f'<path d="{d}" class="{look}" stroke-width="{_n(width)}">{title}</path>')

    def text(
        self, x: float, y: float, words: str, look: str = "tp-ink", *, size: float = 11, anchor: str = "start",
        bold: bool = False,
    ) -> None:  # fmt: skip
        """Add a line of text; pictures do not break lines."""
        reach = _width(words, size)
        self._reach(x + (reach if anchor == "start" else reach / 2 if anchor == "middle" else 0), y + size / 3)
        weight = ' font-weight="600"' if bold else ""
        place = f'x="{_n(x)}" y="{_n(y)}" font-size="{_n(size)}" text-anchor="{anchor}"{weight}'
        self.marks.append(f'<text {place} class="{look}">{escape(words)}</text>')

    def group(self, inner: "Canvas", *, look: str = "", focus: str = "") -> None:
        """Add the marks of ``inner`` as one; with ``focus`` it can be reached by keyboard and tells this text."""
        self._reach(inner.width, inner.height)
        told = f' tabindex="0" role="img" aria-label="{escape(focus)}" data-tip="{escape(focus)}"' if focus else ""
        title = f"<title>{escape(focus)}</title>" if focus else ""
        self.marks.append(f'<g class="{look}"{told}>{title}{"".join(inner.marks)}</g>')

    def _reach(self, x: float, y: float) -> None:
        self.width, self.height = max(self.width, x), max(self.height, y)


def document(canvas: Canvas, title: str, description: str, *, inline: bool = False) -> str:
    """Return the picture as SVG text; ``inline`` leaves out what a page around it already says (style, page colour)."""
    width, height = canvas.width + 16, canvas.height + 16
    hatch = (
        '<pattern id="tp-hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<line x1="0" y1="0" x2="0" y2="6" class="tp-hatchline" stroke-width="2"/></pattern>'
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_n(width)} {_n(height)}" class="tp-topology"'
    size = f' style="max-width:{_n(width * _MOST_ZOOM)}px"' if inline else f' width="{_n(width)}" height="{_n(height)}"'
    sheet = "" if inline else f"<style>{style()}</style>"
    page = "" if inline else f'<rect width="{_n(width)}" height="{_n(height)}" class="tp-page"/>'
    described = f"<title>{escape(title)}</title><desc>{escape(description)}</desc>"
    body = "\n".join(canvas.marks)
    return f'{head}{size} role="group">{described}<defs>{hatch}</defs>{sheet}{page}\n{body}\n</svg>\n'


def _width(words: str, size: float) -> float:
    """Return about how wide text is: 0.56 of its size per sign in common sans-serif faces."""
    return len(words) * size * 0.56


def fit(words: str, width: float, size: float) -> str:
    """Return text cut to a width, its end shown as an ellipsis."""
    most = max(1, int(width / (size * 0.56)))
    return words if len(words) <= most else words[: max(1, most - 1)] + "…"


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
