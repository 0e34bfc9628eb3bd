"""What is asked: the inputs and the choices made on the command line."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeVar

from optimizer.inputs.cluster import ClusterSpec
from optimizer.inputs.model import ModelSpec
from optimizer.inputs.service import Service
from optimizer.inputs.workload import WorkloadSpec
from optimizer.plan import Failure, ObjectiveName

Progress = Callable[[str], None]
Item = TypeVar("Item")

TELL_EVERY_S = 1.0
"""How often it is told how far a long question is."""


def silent(_: str) -> None:
    """Report nothing."""


def in_steps(items: Sequence[Item], progress: Progress, what: str) -> Iterator[Item]:
    """Yield items one by one, and tell whenever a second has passed how many are done."""
    told_s = time.monotonic()
    for done, item in enumerate(items):
        if done and time.monotonic() - told_s >= TELL_EVERY_S:
            progress(f"{done} of {len(items)} {what}")
            told_s = time.monotonic()
        yield item


@dataclass(frozen=True)
class Request:
    """What the user asks."""

    cluster: ClusterSpec
    model: ModelSpec
    workload: WorkloadSpec = field(default_factory=WorkloadSpec)
    weight: float = 1.0
    """Of this model's output tokens beside those of ``more``."""
    more: tuple[Service, ...] = ()
    """Further models that share the cluster."""
    objective: ObjectiveName = "throughput"
    then: tuple[ObjectiveName, ...] = ()
    """Further objectives, each among the plans that are best by those before it."""
    survive: Failure | None = None
    """What may break, one at a time, without the workload being missed."""
    fix: Mapping[str, int] = field(default_factory=dict)
    """Degrees decided beforehand: tp, pp, ep, dp (replicas)."""
    max_gpus: int | None = None
    exclude: tuple[str, ...] = ()
    """Nodes ("node01") and GPUs ("node01/3") that others use."""
    time_limit_s: float | None = None
    gap: float | None = None
    """Stop when the plan is proven to be within this part of the best; None: when it is proven best."""
    workers: int = 1
    seed: int = 0
    faults: bool = True
    """Whether to solve again without each fault of the cluster."""

    @cached_property
    def services(self) -> tuple[Service, ...]:
        """All models with their traffic, the first first."""
        return (Service(model=self.model, workload=self.workload, weight=self.weight), *self.more)

    def of(self, number: int) -> "Request":
        """Return the same question about one of the models alone."""
        service = self.services[number]
        return replace(self, model=service.model, workload=service.workload, weight=service.weight, more=())
