"""Who serves which phase: the replicas of each service by role, and what they carry together, as stated."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import inf

from optimizer.cost.quantities import Estimate
from optimizer.inputs.service import Service
from optimizer.inputs.workload import Role
from optimizer.plan import Plan, Replica

PROMPTS: tuple[Role, ...] = ("both", "prefill")
"""Roles that compute prompts."""

ANSWERS: tuple[Role, ...] = ("both", "decode")
"""Roles that compute answers."""


@dataclass(frozen=True)
class Load:
    """Replicas together: how many, their requests/s and their requests in flight."""

    replicas: int = 0
    requests_per_s: float = 0.0
    in_flight: int = 0

    def __add__(self, other: "Load") -> "Load":
        """Return both together."""
        rate = self.requests_per_s + other.requests_per_s
        return Load(self.replicas + other.replicas, rate, self.in_flight + other.in_flight)

    def __sub__(self, other: "Load") -> "Load":
        """Return what is left without some."""
        rate = self.requests_per_s - other.requests_per_s
        return Load(self.replicas - other.replicas, rate, self.in_flight - other.in_flight)


@dataclass(frozen=True)
class Carried:
    """What the replicas of one service carry, by role."""

    both: Load = Load()
    prefill: Load = Load()
    decode: Load = Load()

    @property
    def prompts(self) -> Load:
        """Of all that compute prompts."""
        return self.both + self.prefill

    @property
    def answers(self) -> Load:
        """Of all that compute answers."""
        return self.both + self.decode

    @property
    def all(self) -> Load:
        """Of all replicas."""
        return self.both + self.prefill + self.decode

    @property
    def requests_per_s(self) -> float:
        """Requests that have both their prompt and their answer computed."""
        return min(self.prompts.requests_per_s, self.answers.requests_per_s)

    @property
    def handed_over_per_s(self) -> float:
        """Requests of which one replica computes the prompt and another the answer."""
        return min(self.prefill.requests_per_s, self.decode.requests_per_s)

    def __sub__(self, lost: "Carried") -> "Carried":
        """Return what is left without some replicas."""
        return Carried(self.both - lost.both, self.prefill - lost.prefill, self.decode - lost.decode)


def carried(replicas: Iterable[Replica]) -> Carried:
    """Return what replicas of one service carry."""
    of: dict[Role, list[Estimate]] = {"both": [], "prefill": [], "decode": []}
    for replica in replicas:
        of[replica.role].append(replica.estimate)
    return Carried(**{
        role: Load(len(own), sum(e.requests_per_s for e in own), sum(e.concurrency for e in own))
        for role, own in of.items()
    })  # fmt: skip


@dataclass(frozen=True)
class Serving:
    """One service of a plan with its replicas."""

    number: int
    service: Service
    replicas: tuple[Replica, ...]
    told: str
    """How messages begin: the model's name where there are several."""

    @property
    def apart(self) -> bool:
        """Whether some prompts and answers are computed by different replicas."""
        return any(replica.role != "both" for replica in self.replicas)

    def of(self, *roles: Role) -> tuple[Replica, ...]:
        """Return the replicas of these roles."""
        return tuple(replica for replica in self.replicas if replica.role in roles)

    @cached_property
    def carried(self) -> Carried:
        """What its replicas carry."""
        return carried(self.replicas)

    @property
    def demand_per_s(self) -> float:
        """Requests/s that arrive; inf where no rate is given."""
        return self.service.workload.request_rate or inf

    def counted_per_s(self, carried: Carried) -> float:
        """Return the requests/s that count of what is carried: never more than arrive."""
        return min(carried.requests_per_s, self.demand_per_s)


def servings(plan: Plan) -> tuple[Serving, ...]:
    """Return all services in order; replicas of none belong to no one (and break a rule of their own)."""
    services = plan.inputs.services
    of: list[list[Replica]] = [[] for _ in services]
    for replica in plan.replicas:
        if 0 <= replica.service < len(services):
            of[replica.service].append(replica)
    return tuple(
        Serving(number, service, tuple(of[number]), f"{service.model.name}: " if len(services) > 1 else "")
        for number, service in enumerate(services)
    )


def pairs(prefill: Sequence[Replica], decode: Sequence[Replica]) -> Iterator[tuple[Replica, Replica]]:
    """Yield every prefill replica with every decode replica, of those that no pair can tell apart the first."""
    return product(_distinct(prefill), _distinct(decode))


def _distinct(replicas: Iterable[Replica]) -> tuple[Replica, ...]:
    found: dict[object, Replica] = {}
    for one in replicas:
        e = one.estimate
        key = (one.tp, one.kv_cache, one.engine.block_tokens, e.ttft_s, e.ttft_slo_s, e.transfer_s)
        found.setdefault(key, one)
    return tuple(found.values())


def pair_ttft_s(prefill: Estimate, decode: Estimate) -> float:
    """Return the mean TTFT of a request: its prompt, its KV at the pace of the slower side, its first decode step."""
    return prefill.ttft_s + max(prefill.transfer_s, decode.transfer_s) + decode.ttft_s


def pair_ttft_slo_s(prefill: Estimate, decode: Estimate) -> float:
    """Return the same at the workload's percentile: each part at its own, the mean where none is named."""
    return prefill.ttft_slo_s + max(prefill.transfer_s, decode.transfer_s) + decode.ttft_slo_s


def mean(replicas: Sequence[Replica], field: str) -> float:
    """Return a field of estimates as requests see it: weighed by each replica's requests/s; 0 without any."""
    rate = sum(replica.estimate.requests_per_s for replica in replicas)
    total: float = sum(getattr(replica.estimate, field) * replica.estimate.requests_per_s for replica in replicas)
    return total / rate if rate else 0.0


def mean_transfer_s(prefill: Sequence[Replica], decode: Sequence[Replica]) -> float:
    """Return the mean seconds of a hand-over, prompts going to decode replicas in proportion to their requests/s."""
    senders, receivers = _shares_by_transfer(prefill), _shares_by_transfer(decode)
    return sum(
        share * other * max(sent_s, taken_s)
        for (sent_s, share), (taken_s, other) in product(senders.items(), receivers.items())
    )


def _shares_by_transfer(replicas: Sequence[Replica]) -> dict[float, float]:
    """Return the part of requests that the replicas of each transfer time take."""
    rate = sum(replica.estimate.requests_per_s for replica in replicas)
    shares: dict[float, float] = {}
    for replica in replicas if rate else ():
        seconds = replica.estimate.transfer_s
        shares[seconds] = shares.get(seconds, 0.0) + replica.estimate.requests_per_s / rate
    return shares
