"""Rates and latencies of replicas that only prefill or only decode, traced to their steps and the way of their KV."""

from collections.abc import Callable
from math import ceil

from optimizer.cost.bursts import front_end, mean_context, new_tokens
from optimizer.cost.case import Case
from optimizer.cost.kv import rank_sequence_bytes
from optimizer.cost.quantities import Breakdown, Estimate
from optimizer.inputs.workload import Role, WorkloadSpec
from optimizer.report.explained_serving import RATE, TPOT, TTFT
from optimizer.report.explained_step import calibration_source, host_fact, step_fact
from optimizer.report.facts import Fact, fact
from optimizer.report.loads import MEDIA
from optimizer.units import show_bytes, show_bytes_per_s, show_seconds

TRANSFER = "KV transfer"


def prefill_facts(case: Case, workload: WorkloadSpec, stated: Estimate) -> dict[str, Fact]:
    """Return requests/s, TTFT and KV transfer of a replica that only computes prompts, as cost/apart.py gives them."""
    waits = (
        "the most random arrivals that keep prompts in flight within concurrency"
        if workload.request_rate is not None
        else "concurrency / TTFT: as many are always in flight"
    )
    inputs = (_concurrency(stated), _alone(case, workload, stated))
    rate = fact(RATE, stated.requests_per_s, _rate(stated), waits + _margin(workload, "-"), *inputs)
    return {RATE: rate, TTFT: _prompt_ttft(case, workload, stated), TRANSFER: transfer_fact(case, workload, stated)}


def _rate(stated: Estimate) -> str:
    return f"{stated.requests_per_s:,.4g} requests/s"


def _margin(workload: WorkloadSpec, sign: str) -> str:
    return f" x (1 {sign} margin {100 * workload.margin:g} %)" if workload.margin else ""


def _concurrency(stated: Estimate) -> Fact:
    shown = f"{stated.concurrency}"
    return fact("concurrency", stated.concurrency, shown, "chosen by the solver among the priced points")


def _front(case: Case, workload: WorkloadSpec) -> Fact:
    seconds, isl = front_end(case, workload), workload.isl.mean
    return fact(
        "front end", seconds, show_seconds(seconds), "per request + ISL x per token",
        host_fact(case, "per request", "request"), host_fact(case, "per token", "prompt_token"),
        fact("ISL", isl, f"{isl} tokens", source="workload"),
    )  # fmt: skip


def _alone(case: Case, workload: WorkloadSpec, stated: Estimate) -> Fact:
    budget = case.engine.max_num_batched_tokens * case.layout.attn_dp
    chunks, step = ceil(new_tokens(workload) / budget), stated.breakdown.prefill
    seconds = chunks * step.total
    return fact(
        "prompt alone", seconds, show_seconds(seconds), "chunks x prefill step of the idle replica",
        fact("chunks", chunks, f"{chunks}", "ceil(new tokens / max_num_batched_tokens)"), _causes("prefill step", step),
    )  # fmt: skip


def _causes(name: str, step: Breakdown) -> Fact:
    causes = ("gemm", "attention", "collectives", "pipeline", "overhead")
    parts = [(cause, float(getattr(step, cause))) for cause in causes]
    told = (fact(cause, seconds, show_seconds(seconds), "as in a decode step, of its rows") for cause, seconds in parts)
    return fact(name, step.total, show_seconds(step.total), " + ".join(causes), *told)


def _prompt_ttft(case: Case, workload: WorkloadSpec, stated: Estimate) -> Fact:
    front, alone = _front(case, workload), _alone(case, workload, stated)
    rest_s = stated.ttft_s / (1 + workload.margin) - (front.number or 0.0) - (alone.number or 0.0)
    shared = fact(
        "waiting and sharing", rest_s, show_seconds(rest_s),
        "for the step in progress, and beside other prompts in the same steps, at this load; and the start",
        _concurrency(stated),
    )  # fmt: skip
    formula = "front end + prompt alone + waiting and sharing" + _margin(workload, "+")
    return fact(TTFT, stated.ttft_s, show_seconds(stated.ttft_s), formula, front, alone, shared)


def decode_facts(case: Case, workload: WorkloadSpec, stated: Estimate) -> dict[str, Fact]:
    """Return requests/s, TTFT, TPOT and KV transfer of a replica that only decodes, as cost/apart.py gives them."""
    step, osl, margin = stated.breakdown.decode, workload.osl.mean, workload.margin
    running = stated.requests_per_s / (1 - margin) * (osl + 0.5) * step.total
    most = case.engine.max_num_seqs * case.layout.attn_dp
    at_once = running if workload.request_rate is None else min(float(most), running + 1.0)
    stepped = step_fact("decode step", case, step, at_once, mean_context(workload))
    held = "min(concurrency, max_num_seqs x attention DP)"
    if workload.request_rate is not None:
        held = "the mean in flight that leaves room for random arrivals within concurrency"
    running_fact = fact("running", running, f"{running:.4g} requests", held, _concurrency(stated))
    asked = fact("OSL", osl, f"{osl} tokens", source="workload")
    front = _front(case, workload)
    first_s = (front.number or 0.0) + 1.5 * step.total
    waiting_s = max(0.0, stated.ttft_s / (1 + margin) - first_s)
    waiting = fact("waiting", waiting_s, show_seconds(waiting_s), "for a place among max_num_seqs")
    rate_formula = "running / ((OSL + 1/2) x decode step)" + _margin(workload, "-")
    ttft_formula = "front end + 1.5 x decode step + waiting" + _margin(workload, "+")
    return {
        RATE: fact(RATE, stated.requests_per_s, _rate(stated), rate_formula, running_fact, stepped, asked),
        TTFT: fact(TTFT, stated.ttft_s, show_seconds(stated.ttft_s), ttft_formula, front, stepped, waiting),
        TPOT: fact(TPOT, stated.tpot_s, show_seconds(stated.tpot_s), "decode step" + _margin(workload, "+"), stepped),
        TRANSFER: transfer_fact(case, workload, stated),
    }


def transfer_fact(case: Case, workload: WorkloadSpec, stated: Estimate) -> Fact:
    """Return the seconds in which a replica's side moves the KV of one prompt, by bytes and the way out."""
    held = [rank_sequence_bytes(case.model, case.layout, s, workload.isl.mean) for s in range(case.layout.pp)]
    way, inputs = case.wiring.exit, [
        fact("KV bytes", max(held), show_bytes(max(held)), "ISL tokens on the rank that holds most"),
    ]  # fmt: skip
    if way is not None:
        rate = f"{show_bytes_per_s(way.bytes_per_s)} over {MEDIA[way.medium]}"
        source = calibration_source(case, f"links {way.medium}", "links")
        inputs.append(fact("way out", way.bytes_per_s, rate, "nominal, of its slowest rank", source=source))
    formula = "KV bytes / (efficiency x way out) + start, all ranks at once" + _margin(workload, "+")
    return fact(TRANSFER, stated.transfer_s, show_seconds(stated.transfer_s), formula, *inputs)


FACTS: dict[Role, Callable[[Case, WorkloadSpec, Estimate], dict[str, Fact]]] = {
    "prefill": prefill_facts, "decode": decode_facts,
}  # fmt: skip
"""What explains a replica of one phase."""
