"""Every admissible replica priced: each layout, on each kind of seats, with fair or whole shares of shared links."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import inf

from optimizer.cost.attention_replicas import misseated
from optimizer.cost.batch import Batch
from optimizer.cost.bursts import mean_context
from optimizer.cost.case import Case, Hardware
from optimizer.cost.enough import Carried
from optimizer.cost.estimate import estimate
from optimizer.cost.memory import fits
from optimizer.cost.options import DEFAULT_BATCHING, Batching, Points, concurrencies, numbers_above, rate_shares
from optimizer.cost.points import carrying_most, operating_points
from optimizer.cost.quantities import EngineSettings, Estimate
from optimizer.cost.replica import Replica
from optimizer.cost.settings import most_sequences, refuses_gpu, resolve, version_facts
from optimizer.cost.step import micro_batches, stations
from optimizer.errors import NoPathError, UnknownRateError
from optimizer.inputs.calibration import Calibration
from optimizer.inputs.engine import EngineSpec, EngineVersion
from optimizer.inputs.gpu import GpuSpec
from optimizer.inputs.identity import Same
from optimizer.inputs.model import ModelSpec
from optimizer.inputs.workload import Role, WorkloadSpec
from optimizer.layout import Layout
from optimizer.topology.boxes import every_footprint
from optimizer.topology.classes import NodeClass
from optimizer.topology.exits import role_reservations, role_wiring
from optimizer.topology.footprints import Footprint
from optimizer.topology.graph import Topology
from optimizer.topology.seats import first_seats
from optimizer.topology.shares import Share
from optimizer.topology.wiring import Wiring


@dataclass(frozen=True)
class Market:
    """What prices are made from: the model, its traffic, the engine, and the measured constants of each GPU type."""

    model: ModelSpec
    workload: WorkloadSpec
    engine: EngineSpec
    gpus: Mapping[str, GpuSpec]
    calibrations: Mapping[str, Calibration]
    service: int = 0
    """Place of the model and its traffic among those that share the cluster."""
    role: Role = "both"
    batching: Batching = DEFAULT_BATCHING
    only_rates: bool = False
    """Whether nothing but the most requests/s of each replica counts, so that other points need no price."""
    enough_per_s: float = inf
    """Requests/s of which more count for nothing, while fewer GPUs do: seats that only give more need no price."""

    def case(
        self, layout: Layout, gpu_type: str, paths: Wiring, concurrency: int, batched_tokens: int | None = None
    ) -> Case:
        """Return a replica as it would be started for ``concurrency`` requests in flight.

        ``batched_tokens``: of a step at most, where it is chosen.
        Its GPUs are of ``gpu_type``, or where the paths have sections, of theirs; the one with least memory sets what
        the engine chooses by itself.
        """
        types = [section.gpu_type for section in paths.sections] or [gpu_type]
        smallest = min(types, key=lambda name: self.gpus[name].memory)
        sequences = -(-concurrency // layout.attn_dp)
        return Case(
            model=self.model,
            layout=layout,
            gpu=self.gpus[types[0]],
            wiring=paths,
            engine=_settings(Same(self), smallest, sequences, layout.world_size, layout.pcp, batched_tokens),
            facts=self.facts,
            calibration=self.calibrations[types[0]],
            further=tuple([Hardware(self.gpus[name], self.calibrations[name]) for name in types[1:]]),
            speculative=self.workload.speculative,
        )

    def price(
        self, layout: Layout, gpu_type: str, paths: Wiring, batched_tokens: int | None = None
    ) -> Callable[[int], Estimate]:
        """Return the estimate of one replica as a function of its concurrency."""

        def priced(n: int) -> Estimate:
            case = self.case(layout, gpu_type, paths, n, batched_tokens)
            found = estimate(case, self.workload, n, self.role)
            return found if batched_tokens is None else replace(found, batched_tokens=batched_tokens)

        return priced

    def points(self, layout: Layout, gpu_type: str, paths: Wiring, *, above: int = 0, near: int = 0) -> Points | None:
        """Return the operating points with more than ``above`` requests in flight, None where the engine stops before.

        More than ``limit`` for each attention replica the engine never has. ``near``: so many may be about the most.
        """
        each = layout.attn_dp
        ladder = concurrencies(self.workload, self.limit(gpu_type) * each, attention_replicas=each)
        ladder = numbers_above(ladder, above, attention_replicas=each) if above else ladder
        if not ladder:
            return None
        return self.among(ladder, layout, gpu_type, paths, near, self.batching.ladder)

    def among(
        self, ladder: Sequence[int], layout: Layout, gpu_type: str, paths: Wiring, near: int = 0,
        batched_tokens: Sequence[int] = (),
    ) -> Points:  # fmt: skip
        """Return the operating points that count among the steps of a ladder and the numbers that fill its end.

        ``batched_tokens``: of a step, to be tried beside the engine's own.
        """
        replica = self._replica(layout, gpu_type, paths)
        others = [self._replica(layout, gpu_type, paths, n) for n in batched_tokens if n != replica.tokens]
        if not self.only_rates:
            rates = rate_shares(self.workload) if self.workload.roles == ("both",) else ()
            return operating_points(replica, ladder, others, rates, everywhere=self.batching.everywhere)
        sizes, drafts = self.workload.engine.cuda_graph_sizes, self.workload.speculative
        rows = max(sizes, default=self.facts.graph_batch_limit) * layout.attn_dp * layout.pp
        captured = rows // (1 + drafts.draft_tokens if drafts else 1)
        return carrying_most(replica, ladder, others, near, captured)

    def _replica(self, layout: Layout, gpu_type: str, paths: Wiring, batched_tokens: int | None = None) -> Replica:
        """Return a replica whose points are sought."""
        held = self.workload.isl.mean + (0 if self.role == "prefill" else self.workload.osl.mean)

        def memory_holds(n: int) -> bool:
            return fits(self.case(layout, gpu_type, paths, n, batched_tokens), n, held)

        price = self.price(layout, gpu_type, paths, batched_tokens)
        tokens = self.case(layout, gpu_type, paths, 1, batched_tokens).engine.max_num_batched_tokens
        return Replica(price, memory_holds, self.workload, layout.attn_dp, tokens)

    @cached_property
    def facts(self) -> EngineVersion:
        """What holds for the engine's version."""
        return version_facts(self.engine, self.workload.engine.version or self.engine.latest)

    def refuses(self, gpu_type: str) -> str | None:
        """Return why the engine does not run on GPUs of a type, None where it does."""
        version = self.workload.engine.version or self.engine.latest
        return refuses_gpu(f"{self.engine.name} {version}", self.facts, self.gpus[gpu_type])

    def limit(self, *gpu_types: str) -> int:
        """Return the most requests an attention replica keeps in flight on GPUs of these types."""
        known = (most_sequences(self.facts, self.gpus[name]) for name in gpu_types)
        return self.workload.engine.max_num_seqs or min(known)


@lru_cache(maxsize=4096)
def _settings(
    market: Same[Market], gpu_type: str, sequences: int, gpus: int, prefill_ranks: int, batched_tokens: int | None
) -> EngineSettings:
    """Return the engine as it is started for so many sequences in each attention replica: the same for many layouts."""
    asked = market.value
    return resolve(
        asked.workload.engine, asked.engine, asked.gpus[gpu_type], asked.model, asked.workload, sequences,
        gpus=gpus, prefill_ranks=prefill_ranks, max_num_batched_tokens=batched_tokens,
    )  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """A layout on one kind of seats, at every operating point that fits and meets the objectives."""

    layout: Layout
    footprint: Footprint
    share: Share
    stages: tuple[tuple[str, ...], ...]
    """Seats that stand for all of this footprint."""
    reserved: tuple[tuple[str, float], ...]
    """Bytes/s set aside on each boundary those seats cross."""
    points: tuple[Estimate, ...]
    miss: Estimate
    """The first point that does not fit or meet the objectives, else the last that does."""
    service: int = 0
    """Place of its model among those that share the cluster."""
    role: Role = "both"


Prices = dict[tuple[Layout, str, Wiring], Points | None]
"""Operating points by layout, GPU type and paths; None where none can be better than those of another layout."""


def shapes(
    topology: Topology,
    classes: Sequence[NodeClass],
    layouts: Mapping[str, Sequence[Layout]],
    market: Market,
    unknown: Callable[[UnknownRateError, Footprint], None],
    prices: Prices | None = None,
) -> Iterator[Shape]:
    """Yield all shapes in a fixed order; ``layouts`` are those to try on each GPU type, fewest GPUs first.

    ``prices`` are those of the same market on other seats; those that are missed are added. Seats that need a bandwidth
    that nobody gave are told to ``unknown`` and left out; so are those without a way for KV where the role needs one,
    untold. Where fewer of its GPUs carry enough, a layout has its first seats alone, and none over several nodes.
    """
    prices = {} if prices is None else prices
    near, carried, seated = 0, Carried(), set[tuple[Layout, str]]()
    for footprint, same_degrees in _seats(topology, classes, layouts):
        ample = carried.on_fewer(footprint) >= market.enough_per_s
        if ample and len(footprint.slots) > 1:
            continue
        for share, seats, paths, reserved in ways(topology, classes, footprint, market.role, unknown):
            for layout in same_degrees:
                key = (layout, footprint.gpu_type, paths)
                if (ample and key[:2] in seated) or misseated(topology, seats, layout, paths.group):
                    continue
                if not _is_known(market, prices, key):
                    prices[key] = _points(market, *key, prices, near)
                priced = prices[key]
                if priced is None:
                    continue
                seated.add(key[:2])
                carried.learn(footprint, reserved, priced)
                near = priced.admissible[-1].concurrency if priced.admissible else near
                yield Shape(
                    layout, footprint, share, seats, reserved, priced.admissible, priced.miss,
                    market.service, market.role,
                )  # fmt: skip


def _seats(
    topology: Topology, classes: Sequence[NodeClass], layouts: Mapping[str, Sequence[Layout]]
) -> Iterator[tuple[Footprint, list[Layout]]]:
    """Yield where replicas can sit, each with the layouts that need such seats."""
    for gpu_type, admissible in layouts.items():
        for (ranks, stages), same_degrees in _by_degrees(admissible).items():
            for footprint in every_footprint(topology, classes, gpu_type, ranks, stages):
                yield footprint, same_degrees


def _is_known(market: Market, prices: Prices, key: tuple[Layout, str, Wiring]) -> bool:
    """Whether the points that count in this market were priced before."""
    known = prices.get(key)
    return key in prices and (known is None or known.every or market.only_rates)


def _points(market: Market, layout: Layout, gpu_type: str, paths: Wiring, prices: Prices, near: int) -> Points | None:
    """Return the operating points of a layout, None when none of them can be better than those priced before.

    Decode context parallelism takes up to so many requests as fit without it only where it is faster with them.
    """
    whole = prices.get((replace(layout, dcp=1), gpu_type, paths)) if layout.dcp > 1 else None
    if whole is None or not whole.fitting or not _no_faster(market, layout, gpu_type, paths, whole.fitting):
        return market.points(layout, gpu_type, paths, near=near)
    beyond = market.points(layout, gpu_type, paths, above=whole.fitting, near=near)
    return beyond if beyond and beyond.admissible else None


def _no_faster(market: Market, layout: Layout, gpu_type: str, paths: Wiring, most: int) -> bool:
    """Whether decode steps of up to ``most`` requests take no less time with the layout's dcp than without.

    By how much they take longer is concave in the requests: what collectives add starts above 0 and is concave, what
    attention saves is proportional. So it is decided by the largest number; all else is equal or longer with dcp.
    """
    spread, whole = (market.case(one, gpu_type, paths, most) for one in (layout, replace(layout, dcp=1)))
    batch = Batch(decodes=most / micro_batches(whole, most), context=mean_context(market.workload))
    pairs = zip(stations(spread, batch).seconds, stations(whole, batch).seconds, strict=True)
    return all(longer >= shorter for longer, shorter in pairs)


def _by_degrees(layouts: Sequence[Layout]) -> dict[tuple[int, int], list[Layout]]:
    """Group layouts that need the same seats."""
    groups: dict[tuple[int, int], list[Layout]] = {}
    for layout in layouts:
        groups.setdefault((layout.ranks_per_stage, layout.pp), []).append(layout)
    return groups


Way = tuple[Share, tuple[tuple[str, ...], ...], Wiring, tuple[tuple[str, float], ...]]


def ways(
    topology: Topology,
    classes: Sequence[NodeClass],
    footprint: Footprint,
    role: Role,
    unknown: Callable[[UnknownRateError, Footprint], None],
) -> Iterator[Way]:
    """Yield the ways to use shared links: fair, and alone where that gives more."""
    fair: Wiring | None = None
    shares: tuple[Share, ...] = ("fair", "alone")
    for share in shares:
        seats = first_seats(topology, classes, footprint, spread=share == "alone")
        try:
            paths = role_wiring(topology, seats, share, role)
            reserved = role_reservations(topology, seats, share, role)
        except NoPathError:
            return
        except UnknownRateError as error:
            unknown(error, footprint)
            return
        if share == "alone" and (not reserved or paths == fair):
            return
        fair = paths
        yield share, seats, paths, reserved
