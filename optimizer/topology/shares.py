"""What one GPU of a replica gets of the boundaries it crosses: in proportion to their users, or all of them."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from optimizer.topology.graph import Topology
from optimizer.topology.meeting import Level, Meeting, pcie_levels
from optimizer.topology.reach import boundary_bytes_per_s, link_rate, rate, reach, sharers

Share: TypeAlias = Literal["fair", "alone"]

UNSHARED = float("inf")
"""Bytes/s where no boundary is crossed."""


@dataclass(frozen=True)
class Shares:
    """What one GPU of the replica gets of each boundary."""

    topology: Topology
    share: Share
    crossings: Counter[str]
    """Ways of the replica's GPUs over each boundary."""

    def of(self, boundary: str) -> float:
        """Return bytes/s of one way."""
        ways = self.crossings[boundary] if self.share == "alone" else sharers(self.topology, boundary)
        return boundary_bytes_per_s(self.topology, boundary) / ways

    def reserved(self, boundary: str) -> float:
        """Return bytes/s of all ways."""
        if self.share == "alone":
            return boundary_bytes_per_s(self.topology, boundary)
        return self.of(boundary) * self.crossings[boundary]


def crossings(levels: Iterable[Level]) -> Counter[str]:
    """Return the ways over each boundary; a GPU that crosses it in several groups still has one share of it."""
    ways: dict[tuple[str, tuple[str, ...]], None] = {}
    for level in levels:
        for gpu, series in level.ways.items():
            ways |= dict.fromkeys((gpu, parallel) for parallel in series)
    return Counter(boundary for _, parallel in ways for boundary in parallel)


def levels_of(meeting: Meeting) -> Iterator[Level]:
    """Yield the cuts between the parts of a group, and those inside parts that PCIe joins."""
    yield from meeting.levels
    if meeting.inner in ("pcie", "host"):
        for part in meeting.parts:
            yield from pcie_levels(part)


def least(level: Level, shares: Shares, medium: str) -> float:
    """Return the least bytes/s out of a cell of a level: the sum of what its GPUs may send out."""
    return min(sum(out(member.id, level, shares, medium) for member in cell) for cell in level.cells)


def out(gpu: str, level: Level, shares: Shares, medium: str) -> float:
    """Return what a GPU may send out of its cell: the least of its own link and its shares on the way."""
    series = [sum(shares.of(boundary) for boundary in parallel) for parallel in level.ways[gpu]]
    return min(_own_link(gpu, shares.topology, medium), *series, UNSHARED)


def _own_link(gpu: str, topology: Topology, medium: str) -> float:
    """Return the GPU's link towards the boundary: PCIe, or NVLink where its NIC is a peer's (PXN); 0 off the fabric."""
    ways = reach(topology, gpu)
    if medium == "rdma" and not (ways.leaves or ways.router):
        return 0.0
    if medium == "rdma" and ways.router and not ways.nics:
        return rate(topology, gpu, ways.router)
    if medium == "rdma" and ways.nvswitch and ways.borrows:
        return max(link_rate(topology, gpu, "pcie"), link_rate(topology, gpu, "nvlink"))
    return link_rate(topology, gpu, "pcie")
