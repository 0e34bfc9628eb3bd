"""Replicas of one phase: prompts only, whose KV leaves, and answers only, whose KV comes from elsewhere.

Closed loop: a given number in flight. Open loop (requests arrive at random): the most that keep it within that number,
as in cost/serving.py. A prefill replica batches prompts up to the engine's token budget, its stages working on several
steps at once; a decode replica steps without interruption.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil, sqrt

from optimizer.cost.batch import Batch
from optimizer.cost.batching import Curve, Server, queue, rate_within
from optimizer.cost.bursts import front_end, mean_context, new_tokens
from optimizer.cost.case import Case
from optimizer.cost.collectives import hand_over
from optimizer.cost.kv import rank_sequence_bytes
from optimizer.cost.memory import ledger
from optimizer.cost.notes import notes
from optimizer.cost.quantities import Breakdown, Estimate, Phases
from optimizer.cost.serving import ADMITTED, mean_below
from optimizer.cost.step import cycle, decode, prefill, stations, step
from optimizer.cost.traffic import crossing
from optimizer.cost.waiting import autocorrelated, kept
from optimizer.errors import InputError
from optimizer.inputs.workload import WorkloadSpec
from optimizer.topology.wiring import HopPath

MOST_OF_A_LINK = 0.8
"""Share of a rank's way out that KV and the replica's own traffic may take on average: hand-overs come in bursts."""

_FEW = 2.0
"""Steps of more prompts than that are also priced at a size between: short ones take as long as the host needs."""


@dataclass(frozen=True)
class _Load:
    """What one phase does at one operating point."""

    requests_per_s: float
    ttft_s: float
    ttft_slo_s: float
    tpot_s: float
    tpot_slo_s: float
    breakdown: Phases


# -- prompts -------------------------------------------------------------------------------------------------------


def prefill_only(case: Case, workload: WorkloadSpec, concurrency: int) -> Estimate:
    """Return a replica that only computes prompts, ``concurrency`` of them in flight; InputError without a way out."""
    line = _line(case, workload, concurrency)
    load = (_prompts_closed if workload.request_rate is None else _prompts_open)(line, workload, concurrency)
    cached = workload.isl.mean - new_tokens(workload)
    alone = prefill(case, min(new_tokens(workload), case.engine.max_num_batched_tokens), cached)
    idle = Breakdown(overhead=1.0 / load.requests_per_s - line.work.total)
    load = replace(load, breakdown=Phases(prefill=alone, request=line.work + idle))
    return _estimate(case, workload, concurrency, load, workload.isl.mean, new_tokens(workload), 0.0)


@dataclass(frozen=True)
class _Line:
    """Prompts on their way through a replica."""

    server: Server
    ways: Curve
    """Through all stages, by prompts that share the steps."""
    front_s: float
    """Until a prompt reaches the idle engine's first step."""
    work: Breakdown
    """What one prompt costs in full steps."""


def _line(case: Case, workload: WorkloadSpec, concurrency: int) -> _Line:
    todo, budget = new_tokens(workload), case.engine.max_num_batched_tokens * case.layout.attn_dp
    chunks = ceil(todo / budget)
    past = workload.isl.mean - todo + todo * (chunks - 1) / (2 * chunks)
    most = max(1.0, min(budget / todo, float(concurrency), float(case.engine.max_num_seqs * case.layout.attn_dp)))
    sizes = tuple(sorted({1.0, sqrt(most) if most > _FEW else 1.0, most}))
    occupied, through = [], []
    for prompts in sizes:
        batch = Batch(prompts, todo / chunks, past)
        occupied.append(_occupied(case, batch))
        through.append(step(case, batch).total + (chunks - 1) * occupied[-1].total)
    return _Line(
        server=Server(Curve(sizes, tuple(chunks * one.total for one in occupied)), min(1.0, workload.isl.cv)),
        ways=Curve(sizes, tuple(through)),
        front_s=front_end(case, workload) + case.calibration.host.step_base * case.layout.pp,
        work=occupied[-1] * (chunks / most),
    )


def _occupied(case: Case, batch: Batch) -> Breakdown:
    """Return what each of many steps in a row takes: stages work on different ones, so the slowest decides."""
    return cycle(case, batch, stations(case, batch), case.layout.pp) * (1.0 / case.layout.pp)


def _prompts_closed(line: _Line, workload: WorkloadSpec, concurrency: int) -> _Load:
    """Return the steady state with ``concurrency`` prompts in flight: renewed together, or the server always busy."""
    server, cv = line.server, line.server.isl_cv
    rate = min(1.0 / server.each_s, concurrency / (line.front_s + line.ways.at(server.most)))
    ttft_s = concurrency / rate
    least_s = min(ttft_s, line.front_s + line.ways.at(1.0) * (1.0 - cv))
    step_s = server.steps.at(server.most) if concurrency > server.most else 0.0  # fewer share each step with all others
    deviation_s = sqrt(step_s**2 / 12.0 + concurrency * (server.each_s * cv) ** 2)
    slo_s = kept(workload.slo.percentile, least_s, ttft_s, deviation_s) if deviation_s else ttft_s
    return _Load(rate, ttft_s, slo_s, 0.0, 0.0, Phases())


def _prompts_open(line: _Line, workload: WorkloadSpec, concurrency: int) -> _Load:
    """Return the highest rate of random arrivals that keeps the prompts in flight within ``concurrency``."""
    server = line.server
    rate = rate_within(server, line.ways, concurrency, ADMITTED)
    waits = queue(server, rate)
    own_s = line.front_s + line.ways.at(1.0 + waits.others)
    if server.isl_cv == 0.0:
        slo_s = own_s + waits.kept_s(workload.slo.percentile)
    else:
        varying_s = line.ways.at(1.0) * server.isl_cv
        deviation_s = sqrt(waits.deviation_s**2 + varying_s**2)
        slo_s = kept(workload.slo.percentile, own_s - varying_s, own_s + waits.wait_s, deviation_s)
    return _Load(rate, own_s + waits.wait_s, slo_s, 0.0, 0.0, Phases())


# -- answers -------------------------------------------------------------------------------------------------------


def decode_only(case: Case, workload: WorkloadSpec, concurrency: int) -> Estimate:
    """Return a replica that only decodes, ``concurrency`` requests in it; InputError without a way for KV."""
    load = (_answers_closed if workload.request_rate is None else _answers_open)(case, workload, concurrency)
    tokens = float(workload.osl.mean)
    return _estimate(case, workload, concurrency, load, workload.isl.mean + tokens, tokens, tokens)


def _answers_closed(case: Case, workload: WorkloadSpec, concurrency: int) -> _Load:
    """Return the steady state with ``concurrency`` requests always in decode; those beyond max_num_seqs wait."""
    running = min(float(concurrency), float(case.engine.max_num_seqs * case.layout.attn_dp))
    one = decode(case, running, mean_context(workload))
    load = _steps(case, workload, one, running, one.total)
    waiting_s = (concurrency - running) / load.requests_per_s
    return replace(load, ttft_s=load.ttft_s + waiting_s, ttft_slo_s=load.ttft_slo_s + waiting_s)


def _steps(case: Case, workload: WorkloadSpec, one: Breakdown, running: float, tpot_slo_s: float) -> _Load:
    """Return what ``running`` requests get from steps like ``one``.

    A request arrives at any moment of a step, waits for the next and has its first token after that; so it stays for
    OSL + 1/2 steps (engines compute the last prompt token again where KV came from elsewhere).
    """
    life, percentile = workload.osl.mean + 0.5, workload.slo.percentile
    front_s = front_end(case, workload)
    kept_s = one.total * (1.5 if percentile is None else 1.0 + percentile / 100.0)
    return _Load(
        requests_per_s=running / (life * one.total),
        ttft_s=front_s + 1.5 * one.total,
        ttft_slo_s=front_s + kept_s,
        tpot_s=one.total,
        tpot_slo_s=tpot_slo_s,
        breakdown=Phases(decode=one, request=one * (life / running)),
    )


def _answers_open(case: Case, workload: WorkloadSpec, concurrency: int) -> _Load:
    """Return the steady state under random arrivals at the highest rate that ``concurrency`` places carry.

    Where a step takes A + B n among n, their number is a negative binomial whose mean m leaves room for ``ADMITTED``
    standard deviations below the places, and a request sees steps of m others and itself.
    """
    most, context = float(min(concurrency, case.engine.max_num_seqs * case.layout.attn_dp)), mean_context(workload)
    half_s, full_s = (decode(case, max(1.0, running), context).total for running in (most / 2, most))
    each_s = max(0.0, full_s - half_s) / max(0.5, most / 2)
    crowding = each_s / (max(0.0, full_s - each_s * most) + each_s)
    running = mean_below(most, crowding)
    one = decode(case, min(most, running + 1.0), context)
    growing = running * crowding / (1.0 + running * crowding)
    varying = autocorrelated(1.0 - growing) * (growing * one.total) ** 2 * (1.0 / running + crowding)
    slo_s = kept(workload.slo.percentile, one.total * (1.0 - growing), one.total, sqrt(varying))
    return _steps(case, workload, one, running, slo_s)


# -- KV on its way -------------------------------------------------------------------------------------------------


def transfer_s(case: Case, workload: WorkloadSpec) -> float:
    """Return the seconds in which this side moves the KV of one prompt: every rank what it holds, at the same time."""
    way = _exit(case)
    return max(
        hand_over(case.at(stage).calibration, kv_bytes, replace(way, streams=1), 1)
        for stage, kv_bytes in _held(case, workload)
    )


def _exit(case: Case) -> HopPath:
    if case.wiring.exit is None:
        raise InputError("roles: the replica has no way for KV to others; describe the fabric that joins the nodes")
    return case.wiring.exit


def _held(case: Case, workload: WorkloadSpec) -> Iterator[tuple[int, float]]:
    """Yield each stage with the KV bytes of a prompt on one of its ranks, those from the prefix cache included."""
    for stage in range(case.layout.pp):
        yield stage, rank_sequence_bytes(case.model, case.layout, stage, workload.isl.mean)


def _node_kv_bytes(case: Case, workload: WorkloadSpec) -> float:
    """Return the KV bytes of a prompt that pass the boundary of the busiest node: of its stages, all ranks."""
    runs = [0.0]
    for stage, kv_bytes in _held(case, workload):
        if stage and case.wiring.hops[stage - 1].medium == "rdma":
            runs.append(0.0)
        runs[-1] += kv_bytes * case.layout.tp
    group = case.wiring.group
    return max(runs) / (group.domains if group.outer == "rdma" else 1)


def _too_much(case: Case, workload: WorkloadSpec, rate: float, own_bytes_per_s: float) -> tuple[str, ...]:
    """Return why the KV of so many requests/s has no room beside the replica's own traffic; nothing when it has."""
    way, group = _exit(case), case.wiring.group
    domains = group.domains if group.outer == "rdma" else 1
    own = own_bytes_per_s * domains / case.layout.ranks_per_stage
    kv = rate / case.layout.attn_dp * max(kv_bytes for _, kv_bytes in _held(case, workload))
    if kv + own <= MOST_OF_A_LINK * way.bytes_per_s:
        return ()
    room = f"{MOST_OF_A_LINK:.0%} of its {way.bytes_per_s / 1e9:.3g} GB/s"
    return (f"a rank moves {kv / 1e9:.3g} GB/s of KV and {own / 1e9:.3g} GB/s of its own, more than {room}",)


# -- both ----------------------------------------------------------------------------------------------------------


def _estimate(
    case: Case, workload: WorkloadSpec, concurrency: int, load: _Load, held: float, computed: float, output: float
) -> Estimate:
    """Return the price of requests that hold ``held`` tokens of KV, of which ``computed`` are computed here."""
    memory, reasons = ledger(case, concurrency, held)
    own_bytes_per_s, rate = crossing(case, load.requests_per_s * computed), load.requests_per_s
    reasons += _too_much(case, workload, rate, own_bytes_per_s)
    leaves = _exit(case).medium == "rdma"
    return Estimate(
        concurrency=concurrency,
        ttft_s=load.ttft_s,
        tpot_s=load.tpot_s,
        ttft_slo_s=load.ttft_slo_s,
        tpot_slo_s=load.tpot_slo_s,
        requests_per_s=rate,
        output_tokens_per_s=rate * output,
        memory=memory,
        breakdown=load.breakdown,
        fits=not reasons,
        reasons=reasons,
        notes=notes(case),
        crossing_bytes_per_s=own_bytes_per_s + (rate * _node_kv_bytes(case, workload) if leaves else 0.0),
        transfer_s=transfer_s(case, workload),
    )
