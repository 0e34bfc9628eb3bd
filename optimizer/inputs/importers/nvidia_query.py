"""`nvidia-smi --query-gpu=... --format=csv`: names, ids, memory and the PCIe link of each GPU.

The link's generation falls when a GPU idles, its width does not: only a narrow link is taken for a fault.
"""

import csv
import re

from optimizer.errors import InputError
from optimizer.inputs.importers.facts import MAX_GPUS, Facts, Finding, GpuFacts, NodeFacts, Pasted, listed
from optimizer.units import parse_bytes

KIND = "nvidia-smi --query-gpu"
_HEADER = re.compile(
    r"^[ \t]*\"?(?:index|name|uuid|gpu_uuid|pci\.bus_id|memory\.total|gpu_name|timestamp)\b[^\n]*,[^\n]*", re.M
)
_LOST = re.compile(r"GPU is lost|Unknown Error|GPU requires reset", re.IGNORECASE)
_PROMPT = re.compile(r"[\w.-]+@([A-Za-z0-9][\w-]*(?:\.[\w-]+)*)[^\n]*nvidia-smi[^\n]*--query")
Row = dict[str, str]


def recognises(pasted: Pasted) -> bool:
    """Whether the text has a header line of the query."""
    return any(_is_header(match[0]) for match in _HEADER.finditer(pasted.text))


def _is_header(line: str) -> bool:
    columns = _columns(line)
    return len({"index", "name", "uuid", "bus_id", "memory"} & set(columns)) >= 2


def read(pasted: Pasted) -> Facts:
    """Return one node: what each GPU is."""
    rows, lost_lines = _rows(pasted.text)
    if len(rows) + len(lost_lines) > MAX_GPUS:
        raise InputError(f"{pasted.where}: {KIND}: {len(rows)} rows; no node has more than {MAX_GPUS} GPUs")
    gpus = tuple(_gpu(position, row) for position, row in enumerate(rows))
    gpus += tuple(
        GpuFacts(len(gpus) + i, state="lost", reason=f"nvidia-smi: {line.strip()[:80]}")
        for i, line in enumerate(lost_lines)
    )
    host = _PROMPT.search(pasted.text)
    node = NodeFacts(where=pasted.where, kind=KIND, host=host[1] if host else None, gpus=gpus)
    names = sorted({gpu.product for gpu in gpus if gpu.product})
    said = Finding("read", f"{pasted.where}: {KIND}: {len(gpus)} GPUs: {listed(names)}")
    return Facts(nodes=(node,), findings=(said, *_idle(rows, pasted.where), *_faults(gpus, pasted.where)))


def _columns(line: str) -> list[str]:
    names = [re.sub(r"\s*\[.*?\]", "", cell.strip(' "')).strip() for cell in line.split(",")]
    short = {"gpu_name": "name", "gpu_uuid": "uuid", "pci.bus_id": "bus_id", "gpu_bus_id": "bus_id"}
    return [short.get(name, {"memory.total": "memory"}.get(name, name)) for name in names]


def _rows(text: str) -> tuple[list[Row], list[str]]:
    """Return the rows after the header, and lines about GPUs that could not be asked."""
    header: list[str] = []
    rows: list[Row] = []
    lost: list[str] = []
    for line in text.split("\n"):
        if _is_header(line):
            header = _columns(line)
        elif header and line.count(",") >= len(header) - 1:
            cells = next(csv.reader([line], skipinitialspace=True), [])
            rows.append(dict(zip(header, (cell.strip() for cell in cells), strict=False)))
        elif header and _LOST.search(line):
            lost.append(line)
        elif header and line.strip():
            header = []
    return rows, lost


def _gpu(position: int, row: Row) -> GpuFacts:
    index = row.get("index", "")
    lost = any(_LOST.search(cell) for cell in row.values())
    return GpuFacts(
        index=int(index) if re.fullmatch(r"\d{1,3}", index) else position,
        product=row.get("name") if not _LOST.search(row.get("name", "")) else None,
        bus_id=_known(row.get("bus_id")),
        uuid=_known(row.get("uuid")),
        memory_bytes=_memory(row.get("memory", "")),
        pcie_share=_share(row),
        state="lost" if lost else None,
        reason="nvidia-smi cannot reach it" if lost else None,
    )


def _known(cell: str | None) -> str | None:
    return cell if cell and re.fullmatch(r"[\w.:-]{4,60}", cell) else None


def _memory(cell: str) -> int | None:
    match = re.fullmatch(r"(\d{3,7})(?:\s*MiB)?", cell)
    return parse_bytes(f"{match[1]} MiB") if match else None


def _number(row: Row, key: str) -> int | None:
    match = re.fullmatch(r"\d{1,2}", row.get(key, ""))
    return int(match[0]) if match and int(match[0]) else None


def _share(row: Row) -> float | None:
    now, most = _number(row, "pcie.link.width.current"), _number(row, "pcie.link.width.max")
    return now / most if now and most and now < most else None


def _idle(rows: list[Row], where: str) -> tuple[Finding, ...]:
    slow = [
        row.get("index", str(position))
        for position, row in enumerate(rows)
        if (_number(row, "pcie.link.gen.current") or 9) < (_number(row, "pcie.link.gen.max") or 0)
    ]
    if not slow:
        return ()
    message = f"{where}: GPU {listed(slow)} ran a lower PCIe generation than it can: idle GPUs do; ask again under load"
    return (Finding("read", message),)


def _faults(gpus: tuple[GpuFacts, ...], where: str) -> tuple[Finding, ...]:
    narrow = [
        Finding("broken", f"{where}: GPU{g.index}: PCIe runs at {g.pcie_share:.0%} of its width")
        for g in gpus
        if g.pcie_share
    ]
    lost = [Finding("broken", f"{where}: GPU{g.index} is lost: {g.reason}") for g in gpus if g.state == "lost"]
    return (*narrow, *lost)
