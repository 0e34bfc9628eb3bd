"""What was tried: a proof holds among the plans that were looked at, so where not all are, the plan says which."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from optimizer.cost.mixtures import Mixtures
from optimizer.cost.orders import MOST_STAGES
from optimizer.errors import UnknownRateError
from optimizer.inputs.cluster import Torus
from optimizer.inputs.workload import Role
from optimizer.layout import MOST_ANY, Layout, layouts
from optimizer.pipeline.request import Request
from optimizer.topology.boxes import EVERY_BOX, all_boxes_tried
from optimizer.topology.classes import NodeClass, joins_nodes
from optimizer.topology.footprints import FEW, FEW_CLASSES, MOST, Footprint, all_tried
from optimizer.topology.graph import Topology

BOUNDED = "pipelines over several GPU types:"
"""How the note begins that says that not all of them were tried."""


@dataclass
class Unknown:
    """Bandwidths that nobody gave, and the sizes of the replicas that were left out for want of them."""

    sizes: dict[str, set[int]] = field(default_factory=dict)

    def add(self, error: UnknownRateError, footprint: Footprint) -> None:
        """Remember seats that could not be priced."""
        self.sizes.setdefault(str(error), set()).add(footprint.gpus)

    def notes(self) -> tuple[str, ...]:
        """Return what to give, and what was left out without it."""
        return tuple(
            f"{message}; without it some seats of replicas of {', '.join(map(str, sorted(gpus)))} GPUs were not tried"
            for message, gpus in self.sizes.items()
        )


def granted(request: Request, role: Role) -> dict[str, int]:
    """Return the degrees that are taken for granted in a role unless they were fixed.

    Prefill context parallelism shortens the steps that prefill and lengthens all others, which then replay no graphs:
    it is tried for prefill replicas, and where something is asked of TTFT.
    """
    asked = request.workload.slo.ttft is not None or "ttft" in (request.objective, *request.then)
    tried = "pcp" in request.fix or role == "prefill" or (role == "both" and asked)
    return {} if tried else {"pcp": 1}


def untried(request: Request, roles: Sequence[Role], tried: Mapping[str, Sequence[Layout]]) -> Iterator[str]:
    """Yield which degrees were not tried though the engine admits them."""
    every = [layout for layouts in tried.values() for layout in layouts]
    largest = max(every, key=lambda layout: layout.world_size)
    for service in request.services:
        more = layouts(
            service.model, largest.world_size, weights=(largest.weights,), kv=(largest.kv_cache,),
            engine=service.workload.engine.name, fixed={"pcp": 2, "tp": 1},
        )  # fmt: skip
        if more and any(granted(request, role) for role in roles):
            yield f"{service.model.name}: prefill context parallelism was not tried, as nothing is asked of TTFT"
    if any(layout.attn_dp > 1 and layout.ranks_per_stage > MOST_ANY for layout in every):
        yield f"of stages with attention replicas beyond {MOST_ANY} GPUs those of 2^n and 3 x 2^n were tried"


def scope(
    topology: Topology, classes: Sequence[NodeClass], tried: Mapping[str, Sequence[Layout]], usable: Mapping[str, int]
) -> Iterator[str]:
    """Yield the limits on replicas that bind in this cluster; none in a small one, where every placement is tried."""
    largest = max(layout.world_size for layouts in tried.values() for layout in layouts)
    if largest < max(usable.values()):
        yield f"replicas of up to {largest} GPUs were tried"
    if any(len(c.nodes) > 1 for c in classes):
        yield "a replica on several equal nodes has an equal piece of each"
    if len(classes) > FEW_CLASSES:
        yield "a replica stays inside one leaf group where one has room for it"
    degrees = {(t, layout.ranks_per_stage, layout.pp) for t, layouts in tried.items() for layout in layouts}
    joined = joins_nodes(topology)
    if isinstance(topology.cluster.fabric, Torus) and len(topology.nodes) > 1:
        yield "a replica over several nodes of a torus has a box of neighbours alone, along a ring or stage after stage"
        if not all_boxes_tried(topology):
            yield f"of a torus of more than {EVERY_BOX} nodes boxes were tried that begin at multiples of their lengths"
    if not all(all_tried(classes, *degree, joined=joined) for degree in sorted(degrees)):
        yield f"nodes differ so much that of more than {MOST} placements of a replica {FEW} were tried"


def mixed_scope(mixed: Mixtures) -> Iterator[str]:
    """Yield which pipelines over several GPU types were tried for one model, where not all were."""
    if mixed.every:
        return
    if not mixed.short:
        yield f"{BOUNDED} none was tried, no type is short of GPUs for replicas of its own or shares nodes"
    elif mixed.fitting:
        yield (
            f"{BOUNDED} {mixed.priced} of {mixed.fitting} orders of types that fit were priced, each type's stages in "
            f"a row by memory bandwidth, up to {MOST_STAGES} stages, layers split by load"
        )
