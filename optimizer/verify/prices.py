"""Rules on prices: memory, times and engine settings are those of the seats actually taken."""

from collections.abc import Iterator
from dataclasses import fields

from optimizer.cost.quantities import Estimate, RankMemory
from optimizer.verify.evidence import Claim, Evidence, agree


def engine_is_set_as_asked(evidence: Evidence) -> Iterator[str]:
    """Every engine setting follows from the workload's choice, the engine's defaults and the model."""
    for claim in evidence.claims:
        if isinstance(claim.settings, str):
            yield f"{claim.name}: {claim.settings}"
        else:
            for name, stated, recomputed in _different(claim.replica.engine, claim.settings):
                yield f"{claim.name}: {name} is {stated}, the inputs imply {recomputed}"
            tokens, chosen = claim.settings.max_num_batched_tokens, claim.replica.estimate.batched_tokens
            if chosen not in (None, tokens):
                yield f"{claim.name}: steps of {chosen} tokens are said to be chosen, the inputs imply {tokens}"


def engine_takes_the_load(evidence: Evidence) -> Iterator[str]:
    """The engine accepts as many requests, and as long ones, as were priced."""
    for claim in evidence.claims:
        engine, priced = claim.replica.engine, claim.replica.estimate.concurrency
        load, context = claim.service.workload, claim.service.model.context
        if not 1 <= priced <= engine.max_num_seqs * claim.replica.attn_dp:
            yield f"{claim.name}: {priced} requests in flight, the engine runs up to {engine.max_num_seqs}"
        if not load.isl.mean + load.osl.mean <= engine.max_model_len <= context:
            yield (
                f"{claim.name}: max_model_len {engine.max_model_len} is not between a request "
                f"({load.isl.mean} + {load.osl.mean}) and the context {context}"
            )


def memory_fits(evidence: Evidence) -> Iterator[str]:
    """What a rank holds stays within its GPU, and what the engine counts in its share stays within that share."""
    seen = set()
    for claim in evidence.claims:
        same = (id(claim.replica.estimate), id(claim.replica.engine), claim.types)
        if same in seen:
            continue
        seen.add(same)
        for rank in claim.replica.estimate.memory:
            if wrong := _overfull(claim, rank):
                yield f"{claim.name} rank {rank.rank}: {wrong}"


def _overfull(claim: Claim, rank: RankMemory) -> str | None:
    """Return what a rank has too little room for, None when all fits; vLLM's share covers all, SGLang's only some."""
    gpu = claim.spec_of(rank.stage)
    if gpu is None or claim.facts is None:
        return None
    beside, share_of = rank.activation_bytes + rank.overhead_bytes, claim.facts.share_of
    pool = rank.kv_tokens / claim.replica.attn_dp * rank.kv_bytes_per_token
    counted = rank.weights_bytes + pool + (beside if share_of != "static" else 0)
    most = gpu.memory * (claim.replica.engine.gpu_memory_utilization if share_of == "total" else 1)
    if not rank.fits or counted > rank.capacity_bytes + 1:
        return f"{counted:.0f} B, {pool:.0f} B of KV among them, exceed its capacity of {rank.capacity_bytes} B"
    if rank.capacity_bytes > most + 1 or rank.weights_bytes + pool + beside > gpu.memory + 1:
        return f"a capacity of {rank.capacity_bytes} B with {beside} B beside exceeds {most:.0f} B of the GPU"
    return None


def memory_is_as_recomputed(evidence: Evidence) -> Iterator[str]:
    """The ledger of every rank is what the layout and the engine imply."""
    for claim, fresh in _priced(evidence):
        stated = claim.replica.estimate.memory
        if len(stated) != len(fresh.memory):
            yield f"{claim.name}: memory of {len(stated)} ranks, there are {len(fresh.memory)}"
            continue
        if not fresh.fits:
            yield f"{claim.name}: does not fit: {'; '.join(fresh.reasons)}"
        for mine, theirs in zip(stated, fresh.memory, strict=True):
            for name, a, b in _different(mine, theirs):
                yield f"{claim.name} rank {theirs.rank}: {name} is {a}, recomputed {b}"


_FIGURES = (
    "ttft_s",
    "tpot_s",
    "ttft_slo_s",
    "tpot_slo_s",
    "requests_per_s",
    "output_tokens_per_s",
    "crossing_bytes_per_s",
    "transfer_s",
    "fits",
)
_WORDS = ("reasons", "notes")  # fmt: skip


def estimate_is_as_recomputed(evidence: Evidence) -> Iterator[str]:
    """Times and rates are those of the actual seats at the stated concurrency."""
    for claim in evidence.seated:
        if isinstance(claim.estimate, str):
            yield f"{claim.name}: {claim.estimate}"
    for claim, fresh in _priced(evidence):
        stated = claim.replica.estimate
        for name in _FIGURES:
            if not agree(getattr(stated, name), getattr(fresh, name)):
                yield f"{claim.name}: {name} is {getattr(stated, name)}, recomputed {getattr(fresh, name)}"
        for name in _WORDS:
            if tuple(getattr(stated, name)) != tuple(getattr(fresh, name)):
                yield f"{claim.name}: {name} are {getattr(stated, name)}, recomputed {getattr(fresh, name)}"
        for phase in ("prefill", "decode", "request"):
            for name, a, b in _different(getattr(stated.breakdown, phase), getattr(fresh.breakdown, phase)):
                yield f"{claim.name}: {phase} {name} is {a}, recomputed {b}"


def slos_are_met(evidence: Evidence) -> Iterator[str]:
    """Every replica keeps the bounds on TTFT and TPOT, at their percentile if they name one."""
    for claim, fresh in _priced(evidence):
        slo = claim.service.workload.slo
        for name, seconds, bound in (("TTFT", fresh.ttft_slo_s, slo.ttft), ("TPOT", fresh.tpot_slo_s, slo.tpot)):
            if bound is not None and seconds > bound:
                yield f"{claim.name}: {name} is {seconds:.6g} s, the workload allows {bound:.6g} s"


def _priced(evidence: Evidence) -> Iterator[tuple[Claim, Estimate]]:
    """Yield the replicas that have a price; of those with the same stated and the same fresh one the first."""
    seen = set()
    for claim in evidence.seated:
        pair = (claim.replica.service, id(claim.replica.estimate), id(claim.estimate))
        if not isinstance(claim.estimate, str) and pair not in seen:
            seen.add(pair)
            yield claim, claim.estimate


def _different(stated: object, recomputed: object) -> Iterator[tuple[str, object, object]]:
    """Yield (name, stated, recomputed) of every field of two records of one kind that differs."""
    for field in fields(recomputed):  # type: ignore[arg-type]
        a, b = getattr(stated, field.name), getattr(recomputed, field.name)
        numbers = isinstance(a, int | float) and isinstance(b, int | float)
        if not (agree(a, b) if numbers else a == b):
            yield field.name, a, b
