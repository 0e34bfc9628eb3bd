"""A cluster as the text of a cluster.yaml: what differs from the defaults, rates in the units people write."""

import re
from collections.abc import Collection
from typing import Any

import yaml

from optimizer.inputs.cluster import ClusterSpec
from optimizer.units import GB, parse_bytes_per_s

_RATE = re.compile(r"([0-9.e+-]+) B/s")


def to_yaml(cluster: ClusterSpec, *, catalogue: Collection[str] = ()) -> str:
    """Return text that reads back to an equal cluster; GPU types of ``catalogue`` are named, not written out."""
    value = _for_people(to_document(cluster, catalogue=catalogue))
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)


def to_document(cluster: ClusterSpec, *, catalogue: Collection[str] = ()) -> dict[str, object]:
    """Return the cluster as the keys of a cluster.yaml: what differs from the defaults."""
    value: dict[str, Any] = cluster.model_dump(mode="json", exclude_defaults=True)
    if cluster.fabric is not None:
        value["fabric"] = {"kind": cluster.fabric.kind} | value.get("fabric", {})
    if "gpus" in value:
        own = {name: spec for name, spec in value["gpus"].items() if name not in catalogue}
        value = {key: item for key, item in value.items() if key != "gpus"} | ({"gpus": own} if own else {})
    return value


def _for_people(value: object) -> object:
    if isinstance(value, dict):
        return {key: _for_people(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_for_people(item) for item in value]
    match = _RATE.fullmatch(value) if isinstance(value, str) else None
    return value if match is None else _rate(float(match[1]), str(value))


def _rate(rate: float, plain: str) -> str:
    """Return GB/s (or Gb/s where shorter) when that reads back to the very same number."""
    choices = (f"{rate / GB:.6g} GB/s", f"{8 * rate / GB:.6g} Gb/s")
    exact = [text for text in choices if parse_bytes_per_s(text) == rate]
    return min(exact, key=len, default=plain)
