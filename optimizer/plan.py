"""What was chosen: replicas with their seats and estimates, the proof, and where it came from."""

from functools import cached_property
from typing import Literal

from pydantic import BaseModel, ConfigDict, PositiveInt

from optimizer.cost.quantities import EngineSettings, Estimate
from optimizer.inputs.cluster import ClusterSpec
from optimizer.inputs.model import ModelSpec, Scheme
from optimizer.inputs.service import Service
from optimizer.inputs.workload import KvScheme, Role, WorkloadSpec
from optimizer.layout import Layout
from optimizer.topology.sections import counts_of

SCHEMA_VERSION = 1

NO_LOSS = 1e-9
"""Losses below are rounding."""

ObjectiveName = Literal["throughput", "latency", "ttft", "gpus", "cost", "energy"]


UNITS: dict[ObjectiveName, str] = {
    "throughput": "output tokens/s",
    "latency": "s per output token",
    "ttft": "s to the first token",
    "gpus": "GPUs",
    "cost": "per hour",
    "energy": "W (TDP)",
}


class PlanRecord(BaseModel):
    """A frozen part of plan.json."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


Failure = Literal["gpu", "node", "nic"]
"""What may break: one GPU, one node, or one NIC."""


class Seat(PlanRecord):
    """The GPU a rank sits on."""

    rank: int
    stage: int
    node: str
    gpu: str
    """Stable id: UUID or bus id when the cluster knows it, else "node/index"."""
    local_index: int


class Reservation(PlanRecord):
    """Bandwidth set aside for a replica on the boundary of a domain it crosses, per direction."""

    domain: str
    bytes_per_s: float


class Replica(PlanRecord):
    """One copy of a model on its seats."""

    model: str
    service: int = 0
    """Place of its model and traffic among ``Inputs.services``."""
    role: Role = "both"
    gpu_type: str
    """Of all GPUs; where stages sit on several types, how many there are of each."""
    gpu_types: tuple[str, ...] = ()
    """Of each stage, where they differ; else empty."""
    tp: PositiveInt
    pp: PositiveInt
    ep: PositiveInt = 1
    dcp: PositiveInt = 1
    pcp: PositiveInt = 1
    attn_dp: PositiveInt = 1
    weights: Scheme
    kv_cache: KvScheme
    layers_per_stage: tuple[int, ...]
    seats: tuple[Seat, ...]
    share: Literal["fair", "alone"] = "fair"
    """Of links it shares: in proportion to its GPUs, or the whole of them."""
    reservations: tuple[Reservation, ...] = ()
    engine: EngineSettings
    estimate: Estimate

    @cached_property
    def layout(self) -> Layout:
        """The degrees as the cost room takes them."""
        return Layout(
            tp=self.tp, pp=self.pp, layers_per_stage=self.layers_per_stage, weights=self.weights,
            kv_cache=self.kv_cache, ep=self.ep, dcp=self.dcp, pcp=self.pcp, attn_dp=self.attn_dp,
        )  # fmt: skip

    @property
    def gpus_of_type(self) -> dict[str, int]:
        """GPUs of the replica by type."""
        if self.gpu_types:
            return counts_of(self.gpu_types, self.layout.ranks_per_stage)
        return {self.gpu_type: len(self.seats)}

    def type_of(self, stage: int) -> str:
        """Return the type of the GPUs of one stage."""
        return self.gpu_types[stage] if self.gpu_types else self.gpu_type


class Objective(PlanRecord):
    """What was optimised, the value reached and the proven bound; gap = |bound - value| / |value|."""

    name: ObjectiveName
    value: float
    bound: float
    gap: float
    unit: str
    then: tuple["Objective", ...] = ()
    """Further objectives, each optimised among the plans that are best by those before it."""


class Served(PlanRecord):
    """What one of several models gets, or one whose prefill and decode are apart."""

    service: int
    model: str
    replicas: int
    gpus: int
    requests_per_s: float
    """Never more than its demand; with prefill and decode apart what both carry."""
    output_tokens_per_s: float
    ttft_s: float
    """Mean over requests; with prefill and decode apart the KV transfer and the first decode step included."""
    tpot_s: float
    """Mean over requests."""


class Totals(PlanRecord):
    """The deployment as a whole."""

    gpus: int
    replicas: int
    output_tokens_per_s: float
    requests_per_s: float
    ttft_s: float
    """Mean over requests."""
    tpot_s: float
    """Mean over requests."""
    cost_per_h: float | None = None
    currency: str | None = None
    power_w: float | None = None
    """The power limits (TDP) of all GPUs used: an upper bound on what they draw, hosts and network not counted."""
    services: tuple[Served, ...] = ()
    """By model, where there are several or prefill and decode are apart."""


class Candidate(PlanRecord):
    """A priced layout, chosen or not: replicas of one shape on as many GPUs as they can use."""

    service: int = 0
    role: Role = "both"
    tp: int
    pp: int
    dp: int
    ep: int
    attn_dp: int = 1
    dcp: int = 1
    pcp: int = 1
    weights: Scheme
    kv_cache: KvScheme
    gpu_type: str
    gpu_types: tuple[str, ...] = ()
    layers_per_stage: tuple[int, ...] = ()
    """Where it is not the engine's default."""
    span: str
    """Where one replica sits: "1 node", "2 nodes x 4", ..."""
    gpus: int
    fits: bool
    meets: bool
    """Whether the workload and its objectives are met by these replicas alone."""
    chosen: bool = False
    concurrency: int = 0
    ttft_s: float | None = None
    tpot_s: float | None = None
    output_tokens_per_s: float | None = None
    memory_bytes: int = 0
    """Of the fullest rank: weights, activations, overhead and the KV the load needs."""
    capacity_bytes: int = 0
    kv_tokens: int = 0
    prefill: dict[str, float] | None = None
    decode: dict[str, float] | None = None
    request: dict[str, float] | None = None
    """Seconds by cause that one request costs a replica at this load."""
    why: str = ""
    """What it loses on, or why it is not admissible."""


class Inputs(PlanRecord):
    """The inputs as resolved: enough to price the plan again without any other file."""

    cluster: ClusterSpec
    model: ModelSpec
    workload: WorkloadSpec
    weight: float = 1.0
    """Of this model's output tokens beside those of ``more``."""
    more: tuple[Service, ...] = ()
    """Further models that share the cluster, each with its own traffic."""

    @property
    def services(self) -> tuple[Service, ...]:
        """All models with their traffic, the first first; not cached, as a copy with another workload would keep it."""
        return (Service(model=self.model, workload=self.workload, weight=self.weight), *self.more)


NO_WORKLOAD = "no workload given"
"""How the note begins that says what traffic was assumed."""


class Survival(PlanRecord):
    """What is left after the worst single failure."""

    failure: Failure
    worst: str | None
    """Id of the GPU, node or NIC whose loss leaves least of what is asked; None when no such loss takes anything."""
    checked: int
    """GPUs, nodes or NICs whose loss takes a replica; each was looked at."""
    replicas_lost: tuple[int, ...]
    """By their place in the plan."""
    requests_per_s: float
    """Of the replicas left; never more than the demand."""
    output_tokens_per_s: float
    concurrency: int
    """Requests in flight in the replicas left."""


class Provenance(PlanRecord):
    """What went in, so that the same can be asked again."""

    inputs_sha256: dict[str, str]
    versions: dict[str, str]
    seed: int
    options: dict[str, str] = {}
    notes: tuple[str, ...] = ()


class FaultCost(PlanRecord):
    """What something broken costs: the answer to the same question on the cluster without it."""

    fault: str
    """In words."""
    overrides: tuple[int, ...]
    """Places in the cluster's overrides: several when faults are alike (repairing any of them gives this answer)."""
    value_without: float
    """Of the objective."""
    loss_fraction: float
    """Of the value without it: how much worse the plan is; 0 when the fault does not change the value."""
    more_gpus: int = 0
    """GPUs that the plan uses beyond those it would use without it."""

    @property
    def harmless(self) -> bool:
        """Whether the fault changes neither the value nor the GPUs it takes."""
        return abs(self.loss_fraction) < NO_LOSS and self.more_gpus == 0


class Plan(PlanRecord):
    """plan.json."""

    schema_version: int = SCHEMA_VERSION
    status: Literal["optimal", "feasible"]
    objective: Objective
    replicas: tuple[Replica, ...]
    totals: Totals
    inputs: Inputs
    candidates: tuple[Candidate, ...]
    provenance: Provenance
    survival: Survival | None = None
    """None unless the plan was asked to survive a failure."""
    faults: tuple[FaultCost, ...] = ()
    """What is broken and what it costs; empty on a sound cluster, or when it was not asked."""
