"""Prompts that arrive together on an idle replica, and the turnover of a closed loop: the steps that prefill them.

The first prompt of a burst is prefilled alone: the engine starts on it while the front end still reads the others. The
rest fill the token budget of each step, a prompt in two parts where it does not fit.
"""

from math import ceil
from operator import sub
from typing import NamedTuple

from optimizer.cost.batch import Batch
from optimizer.cost.case import Case
from optimizer.cost.pipeline import Stations
from optimizer.cost.quantities import Breakdown
from optimizer.cost.speculation import decode_steps, tokens_per_step
from optimizer.cost.step import cycle, decode, micro_batches, stations, step
from optimizer.inputs.workload import WorkloadSpec


def new_tokens(workload: WorkloadSpec) -> float:
    """Return prompt tokens that must be computed: those the prefix cache does not hold, one at least."""
    return max(1.0, workload.isl.mean * (1.0 - workload.prefix_cache_hit))


def mean_context(workload: WorkloadSpec) -> float:
    """Return the mean cached tokens of a sequence in decode: a long answer is seen longer, hence 1 + cv^2."""
    return workload.isl.mean + workload.osl.mean / 2 * (1.0 + workload.osl.cv**2)


def front_end(case: Case, workload: WorkloadSpec) -> float:
    """Return the seconds until a request reaches the engine."""
    host = case.calibration.host
    return host.request + workload.isl.mean * host.prompt_token


def pipelined(case: Case, batches: list[tuple[Batch, float]]) -> float:
    """Return the seconds of steps in a row (batch, how many): all stages once, then the slowest station per step."""
    total = step(case, batches[0][0]).total
    for index, (batch, times) in enumerate(batches):
        further = times - 1 if index == 0 else times
        if further > 0:
            total += further * max(stations(case, batch).seconds)
    return total


def idle_ttft(case: Case, workload: WorkloadSpec, distinct: float | None = None) -> float:
    """Return the seconds to the first token of one prompt on the idle replica: front end, then its chunks in turn."""
    start_s = front_end(case, workload) + case.calibration.host.step_base * case.layout.pp
    return start_s + pipelined(case, _chunks(case, workload, distinct))


def _chunks(case: Case, workload: WorkloadSpec, distinct: float | None) -> list[tuple[Batch, float]]:
    """Return the steps of one prompt alone; beyond two chunks the mean stands for those after the first."""
    cached = workload.isl.mean * workload.prefix_cache_hit
    todo = new_tokens(workload)
    count = ceil(todo / case.engine.max_num_batched_tokens)
    each = todo / count
    first = Batch(1.0, each, cached, distinct=distinct)
    if count == 1:
        return [(first, 1.0)]
    return [(first, 1.0), (Batch(1.0, each, cached + each * count / 2, distinct=distinct), count - 1.0)]


def batch_prefill(case: Case, workload: WorkloadSpec, prompts: int, distinct: float | None = None) -> float:
    """Return the seconds until the last of ``prompts`` that reach the idle replica together has its first token."""
    start_s = front_end(case, workload) + case.calibration.host.step_base * case.layout.pp
    steps = _chunks(case, workload, distinct)
    if prompts > 1:
        todo = new_tokens(workload)
        fill = max(1.0, case.engine.max_num_batched_tokens / todo) * case.layout.attn_dp
        together = min(fill, prompts - 1.0)
        full, left = divmod(prompts - 1.0, together)
        chunks = tuple(steps)
        steps += [(_side_by_side(batch, together), times * full) for batch, times in chunks]
        if left * todo >= 1.0:  # a token at least, no rounding
            steps += [(_side_by_side(batch, left), times) for batch, times in chunks]
    return start_s + pipelined(case, steps)


def burst_tpot(case: Case, workload: WorkloadSpec, prompts: int, distinct: float | None = None) -> float:
    """Return the mean TPOT of ``prompts`` requests that reach the idle replica together.

    The first of them decodes while all others are prefilled, the last while none is: half of that time in the mean.
    """
    last_s, first_s = (batch_prefill(case, workload, n, distinct) for n in (prompts, 1))
    between_s = 0.5 * (last_s - first_s) / max(1, workload.osl.mean - 1)
    return decode(case, prompts, mean_context(workload), distinct).total / tokens_per_step(case) + between_s


def _side_by_side(batch: Batch, prompts: float) -> Batch:
    return Batch(prompts, batch.tokens, batch.past, distinct=batch.distinct)


class Turnover(NamedTuple):
    """How a closed loop of requests renews itself."""

    decode: Breakdown
    """A step of decodes only."""
    mixed_s: float
    """A step that also prefills, through all stages."""
    alone_s: float
    """The same with a single prompt."""
    extra: Breakdown
    """What all steps that prefill add to steps of decodes only, on the station that limits the rate, while every
    request is renewed once."""
    mixed_steps: float
    """How many steps of the whole replica, all micro-batches at once, prefill meanwhile."""
    chunks: int
    """Steps one prompt needs."""

    @property
    def extra_s(self) -> float:
        """Seconds of ``extra``."""
        return self.extra.total


def turnover(case: Case, workload: WorkloadSpec, running: float, distinct: float | None = None) -> Turnover:
    """Return the steps in which ``running`` requests are renewed: one prompt alone, the others side by side."""
    micro = micro_batches(case, running)
    decodes, context, todo = running / micro, mean_context(workload), new_tokens(workload)
    plain = Batch(decodes=decodes, context=context, distinct=distinct)
    passed = stations(case, plain)
    decode = cycle(case, plain, passed, micro)
    shared = case.layout.attn_dp
    budget = max(1.0, case.engine.max_num_batched_tokens - decodes * case.checked / shared)
    chunks = ceil(todo / budget)  # a prompt is one attention replica's
    past = workload.isl.mean - todo + todo * (chunks - 1) / (2 * chunks)

    def mixed(prompts: float) -> tuple[float, Breakdown]:
        """Return the seconds of a step that prefills so many prompts, and what it adds to one that does not."""
        batch = Batch(prompts, todo / chunks, past, max(0.0, decodes - prompts), context, distinct)
        return _among(case, batch, stations(case, batch), passed, micro, decode)

    fill = max(1.0, shared * budget / todo)
    steps = decode_steps(case, workload.osl.mean)
    together = min(_prompts_together(workload, running, fill, steps), max(1.0, running - 1.0))
    others = max(0.0, running - 1.0) * chunks / together
    mixed_s, extra = mixed(together)
    alone_s, alone = (mixed_s, extra) if together == 1.0 else mixed(1.0)
    renewing = Breakdown.weighed([(extra, others), (alone, float(chunks))])
    return Turnover(decode, mixed_s, alone_s, renewing, (chunks + others) / micro, chunks)


def _among(
    case: Case,
    batch: Batch,
    passed: Stations,
    plain: Stations,
    micro: int,
    decode: Breakdown,
) -> tuple[float, Breakdown]:
    """Return the seconds of a step among ``micro - 1`` plain ones, and what it adds to the replica's time.

    In a full pipeline the others lose what it takes beyond its turn on the station where that is most; its own longer
    way through the others is hidden behind them.
    """
    through = cycle(case, batch, passed, 1)
    if micro == 1:
        return through.total, through - decode if through.total - decode.total > _ROUNDING_S else _NOTHING
    share_s = decode.total / micro
    more = [mine - max(its, share_s) for mine, its in zip(passed.seconds, plain.seconds, strict=True)]
    most = more.index(max(more))
    idle_s = max(0.0, share_s - plain.seconds[most])
    gemm_s, attention_s, collectives_s, pipeline_s, overhead_s = map(sub, passed.each[most], plain.each[most])
    extra = Breakdown(gemm_s, attention_s, collectives_s, pipeline_s - idle_s, overhead_s)
    last = max([mine + (micro - 1) * its for mine, its in zip(passed.seconds, plain.seconds, strict=True)])
    return max(through.total, last), extra if extra.total > _ROUNDING_S else _NOTHING


_NOTHING = Breakdown()

_ROUNDING_S = 1e-12
"""A step that adds less adds nothing: it takes as long as the host, with prompts or without."""


def _prompts_together(workload: WorkloadSpec, running: float, fill: float, steps: float) -> float:
    """Return how many prompts share a step that prefills; ``fill`` use up its token budget, an answer takes ``steps``.

    Requests of one length that start together finish together, so their successors fill the budget. Lengths that vary
    spread the ends over the steps of an answer (a range of sqrt(12) cv), random arrivals over all of them: then one at
    a time, or as many as end in one step.
    """
    apart = 1.0 if workload.request_rate is not None else min(1.0, workload.osl.cv * 12**0.5)
    spread = apart * steps
    return max(1.0, min(fill, running, running / max(1.0, spread)))


def closed_loop_tokens_per_s(
    case: Case, workload: WorkloadSpec, concurrency: int, requests: int, distinct: float | None = None
) -> float:
    """Return output tokens/s of a closed loop of equal requests that ends after ``requests``, in its steady window.

    The window runs from the last first token of the first wave to the first end of the last wave. Renewal takes some
    steps, in which those renewed first already decode: an answer's steps less those are left before the next; the first
    wave's prefill lies before the window.
    """
    turn = turnover(case, workload, concurrency, distinct)
    waves = max(2.0, requests / concurrency)
    answer = decode_steps(case, workload.osl.mean)
    renewing = min(turn.mixed_steps, decode_steps(case, workload.osl.mean - 1.0))
    steps = waves * (answer - renewing) + (waves - 1.0) * renewing
    seconds = steps * turn.decode.total + (waves - 1.0) * turn.extra_s
    return steps * tokens_per_step(case) * concurrency / seconds
