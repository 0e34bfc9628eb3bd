"""The steady state of continuous batching with chunked prefill: TTFT, TPOT and rate of one replica under load.

Closed loop (``concurrency`` requests kept in flight): every request passes one prefill and OSL - 1 further steps; the
prompts of requests that finish together are prefilled together, in chunks of the engine's token budget, in steps that
also advance everything in decode. Open loop (requests arrive at random at a rate): the concurrency at which the closed
loop delivers that rate, with TTFT from a gated M/G/1 queue.
"""

from dataclasses import dataclass
from math import ceil, log

from optimizer.cost.case import Case
from optimizer.cost.step import Batch, Seconds, stage_seconds, step
from optimizer.inputs.workload import WorkloadSpec


@dataclass(frozen=True)
class Load:
    """One replica at one operating point."""

    concurrency: float
    """Requests in flight, waiting ones included."""
    running: float
    """Requests that hold KV and take part in steps."""
    ttft_s: float
    tpot_s: float
    requests_per_s: float
    prefill_share: float
    """Share of time that prefill adds to decoding: the load that queues form on."""


@dataclass(frozen=True, slots=True)
class _Steps:
    """Steps of the steady state: latency through all stages, and the slowest stage's share."""

    decode_s: float
    mixed_s: float
    mixed_extra_s: float
    """What a mixed step adds to a decode step on the stage that limits the rate."""
    per_cycle: float
    """Mixed steps while one batch of requests lives."""
    chunks: int
    """Steps one prompt needs."""


def new_tokens(workload: WorkloadSpec) -> float:
    """Return prompt tokens that must be computed: those the prefix cache does not hold, one at least."""
    return max(1.0, workload.isl.mean * (1.0 - workload.prefix_cache_hit))


def mean_context(workload: WorkloadSpec) -> float:
    """Return the mean cached tokens of a sequence in decode: a long answer is seen longer, hence 1 + cv^2."""
    return workload.isl.mean + workload.osl.mean / 2 * (1.0 + workload.osl.cv**2)


def idle_ttft(case: Case, workload: WorkloadSpec) -> float:
    """Return the seconds to the first token of one prompt on the idle replica: front end, then its chunks in turn."""
    host = case.calibration.host
    cached = workload.isl.mean * workload.prefix_cache_hit
    todo, budget = new_tokens(workload), case.engine.max_num_batched_tokens
    chunks = ceil(todo / budget)
    each = todo / chunks
    stages = [stage_seconds(case, Batch(1.0, each, cached + each * done)) for done in range(min(chunks, 2))]
    return _front_end(case, workload) + host.step_base * case.layout.pp + _pipelined(case, stages, chunks, each, cached)


def _pipelined(case: Case, stages: list[tuple[Seconds, ...]], chunks: int, each: float, cached: float) -> float:
    """Return the seconds of ``chunks`` chunks through the pipeline; attention grows linearly from chunk to chunk."""
    first = step(case, Batch(1.0, each, cached)).total
    if chunks == 1:
        return first
    slowest = [max(s.total for s in chunk) for chunk in stages]
    growth = slowest[1] - slowest[0]
    return first + (chunks - 1) * slowest[0] + growth * chunks * (chunks - 1) / 2


def _front_end(case: Case, workload: WorkloadSpec) -> float:
    host = case.calibration.host
    return host.request + workload.isl.mean * host.prompt_token


def closed_loop(case: Case, workload: WorkloadSpec, concurrency: float) -> Load:
    """Return the steady state with ``concurrency`` requests always in flight; those beyond max_num_seqs wait."""
    running = min(float(concurrency), float(case.engine.max_num_seqs * case.layout.attn_dp))
    osl = workload.osl.mean
    steps = _steps(case, workload, running)
    life = osl - 1 + steps.chunks
    decoding = max(0.0, life - steps.per_cycle)
    cycle_s = decoding * steps.decode_s + steps.per_cycle * (steps.decode_s + steps.mixed_extra_s)
    cycle_s = max(cycle_s, life * steps.decode_s)
    requests_per_s = running / (cycle_s + _front_end(case, workload))
    own_s = steps.chunks * steps.mixed_s + 0.5 * cycle_s / life
    own_s = min(own_s, cycle_s)
    waiting_s = (concurrency - running) / requests_per_s
    return Load(
        concurrency=concurrency,
        running=running,
        ttft_s=_front_end(case, workload) + own_s + waiting_s,
        tpot_s=max(steps.decode_s, (cycle_s - own_s) / max(1, osl - 1)),
        requests_per_s=requests_per_s,
        prefill_share=1.0 - life * steps.decode_s / cycle_s,
    )


def _steps(case: Case, workload: WorkloadSpec, running: float) -> _Steps:
    """Return the steps of the steady state with ``running`` requests."""
    todo = new_tokens(workload)
    micro = min(case.layout.pp, max(1, int(running)))
    decodes, context = running / micro, mean_context(workload)
    decode_stages = stage_seconds(case, Batch(decodes=decodes, context=context))
    decode_s = step(case, Batch(decodes=decodes, context=context)).total
    budget = max(1.0, case.engine.max_num_batched_tokens - decodes / case.layout.attn_dp) * case.layout.attn_dp
    chunks = ceil(todo / budget)
    together = _prompts_together(workload, running, todo, budget)
    per_cycle = running * chunks / together
    mixed = Batch(
        prompts=together, tokens=todo / chunks, past=workload.isl.mean - todo + todo * (chunks - 1) / (2 * chunks),
        decodes=max(0.0, decodes - together), context=context,
    )  # fmt: skip
    mixed_stages = stage_seconds(case, mixed)
    extra = max(m.total - d.total for m, d in zip(mixed_stages, decode_stages, strict=True))
    floor_slack = decode_s - sum(s.total for s in decode_stages) if micro == 1 else 0.0
    mixed_s = step(case, mixed).total
    return _Steps(decode_s, mixed_s, max(0.0, extra - max(0.0, floor_slack)), per_cycle, chunks)


def _prompts_together(workload: WorkloadSpec, running: float, todo: float, budget: float) -> float:
    """Return how many prompts share a mixed step.

    Requests of one length that start together finish together, so their successors fill the token budget. Lengths that
    vary spread the ends over the steps of an answer (a range of sqrt(12) cv OSL), one or more per step.
    """
    fill = min(running, max(1.0, budget / todo))
    spread = min(1.0, workload.osl.cv * 12**0.5) * workload.osl.mean
    return max(1.0, min(fill, running / max(1.0, spread)))


def saturation(case: Case, workload: WorkloadSpec, limit: int) -> Load:
    """Return the closed loop at ``limit`` requests in flight (what memory and max_num_seqs allow): the highest rate."""
    return closed_loop(case, workload, limit)


def open_loop(case: Case, workload: WorkloadSpec, requests_per_s: float, limit: int) -> Load | None:
    """Return the steady state under random arrivals at a rate, None when the replica cannot keep up with it.

    The mean number in flight is where the closed loop delivers the rate (Little's law with TPOT = t0 / (1 - rho) inside
    the closed loop's cycle). TTFT adds the wait of a gated M/G/1 queue: arrivals wait for the step in progress,
    E[T^2] / 2T, and for prompts that came before them.
    """
    if closed_loop(case, workload, limit).requests_per_s < requests_per_s:
        return None
    low, high = 1e-3, float(limit)
    for _ in range(24):
        middle = 0.5 * (low + high)
        reached = closed_loop(case, workload, middle).requests_per_s
        low, high = (middle, high) if reached < requests_per_s else (low, middle)
    load = closed_loop(case, workload, high)
    mixed_s = load.ttft_s - _front_end(case, workload)
    busy = min(0.99, requests_per_s * mixed_s)
    waiting_s = 0.5 * busy * mixed_s / (1.0 - min(0.95, load.prefill_share)) * (1.0 + workload.isl.cv**2)
    return Load(
        concurrency=high + waiting_s * requests_per_s, running=high, ttft_s=load.ttft_s + waiting_s,
        tpot_s=load.tpot_s, requests_per_s=requests_per_s, prefill_share=load.prefill_share,
    )  # fmt: skip


def ttft_at(load: Load, percentile: float) -> float:
    """Return the TTFT that ``percentile`` percent of requests keep: an exponential tail over what all must wait for.

    Simulations gave p95 / mean 1.4 at light load to 2.4 near saturation, and p99 / mean up to 3.0.
    """
    tail = 0.25 + 0.5 * load.prefill_share
    return load.ttft_s * (1.0 - tail + tail * -log(1.0 - percentile / 100.0))


def tpot_at(load: Load, percentile: float) -> float:
    """Return the TPOT that ``percentile`` percent of requests keep: prefill met on the way varies it."""
    tail = 0.15 * load.prefill_share
    return load.tpot_s * (1.0 - tail + tail * -log(1.0 - percentile / 100.0))
