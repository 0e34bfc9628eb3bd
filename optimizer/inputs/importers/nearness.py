"""Which NIC serves which GPU, and which GPUs share a switch or a socket, from distances of any kind."""

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)


def nearest(gpus: int, nics: int, distance: Callable[[int, int], int]) -> tuple[int, ...]:
    """Return for each GPU the nearest of the NICs; equal ones are shared out evenly, in order.

    GPUs with a near NIC choose first, so that a GPU far from all of them takes what is least used.
    """
    if not nics:
        return ()
    ranked = [min(distance(gpu, nic) for nic in range(nics)) for gpu in range(gpus)]
    used = [0] * nics
    chosen = [0] * gpus
    for gpu in sorted(range(gpus), key=lambda g: (ranked[g], g)):
        nic = min(range(nics), key=lambda n: (distance(gpu, n), used[n], n))
        used[nic] += 1
        chosen[gpu] = nic
    return tuple(chosen)


def joined(count: int, are_joined: Callable[[int, int], bool]) -> tuple[tuple[int, ...], ...]:
    """Return the groups of 0..count-1 that a relation joins, each sorted, in order of their first member."""
    group = list(range(count))
    for a in range(count):
        for b in range(a + 1, count):
            if group[a] != group[b] and are_joined(a, b):
                old, new = sorted((group[a], group[b]), reverse=True)
                group = [new if g == old else g for g in group]
    return by_key(group)


def by_key(keys: Sequence[Key]) -> tuple[tuple[int, ...], ...]:
    """Return positions with equal keys together, in order of their first member."""
    groups: dict[Key, list[int]] = {}
    for position, key in enumerate(keys):
        groups.setdefault(key, []).append(position)
    return tuple(tuple(members) for members in groups.values())


def group_size(groups: Sequence[Sequence[int]]) -> int | None:
    """Return the size of equal groups of consecutive members, or None when they are not so."""
    flat = [member for group in groups for member in group]
    sizes = {len(group) for group in groups}
    return sizes.pop() if len(sizes) == 1 and flat == list(range(len(flat))) else None
