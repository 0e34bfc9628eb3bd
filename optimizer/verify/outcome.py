"""Rules on the outcome: the demand is met, the objective and the totals are those of the replicas, the proof holds."""

import math
from collections.abc import Iterator

from optimizer.plan import Candidate, Objective, ObjectiveName, Plan
from optimizer.verify.evidence import TOLERANCE, Evidence, agree

QUANTA = 1e-5
"""Relative: the solver counts in millionths of a replica's gain, and a plan has several replicas."""

MAXIMISED = ("throughput",)
"""Objectives of which more is better; of the others less is."""


def demand_is_met(evidence: Evidence) -> Iterator[str]:
    """All clients or the whole rate are served; for throughput there are never more requests in flight than clients."""
    plan, workload = evidence.plan, evidence.plan.inputs.workload
    in_flight = sum(replica.estimate.concurrency for replica in plan.replicas)
    served = sum(replica.estimate.requests_per_s for replica in plan.replicas)
    if not plan.replicas:
        yield "there is no replica"
    if plan.objective.name == "throughput":
        if workload.concurrency is not None and in_flight > workload.concurrency:
            yield f"{in_flight} requests in flight, there are only {workload.concurrency} clients"
    elif workload.request_rate is not None:
        if served < workload.request_rate * (1 - TOLERANCE):
            yield f"{served:.6g} requests/s are served, {workload.request_rate:.6g} are asked for"
    elif in_flight < (workload.concurrency or 1):
        yield f"{in_flight} requests in flight, {workload.concurrency} clients are waiting"


def objective_is_as_recomputed(evidence: Evidence) -> Iterator[str]:
    """The stated values are those of the replicas."""
    first = evidence.plan.objective
    for objective in (first, *first.then):
        actual = objective_value(evidence.plan, objective.name)
        if actual is None:
            yield f"the {objective.name} of these replicas cannot be told: a GPU type has no price"
        elif not agree(objective.value, actual):
            yield f"{objective.name} is {objective.value}, recomputed {actual}"


def objective_value(plan: Plan, name: ObjectiveName) -> float | None:
    """Return an objective of the plan's replicas in its own unit, None when it needs a price that is not given."""
    workload, replicas = plan.inputs.workload, plan.replicas
    match name:
        case "throughput" if plan.survival is not None and name == plan.objective.name:
            return plan.survival.output_tokens_per_s
        case "throughput":
            tokens_per_s = sum(replica.estimate.output_tokens_per_s for replica in replicas)
            rate = workload.request_rate
            return tokens_per_s if rate is None else min(tokens_per_s, rate * workload.osl.mean)
        case "latency":
            return max((replica.estimate.tpot_s for replica in replicas), default=0.0)
        case "ttft":
            return max((replica.estimate.ttft_s for replica in replicas), default=0.0)
        case "gpus":
            return float(sum(len(replica.seats) for replica in replicas))
        case "cost":
            return price_per_h(plan)
        case "energy":
            return power_w(plan)


def price_per_h(plan: Plan) -> float | None:
    """Return the price of all seats per hour, None when a GPU type has none."""
    prices = plan.inputs.cluster.prices
    if any(replica.gpu_type not in prices for replica in plan.replicas):
        return None
    return sum(prices[replica.gpu_type][0] * len(replica.seats) for replica in plan.replicas)


def power_w(plan: Plan) -> float:
    """Return the power limits of the GPUs of all seats; a type that the cluster does not have counts nothing."""
    gpus = plan.inputs.cluster.gpus
    return sum(gpus[replica.gpu_type].tdp * len(replica.seats) for replica in plan.replicas if replica.gpu_type in gpus)


def proof_holds(evidence: Evidence) -> Iterator[str]:
    """The gap is that of value and bound, the bound is on its side of the value, optimal means that they are equal."""
    first, status = evidence.plan.objective, evidence.plan.status
    for stated in (first, *first.then):
        yield from _proof_of(stated, status)


def _proof_of(stated: Objective, status: str) -> Iterator[str]:
    apart = abs(stated.bound - stated.value)
    gap = apart / abs(stated.value) if stated.value else 0.0
    if not agree(stated.gap, gap):
        yield f"{stated.name}: gap is {stated.gap}, value {stated.value} and bound {stated.bound} make it {gap}"
    if status == "optimal" and apart > 0:
        yield f"{stated.name}: called optimal with value {stated.value} and bound {stated.bound}"
    better = stated.bound - stated.value if stated.name in MAXIMISED else stated.value - stated.bound
    if better < 0 and not agree(stated.bound, stated.value):
        yield f"{stated.name}: the bound {stated.bound} is worse than the value {stated.value} it bounds"


def no_candidate_is_better(evidence: Evidence) -> Iterator[str]:
    """What is called optimal is no worse than any candidate that meets the workload with one layout alone."""
    plan, sign = evidence.plan, -1 if evidence.plan.objective.name in MAXIMISED else 1
    for candidate in plan.candidates if plan.status == "optimal" else ():
        alone = _value_alone(plan, candidate) if candidate.meets else None
        if alone is not None and sign * (plan.objective.value - alone) > QUANTA * abs(alone):
            label = f"{candidate.dp} x tp{candidate.tp}pp{candidate.pp} on {candidate.gpu_type}"
            yield f"{label} reaches {alone}, the plan {plan.objective.value}"


def _value_alone(plan: Plan, candidate: Candidate) -> float | None:
    """Return the objective of a candidate, None when it is not stated."""
    match plan.objective.name:
        case "throughput":
            return candidate.output_tokens_per_s
        case "latency":
            return candidate.tpot_s
        case "ttft":
            return candidate.ttft_s
        case "gpus":
            return candidate.gpus
        case "cost":
            price = plan.inputs.cluster.prices.get(candidate.gpu_type)
            return None if price is None else price[0] * candidate.gpus
        case "energy":
            return plan.inputs.cluster.gpus[candidate.gpu_type].tdp * candidate.gpus


def options_are_kept(evidence: Evidence) -> Iterator[str]:
    """Degrees that were fixed are those of every replica, and no more GPUs are used than allowed."""
    plan, options = evidence.plan, evidence.plan.provenance.options
    if "max_gpus" in options and plan.totals.gpus > int(options["max_gpus"]):
        yield f"{plan.totals.gpus} GPUs are used, {options['max_gpus']} are allowed"
    fixed = dict(pair.split("=") for pair in options.get("fix", "").split(",") if pair)
    if "dp" in fixed and len(plan.replicas) != int(fixed.pop("dp")):
        yield f"there are {len(plan.replicas)} replicas, fixed was {options['fix']}"
    for claim in evidence.claims:
        for degree, wanted in fixed.items():
            if getattr(claim.replica, degree) != int(wanted):
                yield f"{claim.name}: {degree} is {getattr(claim.replica, degree)}, fixed was {wanted}"


def totals_add_up(evidence: Evidence) -> Iterator[str]:
    """The totals are the sums over the replicas, rates not beyond the demand, latencies their means over requests."""
    plan, workload = evidence.plan, evidence.plan.inputs.workload
    estimates = [replica.estimate for replica in plan.replicas]
    rate = sum(e.requests_per_s for e in estimates)
    served = min(rate, workload.request_rate or math.inf)
    sums: dict[str, float | None] = {
        "gpus": sum(len(replica.seats) for replica in plan.replicas),
        "replicas": len(plan.replicas),
        "output_tokens_per_s": served * workload.osl.mean,
        "requests_per_s": served,
        "ttft_s": sum(e.ttft_s * e.requests_per_s for e in estimates) / rate if rate else 0.0,
        "tpot_s": sum(e.tpot_s * e.requests_per_s for e in estimates) / rate if rate else 0.0,
        "cost_per_h": price_per_h(plan),
        "power_w": power_w(plan),
    }
    for name, actual in sums.items():
        stated = getattr(plan.totals, name)
        if (stated is None) != (actual is None) or (actual is not None and not agree(stated, actual)):
            yield f"{name} is {stated}, the replicas make it {actual}"
