"""Seconds of one operator on one rank: a roofline whose corner is rounded as measured, per operator family.

t = fixed + ((bytes / B)^p + (FLOP / F)^p)^(1/p), with B and F the rates the family reaches (datasheet figure times
measured share). The slower of bytes and FLOP is a lower bound for every p, and a share above 1 never lets a price fall
below the datasheet's own bound.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import log, sqrt

from optimizer.inputs.calibration import DecodeAttention, Roofline


@dataclass(frozen=True, slots=True)
class Rate:
    """What one kernel family reaches on one GPU."""

    bytes_per_s: float
    flop_per_s: float
    power: float
    fixed_s: float = 0.0
    per_sequence_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Matrix:
    """One weight matrix of a rank, or several read by one kernel: y[rows, n] = x[rows, k] W[k, n]."""

    weight_bytes: float
    flop_per_row: float
    io_bytes_per_row: float
    rate: Rate


@dataclass(frozen=True, slots=True)
class Experts:
    """The routed experts of a rank."""

    local: float
    """Experts (or slices of them) on this rank."""
    hit_share: float
    """Chance that one token chooses a given expert: top_k / experts."""
    expert_bytes: float
    flop_per_token: float
    """Of all tokens in the group, on this rank."""
    io_bytes_per_token: float
    """Activations, in bytes that take as long as those of weights."""
    ranks: int
    """Ranks over which whole experts are spread (1: sliced by TP)."""
    top_k: int
    rate: Rate


def rate(fit: Roofline, memory_bytes_per_s: float, peak_flop_per_s: float, *, speed: float = 1.0) -> Rate:
    """Return what ``fit`` means on a GPU; ``speed`` is the share of nominal speed a slow GPU reaches."""
    per_sequence = fit.per_sequence if isinstance(fit, DecodeAttention) else 0.0
    return Rate(
        bytes_per_s=fit.memory * memory_bytes_per_s * speed,
        flop_per_s=fit.compute * peak_flop_per_s * speed,
        power=fit.power, fixed_s=fit.fixed, per_sequence_s=per_sequence,
    )  # fmt: skip


def roofline(n_bytes: float, flop: float, at: Rate) -> float:
    """Return the seconds of one kernel that moves ``n_bytes`` and computes ``flop``."""
    memory_s, compute_s = n_bytes / at.bytes_per_s, flop / at.flop_per_s
    longer, shorter = (memory_s, compute_s) if memory_s > compute_s else (compute_s, memory_s)
    if longer <= 0.0:
        return at.fixed_s
    rounding: float = (1.0 + (shorter / longer) ** at.power) ** (1.0 / at.power)
    return at.fixed_s + longer * rounding


def gemm(matrix: Matrix, rows: float) -> float:
    """Return the seconds of one matrix product with ``rows`` rows of activations: 2MKN FLOP, weights read once."""
    return gemms((matrix,), rows)


def gemms(matrices: Iterable[Matrix], rows: float) -> float:
    """Return the seconds of several matrix products, one after the other."""
    seconds = 0.0
    for one in matrices:
        seconds += roofline(one.weight_bytes + one.io_bytes_per_row * rows, one.flop_per_row * rows, one.rate)
    return seconds


def attention_prefill(flop_per_pair: float, pairs: float, io_bytes: float, at: Rate) -> float:
    """Return the seconds of causal attention over ``pairs`` of (query, key): masked ones are skipped."""
    return roofline(io_bytes, flop_per_pair * pairs, at)


def attention_decode(
    bytes_per_token: float, flop_per_token: float, sequences: float, context: float, at: Rate
) -> float:
    """Return the seconds of one query token per sequence: every KV head is read once for its group of queries."""
    tokens = sequences * context
    return roofline(tokens * bytes_per_token, tokens * flop_per_token, at) + sequences * at.per_sequence_s


def causal_pairs(tokens: float, past: float, reach: int | None) -> float:
    """Return (query, key) pairs of ``tokens`` new tokens after ``past`` cached ones, each seeing ``reach`` at most."""
    if reach is None or past + tokens <= reach:
        return tokens * past + tokens * (tokens + 1) / 2
    growing = max(0.0, min(tokens, reach - past))
    return growing * past + growing * (growing + 1) / 2 + (tokens - growing) * reach


def distinct_experts(experts: float, hit_share: float, tokens: float) -> float:
    """Return the expected number of experts that at least one of ``tokens`` chooses: E(1-(1-k/E)^M)."""
    if hit_share >= 1.0:
        return experts
    missed: float = (1.0 - hit_share) ** tokens
    return experts * (1.0 - missed)


def imbalance(ranks: int, routed: float) -> float:
    """Return the load of the fullest of ``ranks`` over the mean when ``routed`` choices fall on them at random.

    Mean plus the expected maximum of normal deviates: 1 + 0.9 sqrt(2 ln(ep) (1 - 1/ep) ep / choices), within 10 % of a
    simulation with 256 experts; never more than all choices on one rank.
    """
    if ranks <= 1:
        return 1.0
    return min(float(ranks), 1.0 + 0.9 * sqrt(2.0 * log(ranks) * (1.0 - 1.0 / ranks) * ranks / max(routed, 1.0)))


def moe(experts: Experts, tokens: float, distinct: float | None = None) -> float:
    """Return the seconds of the routed experts for ``tokens`` in the whole group.

    Only experts that were hit are read. ``distinct`` overrides their expected number on one rank (a property of a
    measurement whose router does not spread tokens).
    """
    uneven = imbalance(experts.ranks, tokens * experts.top_k)
    hit = min(experts.local, distinct_experts(experts.local, experts.hit_share, tokens * uneven))
    if distinct is not None:
        hit = min(hit, distinct)
    n_bytes = hit * experts.expert_bytes + tokens * uneven * experts.io_bytes_per_token
    return roofline(n_bytes, tokens * uneven * experts.flop_per_token, experts.rate)


def elementwise(bytes_per_token: float, tokens: float, at_bytes_per_s: float) -> float:
    """Return the seconds of norms, rotary embedding, activation and copies: pure traffic."""
    return tokens * bytes_per_token / at_bytes_per_s
