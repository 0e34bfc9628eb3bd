"""Which seats attention replicas can take: each is whole on its node, so that engines can number it and prices hold."""

from collections.abc import Sequence

from optimizer.cost.collectives import part
from optimizer.inputs.cluster import Torus
from optimizer.layout import Layout
from optimizer.topology.bandwidth import group_path
from optimizer.topology.graph import Topology
from optimizer.topology.wiring import GroupPath


def misseated(topology: Topology, stages: Sequence[Sequence[str]], layout: Layout, path: GroupPath) -> str | None:
    """Return why the attention replicas of a layout cannot sit on these GPUs, None when they can.

    ``path`` is that of a whole stage. With pipeline stages all are on one node: vLLM numbers attention replicas one
    after another, node by node. Else each is inside one fast domain or fills several. On a torus stages over several
    nodes are tensor parallel only.
    """
    if isinstance(topology.cluster.fabric, Torus) and (why := _leaves_rings(layout, path)):
        return why
    if layout.attn_dp == 1:
        return None
    nodes = {topology.gpu(gpu).node for stage in stages for gpu in stage}
    if layout.pp > 1 and len(nodes) > 1:
        return f"attention replicas with pipeline stages sit on one node, not on {len(nodes)}"
    if layout.tp == 1 or path.domains == 1:
        return None
    most = part(path, layout.tp).domains
    for stage in stages:
        for first in range(0, len(stage), layout.tp):
            replica = stage[first : first + layout.tp]
            if group_path(topology, replica).domains > most:
                return f"the attention replica on {', '.join(replica)} is split over domains that it does not fill"
    return None


def _leaves_rings(layout: Layout, path: GroupPath) -> str | None:
    """Return why parts of a stage have no rings of their own on a torus: that of the whole stage is all it has."""
    inside = path.ranks // path.domains
    whole = layout.attn_dp == layout.pcp == 1 and (layout.dcp in (1, path.ranks) or inside % layout.dcp == 0)
    if path.outer != "rdma" or whole:
        return None
    return "on a torus a stage over several nodes is tensor parallel only: parts of it have no ring of their own"
