"""What a picture of a cluster shows: who sits where, what is broken, which nodes look alike."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from optimizer.compare import replica_groups
from optimizer.errors import InputError
from optimizer.inputs.cluster import Override
from optimizer.plan import Plan
from optimizer.topology.graph import Gpu, Node, Topology
from optimizer.units import show_bytes_per_s

MOST_NODES = 32
"""Up to so many nodes are shown one by one; more are shown by what they have in common."""


@dataclass(frozen=True)
class Sitter:
    """The rank on a GPU."""

    replica: int
    group: int
    """Replicas that differ in nothing but their seats are one group."""
    rank: int
    stage: int


@dataclass(frozen=True)
class Alike:
    """Nodes that look the same: template, health, and ranks by place."""

    nodes: tuple[Node, ...]
    leaf: str | None

    @property
    def first(self) -> Node:
        """The one that stands for all."""
        return self.nodes[0]

    @property
    def label(self) -> str:
        """Names for people: "node01", or "node01 to node32 (32 nodes)"."""
        if len(self.nodes) == 1:
            return self.first.name
        return f"{self.first.name} to {self.nodes[-1].name} ({len(self.nodes):,} nodes)"


@dataclass(frozen=True)
class Scene:
    """A cluster and the ranks on it."""

    topology: Topology
    sitters: Mapping[str, Sitter]
    """By GPU id."""
    replicas: int
    groups: tuple[str, ...]
    """What each group of equal replicas is: "4 x tp4 bf16 on h200-sxm"."""

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes in file order."""
        return tuple(self.topology.node_by_name.values())

    @property
    def is_large(self) -> bool:
        """Whether nodes are shown by what they have in common."""
        return len(self.nodes) > MOST_NODES

    def gpus(self, node: Node) -> tuple[Gpu, ...]:
        """Return the GPUs of a node in local order."""
        return tuple(self.topology.gpu_by_id[gpu] for gpu in node.gpus)


def scene(topology: Topology, plan: Plan | None = None) -> Scene:
    """Return what to show; InputError when the plan seats a rank on a GPU that this cluster does not have."""
    if plan is None:
        return Scene(topology, {}, 0, ())
    groups = replica_groups(plan)
    group_of = {number: index for index, group in enumerate(groups) for number in group.numbers}
    sitters = {
        seat.gpu: Sitter(number, group_of[number], seat.rank, seat.stage)
        for number, replica in enumerate(plan.replicas)
        for seat in replica.seats
    }
    strange = next((gpu for gpu in sitters if gpu not in topology.gpu_by_id), None)
    if strange is not None:
        known = topology.cluster.name
        raise InputError(
            f"--plan: it seats a rank on {strange}, which cluster {known} does not have; "
            f"show the cluster it was made for ({plan.inputs.cluster.name})"
        )
    return Scene(topology, sitters, len(plan.replicas), tuple(group.label for group in groups))


def alike(shown: Scene, *, by_replica: bool = True) -> tuple[Alike, ...]:
    """Return runs of equal nodes in file order; with ``by_replica`` False, all equal nodes wherever they are.

    Nodes with ranks are equal when the same group, rank and stage sits at each place (and, by replica, the replica).
    """

    def key(node: Node) -> tuple[object, ...]:
        seats = tuple(_seat_key(shown.sitters.get(gpu), by_replica=by_replica) for gpu in node.gpus)
        return (id(node.blueprint), node.leaf if by_replica else None, *seats)

    if by_replica:
        runs = [tuple(run) for _, run in groupby(shown.nodes, key=key)]
        return tuple(Alike(run, run[0].leaf) for run in runs)
    members: dict[tuple[object, ...], list[Node]] = {}
    for node in shown.nodes:
        members.setdefault(key(node), []).append(node)
    return tuple(Alike(tuple(nodes), nodes[0].leaf) for nodes in members.values())


def _seat_key(sitter: Sitter | None, *, by_replica: bool) -> tuple[int, ...]:
    if sitter is None:
        return ()
    return (sitter.replica if by_replica else -1, sitter.group, sitter.rank, sitter.stage)


def domains(shown: Scene) -> tuple[tuple[str | None, tuple[Node, ...]], ...]:
    """Return nodes by the domain that frames them: an NVLink domain of several nodes, else the leaf group."""
    frames: dict[str | None, list[Node]] = {}
    for node in shown.nodes:
        frames.setdefault(node.nvlink_domain or node.leaf, []).append(node)
    return tuple((name, tuple(nodes)) for name, nodes in frames.items())


def gpu_kinds(nodes: Sequence[Node]) -> str:
    """Return the GPUs of nodes for people: "16 x h200-sxm"."""
    counts: dict[str, int] = {}
    for node in nodes:
        for spec in node.blueprint.specs:
            counts[spec.id] = counts.get(spec.id, 0) + 1
    return " + ".join(f"{count:,} x {name}" for name, count in counts.items())


def counted(number: int, noun: str) -> str:
    """Return a count for people: "1 node", "2,048 nodes"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def faults(shown: Scene) -> Iterator[str]:
    """Yield what differs from the templates, in words."""
    return (fault(override) for override in shown.topology.cluster.overrides)


def fault(override: Override) -> str:
    """Return an override in words: "node01 GPU 5: lost (Xid 79)"."""
    match = override.match
    parts = [match.node, match.leaf and f"leaf {match.leaf}"]
    parts += ["" if match.gpu is None else f"GPU {match.gpu}", "" if match.nic is None else f"NIC {match.nic}"]
    parts += [match.to and f"link to {match.to}"]
    parts += [{"nvlink": "NVLink", "pcie": "PCIe"}.get(match.link or "", "")]
    changes = [
        override.state,
        override.bandwidth and f"at {show_bytes_per_s(override.bandwidth)}",
        override.links_active and f"{override.links_active} links",
        override.uplinks and f"{override.uplinks} uplinks",
        None if override.speed_factor is None else f"at {override.speed_factor:.0%} of its speed",
    ]
    told = f"{' '.join(part for part in parts if part)}: {', '.join(change for change in changes if change)}"
    return told + (f" ({override.reason})" if override.reason else "")
