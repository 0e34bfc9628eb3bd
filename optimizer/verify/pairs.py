"""Rules on hand-overs: prefill and decode replicas of a service understand each other's KV and keep TTFT together."""

from collections.abc import Iterator

from optimizer.plan import Replica
from optimizer.verify.evidence import TOLERANCE, Evidence
from optimizer.verify.phases import pair_ttft_slo_s, pairs, servings


def roles_are_allowed(evidence: Evidence) -> Iterator[str]:
    """Every replica serves one of the services, in a role that its workload allows."""
    services = evidence.plan.inputs.services
    for claim in evidence.claims:
        number, role = claim.replica.service, claim.replica.role
        if not 0 <= number < len(services):
            yield f"{claim.name}: is of service {number}, there are {len(services)}"
        elif role not in (roles := services[number].workload.roles):
            yield f"{claim.name}: does {role}, allowed: {', '.join(roles)}"


def pairs_agree(evidence: Evidence) -> Iterator[str]:
    """Prefill and decode replicas of a service have KV of one precision in blocks of one size, and TP sizes divide."""
    for serving in servings(evidence.plan):
        for prefill, decode in pairs(serving.of("prefill"), serving.of("decode")):
            for wrong in _disagreements(prefill, decode):
                yield f"{serving.told}{wrong}"


def _disagreements(prefill: Replica, decode: Replica) -> Iterator[str]:
    if prefill.kv_cache != decode.kv_cache:
        yield f"prefill writes KV in {prefill.kv_cache}, decode reads it in {decode.kv_cache}"
    sizes = prefill.engine.block_tokens, decode.engine.block_tokens
    if sizes[0] != sizes[1]:
        yield f"prefill has KV blocks of {sizes[0]} tokens, decode of {sizes[1]}"
    small, large = sorted((prefill.tp, decode.tp))
    if large % small:
        yield f"prefill at tp {prefill.tp} and decode at tp {decode.tp}: neither divides the other"


def pairs_meet_ttft(evidence: Evidence) -> Iterator[str]:
    """Prompt, transfer and first decode step keep the bound on TTFT together, whichever pair serves a request."""
    for serving in servings(evidence.plan):
        bound = serving.service.workload.slo.ttft
        found = pairs(serving.of("prefill"), serving.of("decode"))
        worst = max((pair_ttft_slo_s(p.estimate, d.estimate) for p, d in found), default=0.0)
        if bound is not None and worst > bound * (1 + TOLERANCE):
            yield f"{serving.told}TTFT of the slowest pair is {worst:.6g} s, the workload allows {bound:.6g} s"
