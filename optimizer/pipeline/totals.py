"""What chosen replicas give together, in floats: the totals of a plan and of each of its models."""

from collections.abc import Iterable, Sequence
from operator import attrgetter

from optimizer.cost.quantities import Estimate, mean_over_requests, mean_transfer_s
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
    whole, prefill, decode = ([r.estimate for r in own if r.role == role] for role in ROLES)
    alone, paired = _carried(own)
    rate, counted = alone + paired, served_per_s(service, own)
    over_pairs_s = _mean_ttft_s(prefill) + mean_transfer_s(prefill, decode) + _mean_ttft_s(decode)
    ttft_s = _mean_ttft_s(whole) * alone + over_pairs_s * paired
    tpot_s = _mean_tpot_s(whole) * alone + _mean_tpot_s(decode) * paired
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


def _mean_ttft_s(own: Sequence[Estimate]) -> float:
    return mean_over_requests(own, attrgetter("ttft_s"))


def _mean_tpot_s(own: Sequence[Estimate]) -> float:
    return mean_over_requests(own, attrgetter("tpot_s"))
