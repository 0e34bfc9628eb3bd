"""Candidates: what each layout alone would give on the same cluster, beside the plan that was chosen."""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from optimizer.cost.quantities import Estimate, RankMemory
from optimizer.cost.shapes import Shape
from optimizer.errors import NoAnswerError
from optimizer.formulation.alone import Alone, alone
from optimizer.formulation.columns import Column
from optimizer.formulation.instance import Instance, phase_order
from optimizer.inputs.workload import Role, WorkloadSpec
from optimizer.layout import Layout, split_layers
from optimizer.plan import Candidate, Replica
from optimizer.topology.footprints import Footprint
from optimizer.units import show_seconds

SAME_TOKENS = 0.0005
"""Of the tokens: less is not told as a loss."""

Key = tuple[int, Role, Layout, str]
"""A service, a role, and a layout on a GPU type."""


def candidates(
    instance: Instance,
    shapes: Sequence[Shape],
    columns: Iterable[Column],
    chosen: Sequence[Replica] = (),
    until_s: float = math.inf,
) -> tuple[Candidate, ...]:
    """Return one candidate for each layout and GPU type, best first; those without any admissible point come last.

    Where there are several models or roles, each is looked at by itself, as if the cluster were all its own.
    ``until_s``: monotonic seconds after which no more layouts are looked at; the others are left out.
    """
    by_key: dict[Key, list[Column]] = {}
    for column in columns:
        by_key.setdefault(_key(column.shape), []).append(column)
    plans = _looked_at(instance, by_key, until_s)
    used = {(r.service, r.role, r.layout, r.gpu_type) for r in chosen}
    rows: list[Candidate] = []
    for asked in sorted({key[:2] for key in by_key}, key=phase_order):
        known = [(key, plan) for key, plan in plans.items() if plan and key[:2] == asked]
        ranked = sorted(known, key=lambda item: (*_rank(instance, item[1]), item[0]))
        rows += [_row(instance, plan, ranked[0][1], chosen=key in used) for key, plan in ranked]
    return (*rows, *_refused(instance, (one for one in shapes if not one.points or _key(one) in plans), plans))


def _looked_at(instance: Instance, by_key: Mapping[Key, Sequence[Column]], until_s: float) -> dict[Key, Alone | None]:
    """Return the plan of each layout by itself that there is time for."""
    plans: dict[Key, Alone | None] = {}
    for key, own in by_key.items():
        if time.monotonic() >= until_s:
            break
        try:
            plans[key] = alone(instance, own, until_s)
        except NoAnswerError:
            continue
    return plans


def _key(shape: Shape) -> Key:
    return shape.service, shape.role, shape.layout, shape.footprint.gpu_type


def _rank(instance: Instance, plan: Alone) -> tuple[float, ...]:
    """Return what is to be minimised, in order: shortfall, objective, tie-break."""
    if instance.objective == "throughput":
        return (instance.survive is not None and not plan.meets, -plan.tokens_per_s, plan.gpus)
    tie = plan.gpus if instance.objective in ("latency", "ttft") else -plan.tokens_per_s
    return (not plan.meets, plan.value, tie)


def _row(instance: Instance, plan: Alone, best: Alone, *, chosen: bool) -> Candidate:
    """Return a layout's replicas as a row; latencies are those of the slowest."""
    column, point, load = plan.column, plan.column.point, instance.loads[plan.column.service].workload
    requests = point.concurrency / column.layout.attn_dp
    fullest = max(point.memory, key=lambda rank: _held(rank, requests, load))
    return Candidate(
        service=column.service,
        role=column.role,
        **_degrees(column.layout, column.footprint),
        dp=plan.replicas,
        span=column.footprint.span,
        gpus=plan.gpus,
        fits=True,
        meets=plan.meets,
        chosen=chosen,
        concurrency=point.concurrency,
        ttft_s=max(c.point.ttft_s for c, _ in plan.copies),
        tpot_s=max(c.point.tpot_s for c, _ in plan.copies),
        output_tokens_per_s=plan.tokens_per_s,
        memory_bytes=_held(fullest, requests, load),
        capacity_bytes=fullest.capacity_bytes,
        kv_tokens=fullest.kv_tokens,
        prefill=asdict(point.breakdown.prefill),
        decode=asdict(point.breakdown.decode),
        request=asdict(point.breakdown.request),
        why="" if plan is best else loses_on(instance, plan, best),
    )


def _degrees(layout: Layout, footprint: Footprint) -> dict[str, Any]:
    told = {
        "tp": layout.tp, "pp": layout.pp, "ep": layout.ep, "attn_dp": layout.attn_dp, "dcp": layout.dcp,
        "pcp": layout.pcp, "weights": layout.weights, "kv_cache": layout.kv_cache,
        "gpu_type": footprint.gpu_type, "gpu_types": footprint.gpu_types,
    }  # fmt: skip
    split = layout.layers_per_stage
    return told if split == split_layers(sum(split), layout.pp) else told | {"layers_per_stage": split}


def _held(rank: RankMemory, requests: float, load: WorkloadSpec) -> int:
    """Return the bytes a rank holds with so many requests, KV of their mean resident tokens included."""
    tokens = requests * (load.isl.mean + load.osl.mean / 2)
    kv = tokens * rank.kv_bytes_per_token + requests * rank.kv_bytes_per_sequence
    return round(rank.weights_bytes + rank.activation_bytes + rank.overhead_bytes + kv)


def _refused(instance: Instance, shapes: Iterable[Shape], plans: Mapping[Key, Alone | None]) -> list[Candidate]:
    """Return the layouts that have no admissible point, with the reason, nearest first."""
    nearest: dict[Key, Shape] = {}
    for shape in shapes:
        if plans.get(_key(shape)) is None:
            nearest.setdefault(_key(shape), shape)
    return [
        Candidate(
            service=service,
            role=role,
            **_degrees(layout, shape.footprint),
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
            why="; ".join(shape.miss.reasons[:1]) or _too_late(shape.miss, instance.loads[service].workload),
        )
        for (service, role, layout, _), shape in nearest.items()
    ]


def _too_late(miss: Estimate, load: WorkloadSpec) -> str:
    """Return which objective is missed and by how much, at the point that comes nearest."""
    pairs = (("TTFT", miss.ttft_slo_s, load.slo.ttft), ("TPOT", miss.tpot_slo_s, load.slo.tpot))
    at = f" at p{load.slo.percentile:g}" if load.slo.percentile else ""
    told = [
        f"{name} {show_seconds(seconds)}{at}, {show_seconds(bound)} is asked for"
        for name, seconds, bound in pairs
        if bound is not None and seconds > bound
    ]
    return " and ".join(told) or "there is no room for its ranks beside what is reserved"


def loses_on(instance: Instance, plan: Alone, best: Alone) -> str:
    """Return what a layout loses on against the best one: by how much, and the cause that adds most of it."""
    mine, its = plan.column.point, best.column.point
    match instance.objective:
        case "latency" | "ttft":
            decodes = instance.objective == "latency" and its.tpot_s > 0
            seconds = (mine.tpot_s, its.tpot_s) if decodes else (mine.ttft_s, its.ttft_s)
            amount = f"{seconds[0] / seconds[1] - 1:+.1%} {'TPOT' if decodes else 'TTFT'}"
        case "energy":
            amount = f"{plan.value - best.value:+,.0f} W of TDP"
        case "cost":
            dearer = plan.value / best.value - 1 if best.value else 0.0
            amount = f"{dearer:+.1%} cost" if dearer else "as dear"
        case "gpus":
            amount = f"{plan.gpus - best.gpus:+d} GPUs" if plan.gpus != best.gpus else "as many GPUs"
        case "throughput":
            lost = plan.tokens_per_s / best.tokens_per_s - 1
            same = abs(lost) < SAME_TOKENS and plan.gpus != best.gpus
            amount = f"{plan.gpus - best.gpus:+d} GPUs for the same tokens/s" if same else f"{lost:+.1%} tokens/s"
    if not plan.meets and instance.objective != "throughput":
        amount = "cannot meet the demand here"
    return f"{amount}: {_idle(plan, best) or _cause(plan.column, best.column, instance)}"


def _idle(plan: Alone, best: Alone) -> str | None:
    """Return that GPUs stay idle when they account for most of the lost tokens, else None."""
    idle = best.gpus - plan.gpus
    lost = 1 - plan.tokens_per_s / best.tokens_per_s
    return f"{idle} of {best.gpus} GPUs stay idle" if idle > 0 and idle / best.gpus >= lost / 2 else None


def _cause(mine: Column, its: Column, instance: Instance) -> str:
    """Return the cause that takes most longer than in the best layout: in a step, or in GPU time per output token."""
    if instance.objective in ("latency", "ttft"):
        return _later(mine.point, its.point, decodes=instance.objective == "latency" and its.point.tpot_s > 0)
    osl = instance.loads[mine.service].workload.osl.mean
    ours, theirs = _gpu_seconds(mine, osl), _gpu_seconds(its, osl)
    part, most = max(((key, ours[key] - theirs[key]) for key in ours), key=lambda item: item[1])
    if most > 0:
        return f"{part}, +{show_seconds(most)} of GPU time per output token"
    return "fewer requests in flight per GPU"


def _later(mine: Estimate, its: Estimate, *, decodes: bool) -> str:
    """Return the cause that makes a step longer, or that the difference is mostly in waiting for other requests."""
    phase, name = ("decode", "tpot_s") if decodes else ("prefill", "ttft_s")
    here, there = (asdict(getattr(point.breakdown, phase)) for point in (mine, its))
    part, most = max(((key, here[key] - there[key]) for key in here), key=lambda item: item[1])
    if most < (getattr(mine, name) - getattr(its, name)) / 2:
        return "longer waits for other requests"
    return f"{part}, +{show_seconds(most)} in a {phase} step"


def _gpu_seconds(column: Column, osl: int) -> dict[str, float]:
    """Return GPU time per output token by cause; together it is the GPUs over the tokens/s they give."""
    request = asdict(column.point.breakdown.request)
    return {part: seconds * column.gpus / osl for part, seconds in request.items()}
