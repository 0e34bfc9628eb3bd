"""What is to be decided: classes of nodes, columns, and what the user asks for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from optimizer.formulation.columns import Column
from optimizer.inputs.workload import Role, WorkloadSpec
from optimizer.plan import Failure, ObjectiveName
from optimizer.topology.classes import NodeClass

AMOUNTS: Mapping[ObjectiveName, Callable[[Column], float]] = {
    "gpus": lambda column: column.gpus,
    "cost": lambda column: column.price_per_h or 0.0,
    "energy": lambda column: column.power_w,
}
"""What a replica adds to the objectives that are sums to be kept small."""


@dataclass(frozen=True)
class Load:
    """The traffic of one model."""

    workload: WorkloadSpec
    weight: float = 1.0
    """Of its output tokens beside those of the other models."""

    @property
    def tokens(self) -> float:
        """What one of its requests is worth: its output tokens times their weight."""
        return self.weight * self.workload.osl.mean

    def clients(self, objective: ObjectiveName) -> int | None:
        """Return the requests in flight that must be served, None when a rate or nothing is demanded.

        Latencies are those of a single client unless the workload says otherwise.
        """
        if self.workload.request_rate is not None:
            return None
        return self.workload.concurrency or (1 if objective in ("latency", "ttft") else None)


@dataclass(frozen=True)
class Phase:
    """All of a model's requests, or their prompts, or their answers, where these are apart."""

    service: int
    role: Role

    def covers(self, column: Column) -> bool:
        """Whether a replica takes part: one that serves whole requests takes part in each phase."""
        return column.service == self.service and (self.role == "both" or column.role in ("both", self.role))


@dataclass(frozen=True)
class Instance:
    """One decision: how many replicas of each column."""

    classes: tuple[NodeClass, ...]
    columns: tuple[Column, ...]
    loads: tuple[Load, ...]
    """Of each service."""
    objective: ObjectiveName
    max_gpus: int | None = None
    replicas: int | None = None
    """Exactly so many replicas, None for as many as serve best."""
    then: tuple[ObjectiveName, ...] = ()
    """Further objectives, each among the plans that are best by those before it."""
    survive: Failure | None = None
    """What may break without the demand being missed; for throughput: what the tokens left are counted after."""
    slowest_s: float = 0.0
    """No plan's slowest replica is faster, where that is the first objective: known before anything is chosen."""
    own_nics: tuple[bool, ...] = ()
    """Of each class, whether no NIC serves two GPUs; needed to survive a NIC."""
    needs: tuple[int, ...] = ()
    """Of each service, what it adds to the first objective at least, in the goal's integers; empty: not looked at."""
    counted_as: tuple[Column, ...] = ()
    """Columns that the size of the goals' integers follows from, where some were left out since; empty: all."""

    @property
    def objectives(self) -> tuple[ObjectiveName, ...]:
        """All objectives in their order."""
        return (self.objective, *self.then)

    @cached_property
    def whole(self) -> "Instance":
        """The instance with the columns that were left out, from which the size of the goals' integers follows."""
        return replace(self, columns=self.counted_as, counted_as=()) if self.counted_as else self

    def only(self, columns: tuple[Column, ...]) -> "Instance":
        """Return the instance with some of its columns, which all goals count in the same integers."""
        return replace(self, columns=columns, counted_as=self.whole.columns)

    @cached_property
    def gpus(self) -> int:
        """GPUs that may be used."""
        total = sum(len(c.nodes) * sum(i.size for i in c.islands) for c in self.classes)
        return min(total, self.max_gpus or total)

    @cached_property
    def most(self) -> tuple[int, ...]:
        """Upper bound on the replicas of each column: by GPUs alone."""
        return tuple(self.gpus // column.gpus for column in self.columns)

    def seconds(self, column: Column) -> float:
        """Return what the first objective looks at of a replica, where that is a latency."""
        return column.point.tpot_s if self.objective == "latency" else column.point.ttft_s

    @cached_property
    def phases(self) -> tuple[Phase, ...]:
        """What has to be served, by service: whole requests, or prompts and answers where columns hold them apart."""
        return phases(self.columns)


def phases(columns: Sequence[Column]) -> tuple[Phase, ...]:
    """Return the phases that columns are about, in a fixed order."""
    known = sorted({(column.service, column.role) for column in columns})
    apart = {(service, role) for service, role in known if role != "both"}
    whole = {(service, role) for service, role in known if all(service != other for other, _ in apart)}
    return tuple(Phase(service, role) for service, role in sorted(apart | whole, key=phase_order))


def phase_order(key: tuple[int, Role]) -> tuple[int, bool, str]:
    """Return the order of phases: by service, prompts before answers."""
    service, role = key
    return service, role == "decode", role
