"""Layouts that the user named or fixed and that cannot be: the engine's reasons, or too few GPUs."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

from optimizer.cost.quantities import Estimate, pair_ttft_slo_s
from optimizer.errors import InfeasibleError
from optimizer.inputs.cluster import ClusterSpec
from optimizer.inputs.model import Scheme
from optimizer.inputs.service import Service
from optimizer.inputs.workload import Role
from optimizer.layout import Layout, parse_label, refusals, refuses_hand_over, split_layers
from optimizer.pipeline.request import Request
from optimizer.units import show_seconds


def weights_of(request: Request) -> tuple[Scheme, ...]:
    """Return the weight precisions that may be chosen: the workload's, else the checkpoint's."""
    return request.workload.weights or (request.model.checkpoint_scheme,)


def refused(request: Request, labels: Sequence[str] | None, gpus: int) -> InfeasibleError:
    """Return that none of the layouts asked for is admissible on ``gpus`` GPUs of one type, with the reasons."""
    return InfeasibleError(
        f"no layout of {request.model.name} on cluster {request.cluster.name} has the degrees asked for",
        nearest_miss=tuple(why_not(request, labels, gpus)),
        remedies=("degrees that divide heads, experts and widths, on GPUs that there are; or leave the choice open",),
    )


def why_not(request: Request, labels: Sequence[str] | None, gpus: int) -> Iterator[str]:
    """Yield the reasons against each layout that was named (or fixed) and is not admissible."""
    fixed = {key: n for key, n in request.fix.items() if key != "dp"}
    named = [parse_label(label) or {} for label in labels or ()]
    for degrees in named or ([fixed] if fixed else []):
        yield from _reasons(request, {**fixed, **degrees}, gpus)


def _reasons(request: Request, degrees: dict[str, int], gpus: int) -> Iterator[str]:
    model, most = request.model, min(gpus, request.max_gpus or gpus)
    pp = degrees.get("pp", 1)
    if pp > model.num_layers:
        yield f"pp{pp}: more stages than the {model.num_layers} layers of {model.name}"
        return
    layout = Layout(**{"tp": 1, **degrees, "pp": pp}, layers_per_stage=split_layers(model.num_layers, pp),
                    weights=weights_of(request)[0], kv_cache=request.workload.kv_cache[0])  # fmt: skip
    engine = request.workload.engine.name
    apart = (refuses_hand_over(layout, engine, role) for role in request.workload.roles)
    yield from (f"{layout.label}: {why}" for why in (*refusals(model, layout, engine), *filter(None, apart)))
    if layout.world_size > most:
        yield f"{layout.label}: {layout.world_size} ranks for {most} GPUs of one type"


def no_pair(service: Service, cluster: ClusterSpec, points: Mapping[Role, Sequence[Estimate]]) -> InfeasibleError:
    """Return that prefill and decode replicas, each admissible by itself, do not keep the bound on TTFT together."""
    least_s = min(pair_ttft_slo_s(p, d) for p, d in product(points["prefill"], points["decode"]))
    bound_s = service.workload.slo.ttft or 0.0
    return InfeasibleError(
        f"no prefill and decode replicas of {service.model.name} keep the bound on TTFT together "
        f"on cluster {cluster.name}",
        nearest_miss=(f"the fastest pair has a TTFT of {show_seconds(least_s)} of {show_seconds(bound_s)} allowed",),
        remedies=("a longer slo.ttft, or roles: [both] in the workload",),
    )
