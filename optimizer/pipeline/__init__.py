"""The whole trip on one page: inputs, topology, priced shapes, choice, seats, plan, verification."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from optimizer.compare import candidate_label
from optimizer.cost.attention_replicas import misseated
from optimizer.cost.quantities import EngineSettings, Estimate
from optimizer.errors import InfeasibleError, InputError, NoAnswerError
from optimizer.formulation.candidates import candidates
from optimizer.inputs.cluster import ClusterSpec
from optimizer.inputs.model import ModelSpec, Scheme
from optimizer.inputs.workload import KvScheme, Role, WorkloadSpec
from optimizer.layout import Layout, refusals, refuses_hand_over, split_layers
from optimizer.pipeline.markets import market_of
from optimizer.pipeline.prepare import Known, Prepared, prepare
from optimizer.pipeline.request import Progress, Request, silent
from optimizer.pipeline.usable import classes_of
from optimizer.plan import Candidate, Plan
from optimizer.topology.boxes import every_footprint
from optimizer.topology.exits import role_wiring
from optimizer.topology.graph import build
from optimizer.topology.seats import first_seats
from optimizer.units import show_number

if TYPE_CHECKING:
    from optimizer.formulation.solve import Choice

__all__ = ["Request", "Solved", "compare", "estimate", "solve"]


LEAST_S = 1.0
"""For the choice, where prices have taken all of the time limit."""


@dataclass(frozen=True)
class Solved:
    """A plan and the seconds it took, by step."""

    plan: Plan
    seconds: dict[str, float]


def solve(request: Request, progress: Progress = silent, prices: Known | None = None) -> Solved:
    """Return the best plan, proven and verified.

    ``prices`` are those of a question before this one that differs in objective or GPUs at most; new ones are added.
    InfeasibleError with the nearest miss when nothing is admissible (``relax.relaxations`` knows what would help),
    NoAnswerError when the time limit comes first.
    """
    from optimizer.pipeline.faults import with_fault_costs
    from optimizer.pipeline.planned import kept

    clock = _Clock()
    until_s = time.monotonic() + (math.inf if request.time_limit_s is None else request.time_limit_s)
    with clock("price"):
        known = prepare(request, progress, prices=prices)
    with clock("solve"):
        choice = _chosen(request, known, progress, until_s, clock)
    if choice is None:
        raise _unmet(request, known)
    with clock("seat and verify"):
        plan = kept(request, known, choice, progress, until_s)
    if request.faults and request.cluster.overrides:
        with clock("faults"):
            plan = with_fault_costs(request, known, plan, progress, until_s)
    return Solved(plan, clock.seconds)


def _chosen(request: Request, known: Prepared, progress: Progress, until_s: float, clock: "_Clock") -> "Choice | None":
    """Return the best choice in what is left of the time; NoAnswerError tells when prices took most of it."""
    from optimizer.formulation.solve import Limits, choose

    left_s = None if request.time_limit_s is None else max(LEAST_S, until_s - time.monotonic())
    limits = Limits(left_s, request.workers, request.seed, gap=request.gap, anytime=True)
    try:
        return choose(known.instance, limits, progress)
    except NoAnswerError as error:
        if left_s is not None and left_s < clock.seconds["price"]:
            took = f"{len(known.shapes)} shapes took {clock.seconds['price']:.1f} s to price"
            raise NoAnswerError(f"{error}: {took}") from error
        raise


def compare(
    request: Request, labels: Sequence[str] | None = None, progress: Progress = silent
) -> tuple[Candidate, ...]:
    """Return every admissible layout (or those named, such as "tp4pp2") by itself, best first."""
    known = prepare(request, progress, labels, reuse="rates")
    return candidates(known.instance, known.shapes, known.columns)


def estimate(
    cluster: ClusterSpec,
    model: ModelSpec,
    workload: WorkloadSpec,
    degrees: Mapping[str, int],
    *,
    batch: int,
    weights: Scheme | None = None,
    kv_cache: KvScheme | None = None,
    role: Role = "both",
) -> tuple[Estimate, EngineSettings]:
    """Return one replica priced on the first seats that take it, whether or not it fits, and the engine's settings.

    ``degrees``: by their fields, tp and pp among them, 1 where not given. InputError when the engine does not admit the
    layout, the cluster has no room for its ranks, or a replica of one phase has no way for its KV.
    """
    layout = Layout(
        **degrees, layers_per_stage=split_layers(model.num_layers, degrees["pp"]),
        weights=weights or (workload.weights or (model.checkpoint_scheme,))[0],
        kv_cache=kv_cache or workload.kv_cache[0],
    )  # fmt: skip
    alone = refuses_hand_over(layout, workload.engine.name, role)
    if reasons := (*refusals(model, layout, workload.engine.name), *([alone] if alone else [])):
        raise InputError(f"{layout.label}: {model.name}: {'; '.join(reasons)}")
    topology = build(cluster)
    market = replace(market_of(cluster, model, workload), role=role)
    classes = classes_of(topology)
    refused = {gpu_type: market.refuses(gpu_type) for gpu_type in market.gpus}
    if all(refused.values()):
        raise InputError("; ".join(filter(None, refused.values())))
    for gpu_type in (gpu_type for gpu_type, why in refused.items() if why is None):
        for footprint in every_footprint(topology, classes, gpu_type, layout.ranks_per_stage, layout.pp):
            seats = first_seats(topology, classes, footprint, spread=False)
            paths = role_wiring(topology, seats, "fair", role)
            if misseated(topology, seats, layout, paths.group):
                continue
            case = market.case(layout, gpu_type, paths, batch)
            return market.price(layout, gpu_type, paths)(batch), case.engine
    room = f"no room for {layout.world_size} ranks of one GPU type"
    raise InputError(f"{layout.label}: cluster {cluster.name} has {room}; lower tp or pp")


def _unmet(request: Request, known: Prepared) -> InfeasibleError:
    """Return why admissible replicas do not add up to what is asked."""
    rows = candidates(known.instance, known.shapes, known.columns)
    asked = " and ".join(_asked(service.workload) for service in request.services)
    if request.survive:
        asked += f" after any single {request.survive} failure"
    return InfeasibleError(
        f"the usable GPUs of cluster {request.cluster.name} do not serve {asked} within the objectives",
        nearest_miss=tuple(miss for n in range(len(request.services)) for miss in _most_of(request, n, rows)),
        remedies=("more GPUs, a lower demand, or longer objectives (slo) in the workload",),
    )


def _asked(load: WorkloadSpec) -> str:
    if load.request_rate:
        return f"{show_number(load.request_rate)} requests/s"
    return f"{load.concurrency} requests in flight" if load.concurrency else "any request"


def _most_of(request: Request, number: int, rows: Sequence[Candidate]) -> Iterator[str]:
    """Yield what the best layout of one model serves in each role when the cluster is all its own."""
    service = request.services[number]
    whose = "" if len(request.services) == 1 else f"{service.model.name} alone: "
    for role in service.workload.roles:
        own = [row for row in rows if row.service == number and row.role == role]
        if not own:
            continue
        best = max(own, key=lambda row: row.output_tokens_per_s or 0.0)
        tokens, osl = best.output_tokens_per_s or 0.0, service.workload.osl.mean
        rate = f"{show_number(tokens / osl)} requests/s ({tokens:,.0f} tokens/s)"
        does = "serves" if role == "both" else f"only for {role} carries"
        yield f"{whose}{best.dp} x {candidate_label(best)} on {best.gpus} GPUs {does} {rate}"


class _Clock:
    """Seconds of each step of the trip."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[step] = time.perf_counter() - start
