"""One replica priced at one operating point: memory, time, rate, where the seconds go, and what is not measured."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

from optimizer.cost.apart import decode_only, prefill_only
from optimizer.cost.batch import is_piecewise
from optimizer.cost.bursts import new_tokens
from optimizer.cost.case import Case
from optimizer.cost.memory import ledger
from optimizer.cost.notes import notes
from optimizer.cost.pipeline import pipeline_of
from optimizer.cost.quantities import Breakdown, Estimate, Phases
from optimizer.cost.serving import operate
from optimizer.cost.speculation import decode_steps
from optimizer.cost.step import prefill
from optimizer.cost.traffic import crossing
from optimizer.inputs.identity import Keyed, Same
from optimizer.inputs.workload import Role, WorkloadSpec


def estimate(case: Case, workload: WorkloadSpec, concurrency: int, role: Role = "both") -> Estimate:
    """Return one replica priced with ``concurrency`` requests in flight; what does not fit is priced all the same.

    Rates and latencies are worse than predicted by the workload's margin. A replica of one phase needs a way out in
    its wiring: InputError without.
    """
    return cautious(_PREDICTED[role](case, workload, concurrency), workload.margin)


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
        transfer_s=price.transfer_s * (1 + margin),
    )


def predicted(case: Case, workload: WorkloadSpec, concurrency: int) -> Estimate:
    """Return one replica as the model predicts it, without any margin."""
    load = operate(case, workload, concurrency)
    per_sequence = workload.isl.mean + workload.osl.mean
    memory, reasons = ledger(case, concurrency, per_sequence)
    budget = case.engine.max_num_batched_tokens
    todo, steps = new_tokens(workload), decode_steps(case, workload.osl.mean - 1)
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
            prefill=_on_the_idle_replica(case, min(todo, budget), workload.isl.mean - todo),
            decode=load.decode,
            request=load.request,
        ),
        fits=not reasons,
        reasons=reasons,
        notes=notes(case),
        crossing_bytes_per_s=crossing(case, load.requests_per_s * (todo + case.checked * steps)),
    )


def _on_the_idle_replica(case: Case, tokens: float, past: float) -> Breakdown:
    """Return the seconds of one prompt by itself: the same however many requests the engine may keep in flight."""
    graphs: object = is_piecewise(case, tokens / case.layout.pcp), case.engine.max_num_batched_tokens
    if case.speculative is not None:  # drafts are decoded too
        graphs = Same(case.speculative), Same(case.engine)
    return _alone(Keyed(case, pipeline_of(case), Same(case.calibration), Same(case.facts), graphs), tokens, past)


@lru_cache(maxsize=1024)
def _alone(replica: Keyed[Case], tokens: float, past: float) -> Breakdown:
    return prefill(replica.value, tokens, past)


_PREDICTED: dict[Role, Callable[[Case, WorkloadSpec, int], Estimate]] = {
    "both": predicted, "prefill": prefill_only, "decode": decode_only,
}  # fmt: skip
