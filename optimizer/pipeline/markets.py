"""What the prices of a question are made from, and which of them it needs."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import inf
from typing import Literal

from optimizer.cost.options import BATCHED_TOKENS, DEFAULT_BATCHING, ROOMY_TOKENS, Batching
from optimizer.cost.shapes import Market
from optimizer.errors import InfeasibleError
from optimizer.inputs import presets
from optimizer.inputs.cluster import ClusterSpec
from optimizer.inputs.model import ModelSpec
from optimizer.inputs.service import Service
from optimizer.inputs.workload import WorkloadSpec
from optimizer.pipeline.request import Request


def market_of(cluster: ClusterSpec, model: ModelSpec, workload: WorkloadSpec) -> Market:
    """Return what prices on this cluster are made from; calibrations and engine facts are those that ship."""
    used = {gpu_type: cluster.gpus[gpu_type] for gpu_type in sorted(cluster.gpus)}
    calibrations = {gpu_type: presets.calibration_of(cluster, gpu_type) for gpu_type in used}
    return Market(model, workload, presets.load_engine(workload.engine.name), used, calibrations)


def runnable(market: Market, usable: Mapping[str, int]) -> dict[str, int]:
    """Return the types among ``usable`` that the engine runs on; InfeasibleError when there are none."""
    reasons = {gpu_type: market.refuses(gpu_type) for gpu_type in usable}
    found = {gpu_type: count for gpu_type, count in usable.items() if reasons[gpu_type] is None}
    if not found:
        raise InfeasibleError(
            f"{market.engine.name} runs on no GPU of the cluster",
            nearest_miss=tuple(filter(None, reasons.values())),
            remedies=("another --engine (vllm, sglang, trtllm), or another engine.version in the workload",),
        )
    return found


Reuse = Literal["none", "rates", "all"]
"""What else the prices of a question are for: nothing, the same at other request rates or layouts by themselves, or any
question about the same GPUs."""


def markets(
    request: Request, cluster: ClusterSpec, number: int, service: Service, reuse: Reuse = "none"
) -> Iterator[Market]:
    """Yield what one model is priced from, by role."""
    load = service.workload
    only_rates = reuse != "all" and _only_rates_count(request, load)
    market = replace(
        market_of(cluster, service.model, load), service=number, batching=_batching(request, load),
        only_rates=only_rates, enough_per_s=_enough_per_s(request, load) if only_rates and reuse == "none" else inf,
    )  # fmt: skip
    yield from (replace(market, role=role) for role in load.roles)


def _only_rates_count(request: Request, load: WorkloadSpec) -> bool:
    """Whether of the points of a replica none but that of most requests/s can be of use (see formulation/dominance)."""
    by_clients = load.concurrency is not None and load.request_rate is None
    return load.roles == ("both",) and not by_clients and not _seeks_latency(request)


def _enough_per_s(request: Request, load: WorkloadSpec) -> float:
    """Return the requests/s of one model beyond which a plan gets better by fewer GPUs alone, where only rates count.

    Not where spare replicas have a use or their number is given, nor where a GPU costs nothing.
    """
    free = not all(amount for amount, _ in request.cluster.prices.values())
    unpaid = free and "cost" in (request.objective, *request.then)
    if load.request_rate is None or request.survive is not None or "dp" in request.fix or unpaid:
        return inf
    return load.request_rate


def _seeks_latency(request: Request) -> bool:
    return bool({"ttft", "latency"} & {request.objective, *request.then})


def _batching(request: Request, load: WorkloadSpec) -> Batching:
    """Return which tokens per step are tried: none but what is set.

    Where nothing is asked of latency, rates depend little on them; so fewer count only where they make room.
    """
    if load.engine.max_num_batched_tokens is not None:
        return DEFAULT_BATCHING
    sought = _seeks_latency(request)
    asked = sought or load.slo.ttft is not None or load.slo.tpot is not None
    return Batching(BATCHED_TOKENS if asked else ROOMY_TOKENS, everywhere=sought)
