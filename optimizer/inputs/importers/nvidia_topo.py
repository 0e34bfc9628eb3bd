"""`nvidia-smi topo -m`: the relation of each pair of GPUs and NICs, as text that terminals have mangled.

Cells are found by what they may hold, never by tabs: `PIXNODE` is two cells whose tab was lost. The output names
neither GPU type nor rate; `NV18` counts links. Cell meanings: the legend that nvidia-smi prints.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from optimizer.errors import InputError
from optimizer.inputs.importers.facts import (
    MAX_GPUS,
    Facts,
    Finding,
    GpuFacts,
    NicFacts,
    NodeFacts,
    Pair,
    Pasted,
    listed,
)
from optimizer.inputs.importers.nearness import by_key, joined, nearest

KIND = "nvidia-smi topo -m"
_OTHER = r"PIX|PXB|PHB|NODE|SYS|SOC|X"
_CELL = re.compile(rf"[ \t]*(NV(?:[1-9]\d?(?=\s|$|NV|{_OTHER})|1[0-8]|[1-9])|{_OTHER})")
_LABEL = re.compile(r"[ \t]*((?:GPU|NIC)\d{1,3}|mlx\d+_\w+?|[a-z]\w*?)(?=[ \t]|NV\d|PIX|PXB|PHB|NODE|SYS|SOC|X\b)")
_ROW = re.compile(rf"^[ \t]*GPU\d{{1,3}}(?:[ \t]*(?:NV\d+|{_OTHER}))+(?=[ \t]|$)", re.MULTILINE)
_HEADER_NAME = re.compile(r"(?:GPU|NIC)\d{1,3}|mlx\d+_\d+|[A-Za-z][\w-]*")
_LEGEND = re.compile(r"^\s*(NIC\d+)\s*:\s*(\S+)\s*$", re.MULTILINE)
_PROMPT = re.compile(r"[\w.-]+@([A-Za-z0-9][\w-]*(?:\.[\w-]+)*)[^\n]*nvidia-smi[^\n]*topo")
_FAR = {"X": 0, "PIX": 1, "PXB": 2, "PHB": 3, "NODE": 4, "SYS": 5, "SOC": 5}
_UNKNOWN = 6
MAX_COLUMNS = 512


@dataclass
class _Matrix:
    columns: list[str] = field(default_factory=list)
    rows: dict[str, list[str]] = field(default_factory=dict)
    rest: dict[str, str] = field(default_factory=dict)
    fused: int = 0

    @property
    def width(self) -> int:
        return max((len(cells) for cells in self.rows.values()), default=0)


def recognises(pasted: Pasted) -> bool:
    """Whether the text holds a row of the matrix."""
    return _ROW.search(pasted.text) is not None


def read(pasted: Pasted) -> Facts:
    """Return one node: its GPUs, links between them and the NIC of each."""
    matrix = _matrix(pasted.text)
    gpus, findings = _gpu_columns(matrix, pasted.where)
    if gpus > MAX_GPUS:
        raise InputError(f"{pasted.where}: {KIND}: {gpus} GPU columns; no node has more than {MAX_GPUS}")
    relation = _relations(matrix, gpus, pasted.where, findings)
    pairs = {pair: int(cell[2:]) for pair, cell in relation.items() if cell.startswith("NV")}
    host = _PROMPT.search(pasted.text)
    if host:
        findings.append(Finding("guessed", f"{pasted.where}: host {host[1]}, from the shell prompt"))
    if matrix.fused:
        findings.append(
            Finding("read", f"{pasted.where}: tabs were lost in {matrix.fused} lines; cells were told apart by content")
        )
    nics, near = _nics(matrix, gpus, pasted, findings)
    node = NodeFacts(
        where=pasted.where,
        kind=KIND,
        host=host[1] if host else None,
        gpus=tuple(GpuFacts(index) for index in range(gpus)),
        nics=nics,
        nearest=near,
        pairs=pairs,
        counts_links=True,
        knows_links=True,
        pcie_groups=joined(gpus, lambda a, b: relation.get((a, b)) in ("PIX", "PXB")),
        sockets=_sockets(matrix, gpus, relation),
    )
    told = f"{pasted.where}: {KIND}: {gpus} GPUs, {matrix.width - gpus} NICs"
    return Facts(nodes=(node,), findings=(Finding("read", told), *findings))


def _matrix(text: str) -> _Matrix:
    matrix = _Matrix()
    last = ""
    for line in text.split("\n"):
        label, cells, rest = _row(line)
        if label and cells and label not in matrix.rows:
            matrix.rows[label], matrix.rest[label], last = cells, rest, label
        elif not label and cells and last and "=" not in line:
            matrix.rows[last] += cells  # the terminal wrapped the row
            matrix.rest[last] = rest
            matrix.fused += 1
        elif not cells and not matrix.columns and re.search(r"\bGPU\d", line) and not matrix.rows:
            matrix.columns = _header(line)
        else:
            last = ""
        matrix.fused += bool(cells and re.search(rf"(?:NV\d+|PIX|PXB|PHB|NODE|SYS)(?:NV\d|{_OTHER})", line))
        if max(matrix.width, len(matrix.rows)) > MAX_COLUMNS:
            break
    return matrix


def _row(line: str) -> tuple[str, list[str], str]:
    """Return a line's label, cells and the rest; no label when the line starts with a cell."""
    start = _CELL.match(line)
    label = None if start else _LABEL.match(line)
    position = label.end() if label else 0
    cells: list[str] = []
    while len(cells) <= MAX_COLUMNS and (cell := _CELL.match(line, position)):
        cells.append(cell[1])
        position = cell.end()
    return (label[1] if label else ""), cells, line[position:]


def _header(line: str) -> list[str]:
    return _HEADER_NAME.findall(re.split(r"CPU\s*Affinity|NUMA\s*Affinity", line)[0])


def _gpu_columns(matrix: _Matrix, where: str) -> tuple[int, list[Finding]]:
    """Return how many of the first columns are GPUs: by header, else by row labels and NVLink cells."""
    rows = [label for label in matrix.rows if label.startswith("GPU")]
    named = sum(column.startswith("GPU") for column in matrix.columns)
    linked = [i + 1 for cells in matrix.rows.values() for i, cell in enumerate(cells) if cell.startswith("NV")]
    gpus = min(max(named, *(int(label[3:]) + 1 for label in rows), *linked), max(matrix.width, 1))
    findings = []
    if not matrix.columns:
        findings.append(
            Finding("missing", f"{where}: the header line is missing; {gpus} GPU columns by rows and NVLinks")
        )
    elif named != gpus or len(matrix.columns) != matrix.width:
        findings.append(
            Finding("broken", f"{where}: {len(matrix.columns)} column names for {matrix.width} cells; cells decide")
        )
    absent = [f"GPU{i}" for i in range(gpus) if f"GPU{i}" not in matrix.rows]
    if absent:
        findings.append(
            Finding("broken", f"{where}: rows of {listed(absent)} are missing; their links are read from other rows")
        )
    return gpus, findings


def _cell(matrix: _Matrix, row: str, column: int) -> str | None:
    cells = matrix.rows.get(row, [])
    return cells[column] if column < len(cells) else None


def _relations(matrix: _Matrix, gpus: int, where: str, findings: list[Finding]) -> dict[Pair, str]:
    """Return the cell of each pair of GPUs; the weaker one when its two cells differ."""
    relation: dict[Pair, str] = {}
    for a in range(gpus):
        for b in range(a + 1, gpus):
            cells = [c for c in (_cell(matrix, f"GPU{a}", b), _cell(matrix, f"GPU{b}", a)) if c and c != "X"]
            if not cells:
                continue
            relation[a, b] = min(cells, key=_links)
            if len(set(cells)) > 1:
                message = f"{where}: GPU{a} to GPU{b} is {cells[0]} in one row and {cells[1]} in the other"
                findings.append(Finding("broken", f"{message}; {relation[a, b]} is used"))
    _assume_switch(relation, matrix, gpus)
    return relation


def _links(cell: str) -> int:
    return int(cell[2:]) if cell.startswith("NV") else 0


def _assume_switch(relation: dict[Pair, str], matrix: _Matrix, gpus: int) -> None:
    """Give pairs of GPUs whose rows are both missing the links that each has to all others."""
    absent = [g for g in range(gpus) if f"GPU{g}" not in matrix.rows]
    for a in absent:
        for b in absent:
            seen = {c for pair, c in relation.items() if a in pair or b in pair}
            if a < b and any(c.startswith("NV") for c in seen):
                relation[a, b] = max(seen, key=_links)


def _sockets(matrix: _Matrix, gpus: int, relation: Mapping[Pair, str]) -> tuple[tuple[int, ...], ...]:
    """Return GPUs by NUMA (else CPU) affinity where the columns tell, else by what is not across the SMP link."""
    keys: list[str] = []
    for gpu in range(gpus):
        columns = [c for c in matrix.rest.get(f"GPU{gpu}", "").split()[:2] if re.fullmatch(r"\d[\d,-]*", c)]
        keys.append(columns[-1] if columns else keys[-1] if keys and f"GPU{gpu}" not in matrix.rows else "")
    if all(keys):
        return by_key(keys)
    return joined(gpus, lambda a, b: relation.get((a, b), "SYS") not in ("SYS", "SOC"))


def _nics(
    matrix: _Matrix, gpus: int, pasted: Pasted, findings: list[Finding]
) -> tuple[tuple[NicFacts, ...], tuple[int, ...]]:
    """Return the NICs that serve GPUs, in column order, and the NIC of each GPU; the rest is reported."""
    count = matrix.width - gpus
    labels = matrix.columns[gpus:] if len(matrix.columns) == matrix.width else [f"NIC{n}" for n in range(count)]
    legend = dict(_LEGEND.findall(pasted.text))
    names = [legend.get(label, label) for label in labels]

    def distance(gpu: int, nic: int) -> int:
        cell = _cell(matrix, f"GPU{gpu}", gpus + nic)
        return _FAR.get(cell, _UNKNOWN) if cell else _UNKNOWN

    pool = _pool(matrix, gpus, labels)
    far = _continued(matrix, nearest(gpus, len(pool), lambda g, n: distance(g, pool[n])), len(pool))
    used = sorted({pool[n] for n in far})
    _report_nics(names, labels, used, [distance(g, pool[n]) for g, n in enumerate(far)], pasted.where, findings)
    return tuple(NicFacts(names[n]) for n in used), tuple(used.index(pool[n]) for n in far)


def _continued(matrix: _Matrix, near: tuple[int, ...], pool: int) -> tuple[int, ...]:
    """Give a GPU whose row is missing the NIC after its predecessor's, when that one is free."""
    chosen = list(near)
    for gpu in range(1, len(near)):
        following = chosen[gpu - 1] + 1
        if f"GPU{gpu}" not in matrix.rows and following < pool and following not in chosen[:gpu]:
            chosen[gpu] = following
    return tuple(chosen)


def _pool(matrix: _Matrix, gpus: int, labels: list[str]) -> list[int]:
    """Return the NICs that may serve GPUs: all, but not the two ports of one card when no distance tells more."""
    count = len(labels)
    cells = {c for g in range(gpus) for c in matrix.rows.get(f"GPU{g}", [])[gpus:]}
    if cells - {"SYS", "SOC"}:
        return list(range(count))
    single = [n for n in range(count) if not {"PIX", "PXB"} & set(matrix.rows.get(labels[n], [])[gpus:])]
    return single if len(single) >= gpus else list(range(count))


def _report_nics(
    names: list[str], labels: list[str], used: list[int], far: list[int], where: str, findings: list[Finding]
) -> None:
    if not names:
        findings.append(Finding("missing", f"{where}: no NIC; the node can be joined to no other"))
        return
    distant = [f"GPU{g}" for g, d in enumerate(far) if d == _FAR["SYS"]]
    if distant:
        findings.append(
            Finding("guessed", f"{where}: {listed(distant)} see every NIC across sockets (SYS); NICs shared out evenly")
        )
    unknown = [f"GPU{g}" for g, d in enumerate(far) if d == _UNKNOWN]
    if unknown:
        findings.append(Finding("guessed", f"{where}: NICs of {listed(unknown)}, whose rows are missing, by order"))
    spare = [f"{labels[n]} ({names[n]})" for n in range(len(names)) if n not in used]
    if spare:
        findings.append(
            Finding(
                "read", f"{where}: {listed(spare)} are nearest to no GPU (storage, management or second ports): spare"
            )
        )
