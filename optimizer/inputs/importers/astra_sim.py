"""ASTRA-sim network YAML: dimensions with a shape, a size, GB/s and ns each; the first one is the node's inside."""

import math
import re
from collections.abc import Mapping

from optimizer.errors import InputError
from optimizer.inputs.documents import parse_yaml
from optimizer.inputs.importers.facts import (
    MAX_GPUS,
    FabricFacts,
    Facts,
    Finding,
    GpuFacts,
    HostFacts,
    NicFacts,
    NodeFacts,
    Pasted,
)
from optimizer.units import parse_bytes_per_s, parse_seconds

KIND = "ASTRA-sim network"
MAX_NODES = 100_000
_SHAPES = {"switch": "a switch", "fullyconnected": "a full mesh", "ring": "a ring"}


def recognises(pasted: Pasted) -> bool:
    """Whether the YAML has the four lists."""
    return all(re.search(rf"^\s*{key}\s*:", pasted.text, re.M) for key in ("topology", "npus_count", "bandwidth"))


def read(pasted: Pasted) -> Facts:
    """Return the nodes of the simulated system."""
    document = parse_yaml(pasted.text, pasted.where)
    table = document if isinstance(document, Mapping) else {}
    shapes = [str(shape) for shape in _list(table.get("topology"))]
    sizes = [
        s for s in _list(table.get("npus_count")) if isinstance(s, int) and not isinstance(s, bool) and 1 <= s <= 10**6
    ]
    rates = [_rate(r) for r in _list(table.get("bandwidth"))]
    if not shapes or len({len(shapes), len(sizes), len(rates)}) > 1 or not all(rates):
        raise InputError(
            f"{pasted.where}: topology, npus_count and bandwidth must be lists of one length with numbers above 0"
        )
    inside, count = sizes[0], math.prod(sizes[1:])
    if inside > MAX_GPUS or count > MAX_NODES:
        raise InputError(f"{pasted.where}: {inside} x {count} GPUs are more than can be planned")
    node = _node(pasted.where, shapes[0], inside, rates[0], rates[1] if len(rates) > 1 else None)
    latency = _list(table.get("latency"))
    fabric = FabricFacts("switch", latency_s=_seconds(latency[1])) if count > 1 and len(latency) > 1 else None
    fabric = fabric or (FabricFacts("switch") if count > 1 else None)
    hosts = tuple(HostFacts(f"node{i}", gpus=inside) for i in range(1, count + 1)) if count > 1 else ()
    told = f"{pasted.where}: {KIND}: {count} x {inside} GPUs behind {_SHAPES.get(shapes[0].lower(), shapes[0])}"
    return Facts((node,), hosts, fabric, findings=(Finding("read", told), *_notes(shapes, sizes, pasted.where)))


def _notes(shapes: list[str], sizes: list[int], where: str) -> list[Finding]:
    said = [Finding("missing", f"{where}: the file names no GPU type and no real node")]
    if shapes[0].lower() == "ring":
        said.append(
            Finding("guessed", f"{where}: the ring inside a node is taken as a switch of the same rate per GPU")
        )
    if len(sizes) > 1:
        said.append(
            Finding(
                "guessed",
                f"{where}: {len(sizes) - 1} outer dimension(s) are taken as one fabric without oversubscription",
            )
        )
    return said


def _node(where: str, shape: str, gpus: int, rate: float, outside: float | None) -> NodeFacts:
    is_mesh = shape.lower() == "fullyconnected"
    pairs = {(a, b): 1 for a in range(gpus) for b in range(a + 1, gpus)} if is_mesh else {}
    return NodeFacts(
        where=where,
        kind=KIND,
        gpus=tuple(GpuFacts(i) for i in range(gpus)),
        nics=tuple(NicFacts(f"nic{i}", outside) for i in range(gpus)) if outside else (),
        nearest=tuple(range(gpus)) if outside else (),
        pairs=pairs,
        is_mesh=is_mesh,
        knows_links=True,
        pair_bytes_per_s=dict.fromkeys(pairs, rate / (gpus - 1)),
        switch_bytes_per_s=None if is_mesh else rate,
    )


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _positive(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 < value < 1e9 else None  # type: ignore[operator, arg-type]


def _rate(value: object) -> float:
    number = _positive(value)
    return parse_bytes_per_s(f"{number!r} GB/s") if number else 0.0


def _seconds(value: object) -> float | None:
    number = _positive(value)
    return parse_seconds(f"{number!r} ns") if number else None
