"""When nothing is admissible: which limit binds, how near the nearest candidate came, and what would help."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from optimizer.cost.memory import fits, ledger
from optimizer.cost.quantities import Estimate, RankMemory
from optimizer.cost.shapes import Market, Shape
from optimizer.inputs.model import Scheme
from optimizer.inputs.workload import KvScheme, WorkloadSpec
from optimizer.layout import Layout, layouts
from optimizer.topology.wiring import ALONE, Wiring
from optimizer.units import show_seconds

LARGEST_REPLICA = 128
"""GPUs up to which a larger replica is looked for."""


@dataclass(frozen=True)
class Shortfall:
    """Why there is no plan, in words with numbers."""

    misses: tuple[str, ...]
    remedies: tuple[str, ...]


def memory_excess(memory: Sequence[RankMemory]) -> float:
    """Return the largest share by which fixed needs exceed the capacity of a rank; negative when all have room."""
    return max((_fixed(rank) - rank.capacity_bytes) / max(1, rank.capacity_bytes) for rank in memory)


def _fixed(rank: RankMemory) -> int:
    return rank.weights_bytes + rank.activation_bytes + rank.overhead_bytes


def shortfall(shapes: Sequence[Shape], market: Market, gpus: dict[str, int]) -> Shortfall:
    """Return the nearest miss among shapes without any admissible point, and what would admit one.

    ``gpus`` counts the usable GPUs of each type.
    """
    too_big = [shape for shape in shapes if not shape.miss.fits]
    if len(too_big) < len(shapes):
        late = [shape for shape in shapes if shape.miss.fits]
        return Shortfall(_late(late, market.workload), _sooner(market.workload))
    nearest = min(too_big, key=lambda s: (memory_excess(s.miss.memory), s.footprint.gpus), default=None)
    misses = ("no layout has room for its ranks on the usable GPUs",) if nearest is None else _missed(nearest)
    return Shortfall(misses, tuple(_room(market, gpus)))


def _missed(shape: Shape) -> tuple[str, ...]:
    label, count = shape.layout.label, shape.footprint.gpus
    return tuple(f"{label} on {count} x {shape.footprint.gpu_type}: {why}" for why in shape.miss.reasons[:2])


def _late(shapes: Sequence[Shape], workload: WorkloadSpec) -> tuple[str, ...]:
    """Return the best that any layout reaches beside each objective."""
    slo, said = workload.slo, []
    for name, bound, value in (("TTFT", slo.ttft, _ttft), ("TPOT", slo.tpot, _tpot)):
        if bound is not None:
            best = min(shapes, key=lambda s: value(s.miss))
            reached, flight = value(best.miss), f"{best.layout.label}, {best.miss.concurrency} in flight"
            if reached > bound:
                at = f" at p{slo.percentile:g}" if slo.percentile else ""
                least, most = show_seconds(reached), show_seconds(bound)
                said.append(f"{name}{at}: the least is {least} ({flight}) against {most}")
    return tuple(said) or ("no layout keeps TTFT and TPOT at the same time",)


def _ttft(estimate: Estimate) -> float:
    return estimate.ttft_slo_s


def _tpot(estimate: Estimate) -> float:
    return estimate.tpot_slo_s


def _sooner(workload: WorkloadSpec) -> tuple[str, ...]:
    said = []
    if workload.slo.ttft is not None:
        said.append("a longer slo.ttft or a shorter isl")
    if workload.slo.tpot is not None:
        said.append("a longer slo.tpot")
    return (*said, "faster GPUs, or fp8 among weights")


def _room(market: Market, gpus: dict[str, int]) -> Iterable[str]:
    """Yield what would make the model fit: more GPUs, or smaller weights and KV on those there are."""
    workload = market.workload
    weights: tuple[Scheme, ...] = workload.weights or (market.model.checkpoint_scheme,)
    for gpu_type, count in gpus.items():
        found = smallest_replica(market, gpu_type, LARGEST_REPLICA, weights, workload.kv_cache)
        if found and found.world_size > count:
            yield f"{found.world_size} x {gpu_type} (there are {count}): {found.label} fits"
        smaller = [w for w in ("fp8", "int4") if w not in weights]
        for scheme in smaller:
            found = smallest_replica(market, gpu_type, count, (scheme,), workload.kv_cache)  # type: ignore[arg-type]
            if found:
                yield f"weights: [{scheme}] in the workload: {found.label} on {found.world_size} x {gpu_type} fits"
                break
        if "fp8" not in workload.kv_cache:
            found = smallest_replica(market, gpu_type, count, weights, ("fp8",))
            if found:
                yield f"kv_cache: [fp8] in the workload: {found.label} on {found.world_size} x {gpu_type} fits"


def smallest_replica(
    market: Market, gpu_type: str, most: int, weights: tuple[Scheme, ...], kv: tuple[KvScheme, ...]
) -> Layout | None:
    """Return the admissible layout with the fewest GPUs whose ranks hold one request.

    Without attention replicas and context parallelism, unless one request takes these.
    """
    engine = market.workload.engine.name
    fewest = {scheme: _fewest_for_weights(market, gpu_type, scheme) for scheme in weights}
    plain = {"attn_dp": 1, "dcp": 1, "pcp": 1}
    for fixed in (plain, {}):
        options = layouts(market.model, most, weights=weights, kv=kv, engine=engine, fixed=fixed)
        for layout in sorted(options, key=lambda option: (option.world_size, option)):
            looked_at = not fixed and all(getattr(layout, degree) == n for degree, n in plain.items())
            if looked_at or layout.world_size < fewest[layout.weights]:
                continue
            if _holds_one(market, gpu_type, layout):
                return layout
    return None


def _fewest_for_weights(market: Market, gpu_type: str, weights: Scheme) -> int:
    """Return the GPUs that one copy of all weights fills; every layout holds at least one."""
    layers = (market.model.num_layers,)
    case = market.case(Layout(1, 1, layers, weights, market.workload.kv_cache[0]), gpu_type, Wiring(ALONE, ()), 1)
    whole = ledger(case, 1, 1.0)[0][0]
    return -(-whole.weights_bytes // max(1, whole.capacity_bytes))


def _holds_one(market: Market, gpu_type: str, layout: Layout) -> bool:
    case = market.case(layout, gpu_type, Wiring(replace(ALONE, ranks=layout.tp), ()), 1)
    return fits(case, 1, market.workload.isl.mean + market.workload.osl.mean)
