"""NICs of a launch's GPUs: only what the cluster names, only those that work."""

import re

from optimizer.export.launch.seating import Launch
from optimizer.inputs.hostlist import expand

_BUS_ID = re.compile(r"(?:[0-9A-Fa-f]{4,8}:)?[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-7]")
_PINNED = ("infiniband", "roce")
"""Transports whose devices NCCL and UCX choose by name."""


def nic_of_each_seat(launch: Launch) -> tuple[str, ...]:
    """Return the name of the NIC nearest to each seat, the one whose bandwidth was priced; empty when not known."""
    template = launch.place.spec if launch.place else None
    nics = template.nics if template else None
    if template is None or nics is None or len(nics.names) != nics.count or nics.transport not in _PINNED:
        return ()
    nearest = nics.nearest or tuple(index * nics.count // template.size for index in range(template.size))
    return tuple(nics.names[nearest[seat.local_index]] for seat in launch.seats)


def pinned(launch: Launch) -> tuple[str, ...]:
    """Return the device names to pin, each once, broken ones left out; empty when the cluster does not name devices."""
    broken = _broken(launch)
    names = tuple(dict.fromkeys(name for name in nic_of_each_seat(launch) if name not in broken))
    return names if not any(_BUS_ID.fullmatch(name) for name in names) else ()


def bus_pairs(launch: Launch) -> tuple[tuple[str, str], ...]:
    """Return (GPU, NIC) bus ids of the seats, empty unless the cluster knows both of every seat."""
    broken = _broken(launch)
    pairs = [(seat.gpu, nic) for seat, nic in zip(launch.seats, nic_of_each_seat(launch), strict=False)]
    known = [pair for pair in pairs if all(map(_BUS_ID.fullmatch, pair)) and pair[1] not in broken]
    return tuple(known) if len(known) == len(launch.seats) else ()


def _broken(launch: Launch) -> frozenset[str]:
    template = launch.place.spec if launch.place else None
    names = template.nics.names if template and template.nics else ()
    gone: set[str] = set()
    for override in launch.plan.inputs.cluster.overrides:
        nic = override.match.nic
        if nic is not None and override.match.node and launch.node in expand(override.match.node):
            name = names[nic] if isinstance(nic, int) and nic < len(names) else str(nic)
            (gone.add if override.state in ("lost", "down") else gone.discard)(name)
    return frozenset(gone)
