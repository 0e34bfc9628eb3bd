"""Every admissible replica priced: each layout, on each kind of seats, with fair or whole shares of shared links."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from optimizer.cost.case import Case, Hardware
from optimizer.cost.estimate import estimate
from optimizer.cost.options import operating_points
from optimizer.cost.quantities import Estimate
from optimizer.cost.settings import most_sequences, resolve, version_facts
from optimizer.errors import NoPathError, UnknownRateError
from optimizer.inputs.calibration import Calibration
from optimizer.inputs.engine import EngineSpec, EngineVersion
from optimizer.inputs.gpu import GpuSpec
from optimizer.inputs.model import ModelSpec
from optimizer.inputs.workload import Role, WorkloadSpec
from optimizer.layout import Layout
from optimizer.topology.classes import NodeClass, joins_nodes
from optimizer.topology.exits import role_reservations, role_wiring
from optimizer.topology.footprints import Footprint, first_seats, footprints
from optimizer.topology.graph import Topology
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

    def case(self, layout: Layout, gpu_type: str, paths: Wiring, concurrency: int) -> Case:
        """Return a replica as it would be started for ``concurrency`` requests in flight.

        Its GPUs are of ``gpu_type``, or where the paths have sections, of theirs; the one with least memory sets what
        the engine chooses by itself.
        """
        types = [section.gpu_type for section in paths.sections] or [gpu_type]
        gpu, choice = min((self.gpus[name] for name in types), key=lambda spec: spec.memory), self.workload.engine
        return Case(
            model=self.model,
            layout=layout,
            gpu=self.gpus[types[0]],
            wiring=paths,
            engine=resolve(choice, self.engine, gpu, self.model, self.workload, concurrency, gpus=layout.world_size),
            facts=self.facts,
            calibration=self.calibrations[types[0]],
            further=tuple(Hardware(self.gpus[name], self.calibrations[name]) for name in types[1:]),
        )

    def price(self, layout: Layout, gpu_type: str, paths: Wiring) -> Callable[[int], Estimate]:
        """Return the estimate of one replica as a function of its concurrency."""
        return lambda n: estimate(self.case(layout, gpu_type, paths, n), self.workload, n, self.role)

    @property
    def facts(self) -> EngineVersion:
        """What holds for the engine's version."""
        return version_facts(self.engine, self.workload.engine.version or self.engine.latest)

    def limit(self, *gpu_types: str) -> int:
        """Return the most requests the engine keeps in flight on GPUs of these types."""
        known = (most_sequences(self.facts, self.gpus[name]) for name in gpu_types)
        return self.workload.engine.max_num_seqs or min(known)


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


def shapes(
    topology: Topology,
    classes: Sequence[NodeClass],
    layouts: Mapping[str, Sequence[Layout]],
    market: Market,
    unknown: Callable[[UnknownRateError, Footprint], None],
) -> Iterator[Shape]:
    """Yield all shapes in a fixed order; ``layouts`` are those to try on each GPU type.

    Seats that need a bandwidth that nobody gave are told to ``unknown`` and left out; so are those without a way for KV
    where the role needs one, untold.
    """
    prices: dict[tuple[Layout, str, Wiring], tuple[tuple[Estimate, ...], Estimate]] = {}
    joined = joins_nodes(topology)
    for gpu_type, admissible in layouts.items():
        for (ranks, stages), same_degrees in _by_degrees(admissible).items():
            for footprint in footprints(classes, gpu_type, ranks, stages, joined=joined):
                for share, seats, paths, reserved in ways(topology, classes, footprint, market.role, unknown):
                    for layout in same_degrees:
                        key = (layout, gpu_type, paths)
                        if key not in prices:
                            price = market.price(layout, gpu_type, paths)
                            prices[key] = operating_points(price, market.workload, market.limit(gpu_type))
                        points, miss = prices[key]
                        yield Shape(
                            layout, footprint, share, seats, reserved, points, miss, market.service, market.role
                        )  # fmt: skip


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
