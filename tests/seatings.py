"""Every replica on every seat of a small cluster, priced on those very GPUs: what the oracle chooses from.

A replica is seated in every way the engines' rule allows: equally many GPUs on each of its nodes, ranks node by node,
any subset of a node's GPUs and any of them for any stage. GPUs count as equal only when exchanging them maps the
topology's graph onto itself.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations, groupby, pairwise, permutations, product

from optimizer.cost.attention_replicas import misseated
from optimizer.cost.case import Case, Hardware
from optimizer.cost.estimate import estimate
from optimizer.cost.options import between, concurrencies, rate_shares
from optimizer.cost.quantities import Estimate
from optimizer.cost.settings import most_sequences, resolve, version_facts
from optimizer.errors import NoPathError
from optimizer.inputs import presets
from optimizer.inputs.model import ModelSpec
from optimizer.inputs.service import Service
from optimizer.inputs.workload import Role, WorkloadSpec
from optimizer.layout import Layout, layouts, refuses_hand_over
from optimizer.topology.bandwidth import reservations, wiring
from optimizer.topology.exits import kept_free, leaving
from optimizer.topology.graph import Gpu, Topology
from optimizer.topology.shares import Share
from optimizer.topology.wiring import Wiring

SHARES: tuple[Share, ...] = ("fair", "alone")


@dataclass(frozen=True)
class Seated:
    """A replica on its GPUs, at one operating point that fits and meets the objectives."""

    layout: Layout
    gpus: tuple[Gpu, ...]
    share: Share
    reserved: tuple[tuple[str, float], ...]
    estimate: Estimate
    service: int = 0
    role: Role = "both"


def replicas(
    topology: Topology,
    classes: Sequence[tuple[str, ...]],
    model: ModelSpec,
    workload: WorkloadSpec,
    role: Role = "both",
    *,
    first_token: bool = False,
    batched_tokens: Sequence[int | None] = (None,),
) -> Iterator[Seated]:
    """Yield every replica that fits and keeps the objectives, at every operating point, once per class of seats.

    ``first_token``: the objective is TTFT, for which prompts may be split up among ranks. ``batched_tokens``: of a step
    at most, what the engine may be told, None for its own.
    """
    price = _pricer(topology, model, workload, role, batched_tokens)
    schemes = workload.weights or (model.checkpoint_scheme,)
    usable = [gpu for gpu in topology.gpus if gpu.placeable]
    every = layouts(model, len(usable), weights=schemes, kv=workload.kv_cache, engine=workload.engine.name)
    for layout in every:
        if refuses_hand_over(layout, workload.engine.name, role) is not None:
            continue
        if layout.pcp == 1 or role == "prefill" or (role == "both" and (first_token or workload.slo.ttft is not None)):
            for gpus in seatings(usable, classes, layout):
                yield from price(layout, gpus)
    engine = presets.load_engine(workload.engine.name)
    mixes = version_facts(engine, workload.engine.version or engine.latest).several_gpu_types
    for layout in every if mixes and role == "both" else ():
        if layout.attn_dp == layout.dcp == layout.pcp == 1 < layout.pp:
            for gpus in mixed_seatings(usable, classes, layout):
                for split in splits(model.num_layers, layout.pp):
                    yield from price(replace(layout, layers_per_stage=split), gpus)


def splits(layers: int, stages: int) -> Iterator[tuple[int, ...]]:
    """Yield every way to give each stage one layer or more."""
    for cuts in combinations(range(1, layers), stages - 1):
        yield tuple(end - first for first, end in zip((0, *cuts), (*cuts, layers), strict=True))


def of_services(
    topology: Topology,
    classes: Sequence[tuple[str, ...]],
    services: Sequence[Service],
    *,
    first_token: bool = False,
) -> Iterator[Seated]:
    """Yield every replica of every service in every role that its workload allows."""
    for number, service in enumerate(services):
        for role in service.workload.roles:
            for one in replicas(topology, classes, service.model, service.workload, role, first_token=first_token):
                yield replace(one, service=number)


def _pricer(
    topology: Topology, model: ModelSpec, workload: WorkloadSpec, role: Role, batched_tokens: Sequence[int | None]
) -> Callable[[Layout, tuple[Gpu, ...]], Iterator[Seated]]:
    """Return a function from a layout on seats to its admissible operating points; equal wirings are priced once."""
    choice = workload.engine
    engine = presets.load_engine(choice.name)
    facts = version_facts(engine, choice.version or engine.latest)
    surely = workload.model_copy(update={"margin": 0.0})

    @cache
    def hardware(gpu_type: str) -> Hardware:
        spec = topology.cluster.gpus[gpu_type]
        return Hardware(spec, presets.load_calibration(spec))

    @cache
    def points(layout: Layout, gpu_types: tuple[str, ...], paths: Wiring) -> tuple[Estimate, ...]:
        specs = [topology.cluster.gpus[gpu_type] for gpu_type in gpu_types]
        spec = min(specs, key=lambda one: one.memory)
        first, *further = map(hardware, gpu_types)
        most, shared = choice.max_num_seqs or most_sequences(facts, spec), layout.attn_dp
        ladder = concurrencies(workload, most * shared, attention_replicas=shared)

        def price(n: int, tokens: int | None) -> Estimate:
            settings = resolve(
                choice, engine, spec, model, workload, math.ceil(n / shared), gpus=layout.world_size,
                prefill_ranks=layout.pcp, max_num_batched_tokens=tokens,
            )  # fmt: skip
            case = Case(model, layout, first.gpu, paths, settings, facts, first.calibration, tuple(further))
            return _worse(estimate(case, surely, n, role), workload.margin)

        def admissible(steps: Iterable[int], tokens: int | None) -> Iterator[Estimate]:
            for n in steps:
                point = price(n, tokens)
                if not all(rank.fits for rank in point.memory):
                    return  # more requests need more memory
                if point.fits and _keeps_slo(point, workload):
                    yield point

        def largest(low: int, tokens: int | None) -> list[Estimate]:
            """Return the last of the finer numbers up to the next of the ladder, before one that is not admissible."""
            above = [n for n in ladder if n > low]
            finer = between(low, above[0], attention_replicas=shared) if low and above else range(0)
            kept = zip(finer, admissible(finer, tokens), strict=False)
            return [point for n, point in kept if n == point.concurrency][-1:]

        def carrying(rate: float, here: Sequence[Estimate]) -> Iterator[Estimate]:
            """Yield the point of fewest requests in flight that carries a rate, between two of which only one does."""
            for less, more in pairwise(here):
                if less.requests_per_s < rate <= more.requests_per_s:
                    finer = between(less.concurrency, more.concurrency, attention_replicas=shared)
                    yield from [p for p in admissible(finer, None) if p.requests_per_s >= rate][:1]

        shares = rate_shares(workload) if workload.roles == ("both",) else ()
        usual: dict[int, Estimate] = {}
        found: list[Estimate] = []
        for tokens in batched_tokens:
            here = [*admissible(sorted({*ladder, *usual}), tokens)]
            top = max([point.concurrency for point in here], default=0)
            here += largest(top, tokens) if top >= max(usual, default=0) else []
            if tokens is None:
                here += [point for rate in shares for point in carrying(rate, tuple(here))]
                usual = {point.concurrency: point for point in here}
            found += here
        return tuple(found)

    @cache
    def ways(stages: tuple[tuple[str, ...], ...]) -> tuple[tuple[Share, Wiring, tuple[tuple[str, float], ...]], ...]:
        found = []
        for share in SHARES:
            try:
                found.append((share, *_paths(topology, stages, share, role)))
            except NoPathError:
                break
            if not found[-1][2]:
                break
        return tuple(found)

    def price(layout: Layout, gpus: tuple[Gpu, ...]) -> Iterator[Seated]:
        ids, size = tuple(gpu.id for gpu in gpus), layout.ranks_per_stage
        for share, paths, reserved in ways(tuple(ids[first : first + size] for first in range(0, len(ids), size))):
            if misseated(
                topology, [ids[first : first + size] for first in range(0, len(ids), size)], layout, paths.group
            ):
                continue
            runs = tuple(gpu_type for gpu_type, _ in groupby(gpu.type for gpu in gpus))
            for point in points(layout, runs, paths):
                yield Seated(layout, gpus, share, reserved, point, role=role)

    return price


def _paths(
    topology: Topology, stages: tuple[tuple[str, ...], ...], share: Share, role: Role
) -> tuple[Wiring, tuple[tuple[str, float], ...]]:
    """Return the paths of a replica and what they set aside; KV leaves or enters one that does a single phase."""
    paths = wiring(topology, stages, share)
    if role == "both":
        return paths, reservations(topology, stages, share)
    return replace(paths, exit=leaving(topology, stages, share)), kept_free(topology, stages, share)


def _worse(e: Estimate, margin: float) -> Estimate:
    """Return a price with everything that may be mispredicted so much worse."""
    less, more = 1 - margin, 1 + margin
    return replace(e, requests_per_s=e.requests_per_s * less, output_tokens_per_s=e.output_tokens_per_s * less,
                   ttft_s=e.ttft_s * more, tpot_s=e.tpot_s * more, ttft_slo_s=e.ttft_slo_s * more,
                   tpot_slo_s=e.tpot_slo_s * more, transfer_s=e.transfer_s * more)  # fmt: skip


def _keeps_slo(e: Estimate, workload: WorkloadSpec) -> bool:
    return e.ttft_slo_s <= (workload.slo.ttft or math.inf) and e.tpot_slo_s <= (workload.slo.tpot or math.inf)


def seatings(usable: Sequence[Gpu], classes: Sequence[tuple[str, ...]], layout: Layout) -> Iterator[tuple[Gpu, ...]]:
    """Yield the GPUs of all ranks in every way the engines' rule allows, once for equal GPUs."""
    kind = {gpu: index for index, ids in enumerate(classes) for gpu in ids}
    for gpu_type in sorted({gpu.type for gpu in usable}):
        by_node: dict[str, list[Gpu]] = {}
        for gpu in usable:
            if gpu.type == gpu_type:
                by_node.setdefault(gpu.node, []).append(gpu)
        for nodes in range(1, len(by_node) + 1):
            if layout.world_size % nodes == 0:
                for chosen in permutations(by_node.values(), nodes):
                    yield from _filled(chosen, layout, kind, 0)


def mixed_seatings(
    usable: Sequence[Gpu], classes: Sequence[tuple[str, ...]], layout: Layout
) -> Iterator[tuple[Gpu, ...]]:
    """Yield the GPUs of all ranks where stages sit on several types, those of one type in a row.

    Every node holds equally many, or each type has nodes of its own and equally many on each of them.
    """
    kind = {gpu: index for index, ids in enumerate(classes) for gpu in ids}
    by_node: dict[str, list[Gpu]] = {}
    for gpu in usable:
        by_node.setdefault(gpu.node, []).append(gpu)
    names = sorted({gpu.type for gpu in usable})
    for order in (o for n in range(2, min(3, layout.pp) + 1) for o in permutations(names, n)):
        for counts in splits(layout.pp, len(order)):
            runs = [n * layout.ranks_per_stage for n in counts]
            types = [t for t, n in zip(order, runs, strict=True) for _ in range(n)]
            for sizes in _dealt(layout.world_size, runs, len(by_node)):
                for chosen in permutations(by_node.values(), len(sizes)):
                    yield from _typed(chosen, sizes, types, layout, kind)


def _dealt(ranks: int, runs: Sequence[int], nodes: int) -> set[tuple[int, ...]]:
    """Return how many ranks each node holds: equally many, or each run over some nodes of its own."""
    equal = [(ranks // n,) * n for n in range(1, nodes + 1) if ranks % n == 0]
    each = [[(run // n,) * n for n in range(1, nodes + 1) if run % n == 0] for run in runs]
    apart = [tuple(size for sizes in chosen for size in sizes) for chosen in product(*each)]
    return {sizes for sizes in (*equal, *apart) if len(sizes) <= nodes}


def _typed(
    nodes: Sequence[Sequence[Gpu]], sizes: Sequence[int], types: Sequence[str], layout: Layout, kind: Mapping[str, int]
) -> Iterator[tuple[Gpu, ...]]:
    """Yield the ways to seat so many ranks on each node, each on a GPU of its type."""
    if not nodes:
        yield ()
        return
    first = layout.world_size - sum(sizes)
    stages = [rank // layout.ranks_per_stage for rank in range(first, first + sizes[0])]
    for here in _arranged(nodes[0], stages, kind, types=types[: sizes[0]]):
        for rest in _typed(nodes[1:], sizes[1:], types[sizes[0] :], layout, kind):
            yield here + rest


def _filled(
    nodes: Sequence[Sequence[Gpu]], layout: Layout, kind: Mapping[str, int], first: int
) -> Iterator[tuple[Gpu, ...]]:
    """Yield the ways to seat equally many ranks on each node, rank ``first`` onwards."""
    if not nodes:
        yield ()
        return
    ranks = range(first, first + (layout.world_size - first) // len(nodes))
    for here in _arranged(nodes[0], [rank // layout.ranks_per_stage for rank in ranks], kind):
        for rest in _filled(nodes[1:], layout, kind, ranks.stop):
            yield here + rest


def _arranged(
    free: Sequence[Gpu], stages: Sequence[int], kind: Mapping[str, int], after: int = 0, types: Sequence[str] = ()
) -> Iterator[tuple[Gpu, ...]]:
    """Yield a GPU for each rank of a node, given the ranks' stages; of equal free GPUs the first is taken.

    Ranks of one stage come class by class (``after``: not before this one): their order within is no choice.
    ``types``: of each rank's GPU, where it matters.
    """
    if not stages:
        yield ()
        return
    for index, gpu in enumerate(free):
        own = kind[gpu.id]
        if (types and gpu.type != types[0]) or own < after or any(kind[other.id] == own for other in free[:index]):
            continue
        same = len(stages) > 1 and stages[1] == stages[0]
        for rest in _arranged([*free[:index], *free[index + 1 :]], stages[1:], kind, own if same else 0, types[1:]):
            yield (gpu, *rest)


def equal_gpus(topology: Topology) -> tuple[tuple[str, ...], ...]:
    """Return the GPUs that ranks may sit on in classes: exchanging two of a class maps the graph onto itself."""
    classes: list[list[Gpu]] = []
    for gpu in topology.gpus:
        if gpu.placeable:
            mine = next((members for members in classes if _exchangeable(topology, members[0], gpu)), None)
            if mine is None:
                classes.append([gpu])
            else:
                mine.append(gpu)
    return tuple(tuple(gpu.id for gpu in members) for members in classes)


def _exchangeable(topology: Topology, a: Gpu, b: Gpu) -> bool:
    """Whether the graph with the names of two GPUs exchanged is the same graph."""
    graph = topology.graph
    if (a.node, a.type, a.speed_factor) != (b.node, b.type, b.speed_factor) or graph.nodes[a.id] != graph.nodes[b.id]:
        return False
    renamed = {a.id: b.id, b.id: a.id}
    return all(
        {renamed.get(v, v): dict(cable) for v, cable in arcs[a.id].items()}
        == {v: dict(cable) for v, cable in arcs[b.id].items()}
        for arcs in (graph.succ, graph.pred)
    )
