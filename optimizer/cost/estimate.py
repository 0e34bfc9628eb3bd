"""One replica priced at one operating point: memory, time, rate, where the seconds go, and what is not measured."""

from dataclasses import replace
from functools import lru_cache

from optimizer.cost.bursts import new_tokens
from optimizer.cost.case import Case
from optimizer.cost.collectives import part
from optimizer.cost.memory import ledger
from optimizer.cost.quantities import Estimate, Phases
from optimizer.cost.serving import operate
from optimizer.cost.stages import Same
from optimizer.cost.step import prefill
from optimizer.cost.work import work
from optimizer.inputs.calibration import Calibration
from optimizer.inputs.model import Latent, MixtureOfExperts, ModelSpec, Scheme
from optimizer.inputs.workload import WorkloadSpec


def estimate(case: Case, workload: WorkloadSpec, concurrency: int) -> Estimate:
    """Return one replica priced with ``concurrency`` requests in flight; what does not fit is priced all the same.

    Rates and latencies are worse than predicted by the workload's margin.
    """
    return cautious(predicted(case, workload, concurrency), workload.margin)


def cautious(price: Estimate, margin: float) -> Estimate:
    """Return a price that holds as long as no rate and no latency is mispredicted by more than ``margin``.

    Memory, the seconds by cause and the traffic on links stay as predicted.
    """
    if not margin:
        return price
    return replace(
        price,
        ttft_s=price.ttft_s * (1 + margin),
        tpot_s=price.tpot_s * (1 + margin),
        ttft_slo_s=price.ttft_slo_s * (1 + margin),
        tpot_slo_s=price.tpot_slo_s * (1 + margin),
        requests_per_s=price.requests_per_s * (1 - margin),
        output_tokens_per_s=price.output_tokens_per_s * (1 - margin),
    )


def predicted(case: Case, workload: WorkloadSpec, concurrency: int) -> Estimate:
    """Return one replica as the model predicts it, without any margin."""
    load = operate(case, workload, concurrency)
    per_sequence = workload.isl.mean + workload.osl.mean
    memory, reasons = ledger(case, concurrency, per_sequence)
    budget = case.engine.max_num_batched_tokens
    todo = new_tokens(workload)
    return Estimate(
        concurrency=concurrency,
        ttft_s=load.ttft_s,
        tpot_s=load.tpot_s,
        ttft_slo_s=load.ttft_slo_s,
        tpot_slo_s=load.tpot_slo_s,
        requests_per_s=load.requests_per_s,
        output_tokens_per_s=load.requests_per_s * workload.osl.mean,
        memory=memory,
        breakdown=Phases(
            prefill=prefill(case, min(todo, budget), workload.isl.mean - todo),
            decode=load.decode,
            request=load.request,
        ),
        fits=not reasons,
        reasons=reasons,
        notes=notes(case),
        crossing_bytes_per_s=_crossing(case, workload, load.requests_per_s),
    )


def notes(case: Case) -> tuple[str, ...]:
    """Return what in this price is not measured on its GPUs."""
    hops, said = sorted({hop.medium for hop in case.wiring.hops}), []
    for one, _ in case.parts:
        media = (one.wiring.group.inner, one.wiring.group.outer, *hops)
        said.append(_notes(Same(case.model), one.gpu.id, Same(one.calibration), media, case.layout.weights))
    return said[0] if len(said) == 1 else tuple(dict.fromkeys(note for notes in said for note in notes))


@lru_cache(maxsize=1024)
def _notes(
    model: Same[ModelSpec], gpu: str, calibration: Same[Calibration], media: tuple[str, ...], weights: Scheme
) -> tuple[str, ...]:
    fits, used = calibration.value, {"kernel", "host", "elementwise", "gemm", *(f"links {medium}" for medium in media)}
    for run in model.value.runs:
        used.add("mla" if isinstance(run.attention, Latent) else "attention")
        used.update({"moe"} if isinstance(run.feed_forward, MixtureOfExperts) else ())
    kin = f"{gpu} has no calibration: priced from its datasheet with the shares of it measured on {fits.gpu}"
    said = [kin] if fits.gpu != gpu else []
    if weights not in fits.gemm:
        said.append(f"{fits.gpu}: {weights} matrix products not measured, priced with the shares of 16 bits")
    if "moe" in used and weights not in fits.moe:
        said.append(f"{fits.gpu}: {weights} experts not measured, priced with the shares of 16 bits")
    return (
        *said,
        *(
            f"{fits.gpu}: {family} not measured, taken from {origin}"
            for family, origin in sorted(fits.borrowed.items())
            if used.intersection(family.split(", "))
        ),
    )


def _crossing(case: Case, workload: WorkloadSpec, requests_per_s: float) -> float:
    """Return mean bytes/s the replica sends over the boundary of its busiest domain, per direction.

    All-reduces of a TP group over k domains send 2(k-1)/k of every row out of each, gather and scatter of rows among
    attention replicas (k-1)/k each; stages on other nodes pass on hidden state and residual, each of k domains its
    part. A request's last token is never fed back.
    """
    per_token = max([_crossing_per_token(one, held) for one, held in case.parts])
    tokens_per_s = requests_per_s * (new_tokens(workload) + workload.osl.mean - 1)
    return tokens_per_s * per_token * work(case.at(0)).hidden_bytes


def _crossing_per_token(case: Case, held: range) -> float:
    """Return what the busiest of some stages on GPUs of one type send for each token, in hidden states."""
    constants, layout, group = work(case), case.layout, case.wiring.group
    per_token = 0.0
    if group.outer == "rdma":
        peers = part(group, layout.tp).domains
        reduced, gathered = 2.0 * (peers - 1) / peers / layout.attn_dp, 2.0 * (group.domains - 1) / group.domains
        per_token = max([
            sum([n * (kind.all_reduces * reduced + kind.exchanges * gathered)
                 for n, kind in zip(constants.shapes[index].counts, constants.kinds, strict=True)])
            for index in set(constants.order[held.start : held.stop])
        ])  # fmt: skip
    if any(hop.medium == "rdma" for hop in case.wiring.hops):
        per_token += 2.0 / (group.domains if group.outer == "rdma" else 1)
    return per_token
