"""Tiny instances made by hand: columns with given needs and gains, without topology or prices."""

from optimizer.cost.quantities import Estimate, Phases
from optimizer.cost.shapes import Shape
from optimizer.formulation.columns import Column, Piece
from optimizer.formulation.instance import Instance, Load
from optimizer.inputs.workload import WorkloadSpec
from optimizer.layout import Layout
from optimizer.plan import ObjectiveName
from optimizer.topology.classes import IslandShape, NodeClass
from optimizer.topology.footprints import Footprint, Slot

OSL = 10


def workload(**more: object) -> WorkloadSpec:
    return WorkloadSpec.model_validate({"isl": 100, "osl": OSL, **more})


def nodes(count: int, *sizes: int, leaf: str | None = None) -> NodeClass:
    names = tuple(f"n{index}" for index in range(count))
    return NodeClass(names, tuple(IslandShape("g", size, 1.0) for size in sizes), leaf)


def point(requests_per_s: float = 1.0, *, concurrency: int = 1, tpot_s: float = 0.01, ttft_s: float = 0.1) -> Estimate:
    return Estimate(
        concurrency,
        ttft_s,
        tpot_s,
        requests_per_s,
        requests_per_s * OSL,
        (),
        Phases(),
        fits=True,
        ttft_slo_s=ttft_s,
        tpot_slo_s=tpot_s,
    )


def column(
    *counts: tuple[int, ...],
    gives: Estimate | None = None,
    shares: dict[str, float] | None = None,
    leaf_shares: dict[str, float] | None = None,
    price: float | None = None,
    tp: int = 1,
) -> Column:
    """A replica with one piece of the given counts on each of ``len(counts)`` nodes of class 0."""
    slots = tuple(Slot(0, (c,)) for c in counts)
    footprint = Footprint("g", sum(map(sum, counts)), slots)
    estimate = gives or point()
    shape = Shape(Layout(tp=tp, pp=1, layers_per_stage=(1,)), footprint, "fair", (), (), (estimate,), estimate)
    marks = tuple(sorted((shares or {}).items()))
    pieces = tuple(Piece(0, c, marks, len(counts)) for c in counts)
    return Column(shape, pieces, tuple(sorted((leaf_shares or {}).items())), estimate, price)


def instance(
    classes: NodeClass,
    *columns: Column,
    objective: ObjectiveName = "throughput",
    load: WorkloadSpec | None = None,
    max_gpus: int | None = None,
    replicas: int | None = None,
) -> Instance:
    return Instance((classes,), columns, (Load(load or workload()),), objective, max_gpus, replicas)
