"""SimAI topology text: a line of counts, the ids of switches, then cables (`src dst 400Gbps 0.0005ms 0`).

GPUs come first, NVSwitches after them, then the switches of the fabric; `gpus per server` cuts GPUs into hosts.
"""

import re

from optimizer.errors import InputError
from optimizer.inputs.importers.attributed_graph import Graph, read_graph
from optimizer.inputs.importers.facts import Facts, Finding, Pasted

KIND = "SimAI topology"
_HEADER = re.compile(r"\A\s*(\d{1,6}) +(\d{1,4}) +(\d{1,6}) +(\d{1,6}) +(\d{1,7}) +([A-Za-z]\w*)[^\n]*\n")
_CABLE = re.compile(r"^\s*(\d{1,6}) +(\d{1,6}) +(\d{1,6}(?:\.\d+)?) ?([GM])bps +\S+ +\S+\s*$", re.MULTILINE)


def recognises(pasted: Pasted) -> bool:
    """Whether the text starts with the counts and has cables."""
    return _HEADER.match(pasted.text) is not None and _CABLE.search(pasted.text) is not None


def read(pasted: Pasted) -> Facts:
    """Return the hosts, each GPU with a NIC of its own where it is cabled to the fabric."""
    header = _HEADER.match(pasted.text)
    assert header is not None
    total, per_host, nvswitches, switches, links = (int(header[i]) for i in range(1, 6))
    gpus = total - nvswitches - switches
    if gpus <= 0 or per_host <= 0:
        raise InputError(f"{pasted.where}: {KIND}: {total} nodes hold no GPU beside {nvswitches} + {switches} switches")
    cables = _CABLE.findall(pasted.text)
    graph = Graph(pasted.where)
    for number in range(gpus):
        graph.nodes[_name(number, gpus, nvswitches)] = {
            "kind": "gpu",
            "host": f"node{number // per_host + 1}",
            "gpu": header[6],
        }
    for a, b, rate, unit in cables:
        _cable(graph, int(a), int(b), f"{rate} {unit}b/s", (gpus, nvswitches, per_host))
    if len(cables) != links:
        said = f"{pasted.where}: the first line announces {links} cables, {len(cables)} are there"
        graph.findings.append(Finding("broken", said))
    return read_graph(graph, KIND)


def _name(number: int, gpus: int, nvswitches: int) -> str:
    if number < gpus:
        return f"gpu{number}"
    return f"nvswitch{number}" if number < gpus + nvswitches else f"leaf{number}"


def _cable(graph: Graph, a: int, b: int, rate: str, sizes: tuple[int, int, int]) -> None:
    """Add a cable; a GPU's cable to the fabric goes through a NIC of its own."""
    gpus, nvswitches, per_host = sizes
    low, high = sorted((a, b))
    source, target = _name(low, gpus, nvswitches), _name(high, gpus, nvswitches)
    if target.startswith("nvswitch"):
        graph.nodes.setdefault(target, {"kind": "nvswitch", "host": graph.nodes.get(source, {}).get("host", "")})
    elif source.startswith("gpu") and target.startswith("leaf"):
        nic = f"node{low // per_host + 1}/nic{low % per_host}"
        graph.nodes.setdefault(nic, {"kind": "nic", "host": f"node{low // per_host + 1}"})
        graph.add_edge(source, nic, {"bandwidth": rate}, is_directed=False)
        source = nic
    graph.add_edge(source, target, {"bandwidth": rate}, is_directed=False)
