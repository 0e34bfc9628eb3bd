"""What the seats leave after each single failure, in floats."""

from collections.abc import Iterator, Sequence

from optimizer.inputs.workload import WorkloadSpec
from optimizer.plan import Failure, Replica, Survival
from optimizer.topology.graph import Topology


def survival_of(
    topology: Topology, replicas: Sequence[Replica], failure: Failure, workload: WorkloadSpec, *, by_rate: bool
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
    kept = [r.estimate for number, r in enumerate(replicas) if worst is None or number not in hit[worst]]
    rate = sum(e.requests_per_s for e in kept)
    rate = min(rate, workload.request_rate or rate)
    return Survival(
        failure=failure, worst=worst, checked=len(hit), replicas_lost=tuple(hit.get(worst or "", ())),
        requests_per_s=rate, output_tokens_per_s=rate * workload.osl.mean, concurrency=sum(e.concurrency for e in kept),
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
