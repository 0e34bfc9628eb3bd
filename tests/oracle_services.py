"""The best plan of several models, with prefill and decode together or apart, by brute force over all sets of replicas.

Written from the rules alone. A set of replicas is a list of numbers of which less is never worse: sums (GPUs, what a
phase carries, places), largest values (TTFT of either side, with and without its transfer), and for each kind of
prefill or decode replica that some other cannot talk to whether there is one. Of two sets on the same GPUs one is
forgotten only when the other is no worse in all of them. No kind, service or role is decided beforehand.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

from oracle import SLACK, Answer, Goal, Vector, classes_of, packed
from oracle_survival import needs
from seatings import Seated, of_services

from optimizer.inputs.cluster import ClusterSpec
from optimizer.inputs.service import Service
from optimizer.inputs.workload import Role, WorkloadSpec
from optimizer.plan import Failure, ObjectiveName
from optimizer.topology.graph import Topology, build

NEVER = -math.inf

Kind = tuple[Role, int, str]
"""Role, TP size and KV precision of a replica."""


@dataclass(frozen=True)
class Term:
    """One number of a set of replicas, less is better."""

    of: Callable[[Seated, float], float]
    """Of a replica and what its GPUs cost."""
    floor: float = NEVER
    """What it need not go below."""
    worst: bool = False
    """Whether the largest counts, not the sum; 0 where there is none."""


def best_of_services(
    cluster: ClusterSpec,
    services: Sequence[Service],
    objective: ObjectiveName,
    *,
    tell_apart: bool = False,
    failure: Failure | None = None,
) -> Answer | None:
    """Return the best answer over all plans, None when there is none; a tie by tokens counts them by weight.

    ``failure``: what may break, one at a time, with enough left of every phase of every service.
    """
    topology = build(cluster)
    classes = classes_of(topology, tell_apart=tell_apart or failure is not None)
    seated = list(of_services(topology, classes, services, first_token=objective == "ttft"))
    spare = _spare(topology, services, seated, failure) if failure else ()
    return packed(topology, classes, seated, goal_of(services, objective, seated, spare), objective)


Spare = Sequence[tuple[Term, float]]
"""What is left of something, and what has to be."""


def _spare(topology: Topology, services: Sequence[Service], seated: Sequence[Seated], failure: Failure) -> Spare:
    """Return what is left of each phase of each service without each element that may break."""
    broken = {id(one): needs(topology, one, failure) for one in seated}
    elements = sorted({element for own in broken.values() for element in own})

    def left(number: int, load: WorkloadSpec, phase: str, element: str, one: Seated, _: float) -> float:
        if one.service != number or one.role not in ("both", phase) or element in broken[id(one)]:
            return 0.0
        if load.request_rate:
            return -one.estimate.requests_per_s
        return -one.estimate.concurrency if load.concurrency else -1

    return [
        (Term(partial(left, number, service.workload, phase, element), -demand), demand * (1 - SLACK))
        for number, service in enumerate(services)
        for demand in [service.workload.request_rate or service.workload.concurrency or 1]
        for phase in (("prefill", "decode") if len(service.workload.roles) > 1 else ("both",))
        for element in elements
    ]


def goal_of(services: Sequence[Service], objective: ObjectiveName, seated: Sequence[Seated], spare: Spare = ()) -> Goal:
    """Return what is asked of sets of these replicas."""
    tables = [_Table(number, service, objective, seated) for number, service in enumerate(services)]
    shared = _shared(objective)
    terms = [*shared, *(term for table in tables for term in table.terms)]
    ends = [len(shared)]
    for table in tables:
        ends.append(ends[-1] + len(table.terms))
    terms += [term for term, _ in spare]

    def parts(v: Vector) -> Iterator[tuple[_Table, Vector]]:
        return ((table, v[start:end]) for table, start, end in zip(tables, ends, ends[1:], strict=False))

    left = range(ends[-1], ends[-1] + len(spare))

    def worth(v: Vector) -> tuple[float, float] | None:
        if not all(table.is_served(own) for table, own in parts(v)):
            return None
        if any(-v[index] < demand for index, (_, demand) in zip(left, spare, strict=True)):
            return None
        tokens = sum(table.weighted_tokens_per_s(own) for table, own in parts(v))
        match objective:
            case "throughput":
                return -tokens, v[0]
            case "latency":
                return v[1], v[0]
            case "ttft":
                return max(v[1], *(table.slowest_pair_s(own, mean=True) for table, own in parts(v))), v[0]
            case _:
                return v[0], -tokens

    return Goal(
        measure=lambda one, price: tuple(term.of(one, price) for term in terms),
        worth=worth,
        signs={"throughput": (-1, 1), "latency": (1, 1), "ttft": (1, 1)}.get(objective, (1, -1)),
        floors=tuple(term.floor for term in terms),
        worst=tuple(index for index, term in enumerate(terms) if term.worst),
        keeps=lambda v: all(table.may_be_served(own) for table, own in parts(v)),
    )


def _shared(objective: ObjectiveName) -> list[Term]:
    """Return what is counted over all services: GPUs or their price, and the slowest replica."""
    gpus = Term(lambda one, _: len(one.gpus), 0)
    match objective:
        case "cost" | "energy":
            return [Term(lambda _, price: price, 0)]
        case "latency":
            return [gpus, Term(lambda one, _: one.estimate.tpot_s, 0, worst=True)]
        case "ttft":
            return [gpus, Term(lambda one, _: one.estimate.ttft_s if one.role == "both" else 0.0, 0, worst=True)]
        case _:
            return [gpus]


class _Table:
    """The numbers of one service and what they mean."""

    def __init__(self, number: int, service: Service, objective: ObjectiveName, seated: Sequence[Seated]) -> None:
        self.number, self.service, self.objective = number, service, objective
        load = service.workload
        self.rate = load.request_rate or math.inf
        self.clients = load.concurrency or (1 if objective in ("latency", "ttft") else None)
        if load.request_rate or objective == "throughput":
            self.clients = load.concurrency
        self.terms: list[Term] = []
        self.place: dict[object, int] = {}
        self._add_phases()
        self._add_clients()
        for mean, needed in ((False, load.slo.ttft is not None), (True, objective == "ttft")):
            if needed:
                self._add_pairs(mean=mean)
        self.foreign = self._foreign_kinds(seated)
        for kind in sorted({kind for pair in self.foreign for kind in pair}):
            self._add(kind, self._mine(partial(_is_of, kind)), worst=True)

    def _add(
        self, name: object, of: Callable[[Seated, float], float], floor: float = 0, *, worst: bool = False
    ) -> None:
        self.place[name] = len(self.terms)
        self.terms.append(Term(of, floor, worst))

    def _mine(self, of: Callable[[Seated], float]) -> Callable[[Seated, float], float]:
        return lambda one, _: of(one) if one.service == self.number else 0.0

    def _add_phases(self) -> None:
        for phase in ("prefill", "decode"):
            self._add(phase, self._mine(partial(_minus_carried, phase)), -self.rate)

    def _add_clients(self) -> None:
        if self.clients is None:
            return
        if self.objective == "throughput":
            self._add("in flight", self._mine(lambda one: one.estimate.concurrency))
            return
        self._add(
            "places", self._mine(lambda one: -one.estimate.concurrency if one.role != "prefill" else 0), -self.clients
        )
        sign = {"both": 0, "prefill": -1, "decode": 1}
        self._add("backlog", self._mine(lambda one: sign[one.role] * one.estimate.requests_per_s), NEVER)

    def _add_pairs(self, *, mean: bool) -> None:
        for role, transfer in product(("prefill", "decode"), (False, True)):
            self._add((role, transfer, mean), self._mine(_seconds(role, transfer=transfer, mean=mean)), worst=True)

    def _foreign_kinds(self, seated: Sequence[Seated]) -> list[tuple[Kind, Kind]]:
        """Return the kinds of prefill and decode replicas that do not understand each other's KV."""
        own = sorted({_kind(one) for one in seated if one.service == self.number and one.role != "both"})
        senders, receivers = ([kind for kind in own if kind[0] == role] for role in ("prefill", "decode"))
        return [pair for pair in product(senders, receivers) if not _understand(*pair)]

    def may_be_served(self, v: Vector) -> bool:
        """Return whether no limit is exceeded that more replicas cannot mend."""
        if "in flight" in self.place and v[self.place["in flight"]] > (self.clients or 0):
            return False
        if any(v[self.place[a]] and v[self.place[b]] for a, b in self.foreign):
            return False
        bound = self.service.workload.slo.ttft
        return bound is None or self.slowest_pair_s(v, mean=False) <= bound * (1 + SLACK)

    def is_served(self, v: Vector) -> bool:
        """Return whether there is a replica in each phase, and all that is asked for is served."""
        phases = v[self.place["prefill"]], v[self.place["decode"]]
        if not all(phases):
            return False
        if self.objective == "throughput":
            return True
        if self.clients is not None:
            enough = -v[self.place["places"]] >= self.clients
            return enough and v[self.place["backlog"]] <= SLACK * self._fastest(v)
        return math.isinf(self.rate) or all(-carried >= self.rate * (1 - SLACK) for carried in phases)

    def _fastest(self, v: Vector) -> float:
        return -min(v[self.place["prefill"]], v[self.place["decode"]])

    def slowest_pair_s(self, v: Vector, *, mean: bool) -> float:
        """Return the TTFT of the slowest pair of a set, 0 without any: one of the two sides sets the transfer."""
        first, first_sent, then, then_taken = (
            v[self.place[role, transfer, mean]] for role, transfer in product(("prefill", "decode"), (False, True))
        )
        return max(first_sent + then, first + then_taken) if first and then else 0.0

    def weighted_tokens_per_s(self, v: Vector) -> float:
        """Return the output tokens/s of requests that pass both phases, never more than arrive, by weight."""
        served = min(-v[self.place["prefill"]], -v[self.place["decode"]], self.rate)
        return served * self.service.workload.osl.mean * self.service.weight


def _seconds(role: str, *, transfer: bool, mean: bool) -> Callable[[Seated], float]:
    """Return a side's part of TTFT, its transfer included or not; 0 of replicas that are not of this side."""

    def of(one: Seated) -> float:
        if one.role != role:
            return 0.0
        e = one.estimate
        return (e.ttft_s if mean else e.ttft_slo_s) + (e.transfer_s if transfer else 0.0)

    return of


def _minus_carried(phase: str, one: Seated) -> float:
    return -one.estimate.requests_per_s if one.role in ("both", phase) else 0.0


def _is_of(kind: Kind, one: Seated) -> float:
    return float(_kind(one) == kind)


def _kind(one: Seated) -> Kind:
    return one.role, one.layout.tp, one.layout.kv_cache


def _understand(prefill: Kind, decode: Kind) -> bool:
    (_, a, written), (_, b, read) = prefill, decode
    return written == read and (a % b == 0 or b % a == 0)
