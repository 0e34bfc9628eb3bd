"""Plans put together by hand on small clusters: seats are typed in, everything else follows from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from strategies import gpu_spec

from optimizer.cost.case import Case
from optimizer.cost.estimate import estimate
from optimizer.cost.settings import resolve, version_facts
from optimizer.inputs import presets
from optimizer.inputs.cluster import ClusterSpec, Fabric, Nics, NodeEntry, NodeTemplate, NvSwitch, OneSwitch
from optimizer.inputs.model import Dense, GroupedQuery, LayerRun, ModelSpec
from optimizer.inputs.workload import EngineChoice, Role, WorkloadSpec
from optimizer.layout import Layout, split_layers
from optimizer.plan import UNITS, Inputs, Objective, ObjectiveName, Plan, Provenance, Replica, Reservation, Seat, Totals
from optimizer.topology.exits import role_reservations, role_wiring
from optimizer.topology.graph import Topology, build

MODEL = ModelSpec(
    name="tiny", hidden=4096, vocab=32000, context=8192,
    runs=(
        LayerRun(
            attention=GroupedQuery(heads=32, kv_heads=8, head_dim=128), feed_forward=Dense(intermediate=14336), count=4
        ),
    ),
)  # fmt: skip
"""Four Llama-like layers, 2.2 GB in 16 bits: fits on every GPU used here and splits in 2 or 4."""

ONE_SWITCH = OneSwitch()

WORKLOAD = WorkloadSpec(isl=512, osl=64, engine=EngineChoice(max_num_batched_tokens=2048))


def cluster(
    nodes: int = 2,
    gpus: int = 4,
    *,
    nics: int | None = None,
    fabric: Fabric | None = ONE_SWITCH,
    memory: str = "12 GB",
) -> ClusterSpec:
    """Return equal nodes of equal GPUs on NVSwitch, 50 GB/s NICs (one for each GPU unless said) on one switch."""
    template = NodeTemplate(
        gpu="big", gpus=gpus, nvswitch=NvSwitch(), nics=Nics(count=nics or gpus, bandwidth="400 Gb/s")
    )
    return ClusterSpec(
        name="by-hand", nodes=tuple(NodeEntry(name=f"n{i}", template="t") for i in range(nodes)),
        templates={"t": template}, gpus={"big": gpu_spec(memory=memory)}, fabric=fabric, prices={"big": "2 USD/h"},
    )  # fmt: skip


@dataclass(frozen=True)
class Put:
    """A replica as typed in: GPU ids stage by stage, and requests in flight."""

    stages: tuple[tuple[str, ...], ...]
    concurrency: int = 4
    share: Literal["fair", "alone"] = "fair"
    role: Role = "both"


def plan(
    where: ClusterSpec, puts: Sequence[Put], *, objective: ObjectiveName = "throughput",
    workload: WorkloadSpec = WORKLOAD, model: ModelSpec = MODEL,
) -> Plan:  # fmt: skip
    """Return a plan whose replicas sit as typed in, called optimal, with all else as the rules of a plan say."""
    topology = build(where)
    replicas = tuple(_replica(topology, put, workload, model) for put in puts)
    totals = _totals(where, replicas)
    value = {
        "throughput": totals.output_tokens_per_s,
        "latency": max(r.estimate.tpot_s for r in replicas),
        "ttft": max(r.estimate.ttft_s for r in replicas),
        "gpus": float(totals.gpus),
        "cost": totals.cost_per_h or 0.0,
        "energy": totals.power_w or 0.0,
    }[objective]
    if objective == "throughput" and workload.request_rate:
        value = min(value, workload.request_rate * workload.osl.mean)
    return Plan(
        status="optimal", objective=Objective(name=objective, value=value, bound=value, gap=0.0, unit=UNITS[objective]),
        replicas=replicas, totals=totals, inputs=Inputs(cluster=where, model=model, workload=workload), candidates=(),
        provenance=Provenance(inputs_sha256={}, versions={}, seed=0),
    )  # fmt: skip


def _replica(topology: Topology, put: Put, workload: WorkloadSpec, model: ModelSpec) -> Replica:
    stages = put.stages
    layout = Layout(tp=len(stages[0]), pp=len(stages), layers_per_stage=split_layers(model.num_layers, len(stages)))
    gpus = [topology.gpu(gpu) for stage in stages for gpu in stage]
    spec, engine = topology.cluster.gpus[gpus[0].type], presets.load_engine("vllm")
    settings = resolve(workload.engine, engine, spec, model, workload, put.concurrency, gpus=layout.world_size)
    case = Case(
        model, layout, spec, role_wiring(topology, stages, put.share, put.role), settings,
        version_facts(engine, settings.version), presets.load_calibration(spec),
    )  # fmt: skip
    seats = tuple(
        Seat(rank=rank, stage=rank // layout.tp, node=gpu.node, gpu=gpu.id, local_index=gpu.local_index)
        for rank, gpu in enumerate(gpus)
    )
    taken = role_reservations(topology, stages, put.share, put.role)
    reserved = tuple(Reservation(domain=d, bytes_per_s=r) for d, r in taken)
    return Replica(
        model=model.name, role=put.role, gpu_type=spec.id, tp=layout.tp, pp=layout.pp, weights=layout.weights,
        kv_cache=layout.kv_cache, layers_per_stage=layout.layers_per_stage, seats=seats, share=put.share,
        reservations=reserved, engine=settings, estimate=estimate(case, workload, put.concurrency, put.role),
    )  # fmt: skip


def _totals(where: ClusterSpec, replicas: Sequence[Replica]) -> Totals:
    rate = sum(r.estimate.requests_per_s for r in replicas)
    prices = [where.prices[r.gpu_type] for r in replicas for _ in r.seats]
    return Totals(
        gpus=len(prices), replicas=len(replicas), requests_per_s=rate,
        output_tokens_per_s=sum(r.estimate.output_tokens_per_s for r in replicas),
        ttft_s=sum(r.estimate.ttft_s * r.estimate.requests_per_s for r in replicas) / rate,
        tpot_s=sum(r.estimate.tpot_s * r.estimate.requests_per_s for r in replicas) / rate,
        cost_per_h=sum(amount for amount, _ in prices), currency=prices[0][1],
        power_w=sum(where.gpus[r.gpu_type].tdp for r in replicas for _ in r.seats),
    )  # fmt: skip
