"""Candidates: each layout by itself, as equal replicas, beside the plan that was chosen."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

from optimizer.cost.quantities import Estimate, RankMemory
from optimizer.cost.shapes import Shape
from optimizer.formulation.columns import Column
from optimizer.formulation.instance import Instance
from optimizer.formulation.uniform import Uniform, best_uniform
from optimizer.layout import Layout
from optimizer.plan import Candidate, Replica
from optimizer.units import show_seconds

Key = tuple[Layout, str]
"""A layout on a GPU type."""


def candidates(
    instance: Instance, shapes: Sequence[Shape], columns: Iterable[Column], chosen: Sequence[Replica] = ()
) -> tuple[Candidate, ...]:
    """Return one candidate for each layout and GPU type, best first; those without any admissible point come last."""
    by_key: dict[Key, list[Column]] = {}
    for column in columns:
        by_key.setdefault((column.layout, column.footprint.gpu_type), []).append(column)
    plans = {key: best_uniform(instance, options) for key, options in by_key.items()}
    ranked = sorted(
        ((key, plan) for key, plan in plans.items() if plan), key=lambda item: (item[1].loss(instance), item[0])
    )
    used = {(replica.layout, replica.gpu_type) for replica in chosen}
    best = ranked[0][1] if ranked else None
    rows = [_row(instance, plan, best, chosen=key in used) for key, plan in ranked]
    return (*rows, *_refused(shapes, plans))


def _row(instance: Instance, plan: Uniform, best: Uniform | None, *, chosen: bool) -> Candidate:
    """Return a layout's equal replicas as a row."""
    column, point = plan.column, plan.column.point
    fullest = max(point.memory, key=lambda rank: _held(rank, point, instance))
    return Candidate(
        **_degrees(column.layout, column.footprint.gpu_type),
        dp=plan.replicas,
        span=column.footprint.span,
        gpus=plan.gpus,
        fits=True,
        meets=plan.meets,
        chosen=chosen,
        concurrency=point.concurrency,
        ttft_s=point.ttft_s,
        tpot_s=point.tpot_s,
        output_tokens_per_s=plan.tokens_per_s(instance),
        memory_bytes=_held(fullest, point, instance),
        capacity_bytes=fullest.capacity_bytes,
        kv_tokens=fullest.kv_tokens,
        prefill=asdict(point.breakdown.prefill),
        decode=asdict(point.breakdown.decode),
        why="" if best is None or plan is best else loses_on(instance, plan, best),
    )


def _degrees(layout: Layout, gpu_type: str) -> dict[str, int | str]:
    return {
        "tp": layout.tp, "pp": layout.pp, "ep": layout.ep, "weights": layout.weights, "kv_cache": layout.kv_cache,
        "gpu_type": gpu_type,
    }  # fmt: skip


def _held(rank: RankMemory, point: Estimate, instance: Instance) -> int:
    """Return the bytes a rank holds under this load, KV of its mean resident tokens included."""
    tokens = point.concurrency * (instance.workload.isl.mean + instance.workload.osl.mean / 2)
    kv = tokens * rank.kv_bytes_per_token + point.concurrency * rank.kv_bytes_per_sequence
    return round(rank.weights_bytes + rank.activation_bytes + rank.overhead_bytes + kv)


def _refused(shapes: Iterable[Shape], plans: Mapping[Key, Uniform | None]) -> list[Candidate]:
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


def loses_on(instance: Instance, plan: Uniform, best: Uniform) -> str:
    """Return what a layout loses on against the best one: by how much, and the cause that adds most of it."""
    mine, its = plan.column.point, best.column.point
    match instance.objective:
        case "latency" | "ttft":
            seconds = (mine.tpot_s, its.tpot_s) if instance.objective == "latency" else (mine.ttft_s, its.ttft_s)
            amount = f"{seconds[0] / seconds[1] - 1:+.0%} {'TPOT' if instance.objective == 'latency' else 'TTFT'}"
        case "gpus" | "cost":
            amount = f"{plan.gpus - best.gpus:+d} GPUs"
        case "throughput":
            amount = f"{plan.tokens_per_s(instance) / best.tokens_per_s(instance) - 1:+.0%} tokens/s"
    if not plan.meets and instance.objective != "throughput":
        amount = "cannot meet the demand here"
    return f"{amount}: {_cause(plan.column, best.column, instance)}"


def _cause(mine: Column, its: Column, instance: Instance) -> str:
    """Return the part of the work that costs most more GPU time than in the best layout."""
    osl = instance.workload.osl.mean
    ours, theirs = _gpu_seconds(mine, osl), _gpu_seconds(its, osl)
    (phase, part), most = max(((key, ours[key] - theirs[key]) for key in ours), key=lambda item: item[1])
    if most > 0:
        return f"{part} in {phase}, +{show_seconds(most)} of GPU time per output token"
    fewer = mine.point.concurrency / mine.gpus < its.point.concurrency / its.gpus
    return "fewer requests in flight per GPU" if fewer else "GPUs left idle"


def _gpu_seconds(column: Column, osl: int) -> dict[tuple[str, str], float]:
    """Return GPU time per output token by phase and cause; micro-batches keep all stages of a pipeline busy."""
    point, busy_gpus = column.point, column.gpus / column.layout.pp
    phases = (("decode", point.breakdown.decode, point.concurrency), ("prefill", point.breakdown.prefill, osl))
    return {
        (name, part): seconds * busy_gpus / tokens
        for name, breakdown, tokens in phases
        for part, seconds in asdict(breakdown).items()
    }
