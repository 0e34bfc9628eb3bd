"""Candidates and plans side by side: short names, shares of a step, equal replicas, where plans differ."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from optimizer.cost.quantities import EngineSettings, RankMemory
from optimizer.inputs.hostlist import folded
from optimizer.inputs.service import Service
from optimizer.inputs.workload import WorkloadSpec
from optimizer.layout.degrees import label_of
from optimizer.plan import Candidate, Plan, Replica, Seat, Served
from optimizer.units import show_bytes, show_seconds


def service_names(services: Sequence[Service]) -> tuple[str, ...]:
    """Return what to call the models of a plan: their names, with their place where two are the same model."""
    names = [service.model.name for service in services]
    return tuple(name if names.count(name) == 1 else f"{name} [{place}]" for place, name in enumerate(names))


def service_of(plan: Plan, replica: Replica) -> Service:
    """Return the model and the traffic that a replica is for."""
    return plan.inputs.services[replica.service]


def workload_of(plan: Plan, replica: Replica) -> WorkloadSpec:
    """Return the traffic that a replica is for."""
    return service_of(plan, replica).workload


def is_apart(plan: Plan) -> bool:
    """Return whether some replicas only prefill or only decode."""
    return any(replica.role != "both" for replica in plan.replicas)


def candidate_label(candidate: Candidate) -> str:
    """Return a candidate's short name: "tp4pp2", "tp1attndp8ep8"."""
    return label_of({name: getattr(candidate, name) for name in ("tp", "pp", "attn_dp", "ep", "dcp", "pcp")})


def shares(parts: Mapping[str, float] | None) -> dict[str, float]:
    """Return each part's share of the step's seconds, largest first; empty without a step."""
    total = sum((parts or {}).values())
    return {k: v / total for k, v in sorted((parts or {}).items(), key=lambda kv: (-kv[1], kv[0]))} if total else {}


@dataclass(frozen=True)
class ReplicaGroup:
    """Replicas that differ in nothing but their seats: TP x PP x DP with ``dp`` of them."""

    numbers: tuple[int, ...]
    """Their places in the plan, from 0."""
    members: tuple[Replica, ...]
    model: str = ""
    """What they serve, where the plan has several models."""

    @property
    def one(self) -> Replica:
        """Any of them."""
        return self.members[0]

    @property
    def dp(self) -> int:
        """How many there are."""
        return len(self.members)

    @property
    def degrees(self) -> str:
        """The degrees whose product is the GPUs: "TP4 x PP2 x DP2", with the role where there are several."""
        one = self.one
        role = "" if one.role == "both" else f" {one.role}"
        more = {"attention DP": one.attn_dp, "PCP": one.pcp}
        within = "".join(f" x {name}{degree}" for name, degree in more.items() if degree > 1)
        return f"TP{one.tp}{within} x PP{one.pp} x DP{self.dp}{role}"

    @property
    def label(self) -> str:
        """Short name: "2 x tp4pp2 bf16 on h200-sxm", with role and model where there are several."""
        role = "" if self.one.role == "both" else f" {self.one.role}"
        model = f" for {self.model}" if self.model else ""
        return f"{self.dp} x {self.one.layout.label}{role} {self.one.weights} on {self.one.gpu_type}{model}"


def replica_groups(plan: Plan) -> tuple[ReplicaGroup, ...]:
    """Return the plan's replicas grouped by everything but their seats, in order of first appearance."""
    groups: dict[str, list[tuple[int, Replica]]] = {}
    for index, replica in enumerate(plan.replicas):
        key = replica.model_dump_json(exclude={"seats", "reservations"})
        groups.setdefault(key, []).append((index, replica))
    names = service_names(plan.inputs.services) if plan.inputs.more else ("",)
    return tuple(
        ReplicaGroup(tuple(number for number, _ in own), tuple(one for _, one in own), names[own[0][1].service])
        for own in groups.values()
    )


@dataclass(frozen=True)
class Row:
    """One property of several plans."""

    key: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether the plans disagree on it."""
        return len(set(self.values)) > 1


def plan_rows(plans: Sequence[Plan]) -> tuple[Row, ...]:
    """Return what plans are compared by: layout, engine, estimate, proof and seats, as text for people."""
    columns = [_properties(plan) for plan in plans]
    keys = dict.fromkeys(key for column in columns for key in column)
    return tuple(Row(key, tuple(column.get(key, "absent") for column in columns)) for key in keys)


def _properties(plan: Plan) -> dict[str, str]:
    groups, totals, objective = replica_groups(plan), plan.totals, plan.objective
    cost = f"{totals.cost_per_h:,.2f} {totals.currency}/h" if totals.cost_per_h is not None else "no prices"
    return {
        "status": plan.status,
        "objective": f"{objective.name} {objective.value:,.6g} {objective.unit}",
        "gap": f"{objective.gap:.2%}",
        "layout": "; ".join(group.label for group in groups),
        "GPUs": str(totals.gpus),
        "output tokens/s": f"{totals.output_tokens_per_s:,.1f}",
        "requests/s": f"{totals.requests_per_s:,.3g}",
        "TTFT": show_seconds(totals.ttft_s),
        "TPOT": show_seconds(totals.tpot_s),
        "cost": cost,
        **_services(plan),
        "KV cache": ", ".join(sorted({r.kv_cache for r in plan.replicas})),
        "KV tokens": f"{sum(kv_tokens(r) for r in plan.replicas):,}",
        "fullest GPU": _fullest(plan),
        "engine": "; ".join(sorted({_engine(r.engine) for r in plan.replicas})),
        "seats": "; ".join(_seats(plan)),
    }


def _services(plan: Plan) -> dict[str, str]:
    """Return what each model gets, by its name, where the plan says so."""
    names = service_names(plan.inputs.services)
    return {names[one.service]: _served(one) for one in plan.totals.services}


def _served(one: Served) -> str:
    return (
        f"{one.requests_per_s:,.3g} requests/s, TTFT {show_seconds(one.ttft_s)}, TPOT {show_seconds(one.tpot_s)}, "
        f"{one.gpus} GPUs"
    )


def kv_tokens(replica: Replica) -> int:
    """Return the tokens that the replica's KV pool holds."""
    return min((rank.kv_tokens for rank in replica.estimate.memory), default=0)


def fixed_bytes(rank: RankMemory) -> int:
    """Return what a rank holds before any KV: weights, activations, overhead."""
    return rank.weights_bytes + rank.activation_bytes + rank.overhead_bytes


def _fullest(plan: Plan) -> str:
    ranks = [rank for replica in plan.replicas for rank in replica.estimate.memory]
    if not ranks:
        return "unknown"
    rank = max(ranks, key=lambda r: (fixed_bytes(r) / r.capacity_bytes, r.rank))
    return f"{show_bytes(fixed_bytes(rank))} of {show_bytes(rank.capacity_bytes)} before KV"


def _engine(engine: EngineSettings) -> str:
    return (
        f"{engine.name} {engine.version}, utilization {engine.gpu_memory_utilization:g}, "
        f"{engine.max_num_seqs} seqs, {engine.max_num_batched_tokens} tokens/step, len {engine.max_model_len}"
    )


def runs(numbers: Sequence[int]) -> str:
    """Return "0-3, 7": numbers in their order, those that count up as a range."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in found)


@dataclass(frozen=True)
class Piece:
    """What replicas that sit alike hold of their nodes, one node each."""

    replicas: tuple[int, ...]
    """By number in the plan."""
    nodes: tuple[str, ...]
    """In the order of the replicas."""
    held: tuple[Seat, ...]
    """On the first of the nodes, in rank order."""


def pieces(replicas: Sequence[Replica], *, alike: bool = True) -> Iterator[Piece]:
    """Yield where replicas sit, node by node; those that hold the same of each node together, if ``alike``."""
    found: dict[object, list[int]] = {}
    for number, one in enumerate(replicas):
        same = tuple(tuple((s.rank, s.stage, s.local_index) for s in own) for own in _by_node(one)) if alike else number
        found.setdefault(same, []).append(number)
    for numbers in found.values():
        for own in zip(*(_by_node(replicas[number]) for number in numbers), strict=True):
            yield Piece(tuple(numbers), tuple(seats[0].node for seats in own), own[0])


def _by_node(replica: Replica) -> list[tuple[Seat, ...]]:
    seats = sorted(replica.seats, key=lambda seat: seat.rank)
    return [tuple(own) for _, own in groupby(seats, key=lambda seat: seat.node)]


def _seats(plan: Plan) -> Iterator[str]:
    """Yield "0-7: node[01-08] 0 1 2 3" for each piece of replicas that sit alike."""
    for piece in pieces(plan.replicas):
        local = " ".join(str(seat.local_index) for seat in piece.held)
        yield f"{runs(piece.replicas)}: {folded(piece.nodes)} {local}"


def input_differences(a: Plan, b: Plan) -> tuple[Row, ...]:
    """Return the input keys on which two plans differ, as resolved: cluster, model, workload, options."""
    ours, theirs = (_flat(plan.inputs.model_dump(mode="json")) | _options(plan) for plan in (a, b))
    keys = [*ours, *(key for key in theirs if key not in ours)]
    rows = (Row(key, (ours.get(key, "absent"), theirs.get(key, "absent"))) for key in keys)
    return tuple(row for row in rows if row.differs)


def _options(plan: Plan) -> dict[str, str]:
    return {f"option {key}": value for key, value in plan.provenance.options.items()}


def _flat(value: object, path: str = "") -> dict[str, str]:
    if isinstance(value, dict):
        return {k: v for key, item in value.items() for k, v in _flat(item, f"{path}.{key}".lstrip(".")).items()}
    if isinstance(value, list):
        return {k: v for i, item in enumerate(value) for k, v in _flat(item, f"{path}[{i}]").items()}
    return {path: "not set" if value is None else str(value)}
