"""The parts that all tables are made of: plain columns that fold instead of hiding, and bars of memory."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from optimizer.units import show_bytes, show_seconds

Align = Literal["left", "right"]


@dataclass(frozen=True)
class Screen:
    """What the reader's screen can show."""

    width: int = 80
    unicode: bool = True


def screen(console: Console) -> Screen:
    """Return what ``console`` can show: its width (80 when piped) and whether it takes more than ASCII."""
    return Screen(console.width, console.encoding.lower().startswith("utf"))


def columns(
    title: str, heads: Sequence[str], rows: Iterable[Sequence[str | Text]], *, left: Sequence[int] = (0,)
) -> RenderableType:
    """Return a table with a title; the columns numbered in ``left`` hold text, all others are right-aligned figures."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for index, head in enumerate(heads):
        justify: Align = "left" if index in left else "right"
        table.add_column(head, justify=justify, overflow="fold", no_wrap=justify == "right")
    for row in rows:
        table.add_row(*row)
    return section(title, table)


def pairs(title: str, rows: Iterable[tuple[str, str | Text]]) -> RenderableType:
    """Return a list of names and values, the values folded beside their names."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(name, style="dim"), value)
    return section(title, table)


def section(title: str, body: RenderableType) -> RenderableType:
    """Return ``body`` indented under a title, an empty line before it."""
    return Group(Text(), Text(title, style="bold"), Padding.indent(body, 2))


def bullets(title: str, lines: Iterable[str]) -> RenderableType:
    """Return lines as a list under a title; nothing when there are none."""
    told = list(lines)
    return pairs(title, (("-", line) for line in told)) if told else Group()


def memory_bar(parts: Sequence[float], capacity: float, *, width: int = 20, unicode: bool = True) -> str:
    """Return a bar of ``width`` signs for ``capacity``: each part with its own sign, what is left over last.

    Parts beyond the capacity are cut off; the numbers beside the bar tell how much.
    """
    signs = "█▓▒" if unicode else "#=+"
    bar, reached = "", 0.0
    for part, sign in zip(parts, signs, strict=False):
        reached += part
        end = min(width, round(reached / capacity * width)) if capacity else width
        bar += sign * (end - len(bar))
    return bar.ljust(width, "░" if unicode else ".")


def amount(value: float, unit: str) -> str:
    """Return a value of the objective for people: seconds in a unit that suits them."""
    if unit == "s" or unit.startswith("s "):
        return show_seconds(value) + unit.removeprefix("s")
    return f"{value:,.6g} {unit}"


def of_capacity(used: float, capacity: float, of: str = " of ") -> str:
    """Return "79.6 of 129.2 GiB": both in the unit of the capacity."""
    whole, unit = show_bytes(capacity).split(" ")
    share = used / capacity if capacity else 0.0
    return f"{float(whole.replace(',', '')) * share:,.1f}{of}{whole} {unit}"


def percent(share: float) -> str:
    """Return a share for people: "12 %", "0.4 %" below one percent."""
    return f"{share:.0%}".replace("%", " %") if share >= 0.01 or share == 0 else f"{share:.1%}".replace("%", " %")
