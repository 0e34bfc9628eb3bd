"""Seconds of communication among the ranks of a stage and between stages.

The volume that limits a collective of a message of S bytes among n ranks is f S per rank, with f = 2(n-1)/n for
all-reduce and (n-1)/n for all-gather, reduce-scatter and all-to-all (nccl-tests, PERFORMANCE.md: busbw = f S / t). S is
the whole tensor: what is reduced, what is gathered, what one rank scatters.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from math import inf, sqrt

from optimizer.errors import InputError
from optimizer.inputs.calibration import Calibration, CollectiveFit, Link, Operation
from optimizer.inputs.identity import Same
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


@dataclass(frozen=True, slots=True)
class Terms:
    """Seconds of a message: base + bytes x per byte + ramp sqrt(bytes / 1 MB)."""

    base_s: float
    per_byte_s: float
    ramp_s: float

    def seconds(self, message_bytes: float) -> float:
        """Return the seconds of a message."""
        return self.base_s + self.per_byte_s * message_bytes + self.ramp_s * sqrt(message_bytes / MB)


@dataclass(frozen=True, slots=True)
class Ways:
    """How a collective may go over a path: by the engine's own kernel up to its limit, else by the library's ways."""

    library: tuple[Terms, ...]
    """Of which it takes the fastest."""
    own: Terms | None = None
    own_limit_bytes: int = 0

    def seconds(self, message_bytes: float) -> float:
        """Return the seconds of a message (the whole tensor)."""
        if message_bytes <= 0:
            return 0.0
        if self.own is not None and message_bytes <= self.own_limit_bytes:
            way = self.own
        elif len(self.library) == 1:
            way = self.library[0]
        else:
            return min([way.seconds(message_bytes) for way in self.library])
        return way.seconds(message_bytes)


NOTHING = Ways((Terms(0.0, 0.0, 0.0),))
"""A single rank has nobody to talk to."""


def _fitted(fit: CollectiveFit, operation: Operation, ranks: int, bytes_per_s: float) -> Terms:
    """Return the library's terms: latency by steps, volume by rate, and the slow middle sizes."""
    return Terms(_start_s(fit, operation, ranks), _per_byte_s(fit, operation, ranks, bytes_per_s), fit.ramp)


def _start_s(fit: CollectiveFit, operation: Operation, ranks: int) -> float:
    return fit.base + _steps(operation, ranks) * fit.hop


def _per_byte_s(fit: CollectiveFit, operation: Operation, ranks: int, bytes_per_s: float) -> float:
    """Return the seconds of moving a byte of the message at the rate that the fit reaches."""
    factor = volume_factor(operation, ranks) + (0.0 if operation == "p2p" else fit.own_part / ranks)
    return factor / (fit.efficiency * bytes_per_s)


def _flat_all_reduce(at: Link, ranks: int, bytes_per_s: float) -> Ways:
    """Return the ways of an all-reduce in one domain.

    The engine's own kernel up to its limit; else the library, which picks the faster of ring and in-switch reduction.
    """
    ring, switch = _fitted(at.operations["all_reduce"], "all_reduce", ranks, bytes_per_s), at.in_switch
    if switch is None or ranks < switch.min_ranks:
        return _with_own_kernel((ring,), at, ranks, bytes_per_s)
    reduced = Terms(switch.base, 1.0 / (switch.efficiency * bytes_per_s), switch.ramp)
    return _with_own_kernel((ring, reduced), at, ranks, bytes_per_s)


def _with_own_kernel(library: tuple[Terms, ...], at: Link, ranks: int, bytes_per_s: float) -> Ways:
    """Return the ways with the engine's own all-reduce, where it has one for so many ranks."""
    own = at.own.get(ranks)
    if own is None:
        return Ways(library)
    each_s = volume_factor("all_reduce", ranks) / (own.efficiency * bytes_per_s)
    return Ways(library, Terms(own.base, each_s, own.ramp), own.limit)


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
    return ways(Same(calibration), operation, path).seconds(message_bytes)


@lru_cache(maxsize=4096)
def ways(calibration: Same[Calibration], operation: Operation, path: GroupPath) -> Ways:
    """Return how a collective may go over ``path``."""
    fits = calibration.value
    if path.ranks <= 1:
        return NOTHING
    if path.domains == 1:
        at = link(fits, path.inner)
        if operation == "all_reduce":
            return _flat_all_reduce(at, path.ranks, path.inner_bytes_per_s)
        return Ways((_fitted(at.operations[operation], operation, path.ranks, path.inner_bytes_per_s),))
    library = (_straddling(fits, operation, path),)
    if operation == "all_reduce" and path.outer in ("pcie", "host"):
        return _with_own_kernel(library, link(fits, path.outer), path.ranks, path.outer_bytes_per_s)
    return Ways(library)


def _straddling(calibration: Calibration, operation: Operation, path: GroupPath) -> Terms:
    """Return the terms of a collective over several domains: each level starts once, then all levels move in step.

    The library cuts a message into pieces, so that the slowest level decides (NCCL 2.30, tuning.cc: the least
    bandwidth on the way, not the sum). Rings go around all ranks: every boundary carries what a link carries. Between
    nodes an all-reduce may go by levels instead: a domain then sends f(k) S in all over its boundary. All-to-all sends
    (k-1)/k of what the g ranks of a domain hold.
    """
    per_domain = path.ranks // path.domains
    between = link(calibration, path.outer).operations[operation]
    sent = per_domain if operation == "all_to_all" else 1  # messages
    crossing_s = sent * _per_byte_s(between, operation, path.domains, path.outer_bytes_per_s)
    start_s, ramp_s = _start_s(between, operation, path.domains), between.ramp * sqrt(sent)
    if per_domain == 1:
        return Terms(start_s, crossing_s, ramp_s)
    halves: tuple[Operation, ...] = ("reduce_scatter", "all_gather") if operation == "all_reduce" else (operation,)
    fits = {half: link(calibration, path.inner).operations[half] for half in halves}
    start_s += sum(_start_s(fit, half, per_domain) for half, fit in fits.items())
    ramp_s += sum(fit.ramp for fit in fits.values())
    inside_s = sum(_per_byte_s(fit, half, per_domain, path.inner_bytes_per_s) for half, fit in fits.items())
    by_levels_s = max(inside_s, crossing_s)
    if operation == "all_to_all":
        return Terms(start_s, by_levels_s, ramp_s)
    within = link(calibration, path.inner).operations[operation]
    around_s = max(
        _per_byte_s(within, operation, path.ranks, path.inner_bytes_per_s),
        _per_byte_s(between, operation, path.ranks, path.outer_bytes_per_s),
    )
    fewest_s = min(by_levels_s, around_s) if operation == "all_reduce" and path.outer == "rdma" else around_s
    return Terms(start_s, fewest_s, ramp_s)


def hand_over(calibration: Calibration, message_bytes: float, hop: HopPath, ranks: int) -> float:
    """Return the seconds of passing activations to the next stage: ``ranks`` senders, each its slice, in parallel.

    ``message_bytes`` is the whole tensor; at most ``hop.streams`` ranks can send at the hop's rate.
    """
    if message_bytes <= 0:
        return 0.0
    return passing(Same(calibration), hop).seconds(message_bytes / senders(hop, ranks))


def senders(hop: HopPath, ranks: int) -> int:
    """Return how many of a stage's ranks send at the same time."""
    return max(1, min(ranks, hop.streams))


@lru_cache(maxsize=4096)
def passing(calibration: Same[Calibration], hop: HopPath) -> Ways:
    """Return how one rank's slice goes over a hop."""
    if hop.medium == "local":
        return NOTHING
    return Ways((_fitted(link(calibration.value, hop.medium).operations["p2p"], "p2p", 2, hop.bytes_per_s),))
