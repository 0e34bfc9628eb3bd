"""Seconds of one step through a replica: all its layers and stages, by cause.

A decode step replays a captured graph padded to a captured batch size, and is never shorter than the host's floor. A
step with more tokens than are captured is launched by the host kernel by kernel: it takes as long as the slower of GPU
and host. Steps in between run piecewise from graphs, the attention between the pieces launched by the host.
"""

from collections.abc import Callable
from math import log2

from optimizer.cost.batch import Batch, fullest, is_captured, is_piecewise, rows_of
from optimizer.cost.case import Case
from optimizer.cost.layers import layers
from optimizer.cost.operators import gemm
from optimizer.cost.pipeline import Causes, Part, Stations, part_of, pipeline_of, priced
from optimizer.cost.quantities import Breakdown
from optimizer.cost.speculation import Drafter, drafter
from optimizer.cost.stages import StageWork


def prefill(case: Case, tokens: float, past: float = 0, sequences: float = 1) -> Breakdown:
    """Return the seconds of one step that prefills ``sequences`` prompts with ``tokens`` new tokens each."""
    return step(case, Batch(prompts=sequences, tokens=tokens, past=past))


def decode(case: Case, batch: float, context: float, distinct: float | None = None) -> Breakdown:
    """Return the seconds until each of ``batch`` sequences with ``context`` cached tokens is a step further.

    That is a token, or with drafts those that are kept and one more.
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


def cycle(case: Case, batch: Batch, passed: Stations, micro: int) -> Breakdown:
    """Return the seconds until one of ``micro`` micro-batches in flight is where it was; ``passed``: its stations.

    It passes every station once and needs its result to start again; a station serves one at a time. So a turn takes
    the larger of the sum over the stations and ``micro`` times the slowest; waiting for it counts as pipeline.
    """
    gemm_s, attention_s, collectives_s, pipeline_s, own_overhead_s = passed.sum
    turn_s = gemm_s + attention_s + collectives_s + pipeline_s + own_overhead_s
    overhead_s = own_overhead_s + _serial(case)
    if batch.prompts == 0:
        overhead_s += max(0.0, case.calibration.host.step_floor - turn_s)
    if micro > 1:
        pipeline_s += max(0.0, micro * max(passed.seconds) - turn_s - (overhead_s - own_overhead_s))
    return Breakdown(gemm_s, attention_s, collectives_s, pipeline_s, overhead_s)


def _serial(case: Case) -> float:
    """Return the seconds of a step in which the GPU waits for the engine's process."""
    serial_s = case.facts.serial_step
    return serial_s * (1.0 + case.facts.serial_step_growth * log2(case.layout.tp)) if serial_s else 0.0


def stations(case: Case, batch: Batch) -> Stations:
    """Return what one (micro-)batch passes, each serving one at a time: the stages, and the hand-overs between them.

    Where a group's collectives cross the same links as the hand-over, a stage and what it hands over are one station.
    """
    most, line = fullest(case, batch), pipeline_of(case)
    rows = rows_of(case, most)
    prices = [_stage_prices(one, part, most, rows) for (one, _), part in zip(case.parts, line.parts, strict=True)]
    stages = [prices[part](held) for part, held in line.stages]
    if (guess := drafter(case)) is not None:
        stages[-1] = (*stages[-1][:4], stages[-1][4] + _drafting(guess, case, batch, most))
    if not line.hand_overs:
        return priced(stages, line.times, line.order)
    message_bytes = 2.0 * rows * line.parts[0].constants.hidden_bytes  # hidden state and residual of every row
    sent = [one.seconds(message_bytes) for one in line.hand_overs]
    return priced([_station(stages, sent, *one) for one in line.stations], line.times, line.order)


def _station(stages: list[Causes], sent_s: list[float], stage: int | None, hand_over: int | None) -> Causes:
    if hand_over is None:
        return stages[stage or 0]
    if stage is None:
        return 0.0, 0.0, 0.0, sent_s[hand_over], 0.0
    gemm, attention, collectives, pipeline, overhead = stages[stage]
    return gemm, attention, collectives, pipeline + sent_s[hand_over], overhead


def _drafting(guess: Drafter, case: Case, batch: Batch, most: Batch) -> float:
    """Return the seconds in which the drafts of the next step are made, and the prompts of this one read for them.

    One pass takes all that the step computed, the others a token of each sequence. A model of its own drafts in each
    attention replica for itself.
    """
    shared = guess.first.layout.attn_dp == case.layout.attn_dp
    own = batch if shared else most._replace(everyone=None)
    again = Batch(decodes=own.prompts + own.decodes, context=own.context or own.past + own.tokens)
    further = case.checked - 2
    seconds = sum(stations(guess.first, own._replace(distinct=None)).sum)
    if further:
        seconds += further * sum(stations(guess.further, again).sum)
    if guess.fusion is not None:
        rows = most.prompts * most.tokens + most.decodes * case.checked
        seconds += gemm(guess.fusion, rows) + further * gemm(guess.fusion, most.prompts + most.decodes)
    return seconds


def stage_prices(case: Case, batch: Batch) -> Callable[[StageWork], Causes]:
    """Return the seconds of a stage on the case's GPU as a function of what it holds, hand-overs left out."""
    return _stage_prices(case, part_of(case), batch, rows_of(case, batch))


def _stage_prices(case: Case, part: Part, batch: Batch, rows: float) -> Callable[[StageWork], Causes]:
    reduce_s = part.all_reduce.seconds(rows * part.constants.hidden_bytes)
    each = layers(case, part, batch, rows, reduce_s)
    host, kernel_s = case.calibration.host, case.calibration.kernel
    captured, piecewise = is_captured(case, batch), is_piecewise(case, rows)

    def price(held: StageWork) -> Causes:
        gemm_s = attention_s = collectives_s = 0.0
        overhead_s = held.kernels * kernel_s
        for count, (products_s, attended_s, sent_s, elementwise_s) in zip(held.counts, each, strict=True):
            gemm_s += count * products_s
            attention_s += count * attended_s
            collectives_s += count * sent_s
            overhead_s += count * elementwise_s
        if held.is_first:
            collectives_s += reduce_s
        if held.is_last:
            finished = batch.prompts + batch.decodes * case.checked
            gemm_s += gemm(part.constants.head, finished)
            overhead_s += finished * host.per_sequence
            collectives_s += part.all_gather.seconds(finished * part.constants.logit_bytes)
        if not captured:  # the host launches what no whole graph replays
            gpu_s = gemm_s + attention_s + collectives_s + overhead_s
            launching_s = held.pieces * host.piece if piecewise else held.launches * host.launch
            overhead_s += max(0.0, host.step_floor + launching_s - gpu_s)
        return gemm_s, attention_s, collectives_s, 0.0, overhead_s

    return price
