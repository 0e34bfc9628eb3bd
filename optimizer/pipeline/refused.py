"""Layouts that the user named or fixed and that cannot be: the engine's reasons, or too few GPUs."""

from collections.abc import Iterator, Sequence

from optimizer.errors import InfeasibleError
from optimizer.inputs.model import Scheme
from optimizer.layout import Layout, parse_label, refusals, refuses_hand_over, split_layers
from optimizer.pipeline.request import Request


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
