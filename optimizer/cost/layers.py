"""Seconds of one layer of each kind on one rank: matrix products, attention, communication, elementwise work."""

from optimizer.cost.batch import Batch, is_captured
from optimizer.cost.case import Case
from optimizer.cost.collectives import all_reduce, part
from optimizer.cost.groups import exchange, gather_kv, merge
from optimizer.cost.operators import (
    attention_decode,
    attention_prefill,
    causal_pairs,
    elementwise,
    gemm,
    moe,
    roofline,
)  # fmt: skip
from optimizer.cost.work import AttentionWork, LayerWork, Work

LayerSeconds = tuple[float, float, float, float]
"""Matrix products, attention, collectives, elementwise."""


def layers(case: Case, constants: Work, batch: Batch, rows: float, reduce_s: float) -> list[LayerSeconds]:
    """Return the seconds of a layer of each kind; ``reduce_s`` is what one all-reduce over the TP group takes."""
    attentions = {
        id(at): (_projections(case, at, batch, rows), _attention(case, at, batch)) for at in constants.attentions
    }
    return [
        _layer(case, constants, kind, batch, rows, attentions[id(kind.attention)], reduce_s) for kind in constants.kinds
    ]


def tp_all_reduce(case: Case, constants: Work, rows: float) -> float:
    """Return the seconds of summing the hidden state of ``rows`` over a TP group."""
    if case.layout.tp == 1:
        return 0.0
    return all_reduce(case.calibration, rows * constants.hidden_bytes, part(case.wiring.group, case.layout.tp))


def routed(case: Case, batch: Batch, rows: float) -> float:
    """Return the rows that pass the experts of a stage: of all attention replicas and all prefill context ranks.

    Replicas replay graphs of one size; every prefill context rank holds all sequences in decode.
    """
    if batch.everyone is not None and not is_captured(case, batch):
        return batch.everyone
    return rows * case.layout.attn_dp * case.layout.pcp


def _layer(
    case: Case,
    constants: Work,
    kind: LayerWork,
    batch: Batch,
    rows: float,
    attention: tuple[float, float],
    reduce_s: float,
) -> LayerSeconds:
    projections_s, attention_s = attention
    gemm_s = projections_s + sum([gemm(matrix, rows) for matrix in kind.matrices])
    if kind.experts is not None:
        gemm_s += moe(kind.experts, routed(case, batch, rows), batch.distinct)
    return (
        gemm_s,
        attention_s,
        kind.all_reduces * reduce_s + _other_collectives(case, constants, kind, batch, rows),
        elementwise(kind.elementwise_bytes_per_token, rows, constants.elementwise_bytes_per_s),
    )


def _projections(case: Case, at: AttentionWork, batch: Batch, rows: float) -> float:
    """Return the seconds of attention's matrix products."""
    seconds = sum([gemm(matrix, rows) for matrix in at.matrices])
    if batch.prompts:
        seconds += sum([gemm(matrix, rows) for matrix in at.prefill_matrices])
    if batch.decodes:
        seconds += sum([gemm(matrix, rows - _prompt_rows(case, batch)) for matrix in at.decode_matrices])
    return seconds


def _prompt_rows(case: Case, batch: Batch) -> float:
    return batch.prompts * batch.tokens / case.layout.pcp


def _attention(case: Case, at: AttentionWork, batch: Batch) -> float:
    layout, seconds = case.layout, 0.0
    if batch.prompts:
        prompts = batch.prompts / layout.pcp
        pairs = prompts * causal_pairs(batch.tokens, batch.past, at.reach)
        io_bytes = prompts * (batch.tokens * at.io_bytes_per_token + batch.past * at.kv_bytes_per_token)
        seconds += attention_prefill(at.flop_per_pair, pairs, io_bytes, at.prefill)
        if at.index_bytes_per_token:
            every = prompts * causal_pairs(batch.tokens, batch.past, None)
            seconds += roofline(0.0, every * at.index_flop_per_token, at.prefill)
    if batch.decodes:
        sequences, context, queries = batch.decodes, batch.context, case.checked
        if at.index_bytes_per_token:
            index_bytes, flop = at.index_bytes_per_token, at.index_flop_per_token * queries
            seconds += attention_decode(index_bytes, flop, sequences, context, at.decode)
        seen = context if at.reach is None else min(context, at.reach)
        seconds += attention_decode(at.kv_bytes_per_token, at.flop_per_cached * queries, sequences, seen, at.decode)
    return seconds


def _other_collectives(case: Case, constants: Work, kind: LayerWork, batch: Batch, rows: float) -> float:
    """Return one layer's communication inside the stage beyond the all-reduces of its TP group."""
    layout, seconds = case.layout, 0.0
    if kind.exchanges:
        seconds += exchange(case, constants, rows, routed(case, batch, rows))
    if layout.dcp > 1:
        queries = batch.decodes * case.checked
        seconds += merge(case, constants, queries, batch.prompts * batch.tokens, batch.prompts * batch.past)
    if layout.pcp > 1 and batch.prompts:
        seconds += gather_kv(case, constants, batch.prompts * batch.tokens)
    return seconds
