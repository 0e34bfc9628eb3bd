"""What a plan claims, laid beside what its own inputs say: the topology, the GPUs behind the seats, fresh prices."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import groupby

from optimizer.cost.case import Case, Hardware
from optimizer.cost.estimate import estimate
from optimizer.cost.quantities import EngineSettings, Estimate
from optimizer.cost.settings import resolve, version_facts
from optimizer.errors import InputError
from optimizer.inputs import presets
from optimizer.inputs.engine import EngineVersion
from optimizer.inputs.gpu import GpuSpec
from optimizer.inputs.service import Service
from optimizer.inputs.workload import EngineName
from optimizer.layout import refusals
from optimizer.plan import Plan, Replica, Seat
from optimizer.topology.exits import role_reservations, role_wiring
from optimizer.topology.graph import Gpu, Topology, build
from optimizer.topology.wiring import Wiring

TOLERANCE = 1e-6
"""Relative: a float that went through JSON and sums in another order, nothing more."""


def agree(stated: float, recomputed: float) -> bool:
    """Whether two floats are the same up to ``TOLERANCE``."""
    return stated == recomputed or abs(stated - recomputed) <= TOLERANCE * max(abs(stated), abs(recomputed))


@lru_cache(maxsize=16)
def _facts(engine: EngineName, version: str) -> EngineVersion:
    return version_facts(presets.load_engine(engine), version)


@dataclass(frozen=True, eq=False)
class Claim:
    """One replica of the plan with the GPUs of its seats; ``gpus`` is None when the seats are no real ones."""

    name: str
    """For messages: "replica 0"."""
    plan: Plan
    replica: Replica
    services: tuple[Service, ...]
    """Of the plan."""
    topology: Topology
    gpus: tuple[Gpu, ...] | None
    prices: dict[object, Estimate]
    """Fresh prices of all replicas so far, by everything that tells their cases apart: equal ones are priced once."""

    engines: dict[object, EngineSettings | str]
    """Settings that the inputs imply, likewise."""
    refused: dict[object, tuple[str, ...]]
    """Why the engine does not run a layout, likewise."""

    @cached_property
    def stages(self) -> tuple[tuple[str, ...], ...]:
        """The GPU ids of each stage in TP order."""
        assert self.gpus is not None
        size = self.replica.layout.ranks_per_stage
        ids = [gpu.id for gpu in self.gpus]
        return tuple(tuple(ids[first : first + size]) for first in range(0, len(ids), size))

    @property
    def types(self) -> tuple[str, ...]:
        """The GPU type of each stage, as stated."""
        return self.replica.gpu_types or (self.replica.gpu_type,) * self.replica.pp

    @property
    def sections(self) -> tuple[str, ...]:
        """The type of each run of stages of one type, as stated."""
        return tuple(gpu_type for gpu_type, _ in groupby(self.types))

    def spec_of(self, stage: int) -> GpuSpec | None:
        """Return the GPU type of a stage as the cluster describes it; None where it does not, or there is no such."""
        known = self.plan.inputs.cluster.gpus
        return known.get(self.types[stage]) if 0 <= stage < len(self.types) else None

    @property
    def scarcest(self) -> GpuSpec | None:
        """The type with least memory, which sets what the engine chooses by itself; None where one is not known."""
        found = [self.spec_of(stage) for stage in range(len(self.types))]
        known = [spec for spec in found if spec is not None]
        return min(known, key=lambda spec: spec.memory) if known and len(known) == len(found) else None

    @property
    def service(self) -> Service:
        """The model the replica serves and its traffic; the first where the plan knows no such service."""
        number = self.replica.service
        return self.services[number if 0 <= number < len(self.services) else 0]

    @property
    def refusals(self) -> tuple[str, ...]:
        """Why the engine does not run the model in this layout; nothing when it does."""
        key, served = (self.replica.service, self.replica.layout), self.service
        if key not in self.refused:
            self.refused[key] = refusals(served.model, self.replica.layout, served.workload.engine.name)
        return self.refused[key]

    @cached_property
    def wiring(self) -> Wiring | str:
        """The paths between the actual seats, or why there are none."""
        try:
            return role_wiring(self.topology, self.stages, self.replica.share, self.replica.role)
        except InputError as error:
            return str(error)

    @cached_property
    def reserved(self) -> tuple[tuple[str, float], ...]:
        """What the actual seats set aside on each boundary they cross, in bytes/s; nothing where paths are missing."""
        if isinstance(self.wiring, str):
            return ()
        return role_reservations(self.topology, self.stages, self.replica.share, self.replica.role)

    @cached_property
    def settings(self) -> EngineSettings | str:
        """The engine's settings as the inputs, the stated ``max_num_seqs`` and chosen tokens per step imply them.

        Or why there are none.
        """
        replica = self.replica
        key = (
            replica.service, self.sections, replica.engine.max_num_seqs, replica.layout.world_size, replica.pcp,
            replica.estimate.batched_tokens,
        )  # fmt: skip
        if key not in self.engines:
            self.engines[key] = self._settings()
        return self.engines[key]

    def _settings(self) -> EngineSettings | str:
        choice, served, spec = self.service.workload.engine, self.service, self.scarcest
        if spec is None:
            return f"the cluster has no GPU type {' or no '.join(dict.fromkeys(self.types))}"
        try:
            facts = presets.load_engine(choice.name)
            seqs, layout = self.replica.engine.max_num_seqs, self.replica.layout
            return resolve(
                choice, facts, spec, served.model, served.workload, seqs, gpus=layout.world_size,
                prefill_ranks=layout.pcp, max_num_batched_tokens=self.replica.estimate.batched_tokens,
            )  # fmt: skip
        except InputError as error:
            return str(error)

    @cached_property
    def facts(self) -> EngineVersion | None:
        """What holds for the engine's version, None when it is not known."""
        if isinstance(self.settings, str):
            return None
        return _facts(self.settings.name, self.settings.version)

    @cached_property
    def estimate(self) -> Estimate | str:
        """The price of the actual seats at the stated concurrency, or why there is none."""
        served, replica, concurrency = self.service, self.replica, self.replica.estimate.concurrency
        for missing in (self.wiring, self.settings, *self.refusals):
            if isinstance(missing, str):
                return missing
        if sum(replica.layers_per_stage) != served.model.num_layers or concurrency < 1:
            return f"{replica.layers_per_stage} layers with {concurrency} requests in flight have no price"
        assert isinstance(self.wiring, Wiring)
        if replica.gpu_types and self.sections != tuple(section.gpu_type for section in self.wiring.sections):
            return f"no price: the stages do not sit on {', then '.join(self.sections)}"
        what = (replica.service, replica.role, replica.layout, self.sections)
        key = (*what, self.wiring, self.settings, concurrency)
        try:
            if key not in self.prices:
                self.prices[key] = estimate(self._case(), served.workload, concurrency, replica.role)
        except InputError as error:
            return str(error)
        return self.prices[key]

    def _case(self) -> Case:
        cluster = self.plan.inputs.cluster
        hardware = [Hardware(cluster.gpus[name], presets.calibration_of(cluster, name)) for name in self.sections]
        assert isinstance(self.wiring, Wiring)
        assert isinstance(self.settings, EngineSettings)
        assert self.facts is not None
        return Case(
            model=self.service.model,
            layout=self.replica.layout,
            gpu=hardware[0].gpu,
            wiring=self.wiring,
            engine=self.settings,
            facts=self.facts,
            calibration=hardware[0].calibration,
            further=tuple(hardware[1:]),
            speculative=self.service.workload.speculative,
        )


@dataclass(frozen=True, eq=False)
class Evidence:
    """A plan and everything it is held against."""

    plan: Plan
    topology: Topology
    claims: tuple[Claim, ...]

    def seats(self) -> Iterator[tuple[Claim, Seat]]:
        """Yield every seat with its replica."""
        for claim in self.claims:
            for seat in claim.replica.seats:
                yield claim, seat

    @property
    def seated(self) -> tuple[Claim, ...]:
        """Replicas whose seats are real GPUs, as many as the layout has ranks: the others have been rejected."""
        return tuple(claim for claim in self.claims if claim.gpus is not None)

    @cached_property
    def known(self) -> dict[str, Gpu]:
        """The cluster's GPUs by id."""
        return {gpu.id: gpu for gpu in self.topology.gpus}


def gather(plan: Plan) -> Evidence:
    """Return the evidence for a plan; InputError when its cluster cannot be built."""
    topology = build(plan.inputs.cluster)
    known = {gpu.id: gpu for gpu in topology.gpus}
    prices: dict[object, Estimate] = {}
    engines: dict[object, EngineSettings | str] = {}
    refused: dict[object, tuple[str, ...]] = {}
    services = plan.inputs.services
    claims = (
        Claim(f"replica {n}", plan, replica, services, topology, _gpus(replica, known), prices, engines, refused)
        for n, replica in enumerate(plan.replicas)
    )
    return Evidence(plan, topology, tuple(claims))


def _gpus(replica: Replica, known: dict[str, Gpu]) -> tuple[Gpu, ...] | None:
    """Return the GPUs in rank order, None when one is unknown, seated twice, or their number is wrong."""
    ids = [seat.gpu for seat in sorted(replica.seats, key=lambda seat: seat.rank)]
    if len(ids) != replica.layout.world_size or len(set(ids)) != len(ids) or not all(gpu in known for gpu in ids):
        return None
    return tuple(known[gpu] for gpu in ids)
