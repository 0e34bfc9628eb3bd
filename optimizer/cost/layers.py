"""Seconds of one layer of each kind on one rank: matrix products, attention, communication, elementwise work."""

from functools import lru_cache

from optimizer.cost.batch import Batch, is_captured
from optimizer.cost.case import Case
from optimizer.cost.groups import Groups
from optimizer.cost.operators import (
    attention_decode,
    attention_prefill,
    causal_pairs,
    elementwise,
    gemms,
    moe,
    roofline,
)  # fmt: skip
from optimizer.cost.pipeline import Part
from optimizer.cost.work import AttentionWork, Work

LayerSeconds = tuple[float, float, float, float]
"""Matrix products, attention, collectives, elementwise."""


def layers(case: Case, part: Part, batch: Batch, rows: float, reduce_s: float) -> list[LayerSeconds]:
    """Return the seconds of a layer of each kind; ``reduce_s`` is what one all-reduce over the TP group takes."""
    constants = part.constants
    experts_rows = routed(case, batch, rows)
    computed = _computed(constants, batch, rows, experts_rows, case.checked)
    context_s, exchange_s = _context(case, part.groups, batch), 0.0
    found = []
    for kind, (gemm_s, attention_s, elementwise_s) in zip(constants.kinds, computed, strict=True):
        collectives_s = kind.all_reduces * reduce_s + context_s
        if kind.exchanges:
            exchange_s = exchange_s or part.groups.exchange(rows, experts_rows)
            collectives_s += exchange_s
        found.append((gemm_s, attention_s, collectives_s, elementwise_s))
    return found


def routed(case: Case, batch: Batch, rows: float) -> float:
    """Return the rows that pass the experts of a stage: of all attention replicas and all prefill context ranks.

    Replicas replay graphs of one size; every prefill context rank holds all sequences in decode.
    """
    if batch.everyone is not None and not is_captured(case, batch):
        return batch.everyone
    return rows * case.layout.attn_dp * case.layout.pcp


@lru_cache(maxsize=16384)
def _computed(
    constants: Work, batch: Batch, rows: float, experts_rows: float, queries: int
) -> tuple[tuple[float, float, float], ...]:
    """Return the seconds of a layer of each kind without communication: the same on all links.

    ``queries``: tokens of a sequence in decode that the step computes.
    """
    prompts = batch.prompts / constants.layout.pcp
    found, at = [], None
    for kind in constants.kinds:
        if kind.attention is not at:
            at = kind.attention
            projections_s, attention_s = _projections(at, batch, rows, prompts), _attention(at, batch, prompts, queries)
        gemm_s = projections_s + gemms(kind.matrices, rows)
        if kind.experts is not None:
            gemm_s += moe(kind.experts, experts_rows, batch.distinct)
        elementwise_s = elementwise(kind.elementwise_bytes_per_token, rows, constants.elementwise_bytes_per_s)
        found.append((gemm_s, attention_s, elementwise_s))
    return tuple(found)


def _projections(at: AttentionWork, batch: Batch, rows: float, prompts: float) -> float:
    """Return the seconds of attention's matrix products."""
    seconds = gemms(at.matrices, rows)
    if prompts and at.prefill_matrices:
        seconds += gemms(at.prefill_matrices, rows)
    if batch.decodes and at.decode_matrices:
        seconds += gemms(at.decode_matrices, rows - prompts * batch.tokens)
    return seconds


def _attention(at: AttentionWork, batch: Batch, prompts: float, queries: int) -> float:
    seconds = 0.0
    if prompts:
        pairs = prompts * causal_pairs(batch.tokens, batch.past, at.reach)
        io_bytes = prompts * (batch.tokens * at.io_bytes_per_token + batch.past * at.kv_bytes_per_token)
        seconds += attention_prefill(at.flop_per_pair, pairs, io_bytes, at.prefill)
        if at.index_bytes_per_token:
            every = prompts * causal_pairs(batch.tokens, batch.past, None)
            seconds += roofline(0.0, every * at.index_flop_per_token, at.prefill)
    if batch.decodes:
        sequences, context = batch.decodes, batch.context
        if at.index_bytes_per_token:
            index_bytes, flop = at.index_bytes_per_token, at.index_flop_per_token * queries
            seconds += attention_decode(index_bytes, flop, sequences, context, at.decode)
        seen = context if at.reach is None else min(context, at.reach)
        seconds += attention_decode(at.kv_bytes_per_token, at.flop_per_cached * queries, sequences, seen, at.decode)
    return seconds


def _context(case: Case, groups: Groups, batch: Batch) -> float:
    """Return what context parallel ranks send each other in a layer."""
    layout, seconds = case.layout, 0.0
    if layout.dcp > 1:
        prompts = batch.prompts
        seconds = groups.merge(batch.decodes * case.checked, prompts * batch.tokens, prompts * batch.past)
    if layout.pcp > 1 and batch.prompts:
        seconds += groups.gather_kv(batch.prompts * batch.tokens)
    return seconds
