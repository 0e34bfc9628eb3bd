"""A Kueue `Topology`: which node labels name the fabric, coarse to fine. It holds no node itself."""

import re

from optimizer.errors import InputError
from optimizer.inputs.importers.facts import Facts, Finding, Pasted, listed

KIND = "Kueue Topology"
_LEVEL = re.compile(r"^\s*-?\s*[\"']?nodeLabel[\"']?\s*:\s*[\"']?([\w./-]+)", re.MULTILINE)
_IS_TOPOLOGY = re.compile(r"^[\s{\"']*kind[\"']?\s*:\s*[\"']?Topology\b", re.MULTILINE)
HOST = "kubernetes.io/hostname"


def recognises(pasted: Pasted) -> bool:
    """Whether the YAML holds a Topology of Kueue."""
    return "kueue.x-k8s.io" in pasted.text and _IS_TOPOLOGY.search(pasted.text) is not None


def read(pasted: Pasted) -> Facts:
    """Return the labels of its levels."""
    levels = tuple(_LEVEL.findall(pasted.text))
    if not levels:
        raise InputError(f"{pasted.where}: {KIND} without spec.levels; give the whole object")
    told = Finding("read", f"{pasted.where}: {KIND}: levels {listed(levels)}")
    if set(levels) == {HOST}:
        flat = Finding("missing", f"{pasted.where}: its only level is the host: it tells nothing about the fabric")
        return Facts(levels=levels, findings=(told, flat))
    return Facts(levels=levels, findings=(told,))
