"""`rocm-smi --showtopo`: link type, hops and NUMA node of AMD GPUs, as text tables. It names no NIC and no rate."""

import re

from optimizer.errors import InputError
from optimizer.inputs.importers.facts import MAX_GPUS, Facts, Finding, GpuFacts, NodeFacts, Pair, Pasted, listed
from optimizer.inputs.importers.nearness import by_key

KIND = "rocm-smi --showtopo"
_TITLE = re.compile(
    r"(Weight|Hops|Link Type|Accessibility|Access|Min/Max|Link accessibility)[^\n]*between (?:two )?GPUs", re.I
)
_ROW = re.compile(r"^\s*GPU\[?(\d{1,3})\]?[ \t]+(\S.*)$")
_NUMA = re.compile(r"GPU\[(\d{1,3})\].*?Numa Node:\s*(-?\d+)", re.I)
_NAME = re.compile(r"GPU\[(\d{1,3})\].*?(?:Card Series|Card [Mm]odel|Product Name|Card series):\s*(.+?)\s*$", re.M)
Table = dict[int, list[str]]


def recognises(pasted: Pasted) -> bool:
    """Whether the text has one of the tool's tables."""
    return (
        _TITLE.search(pasted.text) is not None
        and re.search(r"rocm|XGMI|GPU\[\d|Hops|Weight", pasted.text, re.I) is not None
    )


def read(pasted: Pasted) -> Facts:
    """Return one node with its xGMI links."""
    tables = _tables(pasted.text)
    links = tables.get("link type", {})
    numa = {int(gpu): node for gpu, node in _NUMA.findall(pasted.text)}
    names = dict(_NAME.findall(pasted.text))
    count = max((*(gpu + 1 for table in tables.values() for gpu in table), *(g + 1 for g in numa)), default=0)
    if not 0 < count <= MAX_GPUS:
        raise InputError(f"{pasted.where}: {KIND} without a GPU row; give the whole output")
    pairs = {p: 1 for p in _pairs(count) if _cell(links, p) == "XGMI"}
    node = NodeFacts(
        where=pasted.where,
        kind=KIND,
        gpus=tuple(GpuFacts(i, names.get(str(i))) for i in range(count)),
        pairs=pairs,
        is_mesh=True,
        knows_links=bool(links),
        sockets=by_key([numa[i] for i in range(count)]) if len(numa) == count else (),
    )
    said = Finding("read", f"{pasted.where}: {KIND}: {count} GPUs, {len(pairs)} xGMI pairs")
    return Facts(nodes=(node,), findings=(said, *_doubts(tables, links, count, pasted.where)))


def _tables(text: str) -> dict[str, Table]:
    tables: dict[str, Table] = {}
    current: Table | None = None
    for line in text.split("\n"):
        title = _TITLE.search(line)
        row = _ROW.match(line)
        if title:
            current = tables.setdefault(title[1].lower(), {})
        elif line.lstrip().startswith("==="):
            current = None
        elif current is not None and row and ":" not in line:
            cells = row[2].split()
            if not all(re.fullmatch(r"GPU\d+", cell) for cell in cells):
                current.setdefault(int(row[1]), cells)
    return tables


def _pairs(count: int) -> list[Pair]:
    return [(a, b) for a in range(count) for b in range(a + 1, count)]


def _cell(table: Table, pair: Pair) -> str | None:
    a, b = pair
    found = [table[g][h].upper() for g, h in ((a, b), (b, a)) if g in table and h < len(table[g])]
    return next((cell for cell in found if cell != "XGMI"), found[0] if found else None)


def _doubts(tables: dict[str, Table], links: Table, count: int, where: str) -> list[Finding]:
    said = [Finding("missing", f"{where}: no NIC and no rate in this output; NICs need another file")]
    if not links:
        said.append(Finding("missing", f"{where}: the table of link types is missing; links are unknown"))
        return said
    absent = [f"GPU{i}" for i in range(count) if i not in links]
    if absent:
        said.append(Finding("broken", f"{where}: rows of {listed(absent)} are missing: the output was cut"))
    far = [f"GPU{a}-GPU{b}" for a, b in _pairs(count) if _cell(tables.get("hops", {}), (a, b)) not in (None, "1", "0")]
    if far:
        said.append(Finding("read", f"{where}: {listed(far)} are more than one hop apart"))
    return said
