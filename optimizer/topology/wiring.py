"""What the cost room asks of the hardware: how the ranks of one replica reach each other."""

from dataclasses import dataclass
from typing import Literal

Medium = Literal["local", "nvswitch", "mesh", "nvlink", "pcie", "host", "rdma"]
"""local: no link needed; nvlink: direct cables such as bridges; mesh: a cable to every peer; pcie: peers under one PCIe
switch; host: through a CPU (root ports, sockets, host memory); rdma: between nodes."""


@dataclass(frozen=True)
class GroupPath:
    """How the ranks of one TP group reach each other.

    A group sits in one fast domain, or in ``domains`` equal parts joined by a slower medium.
    Rates are per direction and nominal: no efficiency, already reduced to what is reserved for this group.
    """

    ranks: int
    domains: int
    """Fast domains the group spans; 1 when it does not straddle."""
    inner: Medium
    """Medium between ranks of one domain ("local" when each domain holds one rank)."""
    inner_bytes_per_s: float
    """Per rank, least cut inside a domain; inf when ``inner`` is local."""
    outer: Medium
    """Medium between the domains ("local" when there is one)."""
    outer_bytes_per_s: float
    """Out of one domain for the whole group; inf when ``outer`` is local."""


@dataclass(frozen=True)
class HopPath:
    """The way of activations from one stage to the next."""

    medium: Medium
    bytes_per_s: float
    """From one rank to its successor, per direction; inf when local."""
    streams: int
    """Ranks of the stage that can send at the same time at that rate."""


@dataclass(frozen=True)
class Section:
    """Stages in a row on GPUs of one type, the slowest group standing for all of them."""

    gpu_type: str
    stages: int
    group: GroupPath
    speed_factor: float


@dataclass(frozen=True)
class Wiring:
    """All paths of one replica, the slowest group standing for all of its stages."""

    group: GroupPath
    hops: tuple[HopPath, ...]
    """Between consecutive stages, ``pp - 1`` of them."""
    speed_factor: float = 1.0
    """Of the slowest GPU seated."""
    exit: HopPath | None = None
    """The way of KV to or from replicas elsewhere in the cluster; None where none is moved."""
    sections: tuple[Section, ...] = ()
    """Runs of stages on GPUs of one type, where the stages sit on several; else empty."""


def ring_rate(path: GroupPath) -> tuple[float, float, float]:
    """Order paths by what a ring over them carries, slowest first."""
    slow, fast = sorted((path.inner_bytes_per_s, path.outer_bytes_per_s))
    return slow, fast, -path.domains


ALONE = GroupPath(1, 1, "local", float("inf"), "local", float("inf"))
"""The group of a single rank."""
