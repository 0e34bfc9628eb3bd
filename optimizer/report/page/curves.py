"""How a chosen layout does at other loads, and what keeps it from more: prices beside the chosen point."""

from collections.abc import Iterator
from dataclasses import dataclass

from optimizer.compare import ReplicaGroup, replica_groups, service_names, service_of, workload_of
from optimizer.cost.options import concurrencies, meets_slo, numbers_above
from optimizer.cost.quantities import Estimate
from optimizer.cost.shapes import Market
from optimizer.inputs import presets
from optimizer.plan import Plan
from optimizer.report.loads import stages_of
from optimizer.topology.bandwidth import capacity
from optimizer.topology.exits import role_wiring
from optimizer.topology.graph import Topology
from optimizer.units import show_bytes_per_s, show_number, show_seconds

NEAR = 0.98
"""Of a bound: from here on it is said to bind."""


@dataclass(frozen=True)
class Curve:
    """Equal replicas priced at every step of the ladder that fits their memory, and next to the chosen point."""

    group: ReplicaGroup
    points: tuple[Estimate, ...]
    """By requests in flight in one replica, the chosen one among them."""
    beyond: Estimate | None
    """The first point that does not fit, None when the engine's limit comes first."""
    limit: int
    """Requests that the engine keeps in flight at most."""


def curves(plan: Plan, topology: Topology) -> tuple[Curve, ...]:
    """Return one curve for each group of equal replicas."""
    used = {name: plan.inputs.cluster.gpus[name] for r in plan.replicas for name in sorted(r.gpus_of_type)}
    calibrations = {name: presets.calibration_of(plan.inputs.cluster, name) for name in used}
    found = []
    for group in replica_groups(plan):
        one, service = group.one, service_of(plan, group.one)
        engine = presets.load_engine(one.engine.name)
        market = Market(service.model, service.workload, engine, used, calibrations, one.service, one.role)
        found.append(_curve(topology, market, group))
    return tuple(found)


def _curve(topology: Topology, market: Market, group: ReplicaGroup) -> Curve:
    one = group.one
    paths, shared = role_wiring(topology, stages_of(one), one.share, one.role), one.attn_dp
    price = market.price(one.layout, one.gpu_type, paths, one.estimate.batched_tokens)
    limit = max(market.limit(*one.gpus_of_type) * shared, one.estimate.concurrency)
    points, beyond = [], None
    steps, chosen = concurrencies(market.workload, limit, attention_replicas=shared), one.estimate.concurrency
    for concurrency in sorted({*steps, chosen, *numbers_above(steps, chosen, attention_replicas=shared)}):
        priced = one.estimate if concurrency == chosen else price(concurrency)
        if not priced.fits:
            beyond = priced
            break
        points.append(priced)
    return Curve(group, tuple(points), beyond, limit)


def binds(plan: Plan, topology: Topology, found: tuple[Curve, ...]) -> tuple[str, ...]:
    """Return what keeps the plan from more, in words."""
    said = [line for curve in found for line in _limits(plan, curve)]
    return (*said, *_boundaries(plan, topology), *_demand(plan), *_gpus(plan, topology))


def _limits(plan: Plan, curve: Curve) -> Iterator[str]:
    """Yield why a replica of the group does not take more requests, and where its decode step spends its time."""
    label, now = curve.group.label, curve.group.one.estimate
    more = next((point for point in curve.points if point.concurrency > now.concurrency), None)
    if more is None and curve.beyond is not None:
        yield f"{label}: memory binds: {curve.beyond.concurrency} requests do not fit: {curve.beyond.reasons[0]}"
    elif more is None:
        yield f"{label}: the engine's limit binds: max_num_seqs {curve.limit} by default on this GPU"
    elif not meets_slo(more, workload_of(plan, curve.group.one)):
        times = f"TTFT {show_seconds(more.ttft_s)}" + (f", TPOT {show_seconds(more.tpot_s)}" if more.tpot_s else "")
        yield f"{label}: the service objectives bind: {more.concurrency} requests would have {times}"
    phase = "prefill" if curve.group.one.role == "prefill" else "decode"
    parts = getattr(now.breakdown, phase)
    causes = {name: getattr(parts, name) for name in ("gemm", "attention", "collectives", "pipeline", "overhead")}
    name, seconds = max(causes.items(), key=lambda cause: cause[1])
    yield f"{label}: most of a {phase} step is {name}: {show_seconds(seconds)} of {show_seconds(parts.total)}"


def _boundaries(plan: Plan, topology: Topology) -> Iterator[str]:
    """Yield shared links that are set aside as a whole."""
    reserved: dict[str, float] = {}
    for replica in plan.replicas:
        for one in replica.reservations:
            reserved[one.domain] = reserved.get(one.domain, 0.0) + one.bytes_per_s
    full = [name for name, rate in reserved.items() if rate >= NEAR * capacity(topology, name)]
    if full:
        first = f"{full[0]} with {show_bytes_per_s(reserved[full[0]])}"
        yield f"bandwidth: {len(full)} of {len(reserved)} boundaries crossed are set aside as a whole ({first})"


def _demand(plan: Plan) -> Iterator[str]:
    """Yield the models of which all that is asked for is served."""
    names, services = service_names(plan.inputs.services), plan.inputs.services
    rates = {one.service: one.requests_per_s for one in plan.totals.services} or {0: plan.totals.requests_per_s}
    for number, served in rates.items():
        rate = services[number].workload.request_rate
        if rate is not None and served >= NEAR * rate:
            of = f" of {names[number]}" if plan.inputs.more else ""
            yield f"demand: all of the {show_number(rate)} requests/s asked for{of} are served; more would not count"


def _gpus(plan: Plan, topology: Topology) -> Iterator[str]:
    usable = sum(gpu.placeable for gpu in topology.gpus)
    left = usable - plan.totals.gpus
    yield f"GPUs: {plan.totals.gpus} of {usable} usable ones hold ranks" + (f", {left} are left" if left else "")
