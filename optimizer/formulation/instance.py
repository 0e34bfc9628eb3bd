"""What is to be decided: classes of nodes, columns, and what the user asks for."""

from dataclasses import dataclass
from functools import cached_property

from optimizer.formulation.columns import Column
from optimizer.inputs.workload import WorkloadSpec
from optimizer.plan import Failure, ObjectiveName
from optimizer.topology.classes import NodeClass


@dataclass(frozen=True)
class Instance:
    """One decision: how many replicas of each column."""

    classes: tuple[NodeClass, ...]
    columns: tuple[Column, ...]
    workload: WorkloadSpec
    objective: ObjectiveName
    max_gpus: int | None = None
    replicas: int | None = None
    """Exactly so many replicas, None for as many as serve best."""
    then: tuple[ObjectiveName, ...] = ()
    """Further objectives, each among the plans that are best by those before it."""
    survive: Failure | None = None
    """What may break without the demand being missed; for throughput: what the tokens left are counted after."""
    own_nics: tuple[bool, ...] = ()
    """Of each class, whether no NIC serves two GPUs; needed to survive a NIC."""

    @property
    def objectives(self) -> tuple[ObjectiveName, ...]:
        """All objectives in their order."""
        return (self.objective, *self.then)

    @cached_property
    def most(self) -> tuple[int, ...]:
        """Upper bound on the replicas of each column: by GPUs alone."""
        total = sum(len(c.nodes) * sum(i.size for i in c.islands) for c in self.classes)
        return tuple(min(total, self.max_gpus or total) // column.gpus for column in self.columns)


def demanded_concurrency(workload: WorkloadSpec, objective: ObjectiveName) -> int | None:
    """Return the requests in flight that must be served, None when a rate or nothing is demanded.

    Latencies are those of a single client unless the workload says otherwise.
    """
    if workload.request_rate is not None:
        return None
    return workload.concurrency or (1 if objective in ("latency", "ttft") else None)
