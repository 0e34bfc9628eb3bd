"""From seated replicas to a plan: what each replica is, what the deployment gives, and what is proven."""

from collections.abc import Iterable, Mapping, Sequence

from optimizer.cost.quantities import EngineSettings
from optimizer.cost.shapes import Market
from optimizer.formulation.columns import Column
from optimizer.formulation.instance import Instance
from optimizer.formulation.objectives import value
from optimizer.formulation.seating import Seated
from optimizer.formulation.solve import Choice
from optimizer.inputs.workload import Role
from optimizer.plan import UNITS, Objective, ObjectiveName, Replica, Reservation, Seat, Survival
from optimizer.topology.bandwidth import wiring
from optimizer.topology.exits import role_reservations
from optimizer.topology.graph import Topology


def engines_of(
    topology: Topology, markets: Mapping[tuple[int, Role], Market], columns: Iterable[Column]
) -> dict[int, EngineSettings]:
    """Return the engine's settings of each column, by its id: they do not depend on the seats."""
    engines = {}
    for column in {id(column): column for column in columns}.values():
        paths = wiring(topology, column.shape.stages, column.shape.share)
        market = markets[column.service, column.role]
        case = market.case(
            column.layout, column.footprint.gpu_type, paths, column.point.concurrency, column.point.batched_tokens
        )
        engines[id(column)] = case.engine
    return engines


def replica_of(topology: Topology, model: str, seated: Seated, engine: EngineSettings) -> Replica:
    """Return a replica on its actual seats; all seats of its footprint have the same price."""
    column, stages = seated.column, seated.stages
    layout, gpu_type, share = column.layout, column.footprint.gpu_type, column.shape.share
    reserved = role_reservations(topology, stages, share, column.role)
    return Replica(
        model=model,
        service=column.service,
        role=column.role,
        gpu_type=gpu_type,
        gpu_types=column.footprint.gpu_types,
        tp=layout.tp,
        pp=layout.pp,
        ep=layout.ep,
        dcp=layout.dcp,
        pcp=layout.pcp,
        attn_dp=layout.attn_dp,
        weights=layout.weights,
        kv_cache=layout.kv_cache,
        layers_per_stage=layout.layers_per_stage,
        seats=tuple(_seats(topology, stages)),
        share=share,
        reservations=tuple(Reservation(domain=domain, bytes_per_s=rate) for domain, rate in reserved),
        engine=engine,
        estimate=column.point,
    )


def _seats(topology: Topology, stages: Sequence[Sequence[str]]) -> list[Seat]:
    """Return the seats in rank order: stage by stage, TP fastest."""
    gpus = [(stage, topology.gpu(gpu)) for stage, ranks in enumerate(stages) for gpu in ranks]
    return [
        Seat(rank=rank, stage=stage, node=gpu.node, gpu=gpu.id, local_index=gpu.local_index)
        for rank, (stage, gpu) in enumerate(gpus)
    ]


def objective_of(
    instance: Instance, seated: Sequence[Seated], choice: Choice, survival: Survival | None = None
) -> Objective:
    """Return the values in floats and their bounds; a proven bound equals the value."""
    first, *others = (
        _reached(instance, name, seated, None if choice.proven else bound, survival)
        for name, bound in zip(instance.objectives, (choice.bound, *choice.then_bounds), strict=False)
    )
    return first.model_copy(update={"then": tuple(others)})


def _reached(
    instance: Instance, name: ObjectiveName, seated: Sequence[Seated], bound: float | None, survival: Survival | None
) -> Objective:
    """Return one objective; ``bound`` None: the value is proven."""
    reached = value(instance, name, [s.column for s in seated])
    if survival is not None and name == instance.objective == "throughput":
        reached = survival.output_tokens_per_s
    bound = reached if bound is None else bound
    gap = abs(bound - reached) / abs(reached) if reached else 0.0
    return Objective(name=name, value=reached, bound=bound, gap=gap, unit=UNITS[name])
