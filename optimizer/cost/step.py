"""Seconds of one step through a replica: all its layers and stages, by cause.

A decode step replays a captured graph padded to a captured batch size, and is never shorter than the host's floor. A
step with more tokens than are captured is launched by the host kernel by kernel: it takes as long as the slower of GPU
and host. Steps in between run piecewise from graphs, the attention between the pieces launched by the host.
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil, log2

from optimizer.cost.case import Case
from optimizer.cost.collectives import all_gather, all_reduce, hand_over, part
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
from optimizer.cost.quantities import Breakdown
from optimizer.cost.stages import StageWork
from optimizer.cost.work import LayerWork, Work, work
from optimizer.topology.wiring import HopPath


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step computes, in the whole replica: prompts of equal length and sequences in decode."""

    prompts: float = 0.0
    tokens: float = 0.0
    """New tokens of each prompt in this step."""
    past: float = 0.0
    """Tokens of each prompt already cached."""
    decodes: float = 0.0
    context: float = 0.0
    """Cached tokens of each sequence in decode."""
    distinct: float | None = None
    """Experts hit per layer, where a measurement's router is known not to spread tokens."""
    everyone: float | None = None
    """Rows of all attention replicas, where the rest of this is what one of them computes."""


def prefill(case: Case, tokens: float, past: float = 0, sequences: float = 1) -> Breakdown:
    """Return the seconds of one step that prefills ``sequences`` prompts with ``tokens`` new tokens each."""
    return step(case, Batch(prompts=sequences, tokens=tokens, past=past))


def decode(case: Case, batch: float, context: float, distinct: float | None = None) -> Breakdown:
    """Return the seconds until each of ``batch`` sequences with ``context`` cached tokens has its next token.

    Under PP the batch runs as up to ``pp`` micro-batches, one per stage at a time.
    """
    micro = micro_batches(case, batch)
    one = Batch(decodes=batch / micro, context=context, distinct=distinct)
    return cycle(case, one, stations(case, one), micro)


def micro_batches(case: Case, batch: float) -> int:
    """Return how many micro-batches a pipeline keeps in flight: one per stage, as far as there are sequences."""
    return min(case.layout.pp, max(1, int(batch)))


def step(case: Case, batch: Batch) -> Breakdown:
    """Return the seconds of one (micro-)batch through all stages, hand-overs included."""
    return cycle(case, batch, stations(case, batch), 1)


def cycle(case: Case, batch: Batch, passed: tuple[Breakdown, ...], micro: int) -> Breakdown:
    """Return the seconds until one of ``micro`` micro-batches in flight is where it was; ``passed``: its stations.

    It passes every station once and needs its result to start again; a station serves one at a time. So a turn takes
    the larger of the sum over the stations and ``micro`` times the slowest; waiting for it counts as pipeline.
    """
    turn = Breakdown.sum(passed)
    overhead_s = turn.overhead + _serial(case)
    if batch.prompts == 0:
        overhead_s += max(0.0, case.calibration.host.step_floor - turn.total)
    pipeline_s = turn.pipeline
    if micro > 1:
        slowest_s = max([station.total for station in passed])
        pipeline_s += max(0.0, micro * slowest_s - turn.total - (overhead_s - turn.overhead))
    return Breakdown(turn.gemm, turn.attention, turn.collectives, pipeline_s, overhead_s)


def _serial(case: Case) -> float:
    """Return the seconds of a step in which the GPU waits for the engine's process."""
    serial_s = case.facts.serial_step
    return serial_s * (1.0 + case.facts.serial_step_growth * log2(case.layout.tp)) if serial_s else 0.0


def stations(case: Case, batch: Batch) -> tuple[Breakdown, ...]:
    """Return what one (micro-)batch passes, each serving one at a time: the stages, and the hand-overs between them.

    Where a group's collectives cross the same links as the hand-over, a stage and what it hands over are one station.
    """
    most = fullest(case, batch)
    rows = _rows(case, most)
    stages = [stage for part, held in case.parts for stage in _stages(part, held, most, rows)]
    if not case.wiring.hops:
        return tuple(stages)
    return tuple(_with_hand_overs(case, stages, 2.0 * rows * work(case.at(0)).hidden_bytes))


def _stages(case: Case, held: range, batch: Batch, rows: float) -> list[Breakdown]:
    """Return the seconds of stages in a row on GPUs of one type."""
    constants = work(case)
    price, order = _stage_prices(case, batch, rows), constants.order[held.start : held.stop]
    shapes = {index: price(constants.shapes[index]) for index in dict.fromkeys(order)}
    return [shapes[index] for index in order]


def stage_prices(case: Case, batch: Batch) -> Callable[[StageWork], Breakdown]:
    """Return the seconds of a stage on the case's GPU as a function of what it holds, hand-overs left out."""
    return _stage_prices(case, batch, _rows(case, batch))


def _stage_prices(case: Case, batch: Batch, rows: float) -> Callable[[StageWork], Breakdown]:
    constants = work(case)
    layers = [_layer(case, constants, kind, batch, rows) for kind in constants.kinds]
    return lambda held: _stage(case, constants, layers, held, batch, rows)


def _with_hand_overs(case: Case, stages: list[Breakdown], message_bytes: float) -> list[Breakdown]:
    """Return the stages with a station for each hand-over of hidden state and residual of every row.

    Between two types of GPU the one that takes longer decides.
    """
    sent: dict[tuple[HopPath, int, int], Breakdown] = {}
    passed: list[Breakdown] = []
    senders = [part for part, held in case.parts for _ in held]
    for hop, stage, (here, there) in zip(case.wiring.hops, stages, pairwise(senders), strict=False):
        key = (hop, id(here), id(there))
        if key not in sent:
            ends = (here,) if here is there else (here, there)
            slower_s = max([hand_over(end.calibration, message_bytes, hop, case.layout.tp) for end in ends])
            sent[key] = Breakdown(pipeline=slower_s)
        group = here.wiring.group
        passed += [stage + sent[key]] if hop.medium in (group.inner, group.outer) else [stage, sent[key]]
    return [*passed, stages[-1]]


def is_captured(case: Case, batch: Batch) -> bool:
    """Whether the step replays a whole captured graph: decodes only, no more than the largest captured batch."""
    sizes = case.engine.cuda_graph_sizes
    most = sizes[-1] if sizes else case.facts.graph_batch_limit
    shared = case.layout.attn_dp if batch.everyone is None else 1
    return case.engine.cuda_graphs and batch.prompts == 0 and batch.decodes <= most * shared


def padded(case: Case, decodes: float) -> float:
    """Return the captured batch that holds ``decodes`` sequences of one attention replica."""
    sizes = case.engine.cuda_graph_sizes
    slot = bisect_left(sizes, decodes)
    return float(sizes[slot]) if slot < len(sizes) else decodes


def fullest(case: Case, batch: Batch) -> Batch:
    """Return what the fullest attention replica computes: all others wait for it at the experts.

    Each prompt is one replica's: of fewer prompts than replicas the fullest has a whole one. It never takes more than
    its token budget, unless an even split already does.
    """
    shared = case.layout.attn_dp
    if shared == 1:
        return batch
    prompts = batch.prompts / shared
    if batch.prompts:
        within = case.engine.max_num_batched_tokens / batch.tokens
        prompts = min(batch.prompts, max(prompts, min(ceil(prompts), max(1.0, within))))
    everyone = batch.prompts * batch.tokens + batch.decodes
    return replace(batch, prompts=prompts, decodes=float(ceil(batch.decodes / shared)), everyone=everyone)


def _rows(case: Case, batch: Batch) -> float:
    """Return rows of activations on one rank of an attention replica, padding included."""
    each = batch.prompts * batch.tokens / case.layout.pcp + batch.decodes
    return padded(case, each) if is_captured(case, batch) else each


def _routed(case: Case, batch: Batch, rows: float) -> float:
    """Return the rows that pass the experts of a stage: of all attention replicas and all prefill context ranks.

    Replicas replay graphs of one size; every prefill context rank holds all sequences in decode.
    """
    if batch.everyone is not None and not is_captured(case, batch):
        return batch.everyone
    return rows * case.layout.attn_dp * case.layout.pcp


def _layer(
    case: Case, constants: Work, kind: LayerWork, batch: Batch, rows: float
) -> tuple[float, float, float, float]:
    """Return one layer's seconds: gemm, attention, collectives, elementwise."""
    gemm_s = sum([gemm(matrix, rows) for matrix in kind.matrices])
    if kind.experts is not None:
        gemm_s += moe(kind.experts, _routed(case, batch, rows), batch.distinct)
    if batch.prompts:
        gemm_s += sum([gemm(matrix, rows) for matrix in kind.prefill_matrices])
    if batch.decodes:
        gemm_s += sum([gemm(matrix, rows - _prompt_rows(case, batch)) for matrix in kind.decode_matrices])
    return (
        gemm_s,
        _attention(case, kind, batch),
        _collectives(case, constants, kind, batch, rows),
        elementwise(kind.elementwise_bytes_per_token, rows, constants.elementwise_bytes_per_s),
    )


def _prompt_rows(case: Case, batch: Batch) -> float:
    return batch.prompts * batch.tokens / case.layout.pcp


def _attention(case: Case, kind: LayerWork, batch: Batch) -> float:
    layout, at = case.layout, kind.attention
    seconds = 0.0
    if batch.prompts:
        prompts = batch.prompts / layout.pcp
        pairs = prompts * causal_pairs(batch.tokens, batch.past, at.reach)
        io_bytes = prompts * (batch.tokens * at.io_bytes_per_token + batch.past * at.kv_bytes_per_token)
        seconds += attention_prefill(at.flop_per_pair, pairs, io_bytes, at.prefill)
        if at.index_bytes_per_token:
            every = prompts * causal_pairs(batch.tokens, batch.past, None)
            seconds += roofline(0.0, every * at.index_flop_per_token, at.prefill)
    if batch.decodes:
        sequences, context = batch.decodes, batch.context
        if at.index_bytes_per_token:
            index_bytes, flop = at.index_bytes_per_token, at.index_flop_per_token
            seconds += attention_decode(index_bytes, flop, sequences, context, at.decode)
        seen = context if at.reach is None else min(context, at.reach)
        seconds += attention_decode(at.kv_bytes_per_token, at.flop_per_cached, sequences, seen, at.decode)
    return seconds


def _collectives(case: Case, constants: Work, kind: LayerWork, batch: Batch, rows: float) -> float:
    """Return one layer's communication inside the stage."""
    layout = case.layout
    if layout.ranks_per_stage == 1:
        return 0.0
    seconds = 0.0
    if kind.all_reduces:
        seconds += kind.all_reduces * _tp_all_reduce(case, constants, rows)
    if kind.exchanges:
        seconds += exchange(case, constants, rows, _routed(case, batch, rows))
    if layout.dcp > 1:
        seconds += merge(case, constants, batch.decodes, batch.prompts * batch.tokens, batch.prompts * batch.past)
    if layout.pcp > 1 and batch.prompts:
        seconds += gather_kv(case, constants, batch.prompts * batch.tokens)
    return seconds


def _stage(
    case: Case,
    constants: Work,
    layers: list[tuple[float, float, float, float]],
    shape: StageWork,
    batch: Batch,
    rows: float,
) -> Breakdown:
    """Return one stage's seconds: its layers, embedding and head at the ends, and what the host adds."""
    gemm_s = attention_s = collectives_s = overhead_s = 0.0
    for count, layer in zip(shape.counts, layers, strict=True):
        gemm_s += count * layer[0]
        attention_s += count * layer[1]
        collectives_s += count * layer[2]
        overhead_s += count * layer[3]
    overhead_s += shape.kernels * case.calibration.kernel
    if shape.is_first:
        collectives_s += _tp_all_reduce(case, constants, rows)
    if shape.is_last:
        finished = batch.prompts + batch.decodes
        gemm_s += gemm(constants.head, finished)
        overhead_s += finished * case.calibration.host.per_sequence
        tp_group = part(case.wiring.group, case.layout.tp)
        collectives_s += all_gather(case.calibration, finished * constants.logit_bytes, tp_group)
    gpu_s = gemm_s + attention_s + collectives_s + overhead_s
    waiting_s = max(0.0, _host(case, batch, rows, shape) - gpu_s)
    return Breakdown(gemm_s, attention_s, collectives_s, 0.0, overhead_s + waiting_s)


def _tp_all_reduce(case: Case, constants: Work, rows: float) -> float:
    if case.layout.tp == 1:
        return 0.0
    return all_reduce(case.calibration, rows * constants.hidden_bytes, part(case.wiring.group, case.layout.tp))


def _host(case: Case, batch: Batch, rows: float, stage: StageWork) -> float:
    """Return the seconds the host needs to launch a stage's kernels; 0 when a whole graph is replayed."""
    if is_captured(case, batch):
        return 0.0
    host = case.calibration.host
    sizes = case.engine.cuda_graph_sizes
    piecewise = case.engine.cuda_graphs and rows <= (sizes[-1] if sizes else case.facts.graph_prefill_tokens)
    return host.step_floor + (stage.pieces * host.piece if piecewise else stage.launches * host.launch)
