"""What was tried: a proof holds among the plans that were looked at, so where not all are, the plan says which."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from optimizer.cost.mixtures import MOST_STAGES, Mixtures
from optimizer.errors import UnknownRateError
from optimizer.layout import Layout
from optimizer.topology.classes import NodeClass
from optimizer.topology.footprints import FEW, FEW_CLASSES, MOST, Footprint, all_tried


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


def scope(
    classes: Sequence[NodeClass], tried: Mapping[str, Sequence[Layout]], usable: Mapping[str, int], *, joined: bool
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
    if not all(all_tried(classes, *degree, joined=joined) for degree in sorted(degrees)):
        yield f"nodes differ so much that of more than {MOST} placements of a replica {FEW} were tried"


def mixed_scope(mixed: Mixtures) -> Iterator[str]:
    """Yield which pipelines over several GPU types were tried for one model, and why not all."""
    if not mixed.short:
        yield "no pipeline over several GPU types was tried: no type is short of GPUs for replicas of its own"
    elif mixed.fitting:
        yield (
            f"pipelines over several GPU types: {mixed.priced} of {mixed.fitting} orders of types that fit were "
            f"priced, each type's stages in a row by memory bandwidth, up to {MOST_STAGES} stages, layers by load"
        )
