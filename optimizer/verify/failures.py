"""Rule on failures: every GPU, node or NIC is taken away in turn, and what is left is held against the workload."""

from collections.abc import Iterator

from optimizer.plan import Failure
from optimizer.verify.evidence import TOLERANCE, Claim, Evidence, agree
from optimizer.verify.links import shares_of


def enough_is_left(evidence: Evidence) -> Iterator[str]:
    """What the worst single failure leaves is as stated and meets the workload."""
    plan = evidence.plan
    asked, stated = plan.provenance.options.get("survive"), plan.survival
    if stated is None or stated.failure != asked:
        if asked is not None or stated is not None:
            yield f"asked to survive {asked}, stated for {stated and stated.failure}"
        return
    broken = _broken(evidence, stated.failure)
    rate, in_flight = _left(evidence, broken.get(stated.worst or "", []))
    counted = min(rate, plan.inputs.workload.request_rate or rate)
    tokens = counted * plan.inputs.workload.osl.mean
    for name, actual in (("requests_per_s", counted), ("output_tokens_per_s", tokens), ("concurrency", in_flight)):
        if not agree(getattr(stated, name), actual):
            yield f"without {stated.worst} {name} is {getattr(stated, name)}, recomputed {actual}"
    for element in _elements(evidence, stated.failure):
        yield from _too_little(evidence, element, *_left(evidence, broken.get(element, [])))


def _too_little(evidence: Evidence, element: str, rate: float, in_flight: int) -> Iterator[str]:
    """Yield that what is left without an element is less than what is asked, or than what is stated as the least."""
    plan, workload = evidence.plan, evidence.plan.inputs.workload
    assert plan.survival is not None
    if in_flight < 1:
        yield f"without {element} nothing is left"
    elif plan.objective.name == "throughput":
        if min(rate, workload.request_rate or rate) < plan.survival.requests_per_s * (1 - TOLERANCE):
            yield f"without {element} {rate:.6g} requests/s are left, {plan.survival.requests_per_s:.6g} are stated"
    elif workload.request_rate is not None:
        if rate < workload.request_rate * (1 - TOLERANCE):
            yield f"without {element} {rate:.6g} requests/s are left, {workload.request_rate:.6g} are asked for"
    elif in_flight < (workload.concurrency or 1):
        yield f"without {element} {in_flight} requests in flight are left, {workload.concurrency or 1} are asked for"


def _elements(evidence: Evidence, failure: Failure) -> tuple[str, ...]:
    """Return all that may break: of the whole cluster, in order."""
    topology = evidence.topology
    match failure:
        case "gpu":
            return tuple(gpu.id for gpu in topology.gpus)
        case "node":
            return tuple(topology.nodes)
        case "nic":
            return tuple(v for v, data in topology.graph.nodes(data=True) if data["kind"] == "nic")


def _broken(evidence: Evidence, failure: Failure) -> dict[str, list[Claim]]:
    """Return the replicas that break with each element."""
    broken: dict[str, list[Claim]] = {}
    for claim in evidence.seated:
        for element in _needs(claim, failure):
            broken.setdefault(element, []).append(claim)
    return broken


def _left(evidence: Evidence, broken: list[Claim]) -> tuple[float, int]:
    """Return requests/s and requests in flight of all replicas but the broken ones."""
    rate, in_flight = evidence.rate, evidence.in_flight
    lost = [claim.replica.estimate for claim in broken]
    return rate - sum(e.requests_per_s for e in lost), in_flight - sum(e.concurrency for e in lost)


def _needs(claim: Claim, failure: Failure) -> frozenset[str]:
    """Return what breaks a replica: its GPUs, their nodes, or the NICs that its traffic between nodes takes."""
    assert claim.gpus is not None
    match failure:
        case "gpu":
            return frozenset(gpu.id for gpu in claim.gpus)
        case "node":
            return frozenset(gpu.node for gpu in claim.gpus)
        case "nic":
            return frozenset(shares_of(claim))
