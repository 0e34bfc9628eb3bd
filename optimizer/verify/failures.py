"""Rule on failures: every GPU, node or NIC is taken away in turn, and what is left is held against the workload."""

from collections.abc import Iterator, Sequence

from optimizer.plan import Failure, Replica
from optimizer.verify.evidence import TOLERANCE, Claim, Evidence, agree
from optimizer.verify.links import shares_of
from optimizer.verify.outcome import missing, unserved
from optimizer.verify.phases import Carried, Serving, carried, servings


def enough_is_left(evidence: Evidence) -> Iterator[str]:
    """What the worst single failure leaves is as stated and still gives every service all it asks for."""
    plan = evidence.plan
    asked, stated = plan.provenance.options.get("survive"), plan.survival
    if stated is None or stated.failure != asked:
        if asked is not None or stated is not None:
            yield f"asked to survive {asked}, stated for {stated and stated.failure}"
        return
    if plan.objective.name == "throughput" and len(plan.inputs.services) > 1:
        yield "what several models keep of their throughput has no one worst failure"
        return
    broken = _broken(evidence, stated.failure)
    every = tuple((serving, serving.carried) for serving in servings(plan))
    yield from _misstated(evidence, every, broken)
    for element, claims in broken.items():
        for serving, left in _left(every, claims):
            yield from (f"without {element} {serving.told}{wrong}" for wrong in _too_little(evidence, serving, left))


Standing = tuple[tuple[Serving, Carried], ...]
"""Services with what carries them."""


def _misstated(evidence: Evidence, every: Standing, broken: dict[str, list[Claim]]) -> Iterator[str]:
    """Yield what is stated of the worst failure and differs from what the replicas left make it."""
    stated = evidence.plan.survival
    assert stated is not None
    lost = broken.get(stated.worst or "", [])
    left = _left(every, lost)
    rates = [serving.counted_per_s(rest) for serving, rest in left]
    figures = {
        "requests_per_s": sum(rates),
        "output_tokens_per_s": sum(
            rate * serving.service.workload.osl.mean for rate, (serving, _) in zip(rates, left, strict=True)
        ),
        "concurrency": sum(rest.all.in_flight for _, rest in left),
        "checked": len(broken),
    }
    for name, actual in figures.items():
        if not agree(getattr(stated, name), actual):
            yield f"without {stated.worst} {name} is {getattr(stated, name)}, recomputed {actual}"
    numbers = tuple(number for number, claim in enumerate(evidence.claims) if claim in lost)
    if stated.replicas_lost != numbers:
        yield f"{stated.worst} takes replicas {numbers}, stated are {stated.replicas_lost}"


def _too_little(evidence: Evidence, serving: Serving, left: Carried) -> Iterator[str]:
    """Yield that what is left of a service is less than what it asks for, or than what is stated as the least."""
    stated = evidence.plan.survival
    assert stated is not None
    if gone := unserved(left):
        yield gone
    elif evidence.plan.objective.name != "throughput":
        yield from missing(serving, left, evidence.plan.objective.name)
    elif serving.counted_per_s(left) < stated.requests_per_s * (1 - TOLERANCE):
        yield f"{left.requests_per_s:.6g} requests/s are left, {stated.requests_per_s:.6g} are stated"


def _left(every: Standing, lost: Sequence[Claim]) -> Standing:
    """Return all services with what the lost replicas leave them."""
    without: dict[int, list[Replica]] = {}
    for claim in lost:
        without.setdefault(claim.replica.service, []).append(claim.replica)
    return tuple((serving, own - carried(without.get(serving.number, ()))) for serving, own in every)


def _broken(evidence: Evidence, failure: Failure) -> dict[str, list[Claim]]:
    """Return the replicas that break with each element."""
    broken: dict[str, list[Claim]] = {}
    for claim in evidence.seated:
        for element in _needs(claim, failure):
            broken.setdefault(element, []).append(claim)
    return broken


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
