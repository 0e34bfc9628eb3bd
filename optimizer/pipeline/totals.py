"""What chosen replicas give together, in floats: the totals of a plan and of each of its models."""

from collections.abc import Iterable, Sequence
from itertools import product

from optimizer.cost.quantities import pair_ttft_s
from optimizer.inputs.cluster import ClusterSpec
from optimizer.inputs.service import Service
from optimizer.inputs.workload import ROLES
from optimizer.plan import Replica, Served, Totals


def totals_of(services: Sequence[Service], replicas: Sequence[Replica], cluster: ClusterSpec) -> Totals:
    """Return what the deployment uses and gives; latencies are means over requests."""
    served = tuple(_served(number, service, replicas) for number, service in enumerate(services))
    rate = sum(one.requests_per_s for one in served)
    counts = [pair for replica in replicas for pair in replica.gpus_of_type.items()]
    prices = [cluster.prices.get(gpu_type) for gpu_type, _ in counts]
    currencies = {price[1] for price in prices if price}
    known = all(prices) and len(currencies) == 1
    hourly = sum(price[0] * gpus for price, (_, gpus) in zip(prices, counts, strict=True) if price)
    told = len(services) > 1 or any(replica.role != "both" for replica in replicas)
    return Totals(
        gpus=_gpus(replicas),
        replicas=len(replicas),
        output_tokens_per_s=sum(one.output_tokens_per_s for one in served),
        requests_per_s=rate,
        ttft_s=sum(one.ttft_s * one.requests_per_s for one in served) / rate,
        tpot_s=sum(one.tpot_s * one.requests_per_s for one in served) / rate,
        cost_per_h=hourly if known else None,
        currency=next(iter(currencies)) if known else None,
        power_w=sum(cluster.gpus[gpu_type].tdp * gpus for gpu_type, gpus in counts),
        services=served if told else (),
    )


def _gpus(replicas: Iterable[Replica]) -> int:
    return sum(len(replica.seats) for replica in replicas)


def _served(number: int, service: Service, replicas: Sequence[Replica]) -> Served:
    """Return what one model gets: whole requests, and pairs at the rate of the slower phase."""
    own = [replica for replica in replicas if replica.service == number]
    whole, prefill, decode = ([r for r in own if r.role == role] for role in ROLES)
    alone, paired = _carried(own)
    rate, counted = alone + paired, served_per_s(service, own)
    ttft_s = _mean(whole, "ttft_s") * alone + _pair_ttft_s(prefill, decode) * paired
    tpot_s = _mean(whole, "tpot_s") * alone + _mean(decode, "tpot_s") * paired
    return Served(
        service=number, model=service.model.name, replicas=len(own), gpus=_gpus(own),
        requests_per_s=counted, output_tokens_per_s=counted * service.workload.osl.mean,
        ttft_s=ttft_s / rate, tpot_s=tpot_s / rate,
    )  # fmt: skip


def served_per_s(service: Service, own: Sequence[Replica]) -> float:
    """Return the requests/s of a model that its replicas serve, never more than its demand."""
    rate = sum(_carried(own))
    return min(rate, service.workload.request_rate or rate)


def _carried(own: Sequence[Replica]) -> tuple[float, float]:
    """Return the requests/s of replicas that do all of a request, and of pairs: what the slower phase carries."""
    whole, prefill, decode = (_rate(r for r in own if r.role == role) for role in ROLES)
    return whole, min(prefill, decode)


def _rate(replicas: Iterable[Replica]) -> float:
    return sum(replica.estimate.requests_per_s for replica in replicas)


def _mean(replicas: Sequence[Replica], quantity: str) -> float:
    """Return the mean over requests; 0 of none."""
    total = _rate(replicas)
    return sum(getattr(r.estimate, quantity) * r.estimate.requests_per_s for r in replicas) / total if total else 0.0


def _pair_ttft_s(prefill: Sequence[Replica], decode: Sequence[Replica]) -> float:
    """Return the mean TTFT over requests that are routed to each side by its rates, independently."""
    weights = _rate(prefill) * _rate(decode)
    if not weights:
        return 0.0
    return sum(
        a.requests_per_s * b.requests_per_s * pair_ttft_s(a, b)
        for a, b in product((r.estimate for r in prefill), (r.estimate for r in decode))
    ) / weights  # fmt: skip
