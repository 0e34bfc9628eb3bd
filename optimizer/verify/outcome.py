"""Rules on the outcome: every service gets what it asks for, options are kept, and what is called proven may be."""

from collections.abc import Iterator, Mapping

from optimizer.layout.degrees import label_of
from optimizer.plan import Candidate, Objective, ObjectiveName, Plan
from optimizer.verify.evidence import TOLERANCE, Evidence, agree
from optimizer.verify.phases import Carried, Serving, servings

QUANTA = 1e-5
"""Relative: the solver counts in millionths of a replica's gain, and a plan has several replicas."""

MAXIMISED = ("throughput",)
"""Objectives of which more is better; of the others less is."""


def every_service_is_served(evidence: Evidence) -> Iterator[str]:
    """Every service has a replica for its prompts and one for its answers."""
    for serving in servings(evidence.plan):
        if wrong := unserved(serving.carried):
            yield f"{serving.told}{wrong}"


def unserved(carried: Carried) -> str | None:
    """Return which phase no replica computes, None when all are served."""
    if not carried.all.replicas:
        return "there is no replica"
    if not carried.prompts.replicas:
        return "no replica computes prompts"
    return None if carried.answers.replicas else "no replica computes answers"


def demand_is_met(evidence: Evidence) -> Iterator[str]:
    """All clients or the whole rate are served in both phases; for throughput no more are in flight than clients."""
    objective = evidence.plan.objective.name
    for serving in servings(evidence.plan):
        carried, clients = serving.carried, serving.service.workload.concurrency
        if objective != "throughput":
            yield from (f"{serving.told}{wrong}" for wrong in missing(serving, carried, objective))
        elif clients is not None and carried.all.in_flight > clients:
            yield f"{serving.told}{carried.all.in_flight} requests in flight, there are only {clients} clients"


def missing(serving: Serving, carried: Carried, objective: ObjectiveName) -> Iterator[str]:
    """Yield what a service asks for and does not get of what its replicas carry, phase by phase."""
    asked, clients = serving.service.workload.request_rate, _clients(serving, objective)
    if asked is not None:
        phases = {"prompts": carried.prompts.requests_per_s, "answers": carried.answers.requests_per_s}
        for phase, rate in phases.items():
            if rate < asked * (1 - TOLERANCE):
                yield f"{phase} of {rate:.6g} requests/s are computed, {asked:.6g} are asked for"
    elif clients is not None:
        if carried.answers.in_flight < clients:
            yield f"{carried.answers.in_flight} requests in flight, {clients} clients are waiting"
        sent, taken = carried.prefill.requests_per_s, carried.decode.requests_per_s
        if sent < taken * (1 - TOLERANCE):
            yield f"prefill replicas hand over {sent:.6g} requests/s, decode replicas finish {taken:.6g}"


def _clients(serving: Serving, objective: ObjectiveName) -> int | None:
    """Return the clients that wait for answers: latencies are those of one where nothing else is asked for."""
    return serving.service.workload.concurrency or (1 if objective in ("latency", "ttft") else None)


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
    """What is called optimal is no worse than any candidate that answers the whole question with one layout alone."""
    plan, sign = evidence.plan, -1 if evidence.plan.objective.name in MAXIMISED else 1
    for candidate in plan.candidates if plan.status == "optimal" else ():
        alone = _value_alone(plan, candidate) if _answers_all(plan, candidate) else None
        if alone is not None and sign * (plan.objective.value - alone) > QUANTA * abs(alone):
            degrees = {key: getattr(candidate, key) for key in ("tp", "pp", "attn_dp", "ep", "dcp", "pcp")}
            label = f"{candidate.dp} x {label_of(degrees)} on {candidate.gpu_type}"
            yield f"{label} reaches {alone}, the plan {plan.objective.value}"


def _answers_all(plan: Plan, candidate: Candidate) -> bool:
    """Whether replicas of one layout serve all that is asked: not one of several models, nor one of two phases."""
    services = plan.inputs.services
    return candidate.meets and len(services) == 1 and candidate.role == "both" and "both" in services[0].workload.roles


def _value_alone(plan: Plan, candidate: Candidate) -> float | None:
    """Return the objective of a candidate, None when it is not stated."""
    match plan.objective.name:
        case "throughput":
            tokens_per_s = candidate.output_tokens_per_s
            return None if tokens_per_s is None else tokens_per_s * plan.inputs.weight
        case "latency":
            return candidate.tpot_s
        case "ttft":
            return candidate.ttft_s
        case "gpus":
            return candidate.gpus
        case "cost":
            return _weighed(candidate, {t: price for t, (price, _) in plan.inputs.cluster.prices.items()})
        case "energy":
            return _weighed(candidate, {t: spec.tdp for t, spec in plan.inputs.cluster.gpus.items()})


def _weighed(candidate: Candidate, of_one: Mapping[str, float]) -> float | None:
    """Return what all GPUs of a candidate cost, stage by stage; None when a type has no price."""
    stages = candidate.gpu_types or (candidate.gpu_type,) * candidate.pp
    if set(stages) - set(of_one):
        return None
    return sum(of_one[gpu_type] for gpu_type in stages) * candidate.gpus / len(stages)
