"""Launches: what is started on which node for each replica, with ports that are unique on every host."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count

from optimizer.export.launch.refusal import any_gpus, refuse
from optimizer.export.launch.words import comment, slug
from optimizer.inputs.cluster import ClusterSpec, NodeTemplate
from optimizer.inputs.gpu import GpuSpec
from optimizer.inputs.hostlist import all_hosts, expand
from optimizer.inputs.model import ModelSpec
from optimizer.inputs.service import Service
from optimizer.inputs.workload import EngineName
from optimizer.plan import Plan, Replica, Seat

API_PORT: dict[EngineName, int] = {"vllm": 8000, "sglang": 30000, "trtllm": 8000}
"""The engines' defaults; each further replica of a host takes the next one."""
HEAD_PORT = 29501
"""vLLM's default for the ranks' meeting point; each further replica of a host takes ``_PORTS`` more."""
TRANSFER_PORT = 5600
"""vLLM's default of the NIXL side channel, one for every data-parallel rank."""
_PORTS = 64
MOST_REPLICAS_PER_HOST = 64


@dataclass(frozen=True)
class Place:
    """What the cluster says of a node."""

    template: str
    leaf: str | None
    spec: NodeTemplate
    gpu_ids: tuple[str, ...] = ()
    gone: frozenset[int] = frozenset()
    """Local indices of GPUs that are lost or down: a scheduler does not see them."""

    @property
    def working(self) -> tuple[int, ...]:
        """Local indices of the GPUs that a scheduler sees."""
        return tuple(index for index in range(self.spec.size) if index not in self.gone)


@dataclass(frozen=True)
class Launch:
    """One node's part of one replica."""

    plan: Plan
    number: int
    replica: Replica
    nodes: tuple[tuple[str, tuple[Seat, ...]], ...]
    """The replica's nodes in rank order, each with its seats in rank order."""
    node_rank: int
    slot: int
    """Which of its hosts' replicas this one is; ports follow from it."""
    places: Mapping[str, Place] = field(repr=False)
    """Of the replica's nodes; nodes that the cluster does not know are left out."""

    @property
    def node(self) -> str:
        """The node it runs on."""
        return self.nodes[self.node_rank][0]

    @property
    def seats(self) -> tuple[Seat, ...]:
        """The seats it starts, in the engine's rank order."""
        return self.nodes[self.node_rank][1]

    @property
    def head(self) -> str:
        """The replica's first node, which answers requests."""
        return self.nodes[0][0]

    @property
    def is_head(self) -> bool:
        """Whether this node answers requests."""
        return self.node_rank == 0

    @property
    def model(self) -> ModelSpec:
        """The model it serves."""
        return self.plan.inputs.services[self.replica.service].model

    @property
    def service(self) -> int:
        """Place of its model and traffic among the plan's."""
        return self.replica.service

    @property
    def short_name(self) -> str:
        """What its model and traffic are called in names of objects and files."""
        return short_names(self.plan.inputs.services)[self.service]

    @property
    def is_apart(self) -> bool:
        """Whether it only prefills or only decodes."""
        return self.replica.role != "both"

    @property
    def gpus(self) -> tuple[GpuSpec, ...]:
        """The types of the replica's GPUs, each once."""
        return tuple(self.plan.inputs.cluster.gpus[gpu_type] for gpu_type in self.replica.gpus_of_type)

    @property
    def gpu(self) -> GpuSpec:
        """The type of the replica's GPUs; of several, all of one vendor, the one with least memory."""
        return min(self.gpus, key=lambda spec: spec.memory)

    @property
    def api_port(self) -> int:
        """Where requests are answered."""
        return API_PORT[self.replica.engine.name] + self.slot

    @property
    def head_port(self) -> int:
        """Where the replica's ranks meet."""
        return HEAD_PORT + _PORTS * self.slot

    @property
    def transfer_port(self) -> int:
        """Where the KV of prefilled requests is asked for."""
        return TRANSFER_PORT + _PORTS * self.slot

    @property
    def name(self) -> str:
        """The replica's name in files and units."""
        return f"replica{self.number:03d}"

    @property
    def stem(self) -> str:
        """The launch's name in files: replica, node's rank and node."""
        return f"{self.name}-{self.node_rank:02d}-{re.sub(r'[^A-Za-z0-9._-]+', '-', self.node)[:80]}"

    @property
    def url(self) -> str:
        """Where the replica answers."""
        return f"http://{comment(self.head)}:{self.api_port}"

    @property
    def devices(self) -> tuple[str, ...]:
        """What CUDA_VISIBLE_DEVICES calls the seats: UUIDs where all are known, else indices in PCI bus order."""
        return self.uuids or tuple(str(seat.local_index) for seat in self.seats)

    @property
    def uuids(self) -> tuple[str, ...]:
        """The GPUs' UUIDs, empty unless all are known."""
        known = tuple(seat.gpu for seat in self.seats if re.fullmatch(r"(GPU|MIG)-[0-9A-Fa-f-]+", seat.gpu))
        return known if len(known) == len(self.seats) and self.gpu.vendor == "nvidia" else ()

    @property
    def whole_node(self) -> bool:
        """Whether it takes every working GPU of its node."""
        return len(self.seats) == len(self.working)

    @property
    def place(self) -> Place | None:
        """What the cluster says of its node."""
        return self.places.get(self.node)

    @property
    def working(self) -> tuple[int, ...]:
        """Local indices of the GPUs of its node that a scheduler sees."""
        return self.place.working if self.place else ()


def short_names(services: tuple[Service, ...], longest: int = 30) -> tuple[str, ...]:
    """Return the services' models as DNS labels; where two would be equal, each has its place behind it."""
    names = [slug(service.model.name, longest) for service in services]
    return tuple(name if names.count(name) == 1 else f"{name}-s{place}" for place, name in enumerate(names))


def _places(cluster: ClusterSpec) -> dict[str, Place]:
    """Return every node's place by name."""
    found: dict[str, Place] = {}
    for entry, names in zip(cluster.nodes, all_hosts(cluster.nodes), strict=True):
        template = cluster.templates[entry.template]
        found |= {name: Place(entry.template, entry.leaf, template, entry.gpu_ids) for name in names}
    for override in cluster.overrides:
        match = override.match
        if override.state is not None and match.gpu is not None:
            for name in expand(match.node) if match.node else tuple(found):
                _mark(found, name, match.gpu, gone=override.state in ("lost", "down"))
    return found


def _mark(found: dict[str, Place], name: str, gpu: int | str, *, gone: bool) -> None:
    place = found[name]
    known = {str(index): index for index in range(place.spec.size)}
    known |= {gpu_id: index for index, gpu_id in enumerate(place.gpu_ids)}
    index = known.get(str(gpu).removeprefix(f"{name}/"))
    if index is not None:
        changed = place.gone | {index} if gone else place.gone - {index}
        found[name] = replace(place, gone=changed)


def launches(plan: Plan, *, equal_nodes: bool = True) -> tuple[Launch, ...]:
    """Return every launch, replica by replica and node by node.

    InputError when ranks do not run node by node, or nodes hold unequal numbers of seats (unless that is allowed).
    """
    taken: dict[str, set[int]] = {}
    found: list[Launch] = []
    known, services = _places(plan.inputs.cluster), len(plan.inputs.services)
    for number, replica in enumerate(plan.replicas):
        if replica.service >= services:
            raise refuse(
                f"replica {number}", f"the plan does not describe service {replica.service}", remedy="solve again"
            )
        if plan.inputs.services[replica.service].workload.speculative is not None:
            why = "speculative decoding is priced, but no file that starts it is written"
            remedy = "add the engine's own settings (vLLM: --speculative-config) to an export without it"
            raise refuse(f"replica {number}", why, remedy=remedy)
        nodes = _nodes(replica, number, equal_nodes=equal_nodes)
        slot = next(n for n in count() if not any(n in taken.get(node, ()) for node, _ in nodes))
        if slot >= MOST_REPLICAS_PER_HOST:
            raise refuse(f"replica {number}", f"more than {MOST_REPLICAS_PER_HOST} replicas on {nodes[0][0]}")
        for node, _ in nodes:
            taken.setdefault(node, set()).add(slot)
        places = {node: known[node] for node, _ in nodes if node in known}
        found += [Launch(plan, number, replica, nodes, node_rank, slot, places) for node_rank in range(len(nodes))]
    return tuple(found)


def heads(started: tuple[Launch, ...]) -> tuple[Launch, ...]:
    """Return the first launch of each replica."""
    return tuple(launch for launch in started if launch.is_head)


def parts(head: Launch, started: tuple[Launch, ...]) -> tuple[Launch, ...]:
    """Return all launches of one replica."""
    return tuple(launch for launch in started if launch.number == head.number)


def engine_order(replica: Replica) -> tuple[Seat, ...]:
    """Return the seats in the engine's rank order.

    A plan numbers stage by stage. vLLM numbers its attention replicas outermost (vllm/config/parallel.py: DP x PP x
    PCP x TP), SGLang and TensorRT-LLM keep them inside the stage.
    """
    seats = sorted(replica.seats, key=lambda seat: seat.rank)
    if replica.engine.name != "vllm" or replica.attn_dp == 1:
        return tuple(seats)
    group = replica.tp * replica.pcp
    per_stage = group * replica.attn_dp
    return tuple(
        seats[stage * per_stage + shared * group + rank]
        for shared in range(replica.attn_dp)
        for stage in range(replica.pp)
        for rank in range(group)
    )


def _nodes(replica: Replica, number: int, *, equal_nodes: bool) -> tuple[tuple[str, tuple[Seat, ...]], ...]:
    where = f"replica {number}"
    by_node: dict[str, list[Seat]] = {}
    runs = list(_runs(engine_order(replica)))
    for node, seats in runs:
        by_node.setdefault(node, []).extend(seats)
    engine = replica.engine.name
    if len(runs) > len(by_node):
        raise refuse(
            where, f"ranks return to a node that they left; {engine} numbers ranks node by node", remedy="solve again"
        )
    sizes = {node: len(seats) for node, seats in by_node.items()}
    if equal_nodes and len(set(sizes.values())) > 1:
        told = ", ".join(f"{size} on {node}" for node, size in sizes.items())
        can = ("ray",) if engine == "vllm" else ()
        raise refuse(
            where, f"{told}: {engine} needs equally many GPUs on every node", can,
            "or solve again with a layout that divides evenly (--fix tp=..,pp=..)",
        )  # fmt: skip
    return tuple((node, tuple(seats)) for node, seats in by_node.items())


def _runs(seats: tuple[Seat, ...]) -> Iterator[tuple[str, list[Seat]]]:
    """Yield each node with the seats that follow one another on it."""
    run: list[Seat] = []
    for seat in seats:
        if run and run[-1].node != seat.node:
            yield run[-1].node, run
            run = []
        run.append(seat)
    if run:
        yield run[-1].node, run


def check_engine(launch: Launch, *engines: EngineName) -> None:
    """Raise InputError when the replica was priced for another engine than the target starts."""
    name = launch.replica.engine.name
    if name not in engines:
        raise refuse(
            f"replica {launch.number}", f"priced for {name}, not {' or '.join(engines)}", any_gpus(name),
            f"or solve again with --engine {engines[0]}",
        )  # fmt: skip
