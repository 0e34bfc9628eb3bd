"""Seconds of communication among the ranks of a stage and between stages.

The volume that limits a collective of a message of S bytes among n ranks is f S per rank, with f = 2(n-1)/n for
all-reduce and (n-1)/n for all-gather, reduce-scatter and all-to-all (nccl-tests, PERFORMANCE.md: busbw = f S / t). S is
the whole tensor: what is reduced, what is gathered, what one rank scatters.
"""

from dataclasses import replace
from functools import lru_cache
from math import inf, sqrt

from optimizer.errors import InputError
from optimizer.inputs.calibration import Calibration, CollectiveFit, Link, Operation
from optimizer.topology.wiring import ALONE, GroupPath, HopPath, Medium
from optimizer.units import MB


def volume_factor(operation: Operation, ranks: int) -> float:
    """Return bytes each rank must send over bytes of the message."""
    if operation == "p2p":
        return 1.0
    return (2.0 if operation == "all_reduce" else 1.0) * (ranks - 1) / ranks


def _steps(operation: Operation, ranks: int) -> int:
    """Return the steps a ring takes."""
    if operation == "p2p":
        return 1
    return (2 if operation == "all_reduce" else 1) * (ranks - 1)


def link(calibration: Calibration, medium: Medium) -> Link:
    """Return what a medium reaches; InputError when the calibration has no figure for it."""
    found = calibration.links.get(medium) if medium != "local" else None
    if found is None:
        raise InputError(
            f"calibration {calibration.gpu}: links: {medium} is not among {', '.join(calibration.links)}; "
            f"add its figures or keep the replica's ranks off {medium} links"
        )
    return found


def _fitted(fit: CollectiveFit, operation: Operation, message_bytes: float, ranks: int, bytes_per_s: float) -> float:
    """Return the library's seconds: latency by steps, volume by rate, and the slow middle sizes."""
    return _start(fit, operation, message_bytes, ranks) + _transfer(fit, operation, message_bytes, ranks, bytes_per_s)


def _start(fit: CollectiveFit, operation: Operation, message_bytes: float, ranks: int) -> float:
    """Return the seconds that do not depend on the link's rate."""
    return fit.base + _steps(operation, ranks) * fit.hop + fit.ramp * sqrt(message_bytes / MB)


def _transfer(fit: CollectiveFit, operation: Operation, message_bytes: float, ranks: int, bytes_per_s: float) -> float:
    """Return the seconds of moving the message at the rate that the fit reaches."""
    factor = volume_factor(operation, ranks) + (0.0 if operation == "p2p" else fit.own_part / ranks)
    return factor * message_bytes / (fit.efficiency * bytes_per_s)


def _flat_all_reduce(at: Link, message_bytes: float, ranks: int, bytes_per_s: float) -> float:
    """Return the seconds of an all-reduce in one domain by what the engine would use for this size.

    The engine's own kernel up to its limit; else the library, which picks the faster of ring and in-switch reduction.
    """
    own = _own_kernel(at, message_bytes, ranks, bytes_per_s)
    if own is not None:
        return own
    ring = _fitted(at.operations["all_reduce"], "all_reduce", message_bytes, ranks, bytes_per_s)
    switch = at.in_switch
    if switch is None or ranks < switch.min_ranks:
        return ring
    reduced = switch.base + message_bytes / (switch.efficiency * bytes_per_s) + switch.ramp * sqrt(message_bytes / MB)
    return min(ring, reduced)


def _own_kernel(at: Link, message_bytes: float, ranks: int, bytes_per_s: float) -> float | None:
    """Return the seconds of the engine's own all-reduce; None where it leaves the message to the library."""
    own = at.own.get(ranks)
    if own is None or message_bytes > own.limit:
        return None
    volume = volume_factor("all_reduce", ranks) * message_bytes
    return own.base + volume / (own.efficiency * bytes_per_s) + own.ramp * sqrt(message_bytes / MB)


def part(path: GroupPath, ranks: int) -> GroupPath:
    """Return the path of ``ranks`` consecutive ranks of a larger group: within one domain when they fit into it."""
    if ranks == path.ranks:
        return path
    return ALONE if ranks == 1 else _part(path, ranks)


@lru_cache(maxsize=4096)
def _part(path: GroupPath, ranks: int) -> GroupPath:
    per_domain = path.ranks // path.domains
    if ranks <= per_domain:
        return replace(path, ranks=ranks, domains=1, outer="local", outer_bytes_per_s=inf)
    return replace(path, ranks=ranks, domains=ranks // per_domain)


@lru_cache(maxsize=4096)
def across(path: GroupPath, ranks: int, stride: int) -> GroupPath:
    """Return the path of every ``stride``-th of a larger group, ``ranks`` of them, beside all others like it.

    Of each boundary they get the part of the ranks they have inside it, as the others use theirs at the same time.
    """
    per_domain = path.ranks // path.domains
    if ranks == 1:
        return ALONE
    if path.domains == 1 or (per_domain % (ranks * stride) == 0):
        return replace(path, ranks=ranks, domains=1, outer="local", outer_bytes_per_s=inf)
    domains = min(ranks, path.domains)
    inside = max(1, ranks // domains)
    inner = (path.inner, path.inner_bytes_per_s) if inside > 1 else ("local", inf)
    return GroupPath(ranks, domains, *inner, path.outer, path.outer_bytes_per_s * inside / per_domain)


def collective(calibration: Calibration, operation: Operation, message_bytes: float, path: GroupPath) -> float:
    """Return the seconds of one collective of a message (the whole tensor) over ``path``; 0 for a single rank."""
    if path.ranks <= 1 or message_bytes <= 0:
        return 0.0
    if path.domains == 1:
        at = link(calibration, path.inner)
        if operation == "all_reduce":
            return _flat_all_reduce(at, message_bytes, path.ranks, path.inner_bytes_per_s)
        return _fitted(at.operations[operation], operation, message_bytes, path.ranks, path.inner_bytes_per_s)
    if operation == "all_reduce" and path.outer in ("pcie", "host"):
        own = _own_kernel(link(calibration, path.outer), message_bytes, path.ranks, path.outer_bytes_per_s)
        if own is not None:
            return own
    return _straddling(calibration, operation, message_bytes, path)


def _straddling(calibration: Calibration, operation: Operation, message_bytes: float, path: GroupPath) -> float:
    """Return the seconds of a collective over several domains: each level starts once, then all levels move in step.

    The library cuts a message into pieces, so that the slowest level decides (NCCL 2.30, tuning.cc: the least
    bandwidth on the way, not the sum). Rings go around all ranks: every boundary carries what a link carries. Between
    nodes an all-reduce may go by levels instead: a domain then sends f(k) S in all over its boundary. All-to-all sends
    (k-1)/k of what the g ranks of a domain hold.
    """
    outer = link(calibration, path.outer)
    per_domain = path.ranks // path.domains
    between = outer.operations[operation]
    sent_bytes = message_bytes * (per_domain if operation == "all_to_all" else 1)
    if per_domain == 1:
        return _fitted(between, operation, sent_bytes, path.domains, path.outer_bytes_per_s)
    crossing = _transfer(between, operation, sent_bytes, path.domains, path.outer_bytes_per_s)
    start = _start(between, operation, sent_bytes, path.domains)
    halves: tuple[Operation, ...] = ("reduce_scatter", "all_gather") if operation == "all_reduce" else (operation,)
    fits = {half: link(calibration, path.inner).operations[half] for half in halves}
    start += sum(_start(fit, half, message_bytes, per_domain) for half, fit in fits.items())
    inside = sum(_transfer(fit, half, message_bytes, per_domain, path.inner_bytes_per_s) for half, fit in fits.items())
    by_levels = max(inside, crossing)
    if operation == "all_to_all":
        return start + by_levels
    within = link(calibration, path.inner).operations[operation]
    around = max(
        _transfer(within, operation, message_bytes, path.ranks, path.inner_bytes_per_s),
        _transfer(between, operation, message_bytes, path.ranks, path.outer_bytes_per_s),
    )
    return start + (min(by_levels, around) if operation == "all_reduce" and path.outer == "rdma" else around)


def hand_over(calibration: Calibration, message_bytes: float, hop: HopPath, ranks: int) -> float:
    """Return the seconds of passing activations to the next stage: ``ranks`` senders, each its slice, in parallel.

    ``message_bytes`` is the whole tensor; at most ``hop.streams`` ranks can send at the hop's rate.
    """
    if hop.medium == "local" or message_bytes <= 0:
        return 0.0
    fit = link(calibration, hop.medium).operations["p2p"]
    return _fitted(fit, "p2p", message_bytes / max(1, min(ranks, hop.streams)), 2, hop.bytes_per_s)


def all_reduce(calibration: Calibration, message_bytes: float, path: GroupPath) -> float:
    """Return the seconds of summing a tensor over all ranks of ``path``."""
    return collective(calibration, "all_reduce", message_bytes, path)


def all_gather(calibration: Calibration, message_bytes: float, path: GroupPath) -> float:
    """Return the seconds until every rank holds the whole tensor of which each has 1/n."""
    return collective(calibration, "all_gather", message_bytes, path)


def reduce_scatter(calibration: Calibration, message_bytes: float, path: GroupPath) -> float:
    """Return the seconds until each rank holds its 1/n of the sum."""
    return collective(calibration, "reduce_scatter", message_bytes, path)


def all_to_all(calibration: Calibration, message_bytes: float, path: GroupPath) -> float:
    """Return the seconds until every rank has sent 1/n of its ``message_bytes`` to every other."""
    return collective(calibration, "all_to_all", message_bytes, path)
