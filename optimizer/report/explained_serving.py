"""Rates and latencies of one replica, traced to its steps."""

from optimizer.cost.bursts import front_end, mean_context, new_tokens, turnover
from optimizer.cost.case import Case
from optimizer.cost.quantities import Estimate
from optimizer.cost.serving import operate
from optimizer.cost.waiting import gated_queue
from optimizer.inputs.workload import WorkloadSpec
from optimizer.report.explained_step import host_fact, step_fact
from optimizer.report.facts import Fact, fact
from optimizer.units import show_seconds

RATE, TTFT, TPOT = "requests/s", "TTFT", "TPOT"

_RUNNING = {
    False: "min(concurrency, max_num_seqs x attention DP)",
    True: "mean in flight that leaves room for random arrivals: m + 2.33 sqrt(m (1 + m x crowding)) = admitted",
}
"""By whether requests arrive at random."""


def serving_facts(case: Case, workload: WorkloadSpec, stated: Estimate) -> dict[str, Fact]:
    """Return requests/s, TTFT and TPOT at the stated concurrency, as cost/serving.py gives them."""
    loop = _Loop(case, workload, stated.concurrency)
    return {RATE: loop.rate(stated), TTFT: loop.ttft(stated), TPOT: loop.tpot(stated)}


class _Loop:
    """The quantities of the closed loop, each once."""

    def __init__(self, case: Case, workload: WorkloadSpec, concurrency: int) -> None:
        self.case, self.workload = case, workload
        limit = case.engine.max_num_seqs * case.layout.attn_dp
        self.at_random = workload.request_rate is not None
        self.running = operate(case, workload, concurrency).running
        turn = turnover(case, workload, self.running)
        decode_s, osl, chunks = turn.decode.total, workload.osl.mean, turn.chunks
        life = osl - 1 + chunks
        self.front = self._front()
        self.step = step_fact("decode step", case, turn.decode, self.running, mean_context(workload))
        self.running_fact = fact(
            "running", self.running, f"{self.running:g} requests", _RUNNING[self.at_random],
            fact("concurrency", concurrency, f"{concurrency}", "chosen by the solver among the priced points"),
            fact("max_num_seqs", limit, f"{limit}", source=f"{case.engine.name} {case.engine.version} as started"),
        )  # fmt: skip
        self.chunks = fact(
            "chunks", chunks, f"{chunks}", "ceil(new tokens / (max_num_batched_tokens - decodes))",
            fact("new tokens", new_tokens(workload), f"{new_tokens(workload):g}", "ISL x (1 - prefix_cache_hit)"),
            fact("max_num_batched_tokens", case.engine.max_num_batched_tokens, f"{case.engine.max_num_batched_tokens}",
                 source=f"{case.engine.name} {case.engine.version} as started"),
        )  # fmt: skip
        self.osl = fact("OSL", osl, f"{osl} tokens", source="workload")
        steps = max(life, turn.mixed_steps)
        self.cycle_s = steps * decode_s + turn.extra_s
        self.cycle = fact(
            "cycle", self.cycle_s, show_seconds(self.cycle_s),
            "max(OSL - 1 + chunks, mixed steps) x decode step + extra", self.step, self.osl, self.chunks,
            fact("mixed steps", turn.mixed_steps, f"{turn.mixed_steps:,.1f}",
                 "steps that prefill while every running request is renewed once"),
            fact("extra", turn.extra_s, show_seconds(turn.extra_s),
                 "what those steps take beyond decode steps, on the slowest stage"),
        )  # fmt: skip
        base_s = case.calibration.host.step_base * case.layout.pp
        start_s = max(self.cycle_s / life - (self.front.number or 0.0), base_s)
        self.mixed = fact("mixed step", turn.mixed_s, show_seconds(turn.mixed_s),
                          "a step that prefills beside the decodes, through all stages")  # fmt: skip
        self.start = fact(
            "start", start_s, show_seconds(start_s), "max(mean step - front end, base x PP)",
            host_fact(case, "base", "step_base"),
        )  # fmt: skip
        self.own_s = chunks * turn.mixed_s + start_s
        self.waiting = max(0, concurrency - limit)
        self.alone_s = turn.alone_s
        self.prompt_s = turn.extra_s / max(1.0, self.running)
        self.prompt = fact("prompt", self.prompt_s, show_seconds(self.prompt_s), "extra / running", self.cycle)

    def _front(self) -> Fact:
        seconds = front_end(self.case, self.workload)
        isl = self.workload.isl.mean
        return fact(
            "front end", seconds, show_seconds(seconds), "per request + ISL x per token",
            host_fact(self.case, "per request", "request"), host_fact(self.case, "per token", "prompt_token"),
            fact("ISL", isl, f"{isl} tokens", source="workload"),
        )  # fmt: skip

    def rate(self, stated: Estimate) -> Fact:
        shown = f"{stated.requests_per_s:,.4g} requests/s"
        formula, margin = "running / (cycle + front end)", self._margin("-")
        return fact(RATE, stated.requests_per_s, shown, formula + margin, self.running_fact, self.cycle, self.front)

    def _margin(self, sign: str) -> str:
        """Return the factor by which a price is stated worse than predicted; nothing without a margin."""
        return f" x (1 {sign} margin {100 * self.workload.margin:g} %)" if self.workload.margin else ""

    def ttft(self, stated: Estimate) -> Fact:
        if self.at_random:
            return self._queued(stated)
        wait_s = self.waiting / stated.requests_per_s * (1 - self.workload.margin)
        waiting = fact("waiting", wait_s, show_seconds(wait_s), "(concurrency - running) / requests/s")
        shown, formula = show_seconds(stated.ttft_s), "front end + chunks x mixed step + start + waiting"
        formula += self._margin("+")
        return fact(TTFT, stated.ttft_s, shown, formula, self.front, self.chunks, self.mixed, self.start, waiting)

    def _queued(self, stated: Estimate) -> Fact:
        """Return TTFT under random arrivals: what every prompt waits, and the queue for the step in progress."""
        rate, step = stated.requests_per_s, self.step.number or 0.0
        waits = gated_queue(rate, step, self.prompt_s, self.workload.isl.cv)
        queue = fact(
            "queue", waits.mean_s, show_seconds(waits.mean_s),
            "the rest of the step in progress, and prompts that came during it (gated M/G/1 at this rate)", self.prompt,
        )  # fmt: skip
        later_s = waits.least_s + max(0.0, self.alone_s - step - self.prompt_s)
        later_s += ((self.chunks.number or 1) - 1) * (self.mixed.number or 0.0)
        way = "decode step + prompt, through all stages, + further chunks x mixed step"
        own = fact("own prefill", later_s, show_seconds(later_s), way, self.step, self.prompt, self.chunks, self.mixed)
        formula = "front end + own prefill + queue"
        return fact(TTFT, stated.ttft_s, show_seconds(stated.ttft_s), formula, self.front, own, queue)

    def tpot(self, stated: Estimate) -> Fact:
        if self.at_random:
            formula = "decode step / (1 - requests/s x prompt)"
            return fact(TPOT, stated.tpot_s, show_seconds(stated.tpot_s), formula, self.step, self.prompt)
        own = fact("own prefill", self.own_s, show_seconds(self.own_s), "chunks x mixed step + start",
                   self.chunks, self.mixed, self.start)  # fmt: skip
        formula = "max(decode step, (cycle - own prefill) / (OSL - 1))" + self._margin("+")
        shown = show_seconds(stated.tpot_s)
        return fact(TPOT, stated.tpot_s, shown, formula, self.step, self.cycle, own, self.osl)
