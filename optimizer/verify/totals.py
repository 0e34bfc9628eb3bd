"""Rules on figures: the objective and the totals are those of the replicas, for all services and for each."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from optimizer.plan import UNITS, ObjectiveName, Plan, Served
from optimizer.verify.evidence import Evidence, agree
from optimizer.verify.phases import Serving, mean, mean_transfer_s, pair_ttft_s, pairs, servings


def objective_is_as_recomputed(evidence: Evidence) -> Iterator[str]:
    """The stated values are those of the replicas."""
    first = evidence.plan.objective
    for objective in (first, *first.then):
        actual = objective_value(evidence.plan, objective.name)
        if actual is None:
            yield f"the {objective.name} of these replicas cannot be told: a GPU type has no price"
        elif not agree(objective.value, actual):
            yield f"{objective.name} is {objective.value}, recomputed {actual}"
        if objective.unit != UNITS[objective.name]:
            yield f"{objective.name} is in {UNITS[objective.name]}, stated in {objective.unit}"


def objective_value(plan: Plan, name: ObjectiveName) -> float | None:
    """Return an objective of the plan's replicas in its own unit, None when it needs a price that is not given."""
    match name:
        case "throughput" if plan.survival is not None and name == plan.objective.name:
            return plan.survival.output_tokens_per_s
        case "throughput":
            return sum(serving.service.weight * _tokens_per_s(serving) for serving in servings(plan))
        case "latency":
            return max((replica.estimate.tpot_s for replica in plan.replicas), default=0.0)
        case "ttft":
            return max((seconds for serving in servings(plan) for seconds in _ttfts_s(serving)), default=0.0)
        case "gpus":
            return float(sum(len(replica.seats) for replica in plan.replicas))
        case "cost":
            return price_per_h(plan)
        case "energy":
            return power_w(plan)


def _tokens_per_s(serving: Serving) -> float:
    """Return the output tokens/s of a service: of requests whose prompts and answers are computed, and that arrive."""
    return serving.counted_per_s(serving.carried) * serving.service.workload.osl.mean


def _ttfts_s(serving: Serving) -> Iterator[float]:
    """Yield the mean TTFT of all ways that a request may take through a service."""
    yield from (replica.estimate.ttft_s for replica in serving.of("both"))
    for prefill, decode in pairs(serving.of("prefill"), serving.of("decode")):
        yield pair_ttft_s(prefill.estimate, decode.estimate)


def price_per_h(plan: Plan) -> float | None:
    """Return the price of all seats per hour, None when a GPU type has none."""
    prices = plan.inputs.cluster.prices
    used = _gpus_of_type(plan)
    return None if set(used) - set(prices) else sum(prices[gpu_type][0] * gpus for gpu_type, gpus in used.items())


def power_w(plan: Plan) -> float:
    """Return the power limits of the GPUs of all seats; a type that the cluster does not have counts nothing."""
    gpus = plan.inputs.cluster.gpus
    return sum(gpus[gpu_type].tdp * n for gpu_type, n in _gpus_of_type(plan).items() if gpu_type in gpus)


def _gpus_of_type(plan: Plan) -> Counter[str]:
    """Count the GPUs of all replicas by the types they are priced for."""
    used: Counter[str] = Counter()
    for replica in plan.replicas:
        used.update(replica.gpus_of_type)
    return used


def totals_add_up(evidence: Evidence) -> Iterator[str]:
    """The totals are sums over services, rates not beyond the demand, latencies their means over requests."""
    plan = evidence.plan
    every = [served(serving) for serving in servings(plan)]
    sums: dict[str, float | None] = {
        "gpus": sum(len(replica.seats) for replica in plan.replicas),
        "replicas": len(plan.replicas),
        "output_tokens_per_s": sum(one.output_tokens_per_s for one in every),
        "requests_per_s": sum(one.requests_per_s for one in every),
        "ttft_s": _over_requests(every, "ttft_s"),
        "tpot_s": _over_requests(every, "tpot_s"),
        "cost_per_h": price_per_h(plan),
        "power_w": power_w(plan),
    }
    for name, actual in sums.items():
        stated = getattr(plan.totals, name)
        if (stated is None) != (actual is None) or (actual is not None and not agree(stated, actual)):
            yield f"{name} is {stated}, the replicas make it {actual}"
    currencies = {plan.inputs.cluster.prices[name][1] for name in _gpus_of_type(plan) if sums["cost_per_h"] is not None}
    if plan.totals.currency != (currencies.pop() if len(currencies) == 1 else None):
        yield f"a cost in {plan.totals.currency}, which is no price of these GPUs"


def _over_requests(every: Iterable[Served], field: str) -> float:
    """Return the mean over the requests of all services; 0 without any."""
    weighed = [(getattr(one, field), one.requests_per_s) for one in every]
    rate = sum(requests_per_s for _, requests_per_s in weighed)
    return sum(seconds * requests_per_s for seconds, requests_per_s in weighed) / rate if rate else 0.0


def services_add_up(evidence: Evidence) -> Iterator[str]:
    """What is stated for each service is what its replicas give; stated where there are several or roles apart."""
    plan = evidence.plan
    every = servings(plan)
    if not plan.totals.services:
        if len(every) > 1 or any(serving.apart for serving in every):
            yield f"totals do not say what each of {len(every)} services gets"
        return
    if len(plan.totals.services) != len(every):
        yield f"totals of {len(plan.totals.services)} services, there are {len(every)}"
    for serving, stated in zip(every, plan.totals.services, strict=False):
        actual = served(serving)
        for name in Served.model_fields:
            a, b = getattr(stated, name), getattr(actual, name)
            if not (a == b if isinstance(b, str) else agree(a, b)):
                yield f"{serving.told}{name} is {a}, the replicas make it {b}"


def served(serving: Serving) -> Served:
    """Return what one service gets; means are over requests, whether one replica serves them or a pair."""
    alone, prefill, decode = (serving.of(role) for role in ("both", "prefill", "decode"))
    handed_over = serving.carried.handed_over_per_s
    weights = (serving.carried.both.requests_per_s, handed_over)
    over_pairs_s = mean(prefill, "ttft_s") + mean_transfer_s(prefill, decode) + mean(decode, "ttft_s")
    return Served(
        service=serving.number,
        model=serving.service.model.name,
        replicas=len(serving.replicas),
        gpus=sum(len(replica.seats) for replica in serving.replicas),
        requests_per_s=serving.counted_per_s(serving.carried),
        output_tokens_per_s=_tokens_per_s(serving),
        ttft_s=_weighed((mean(alone, "ttft_s"), over_pairs_s), weights),
        tpot_s=_weighed((mean(alone, "tpot_s"), mean(decode, "tpot_s")), weights),
    )


def _weighed(values: Sequence[float], weights: Sequence[float]) -> float:
    total = sum(weights)
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / total if total else 0.0
