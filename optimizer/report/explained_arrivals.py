"""Rates and latencies under random arrivals, traced to the two closed loops between which they lie."""

from collections.abc import Callable

from optimizer.cost.case import Case
from optimizer.cost.quantities import Estimate
from optimizer.cost.serving import meeting
from optimizer.cost.waiting import gated_queue
from optimizer.inputs.workload import WorkloadSpec
from optimizer.report.explained_loop import LoopFacts, front_fact, margin_factor, running_fact
from optimizer.report.facts import Fact, fact
from optimizer.units import show_seconds

_RUNNING = "mean in flight that leaves room for random arrivals: m + 2.33 sqrt(m (1 + m x crowding)) = admitted"


class Arrivals:
    """The quantities of requests that arrive at random, each once."""

    def __init__(self, case: Case, workload: WorkloadSpec, stated: Estimate) -> None:
        self.workload, self.stated = workload, stated
        self.met = met = meeting(case, workload, stated.concurrency)
        self.ends = tuple(LoopFacts(case, workload, loop) for loop in (met.half, met.full))
        self.running = running_fact(case, stated.concurrency, met.running, _RUNNING)
        self.front = front_fact(case, workload, met.full.front_s)
        decode_s = met.between(lambda loop: loop.decode.total)
        self.step = self._between("decode step", decode_s, lambda loop: loop.step)
        self.prompt = self._between("prompt", met.between(lambda loop: loop.prompt_s), lambda loop: loop.prompt)
        self.later = self._between("later", met.between(lambda loop: loop.later_s), lambda loop: loop.later)

    def _between(self, name: str, seconds: float, of: Callable[[LoopFacts], Fact]) -> Fact:
        """Return a figure of running + 1 requests, on the line between loops of half and of all places."""
        full = self.met.full.running
        formula = f"at running + 1, on the line from loops of {full / 2:g} to {full:g} requests"
        return fact(name, seconds, show_seconds(seconds), formula, *map(of, self.ends))

    def rate(self) -> Fact:
        """Return requests/s."""
        cycle_s = self.met.cycle_s - self.met.full.front_s
        cycle = self._between("cycle", cycle_s, lambda loop: loop.cycle)
        return fact(
            "requests/s", self.stated.requests_per_s, f"{self.stated.requests_per_s:,.4g} requests/s",
            "running / (cycle + front end)" + margin_factor(self.workload, "-"), self.running, cycle, self.front,
        )  # fmt: skip

    def ttft(self) -> Fact:
        """Return TTFT: what every prompt waits, and the queue for the step in progress."""
        rate = self.met.running / self.met.cycle_s
        waits = gated_queue(rate, self.step.number or 0.0, self.prompt.number or 0.0, self.workload.isl.cv)
        queue = fact(
            "queue", waits.mean_s, show_seconds(waits.mean_s),
            "the rest of the step in progress, and prompts that came during it (gated M/G/1 at this rate)", self.prompt,
        )  # fmt: skip
        own_s = waits.least_s + (self.later.number or 0.0)
        own = fact("own prefill", own_s, show_seconds(own_s), "decode step + prompt + later",
                   self.step, self.prompt, self.later)  # fmt: skip
        formula = "front end + own prefill + queue" + margin_factor(self.workload, "+")
        shown = show_seconds(self.stated.ttft_s)
        return fact("TTFT", self.stated.ttft_s, shown, formula, self.front, own, queue)

    def tpot(self) -> Fact:
        """Return TPOT."""
        formula = "decode step / (1 - requests/s x prompt)" + margin_factor(self.workload, "+")
        shown = show_seconds(self.stated.tpot_s)
        return fact("TPOT", self.stated.tpot_s, shown, formula, self.step, self.prompt)
