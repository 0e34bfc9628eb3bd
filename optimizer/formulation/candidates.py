"""Candidates: what each layout alone would give on the same cluster, beside the plan that was chosen."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from optimizer.cost.quantities import Estimate, RankMemory
from optimizer.cost.shapes import Shape
from optimizer.errors import NoAnswerError
from optimizer.formulation.columns import Column
from optimizer.formulation.dominance import essential
from optimizer.formulation.instance import Instance
from optimizer.formulation.objectives import value
from optimizer.formulation.solve import Choice, Limits, choose
from optimizer.inputs.workload import WorkloadSpec
from optimizer.layout import Layout
from optimizer.plan import Candidate, Replica
from optimizer.units import show_seconds

EFFORT = 0.02
"""Deterministic seconds spent on packing one candidate: it is context, not the answer, and needs no proof."""

Key = tuple[Layout, str]
"""A layout on a GPU type."""


@dataclass(frozen=True)
class Alone:
    """The best plan whose replicas all have one layout."""

    copies: tuple[Column, ...]
    """One for each replica."""
    meets: bool
    """Whether they serve all that is asked; if not, they are as many as give most tokens."""
    tokens_per_s: float
    """Never more than the demand."""
    value: float
    """Of the objective."""

    @cached_property
    def gpus(self) -> int:
        """GPUs of all replicas."""
        return sum(column.gpus for column in self.copies)

    @property
    def column(self) -> Column:
        """The first replica, standing for all."""
        return self.copies[0]


def candidates(
    instance: Instance, shapes: Sequence[Shape], columns: Iterable[Column], chosen: Sequence[Replica] = ()
) -> tuple[Candidate, ...]:
    """Return one candidate for each layout and GPU type, best first; those without any admissible point come last."""
    by_key: dict[Key, list[Column]] = {}
    for column in columns:
        by_key.setdefault((column.layout, column.footprint.gpu_type), []).append(column)
    plans = {key: _alone(instance, options) for key, options in by_key.items()}
    known = [(key, plan) for key, plan in plans.items() if plan]
    ranked = sorted(known, key=lambda item: (*_rank(instance, item[1]), item[0]))
    used = {(replica.layout, replica.gpu_type) for replica in chosen}
    best = ranked[0][1] if ranked else None
    rows = [_row(instance, plan, best, chosen=key in used) for key, plan in ranked]
    return (*rows, *_refused(shapes, plans))


def _alone(instance: Instance, options: Sequence[Column]) -> Alone | None:
    """Return the best plan of one layout; when it cannot serve all that is asked, the one with most tokens."""
    for of, meets in ((instance, True), (_without_demand(instance), False)):
        kept = essential(replace(of, columns=tuple(options)))
        choice = _packed(replace(of, columns=kept))
        if choice is not None:
            copies = tuple(c for c, n in zip(kept, choice.replicas, strict=True) for _ in range(n))
            return _summed(instance, copies, choice if of.survive else None, meets=meets)
    return None


def _packed(instance: Instance) -> Choice | None:
    """Return the best choice found in little effort; more effort only until any is known."""
    for effort in (EFFORT, 10 * EFFORT, 100 * EFFORT):
        try:
            return choose(instance, Limits(effort=effort), lambda _: None)
        except NoAnswerError:
            continue
    return choose(instance, Limits(), lambda _: None)


def _without_demand(instance: Instance) -> Instance:
    """Return the question of most tokens under saturating load."""
    load = instance.workload
    saturating = WorkloadSpec(isl=load.isl, osl=load.osl, slo=load.slo)
    return replace(instance, objective="throughput", then=(), survive=None, workload=saturating)


def _summed(instance: Instance, copies: tuple[Column, ...], left: Choice | None, *, meets: bool) -> Alone:
    demand = instance.workload.request_rate
    asked = None if demand is None else demand * instance.workload.osl.mean
    tokens = value("throughput", copies, asked)
    if left is not None and instance.objective == "throughput":
        tokens = min(left.value, asked or left.value)  # after the worst failure
    if asked is not None and tokens < asked * (1 - 1e-6):
        meets = False
    worth = tokens if instance.objective == "throughput" else value(instance.objective, copies, asked)
    return Alone(copies, meets, tokens, worth)


def _rank(instance: Instance, plan: Alone) -> tuple[float, ...]:
    """Return what is to be minimised, in order: shortfall, objective, tie-break."""
    if instance.objective == "throughput":
        return (instance.survive is not None and not plan.meets, -plan.tokens_per_s, plan.gpus)
    tie = plan.gpus if instance.objective in ("latency", "ttft") else -plan.tokens_per_s
    return (not plan.meets, plan.value, tie)


def _row(instance: Instance, plan: Alone, best: Alone | None, *, chosen: bool) -> Candidate:
    """Return a layout's replicas as a row; latencies are those of the slowest."""
    column, point = plan.column, plan.column.point
    fullest = max(point.memory, key=lambda rank: _held(rank, point, instance))
    return Candidate(
        **_degrees(column.layout, column.footprint.gpu_type),
        dp=len(plan.copies),
        span=column.footprint.span,
        gpus=plan.gpus,
        fits=True,
        meets=plan.meets,
        chosen=chosen,
        concurrency=point.concurrency,
        ttft_s=max(c.point.ttft_s for c in plan.copies),
        tpot_s=max(c.point.tpot_s for c in plan.copies),
        output_tokens_per_s=plan.tokens_per_s,
        memory_bytes=_held(fullest, point, instance),
        capacity_bytes=fullest.capacity_bytes,
        kv_tokens=fullest.kv_tokens,
        prefill=asdict(point.breakdown.prefill),
        decode=asdict(point.breakdown.decode),
        request=asdict(point.breakdown.request),
        why="" if best is None or plan is best else loses_on(instance, plan, best),
    )


def _degrees(layout: Layout, gpu_type: str) -> dict[str, Any]:
    return {
        "tp": layout.tp, "pp": layout.pp, "ep": layout.ep, "weights": layout.weights, "kv_cache": layout.kv_cache,
        "gpu_type": gpu_type,
    }  # fmt: skip


def _held(rank: RankMemory, point: Estimate, instance: Instance) -> int:
    """Return the bytes a rank holds under this load, KV of its mean resident tokens included."""
    tokens = point.concurrency * (instance.workload.isl.mean + instance.workload.osl.mean / 2)
    kv = tokens * rank.kv_bytes_per_token + point.concurrency * rank.kv_bytes_per_sequence
    return round(rank.weights_bytes + rank.activation_bytes + rank.overhead_bytes + kv)


def _refused(shapes: Iterable[Shape], plans: Mapping[Key, Alone | None]) -> list[Candidate]:
    """Return the layouts that have no admissible point, with the reason, nearest first."""
    nearest: dict[Key, Shape] = {}
    for shape in shapes:
        if plans.get((shape.layout, shape.footprint.gpu_type)) is None:
            nearest.setdefault((shape.layout, shape.footprint.gpu_type), shape)
    return [
        Candidate(
            **_degrees(layout, gpu_type),
            dp=0,
            span=shape.footprint.span,
            gpus=shape.footprint.gpus,
            fits=shape.miss.fits,
            meets=False,
            concurrency=shape.miss.concurrency,
            ttft_s=shape.miss.ttft_s,
            tpot_s=shape.miss.tpot_s,
            output_tokens_per_s=shape.miss.output_tokens_per_s,
            memory_bytes=max(r.weights_bytes + r.activation_bytes + r.overhead_bytes for r in shape.miss.memory),
            capacity_bytes=min(r.capacity_bytes for r in shape.miss.memory),
            why="; ".join(shape.miss.reasons[:1]) or "misses the objectives on TTFT or TPOT, or has no room",
        )
        for (layout, gpu_type), shape in nearest.items()
    ]


def loses_on(instance: Instance, plan: Alone, best: Alone) -> str:
    """Return what a layout loses on against the best one: by how much, and the cause that adds most of it."""
    mine, its = plan.column.point, best.column.point
    match instance.objective:
        case "latency" | "ttft":
            seconds = (mine.tpot_s, its.tpot_s) if instance.objective == "latency" else (mine.ttft_s, its.ttft_s)
            amount = f"{seconds[0] / seconds[1] - 1:+.1%} {'TPOT' if instance.objective == 'latency' else 'TTFT'}"
        case "energy":
            amount = f"{plan.value - best.value:+,.0f} W of TDP"
        case "gpus" | "cost":
            amount = f"{plan.gpus - best.gpus:+d} GPUs"
        case "throughput":
            amount = f"{plan.tokens_per_s / best.tokens_per_s - 1:+.1%} tokens/s"
    if not plan.meets and instance.objective != "throughput":
        amount = "cannot meet the demand here"
    return f"{amount}: {_idle(plan, best) or _cause(plan.column, best.column, instance)}"


def _idle(plan: Alone, best: Alone) -> str | None:
    """Return that GPUs stay idle when they account for most of the lost tokens, else None."""
    idle = best.gpus - plan.gpus
    lost = 1 - plan.tokens_per_s / best.tokens_per_s
    return f"{idle} of {best.gpus} GPUs stay idle" if idle > 0 and idle / best.gpus >= lost / 2 else None


def _cause(mine: Column, its: Column, instance: Instance) -> str:
    """Return the cause that costs most more GPU time than in the best layout."""
    osl = instance.workload.osl.mean
    ours, theirs = _gpu_seconds(mine, osl), _gpu_seconds(its, osl)
    part, most = max(((key, ours[key] - theirs[key]) for key in ours), key=lambda item: item[1])
    if most > 0:
        return f"{part}, +{show_seconds(most)} of GPU time per output token"
    return "fewer requests in flight per GPU"


def _gpu_seconds(column: Column, osl: int) -> dict[str, float]:
    """Return GPU time per output token by cause; together it is the GPUs over the tokens/s they give."""
    request = asdict(column.point.breakdown.request)
    return {part: seconds * column.gpus / osl for part, seconds in request.items()}
