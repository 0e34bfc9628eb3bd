"""The steady state of continuous batching with chunked prefill: TTFT, TPOT and rate of one replica under load.

Closed loop (``concurrency`` requests kept in flight): every request passes one prefill and OSL - 1 further steps; the
prompts of requests that finish together are prefilled together, in chunks of the engine's token budget, in steps that
also advance everything in decode. Open loop (requests arrive at random at a rate): the concurrency at which the closed
loop delivers that rate, with TTFT from a gated M/G/1 queue.
"""

from dataclasses import dataclass
from math import log

from optimizer.cost.bursts import front_end, turnover
from optimizer.cost.case import Case
from optimizer.cost.quantities import Breakdown
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
    decode: Breakdown
    """One step of decodes only."""


def closed_loop(case: Case, workload: WorkloadSpec, concurrency: float) -> Load:
    """Return the steady state with ``concurrency`` requests always in flight; those beyond max_num_seqs wait."""
    running = min(float(concurrency), float(case.engine.max_num_seqs * case.layout.attn_dp))
    osl = workload.osl.mean
    turn = turnover(case, workload, running)
    decode_s = turn.decode.total
    life = osl - 1 + turn.chunks
    cycle_s = max(life, turn.mixed_steps) * decode_s + turn.extra_s
    start_s = max(0.5 * cycle_s / life, case.calibration.host.step_base * case.layout.pp)
    own_s = turn.chunks * turn.mixed_s + start_s
    requests_per_s = running / (cycle_s + front_end(case, workload))
    waiting_s = (concurrency - running) / requests_per_s
    return Load(
        concurrency=concurrency,
        running=running,
        ttft_s=front_end(case, workload) + own_s + waiting_s,
        tpot_s=max(decode_s, (cycle_s - own_s) / max(1, osl - 1)),
        requests_per_s=requests_per_s,
        prefill_share=1.0 - life * decode_s / cycle_s,
        decode=turn.decode,
    )


def saturation(case: Case, workload: WorkloadSpec, limit: int) -> Load:
    """Return the closed loop at ``limit`` requests in flight (what memory and max_num_seqs allow): the highest rate."""
    return closed_loop(case, workload, limit)


def open_loop(case: Case, workload: WorkloadSpec, requests_per_s: float, limit: int) -> Load | None:
    """Return the steady state under random arrivals at a rate, None when the replica cannot keep up with it.

    The mean number in flight is where the closed loop delivers the rate (Little's law with TPOT = t0 / (1 - rho) inside
    the closed loop's cycle). TTFT adds the wait of a gated M/G/1 queue: arrivals wait for the step in progress,
    E[T^2] / 2T, and for prompts that came before them. The wait is a rough form of it, not checked by simulation.
    """
    if closed_loop(case, workload, limit).requests_per_s < requests_per_s:
        return None
    low, high = 1e-3, float(limit)
    for _ in range(24):
        middle = 0.5 * (low + high)
        reached = closed_loop(case, workload, middle).requests_per_s
        low, high = (middle, high) if reached < requests_per_s else (low, middle)
    load = closed_loop(case, workload, high)
    mixed_s = load.ttft_s - front_end(case, workload)
    busy = min(0.99, requests_per_s * mixed_s)
    waiting_s = 0.5 * busy * mixed_s / (1.0 - min(0.95, load.prefill_share)) * (1.0 + workload.isl.cv**2)
    return Load(
        concurrency=high + waiting_s * requests_per_s, running=high, ttft_s=load.ttft_s + waiting_s,
        tpot_s=load.tpot_s, requests_per_s=requests_per_s, prefill_share=load.prefill_share,
        decode=load.decode,
    )  # fmt: skip


def ttft_at(load: Load, percentile: float) -> float:
    """Return the TTFT that ``percentile`` percent of requests keep: an exponential tail over what all must wait for.

    The tail is set so that p95 / mean runs from 1.5 at light load to 2.5 near saturation, where simulations of this
    queue gave 1.4 to 2.4; it has not been checked against a simulation of these very formulas.
    """
    tail = 0.25 + 0.5 * load.prefill_share
    return load.ttft_s * (1.0 - tail + tail * -log(1.0 - percentile / 100.0))
