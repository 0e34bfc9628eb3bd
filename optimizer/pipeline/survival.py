"""What the seats leave after each single failure, in floats."""

from collections.abc import Iterator, Sequence

from optimizer.inputs.service import Service
from optimizer.pipeline.totals import served_per_s
from optimizer.plan import Failure, Replica, Survival
from optimizer.topology.graph import Topology


def survival_of(
    topology: Topology, replicas: Sequence[Replica], failure: Failure, services: Sequence[Service], *, by_rate: bool
) -> Survival:
    """Return what the worst failure leaves; ``by_rate``: the one that leaves the least rate, else fewest in flight."""
    hit: dict[str, list[int]] = {}
    for number, replica in enumerate(replicas):
        for element in dict.fromkeys(_needs(topology, replica, failure)):
            hit.setdefault(element, []).append(number)

    def lost(element: str) -> float:
        estimates = (replicas[number].estimate for number in hit[element])
        return sum(e.requests_per_s if by_rate else e.concurrency for e in estimates)

    worst = max(hit, key=lost, default=None)
    kept = [r for number, r in enumerate(replicas) if worst is None or number not in hit[worst]]
    rates = [served_per_s(service, [r for r in kept if r.service == n]) for n, service in enumerate(services)]
    return Survival(
        failure=failure, worst=worst, checked=len(hit), replicas_lost=tuple(hit.get(worst or "", ())),
        requests_per_s=sum(rates),
        output_tokens_per_s=sum(n * service.workload.osl.mean for n, service in zip(rates, services, strict=True)),
        concurrency=sum(r.estimate.concurrency for r in kept),
    )  # fmt: skip


def _needs(topology: Topology, replica: Replica, failure: Failure) -> Iterator[str]:
    """Yield what the replica cannot do without."""
    match failure:
        case "gpu":
            yield from (seat.gpu for seat in replica.seats)
        case "node":
            yield from (seat.node for seat in replica.seats)
        case "nic":
            vertices = topology.graph.nodes
            yield from (r.domain for r in replica.reservations if vertices[r.domain]["kind"] == "nic")
