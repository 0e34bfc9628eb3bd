"""From a request to priced columns: all that is known before anything is chosen."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from optimizer.cost.mixtures import mixtures
from optimizer.cost.orders import Place
from optimizer.cost.shapes import Market, Prices, Shape, shapes
from optimizer.cost.shortfall import shortfall, smallest_replica
from optimizer.errors import InfeasibleError, InputError
from optimizer.formulation.columns import Column, columns_of
from optimizer.formulation.dominance import essential
from optimizer.formulation.instance import Instance, Load
from optimizer.formulation.partners import with_partners
from optimizer.inputs.cluster import ClusterSpec
from optimizer.inputs.service import Service
from optimizer.inputs.workload import Role, WorkloadSpec
from optimizer.layout import Layout, layouts, parse_label, refuses_hand_over
from optimizer.pipeline.markets import Reuse, markets, runnable
from optimizer.pipeline.refused import no_pair, refused, weights_of, why_not
from optimizer.pipeline.request import Progress, Request
from optimizer.pipeline.scope import Unknown, granted, mixed_scope, scope, untried
from optimizer.pipeline.usable import classes_of, usable_gpus, without
from optimizer.topology.classes import NodeClass
from optimizer.topology.graph import Topology, build

MULTIPLE = 4
"""Replicas of up to so many times the GPUs of the smallest that fits are tried; more GPUs only add stages to it."""

ALWAYS_TRIED = 16
"""Replicas of up to so many GPUs are tried in any case."""

LARGEST_SOUGHT = 128
"""GPUs up to which the smallest replica that fits is sought."""

Markets = Mapping[tuple[int, Role], Market]
"""What prices are made from, by service and role."""


Known = dict[tuple[int, Role], Prices]
"""Prices so far, by service and role."""


@dataclass(frozen=True)
class Prepared:
    """All that is known before anything is chosen."""

    topology: Topology
    classes: tuple[NodeClass, ...]
    markets: Markets
    shapes: tuple[Shape, ...]
    columns: tuple[Column, ...]
    """Undominated ones are left to the solver; these are all."""
    instance: Instance
    scope: tuple[str, ...]
    """Limits on the replicas that were tried, where they bind."""
    prices: Known
    """Of use to the same question on a cluster with other seats."""


@dataclass(frozen=True)
class _Offer:
    """What one model in one role may be: the layouts that were tried on each GPU type, and their shapes priced."""

    market: Market
    tried: Mapping[str, Sequence[Layout]]
    shapes: tuple[Shape, ...]
    notes: tuple[str, ...] = ()
    """Which GPU types the engine does not run on, and which pipelines over several were tried."""


def prepare(
    request: Request,
    progress: Progress,
    labels: Sequence[str] | None = None,
    prices: Known | None = None,
    *,
    told: bool = True,
    reuse: Reuse = "none",
) -> Prepared:
    """Return topology, prices and columns; InfeasibleError when a model has no shape with an admissible point.

    ``prices`` are those of the same services on the same GPU types in a cluster with other seats; new ones are added.
    ``told``: whether that error says what is near, which may take longer than all prices. ``reuse``: what else the
    answer is asked.
    """
    _refuse_open_survival(request)
    cluster = without(request.cluster, request.exclude)
    topology = build(cluster)
    classes = classes_of(topology)
    usable, unknown = usable_gpus(topology), Unknown()
    prices = {} if prices is None else prices
    offers = [
        _offer(request.of(number), topology, classes, market, labels, progress, unknown, prices)
        for number, service in enumerate(request.services)
        for market in markets(request, cluster, number, service, reuse)
    ]
    shapes = tuple(shape for offer in offers for shape in offer.shapes)
    columns = with_partners(in_pairs(columns_of(topology, classes, shapes, _prices(request))), _loads(request))
    if (unserved := _unserved(offers, columns)) is not None:
        raise _inadmissible(unserved, cluster, usable, unknown) if told else InfeasibleError("nothing is admissible")
    instance = _instance(request, topology, classes, columns)
    return Prepared(
        topology=topology,
        classes=classes,
        markets={(offer.market.service, offer.market.role): offer.market for offer in offers},
        shapes=shapes,
        columns=columns,
        instance=replace(instance, columns=essential(instance)),
        scope=(*_scope(request, topology, classes, offers, usable, named=bool(labels)), *unknown.notes()),
        prices=prices,
    )


def _unserved(offers: Sequence[_Offer], columns: Sequence[Column]) -> list[_Offer] | None:
    """Return what was offered of the first model that has no column, by role; None where each has one."""
    served = {column.service for column in columns}
    lacking = [offer for offer in offers if offer.market.service not in served]
    return [offer for offer in lacking if offer.market.service == lacking[0].market.service] or None


def _scope(
    request: Request,
    topology: Topology,
    classes: Sequence[NodeClass],
    offers: Sequence[_Offer],
    usable: Mapping[str, int],
    *,
    named: bool,
) -> tuple[str, ...]:
    """Return the limits on the replicas that were tried; ``named``: their layouts were named one by one."""
    tried = {t: [layout for offer in offers for layout in offer.tried.get(t, ())] for t in usable}
    return (
        *scope(topology, classes, tried, usable),
        *dict.fromkeys(note for offer in offers for note in offer.notes),
        *([] if named else untried(request, [offer.market.role for offer in offers], tried)),
    )


def _instance(
    request: Request, topology: Topology, classes: tuple[NodeClass, ...], columns: tuple[Column, ...]
) -> Instance:
    """Return what may be chosen of all columns."""
    return Instance(
        classes=classes,
        columns=columns,
        loads=_loads(request),
        objective=request.objective,
        max_gpus=request.max_gpus,
        replicas=request.fix.get("dp"),
        then=request.then,
        survive=request.survive,
        own_nics=tuple(_own_nics(topology, c.nodes[0]) for c in classes) if request.survive == "nic" else (),
    )


def _loads(request: Request) -> tuple[Load, ...]:
    return tuple(Load(service.workload, service.weight) for service in request.services)


def asked_with(known: Prepared, workload: WorkloadSpec) -> Prepared:
    """Return what is known of a single model with another load or other objectives on the same prices."""
    instance = replace(known.instance, loads=(replace(known.instance.loads[0], workload=workload),))
    markets = {key: replace(market, workload=workload) for key, market in known.markets.items()}
    return replace(known, instance=instance, markets=markets)


def _refuse_open_survival(request: Request) -> None:
    """Raise InputError where what a failure leaves is no sum over replicas but the least of phases or of models."""
    apart = [service for service in request.services if set(service.workload.roles) != {"both"}]
    if request.survive is None or not (apart or request.more):
        return
    if request.objective == "throughput":
        what = "several models" if request.more else "prefill and decode apart"
        raise InputError(f"--survive: throughput after a failure is not planned with {what}; ask for a request_rate "
                         "and the objective gpus or cost")  # fmt: skip
    if any(service.workload.request_rate is None for service in apart):
        raise InputError("--survive: prefill and decode apart are held to a rate; give request_rate in the workload")


def _offer(
    request: Request,
    topology: Topology,
    classes: Sequence[NodeClass],
    market: Market,
    labels: Sequence[str] | None,
    progress: Progress,
    unknown: Unknown,
    prices: Known,
) -> _Offer:
    """Return what was tried and priced for one model in one role; InfeasibleError when the engine admits no layout."""
    there = usable_gpus(topology)
    usable = runnable(market, there)
    tried = {t: _layouts(request, market.role, _largest(request, market, t, n), labels) for t, n in usable.items()}
    if not any(tried.values()):
        raise refused(request, labels, max(usable.values()))
    for why in why_not(request, labels, max(usable.values())) if labels else ():
        progress(why)
    known = prices.setdefault((market.service, market.role), {})
    priced = tuple(shapes(topology, classes, tried, market, unknown.add, known))
    if not priced and unknown.sizes:
        raise InputError(unknown.notes()[0])
    what = "" if market.role == "both" else f" for {market.role}"
    progress(f"{request.model.name}: {len(priced)} shapes of {sum(map(len, tried.values()))} layouts priced{what}")
    idle = tuple(said for gpu_type in sorted(there) if (said := market.refuses(gpu_type)))
    if len(usable) == 1:
        return _Offer(market, tried, priced, idle)
    most = min(sum(usable.values()), LARGEST_SOUGHT, request.max_gpus or LARGEST_SOUGHT)
    place = Place(topology, tuple(classes), market, unknown.add)
    mixed = mixtures(place, lambda: _layouts(request, market.role, most, labels), priced, usable)
    return _Offer(market, tried, (*priced, *mixed.shapes), (*idle, *mixed_scope(mixed)))


def in_pairs(columns: Sequence[Column]) -> tuple[Column, ...]:
    """Return the columns without prefill replicas that no decode replica could take over from, and the reverse."""
    known = {(column.service, column.role) for column in columns}
    pairs = {s for s, role in known if role == "prefill" and (s, "decode") in known}
    return tuple(column for column in columns if column.role == "both" or column.service in pairs)


def _inadmissible(
    offers: Sequence[_Offer], cluster: ClusterSpec, usable: dict[str, int], unknown: Unknown
) -> InfeasibleError:
    """Return why one model has no admissible replica, told of the role that comes first among those without any."""
    lacking = next((offer for offer in offers if not any(shape.points for shape in offer.shapes)), None)
    if lacking is None:
        points = {offer.market.role: [e for shape in offer.shapes for e in shape.points] for offer in offers}
        return no_pair(Service(model=offers[0].market.model, workload=offers[0].market.workload), cluster, points)
    found = shortfall(lacking.shapes, lacking.market, runnable(lacking.market, usable))
    what = "" if lacking.market.role == "both" else f" for {lacking.market.role}"
    return InfeasibleError(
        f"no layout of {lacking.market.model.name} is admissible{what} on cluster {cluster.name}",
        nearest_miss=(*found.misses, *unknown.notes()),
        remedies=found.remedies,
    )


def _largest(request: Request, market: Market, gpu_type: str, gpus: int) -> int:
    """Return the GPUs of the largest replica that is tried: a multiple of the smallest that fits, or what was fixed."""
    weights, kv = weights_of(request), request.workload.kv_cache
    smallest = smallest_replica(market, gpu_type, min(gpus, LARGEST_SOUGHT), weights, kv)
    reach = max(ALWAYS_TRIED, MULTIPLE * smallest.world_size) if smallest else LARGEST_SOUGHT
    fixed = math.prod(request.fix.get(degree, 1) for degree in ("tp", "pp", "attn_dp", "pcp"))
    return min(gpus, max(reach, fixed), request.max_gpus or gpus)


def _own_nics(topology: Topology, node: str) -> bool:
    """Return whether no NIC of a node is the nearest of two GPUs, so that its loss breaks one replica."""
    graph = topology.graph.nodes
    serving = [nic for gpu in topology.node(node).gpus if topology.gpu(gpu).placeable for nic in graph[gpu]["nics"]]
    return len(serving) == len(set(serving))


def _layouts(request: Request, role: Role, gpus: int, labels: Sequence[str] | None) -> tuple[Layout, ...]:
    """Return the admissible layouts that agree with what was fixed or named."""
    model, load = request.model, request.workload
    found: list[Layout] = []
    fixed = {key: n for key, n in request.fix.items() if key != "dp"}
    for degrees in [granted(request, role)] if labels is None else [parse_label(label) or {} for label in labels]:
        if all(fixed.get(key, n) == n for key, n in degrees.items()):
            wanted = {**degrees, **fixed}
            found += layouts(
                model, gpus, weights=weights_of(request), kv=load.kv_cache, engine=load.engine.name, fixed=wanted
            )
    able = (layout for layout in found if refuses_hand_over(layout, load.engine.name, role) is None)
    return tuple(dict.fromkeys(sorted(able, key=lambda layout: (layout.world_size, layout.pp))))


def _prices(request: Request) -> dict[str, float]:
    """Return the price of each GPU type; InputError when cost is the objective and one is missing."""
    prices = {gpu_type: amount for gpu_type, (amount, _) in request.cluster.prices.items()}
    missing = sorted(set(request.cluster.gpus) - set(prices))
    currencies = {currency for _, currency in request.cluster.prices.values()}
    if "cost" in (request.objective, *request.then) and (missing or len(currencies) > 1):
        what = f"no price of {', '.join(missing)}" if missing else f"several currencies {sorted(currencies)}"
        raise InputError(f'cluster {request.cluster.name}: prices: {what}; give each as "3.50 USD/h"')
    return prices
