"""`amd-smi topology`: link types between AMD GPUs by PCI address, as text tables or (``--json``) a list of GPUs.

Its hops are 1 between any two GPUs that xGMI joins, wired or not; a bandwidth of 0 tells those that are not wired.
"""

import re
from collections.abc import Mapping, Sequence

from optimizer.errors import InputError
from optimizer.inputs.importers.facts import MAX_GPUS, Facts, Finding, GpuFacts, NodeFacts, Pair, Pasted, listed

KIND = "amd-smi topology"
_TITLE = re.compile(r"^[ \t]*((?:ACCESS|WEIGHT|HOPS|LINK TYPE|NUMA BW)[A-Z ]*) TABLE[ \t]*:", re.MULTILINE)
_ADDRESS = r"[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]"
_ROW = re.compile(rf"^[ \t]*({_ADDRESS})[ \t]+(\S.*?)[ \t]*$")
Table = dict[str, list[str]]
"""Cells by the address that begins the row."""


def recognises(pasted: Pasted) -> bool:
    """Whether the text has one of the tool's tables with an address in it, or is its list of GPUs with their links."""
    if _listed_gpus(pasted.value):
        return True
    return _TITLE.search(pasted.text) is not None and re.search(_ADDRESS, pasted.text) is not None


def read(pasted: Pasted) -> Facts:
    """Return one node with its xGMI links."""
    listing = _listed_gpus(pasted.value)
    tables = _tables_of(listing) if listing else _tables(pasted.text)
    order = max((list(dict.fromkeys(columns)) for columns, _ in tables.values()), key=len, default=[])
    order += [address for _, table in tables.values() for address in table if address not in order]
    order = list(dict.fromkeys(order))
    if not 0 < len(order) <= MAX_GPUS:
        raise InputError(f"{pasted.where}: {KIND} without a row of a GPU; give the whole output")
    links, rates = tables.get("LINK TYPE"), tables.get("NUMA BW")
    joined = [pair for pair in _pairs(len(order)) if _cell(links, order, pair) == "XGMI"]
    pairs = {pair: 1 for pair in joined if _cell(rates, order, pair) != "0-0"}
    node = NodeFacts(
        where=pasted.where,
        kind=KIND,
        gpus=tuple(GpuFacts(i, bus_id=address) for i, address in enumerate(order)),
        pairs=pairs,
        is_mesh=True,
        knows_links=links is not None,
    )
    said = Finding("read", f"{pasted.where}: {KIND}: {len(order)} GPUs, {len(pairs)} xGMI pairs")
    far = [f"GPU{a}-GPU{b}" for a, b in joined if (a, b) not in pairs]
    told = [Finding("read", f"{pasted.where}: {listed(far)}: xGMI through another GPU, not wired")] if far else []
    return Facts(nodes=(node,), findings=(said, *told, *_doubts(links, order, pasted.where)))


Columns = list[str]


def _tables(text: str) -> dict[str, tuple[Columns, Table]]:
    """Return the columns and rows of each table by its title."""
    tables: dict[str, tuple[Columns, Table]] = {}
    current: tuple[Columns, Table] | None = None
    for line in text.split("\n"):
        title, row = _TITLE.match(line), _ROW.match(line)
        if title:
            current = tables.setdefault(title[1].strip(), ([], {}))
        elif current is not None and row:
            cells = row[2].split()
            if all(re.fullmatch(_ADDRESS, cell) for cell in cells):
                current[0][:] = [row[1].lower(), *(cell.lower() for cell in cells)]
            else:
                current[1].setdefault(row[1].lower(), cells)
    return tables


def _listed_gpus(value: object) -> list[Mapping[str, object]]:
    """Return the GPUs of the tool's JSON: each has an address and a list of links."""
    if isinstance(value, Mapping):
        value = next((inner for inner in value.values() if isinstance(inner, list)), None)
    gpus = [gpu for gpu in value if isinstance(gpu, Mapping)] if isinstance(value, list) else []
    return [gpu for gpu in gpus if _address(gpu) and isinstance(gpu.get("links"), list)]


def _address(gpu: Mapping[str, object]) -> str | None:
    bdf = gpu.get("bdf")
    return bdf.lower() if isinstance(bdf, str) and re.fullmatch(_ADDRESS, bdf) else None


def _tables_of(gpus: Sequence[Mapping[str, object]]) -> dict[str, tuple[Columns, Table]]:
    """Return the tables that JSON stands for; a link that is disabled is none."""
    columns = [address for gpu in gpus if (address := _address(gpu))]
    types: Table = {}
    rates: Table = {}
    for gpu in gpus:
        links = gpu.get("links")
        known = [link for link in links if isinstance(link, Mapping)] if isinstance(links, list) else []
        to = {_address(link): link for link in known}
        cells = [to.get(address, {}) for address in columns]
        own = str(_address(gpu))
        types[own] = ["N/A" if cell.get("link_status") == "DISABLED" else str(cell.get("link_type")) for cell in cells]
        rates[own] = [str(cell.get("bandwidth")) for cell in cells]
    return {"LINK TYPE": (columns, types), "NUMA BW": (columns, rates)}


def _pairs(count: int) -> list[Pair]:
    return [(a, b) for a in range(count) for b in range(a + 1, count)]


def _cell(found: tuple[Columns, Table] | None, order: Columns, pair: Pair) -> str | None:
    """Return the type of a pair's link; where its two cells differ, the one that is no xGMI."""
    if found is None:
        return None
    columns, table = found
    cells = []
    for a, b in (pair, pair[::-1]):
        row, place = table.get(order[a], []), columns.index(order[b]) if order[b] in columns else len(columns)
        cells += [row[place].upper()] if place < len(row) else []
    return next((cell for cell in cells if cell != "XGMI"), cells[0] if cells else None)


def _doubts(found: tuple[Columns, Table] | None, order: Columns, where: str) -> list[Finding]:
    said = [Finding("missing", f"{where}: no GPU type and no NIC in this output; give --gpu, NICs need another file")]
    if found is None:
        return [*said, Finding("missing", f"{where}: the table of link types is missing; links are unknown")]
    absent = [address for address in order if address not in found[1]]
    if absent:
        said.append(Finding("broken", f"{where}: rows of {listed(absent)} are missing: the output was cut"))
    return said
