"""What was tried: a proof holds among the plans that were looked at, so where not all are, the plan says which."""

from collections.abc import Iterator, Sequence

from optimizer.layout import Layout
from optimizer.topology.classes import NodeClass
from optimizer.topology.footprints import FEW_CLASSES


def scope(classes: Sequence[NodeClass], tried: Sequence[Layout], usable: dict[str, int]) -> Iterator[str]:
    """Yield the limits on replicas that bind in this cluster; none in a small one, where every placement is tried."""
    largest = max(layout.world_size for layout in tried)
    if largest < max(usable.values()):
        yield f"replicas of up to {largest} GPUs were tried"
    if any(len(c.nodes) > 1 for c in classes):
        yield "a replica on several equal nodes has an equal piece of each"
    if len(classes) > FEW_CLASSES:
        yield "a replica stays inside one leaf group where one has room for it"
