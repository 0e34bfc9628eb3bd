"""What a plan by construction has to carry, in the whole numbers of the rules, and what its replicas take up."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from optimizer.formulation.columns import Column
from optimizer.formulation.instance import AMOUNTS, Instance, Phase
from optimizer.formulation.integers import SHARE_STEPS, part
from optimizer.formulation.pairs import services_apart
from optimizer.formulation.rules import asked_of


@dataclass(frozen=True)
class Need:
    """What a phase has to carry."""

    phase: Phase
    amounts: tuple[int, ...]
    """Of each column, in whole steps as the rules count them."""
    asked: int | None
    """None where prompts have to keep up with the answers."""
    survives: bool = False
    """Whether that much has to be left after any single failure."""


def needs_of(instance: Instance) -> Iterator[Need]:
    """Yield what each phase has to carry, answers before the prompts that keep up with them."""
    apart = services_apart(instance.columns)
    for phase in sorted(instance.phases, key=lambda phase: phase.role == "prefill"):
        load = instance.loads[phase.service]
        clients, rate = load.clients(instance.objective), load.workload.request_rate
        if clients is not None and phase.role != "prefill":
            yield _need(instance, phase, lambda c: c.point.concurrency, clients)
        elif clients is not None and phase.service in apart:
            fastest = fastest_rate(instance, phase.service)
            yield _need(instance, phase, partial(_part, fastest), None)
        elif rate is not None:
            yield _need(instance, phase, partial(_part, rate), SHARE_STEPS)
        else:
            yield _need(instance, phase, lambda _: 1, 1)
        if instance.survive is not None:
            weights, left = asked_of(instance, phase)
            yield Need(phase, tuple(weights), left, survives=True)


def _need(instance: Instance, phase: Phase, amount: Callable[[Column], int], asked: int | None) -> Need:
    return Need(phase, tuple(amount(c) if phase.covers(c) else 0 for c in instance.columns), asked)


def _part(whole: float, column: Column) -> int:
    return part(column.point.requests_per_s / whole)


def fastest_rate(instance: Instance, service: int) -> float:
    """Return the requests/s of the fastest replica of a model, in any role."""
    return max(column.point.requests_per_s for column in instance.columns if column.service == service)


def weight_of_columns(instance: Instance) -> Callable[[Column], float]:
    """Return what a replica takes up of what is to be kept small."""
    if instance.objective in ("cost", "energy"):
        return AMOUNTS[instance.objective]
    return AMOUNTS["gpus"] if instance.replicas is None else lambda _: 1.0
