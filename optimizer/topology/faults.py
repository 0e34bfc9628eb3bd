"""What is broken, in words, and the cluster without it: to ask what a fault costs, solve again without it."""

from dataclasses import dataclass

from optimizer.inputs.cluster import ClusterSpec, Match, Override
from optimizer.units import show_bytes_per_s

_CHOICES = ("up", "cordoned", "drained", "reserved")
"""States that somebody wants: no fault, and no repair would change them."""


@dataclass(frozen=True)
class Fault:
    """An override that takes speed or capacity away."""

    override: int
    """Its place in the cluster's list."""
    words: str


def faults(cluster: ClusterSpec) -> tuple[Fault, ...]:
    """Return what is broken, in the order of the cluster's overrides."""
    return tuple(
        Fault(index, describe(override))
        for index, override in enumerate(cluster.overrides)
        if override.state not in _CHOICES or _slower(override)
    )


def without(cluster: ClusterSpec, *repaired: Fault) -> ClusterSpec:
    """Return the cluster with some faults repaired."""
    gone = {fault.override for fault in repaired}
    kept = tuple(override for index, override in enumerate(cluster.overrides) if index not in gone)
    return cluster.model_copy(update={"overrides": kept})


def describe(override: Override) -> str:
    """Return an override as a sentence: "NIC 3 of node07 runs at 25 GB/s (Xid 79)"."""
    says = [
        override.state and f"is {override.state}",
        override.links_active and f"has {override.links_active} links",
        override.uplinks and f"has {override.uplinks} uplinks",
        override.bandwidth is not None and f"runs at {show_bytes_per_s(override.bandwidth or 0.0)}",
        override.speed_factor is not None and f"computes at {override.speed_factor:.0%} of its speed",
    ]
    reason = f" ({override.reason})" if override.reason else ""
    return f"{_name(override.match)} {', '.join(part for part in says if part)}{reason}"


def _slower(override: Override) -> bool:
    told = (override.bandwidth, override.links_active, override.uplinks, override.speed_factor)
    return any(value is not None for value in told)


def _name(match: Match) -> str:
    """Return the object of an override for people."""
    if match.leaf is not None:
        return f"leaf {match.leaf}"
    at = f" of {match.node}" if match.node else ""
    if match.to is not None:
        return f"link{at} to {match.to}"
    if match.nic is not None:
        return f"NIC {match.nic}{at}"
    part = f"GPU {match.gpu}{at}" if match.gpu is not None else match.node or "node"
    return {"nvlink": f"NVLink of {part}", "pcie": f"PCIe of {part}", None: part}[match.link]
