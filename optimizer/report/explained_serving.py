"""Rates and latencies of one replica, traced to its steps."""

from optimizer.cost.case import Case
from optimizer.cost.quantities import Estimate
from optimizer.cost.serving import loop, operate
from optimizer.inputs.workload import WorkloadSpec
from optimizer.report.explained_arrivals import Arrivals
from optimizer.report.explained_loop import LoopFacts, front_fact, margin_factor, running_fact
from optimizer.report.explained_step import host_fact
from optimizer.report.facts import Fact, fact
from optimizer.units import show_seconds

RATE, TTFT, TPOT = "requests/s", "TTFT", "TPOT"

_RUNNING = "min(concurrency, max_num_seqs x attention DP)"


def serving_facts(case: Case, workload: WorkloadSpec, stated: Estimate) -> dict[str, Fact]:
    """Return requests/s, TTFT and TPOT at the stated concurrency, as cost/serving.py gives them."""
    found = (_Clients if workload.request_rate is None else Arrivals)(case, workload, stated)
    return {RATE: found.rate(), TTFT: found.ttft(), TPOT: found.tpot()}


class _Clients:
    """The quantities of requests that are kept in flight, each once."""

    def __init__(self, case: Case, workload: WorkloadSpec, stated: Estimate) -> None:
        self.workload, self.stated = workload, stated
        running = operate(case, workload, stated.concurrency).running
        closed = loop(case, workload, running)
        self.facts = LoopFacts(case, workload, closed)
        self.running = running_fact(case, stated.concurrency, running, _RUNNING)
        self.front = front_fact(case, workload, closed.front_s)
        start_s = max(closed.step_s - closed.front_s, case.calibration.host.step_base * case.layout.pp)
        self.start = fact(
            "start", start_s, show_seconds(start_s), "max(mean step - front end, base x PP)",
            host_fact(case, "base", "step_base"),
        )  # fmt: skip
        self.own_s = closed.turn.chunks * closed.turn.mixed_s + start_s
        self.waiting = stated.concurrency - running

    def rate(self) -> Fact:
        """Return requests/s."""
        shown = f"{self.stated.requests_per_s:,.4g} requests/s"
        formula = "running / (cycle + front end)" + margin_factor(self.workload, "-")
        return fact(RATE, self.stated.requests_per_s, shown, formula, self.running, self.facts.cycle, self.front)

    def ttft(self) -> Fact:
        """Return TTFT."""
        wait_s = self.waiting / self.stated.requests_per_s * (1 - self.workload.margin)
        waiting = fact("waiting", wait_s, show_seconds(wait_s), "(concurrency - running) / requests/s")
        formula = "front end + chunks x mixed step + start + waiting" + margin_factor(self.workload, "+")
        facts, shown = self.facts, show_seconds(self.stated.ttft_s)
        inputs = self.front, facts.chunks, facts.mixed, self.start, waiting
        return fact(TTFT, self.stated.ttft_s, shown, formula, *inputs)

    def tpot(self) -> Fact:
        """Return TPOT."""
        facts, shown = self.facts, show_seconds(self.stated.tpot_s)
        own = fact("own prefill", self.own_s, show_seconds(self.own_s), "chunks x mixed step + start",
                   facts.chunks, facts.mixed, self.start)  # fmt: skip
        formula = "max(decode step, (cycle - own prefill) / (OSL - 1))" + margin_factor(self.workload, "+")
        return fact(TPOT, self.stated.tpot_s, shown, formula, facts.step, facts.cycle, own, facts.osl)
