"""The steady state of continuous batching with chunked prefill: TTFT, TPOT and rate of one replica under load.

Closed loop (``concurrency`` requests kept in flight): every request passes one prefill and OSL - 1 further steps; the
prompts of requests that finish together are prefilled together, in chunks of the engine's token budget, in steps that
also advance everything in decode. Open loop (requests arrive at random): the number in flight varies, so the mean stays
below what the engine admits, and prompts queue for the step in progress and for each other (cost/waiting.py).
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

from optimizer.cost.bursts import Turnover, batch_prefill, front_end, mean_context, turnover
from optimizer.cost.case import Case
from optimizer.cost.quantities import Breakdown
from optimizer.cost.speculation import decode_steps, tokens_per_step
from optimizer.cost.step import decode
from optimizer.cost.waiting import autocorrelated, gated_queue, kept, normal_quantile
from optimizer.inputs.workload import WorkloadSpec

ADMITTED = normal_quantile(99.0)
"""Random arrivals: the mean in flight leaves room for so many standard deviations below what the engine admits."""

BUSIEST = 0.98
"""Highest share of time that prompts are said to take: at 1 the queue never ends."""


@dataclass(frozen=True)
class Load:
    """One replica at one operating point."""

    concurrency: float
    """Requests in flight, waiting ones included."""
    running: float
    """Requests that hold KV and take part in steps."""
    ttft_s: float
    tpot_s: float
    ttft_slo_s: float
    """TTFT that the workload's percentile of requests keep; the mean where it names none."""
    tpot_slo_s: float
    """The same of TPOT."""
    requests_per_s: float
    decode: Breakdown
    """One step of decodes only."""
    request: Breakdown
    """What one request costs the replica; adds up to 1 / requests_per_s."""


def operate(case: Case, workload: WorkloadSpec, limit: int) -> Load:
    """Return the steady state of a replica that admits ``limit`` requests, as the workload's arrivals make it."""
    return closed_loop(case, workload, limit) if workload.request_rate is None else open_loop(case, workload, limit)


class Loop(NamedTuple):
    """A closed loop of clients."""

    turn: Turnover
    running: float
    cycle: Breakdown
    """While every request is renewed once, its front end included."""
    front_s: float
    step_s: float
    """The mean step."""

    @property
    def decode(self) -> Breakdown:
        """A step of decodes only."""
        return self.turn.decode

    @property
    def requests_per_s(self) -> float:
        """Requests that end in a second."""
        return self.running / self.cycle.total

    @property
    def prompt_s(self) -> float:
        """What one prompt adds to the steps of the others."""
        return self.turn.extra.total / max(1.0, self.running)

    @property
    def later_s(self) -> float:
        """What a prompt takes beyond its part of one step: its way through further stages, and further chunks."""
        way_s = max(0.0, self.turn.alone_s - self.turn.decode.total - self.prompt_s)
        return way_s + (self.turn.chunks - 1) * self.turn.mixed_s


def loop(case: Case, workload: WorkloadSpec, running: float) -> Loop:
    """Return the closed loop of so many requests."""
    turn = turnover(case, workload, running)
    life = decode_steps(case, workload.osl.mean - 1) + turn.chunks
    front_s = front_end(case, workload)
    steps = max(life, turn.mixed_steps)
    cycle = Breakdown.weighed([(turn.decode, steps), (turn.extra, 1.0), (Breakdown(overhead=front_s), 1.0)])
    return Loop(turn, running, cycle, front_s, (turn.decode.total * steps + turn.extra_s) / life)


def closed_loop(case: Case, workload: WorkloadSpec, concurrency: float) -> Load:
    """Return the steady state with ``concurrency`` requests always in flight; those beyond max_num_seqs wait."""
    running = min(float(concurrency), float(case.engine.max_num_seqs * case.layout.attn_dp))
    found = loop(case, workload, running)
    # a request follows another that ended with a step: it has missed the start of the next
    start_s = max(found.step_s - found.front_s, case.calibration.host.step_base * case.layout.pp)
    own_s = found.turn.chunks * found.turn.mixed_s + start_s
    decode_s = found.decode.total
    token_s = decode_s / tokens_per_step(case)
    tpot_s = max(token_s, (found.cycle.total - found.front_s - own_s) / max(1, workload.osl.mean - 1))
    ttft_s = found.front_s + own_s + (concurrency - running) / found.requests_per_s
    waits = gated_queue(found.requests_per_s, decode_s, found.prompt_s, workload.isl.cv)
    if workload.isl.cv == workload.osl.cv == 0.0:
        # equal requests end and start in step with each other: only the moment within a step differs
        spread = (found.step_s / sqrt(12.0), 0.0)
    else:
        spread = (waits.deviation_s, sqrt(_meeting_prompts(workload, running, found.prompt_s)))
    return Load(
        concurrency=concurrency,
        running=running,
        ttft_s=ttft_s,
        tpot_s=tpot_s,
        ttft_slo_s=kept(workload.slo.percentile, min(ttft_s, found.front_s + waits.least_s), ttft_s, spread[0]),
        tpot_slo_s=kept(workload.slo.percentile, token_s, tpot_s, spread[1]),
        requests_per_s=found.requests_per_s,
        decode=found.decode,
        request=found.cycle * (1.0 / running),
    )


def _meeting_prompts(workload: WorkloadSpec, met: float, prompt_s: float) -> float:
    """Return the variance of TPOT, as prompts that start while a request decodes come and go at random: ``met``."""
    shared = (1.0 + workload.isl.cv**2) * (1.0 + workload.osl.cv**2)
    return float(met * shared * (prompt_s / max(1, workload.osl.mean - 1)) ** 2)


class Meeting(NamedTuple):
    """What a request meets that arrives at random, while the number in flight varies.

    Times are taken to grow linearly from a loop of half the places to one of all of them: over the numbers that come
    and go the steps between captured sizes even out.
    """

    half: Loop
    full: Loop
    crowding: float
    """What one request more adds to the time of each, over the time of a request alone.

    Where a request takes A + B n among n, their number under random arrivals is a negative binomial of shape 1 + A / B
    (birth and death at rates l and n / (A + B n)): its variance is m (1 + m B / (A + B)).
    """
    running: float
    """The mean in flight, which leaves room for ``ADMITTED`` standard deviations: so many others a request meets."""
    cycle_s: float
    """Seconds of a request among those others."""
    share: float
    """How far they and itself are from half the places to all of them."""

    def between(self, of: Callable[[Loop], float]) -> float:
        """Return a figure of the loop there."""
        half = of(self.half)
        return half + (of(self.full) - half) * self.share


def meeting(case: Case, workload: WorkloadSpec, limit: int) -> Meeting:
    """Return what requests meet that arrive at random at a replica which admits ``limit`` of them."""
    most = float(min(limit, case.engine.max_num_seqs * case.layout.attn_dp))
    half, full = loop(case, workload, most / 2), loop(case, workload, most)
    full_s = full.cycle.total
    each_s = 2.0 * min(max(0.0, full_s - half.cycle.total), full_s / 2) / most  # at most in proportion to their number
    crowding = each_s / (full_s - each_s * (most - 1.0))
    running = mean_below(most, crowding)
    cycle_s = full_s - each_s * max(0.0, most - running - 1.0)
    share = min(1.0, max(0.0, 2.0 * (running + 1.0) / most - 1.0))
    return Meeting(half, full, crowding, running, cycle_s, share)


def open_loop(case: Case, workload: WorkloadSpec, limit: int) -> Load:
    """Return the steady state under random arrivals at the highest rate that ``limit`` admitted requests carry.

    The mean in flight leaves room for ``ADMITTED`` standard deviations, so that few requests wait for a place. TPOT =
    decode step / (1 - rate x prompt): prompts take their share of the time.
    """
    met = meeting(case, workload, limit)
    running, crowding, rate = met.running, met.crowding, met.running / met.cycle_s
    decode = met.half.decode + (met.full.decode - met.half.decode) * met.share
    prompt_s = met.between(lambda one: one.prompt_s)
    waits = gated_queue(rate, decode.total, prompt_s, workload.isl.cv)
    least_s = met.full.front_s + waits.least_s + met.between(lambda one: one.later_s)
    ttft_s, token_s = least_s + waits.mean_s, decode.total / tokens_per_step(case)
    tpot_s = token_s / (1.0 - min(BUSIEST, rate * prompt_s))
    growing = running * crowding / (1.0 + running * crowding)
    varying = autocorrelated(1.0 - growing) * (growing * tpot_s) ** 2 * (1.0 / running + crowding)
    deviation_s = sqrt(varying + _meeting_prompts(workload, running, prompt_s))
    return Load(
        concurrency=limit,
        running=running,
        ttft_s=ttft_s,
        tpot_s=tpot_s,
        ttft_slo_s=kept(workload.slo.percentile, least_s, ttft_s, waits.deviation_s),
        tpot_slo_s=kept(workload.slo.percentile, tpot_s * (1.0 - growing), tpot_s, deviation_s),
        requests_per_s=rate,
        decode=decode,
        request=met.full.cycle * (1.0 / (rate * met.full.cycle.total)),
    )


def mean_below(most: float, crowding: float) -> float:
    """Return the mean m whose m + ADMITTED sqrt(m (1 + m crowding)) is ``most``."""
    z2 = ADMITTED**2
    middle = 2.0 * most + z2
    return float(2.0 * most**2 / (middle + sqrt(middle**2 - 4.0 * (1.0 - z2 * crowding) * most**2)))


def batch_seconds(case: Case, workload: WorkloadSpec, requests: int, places: int) -> float:
    """Return the seconds until the last of ``requests`` that reach the idle replica together has all its tokens.

    ``places`` of them run at once; the others follow as in a closed loop.
    """
    running = max(1, min(requests, places, case.engine.max_num_seqs * case.layout.attn_dp))
    decode_s = decode(case, running, mean_context(workload)).total
    first_s = batch_prefill(case, workload, running) + decode_steps(case, workload.osl.mean - 1) * decode_s
    return first_s + (requests - running) / loop(case, workload, running).requests_per_s
