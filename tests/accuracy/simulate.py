"""Prints how far the closed forms of TTFT and TPOT are from a replica played step by step.

``python tests/accuracy/simulate.py``: a table by load, mean and percentiles. The simulator is a check and never the
price: it draws arrivals and lengths at random and plays every step of one replica (continuous batching, prompts first
come, first served into the token budget), each step priced as cost/step.py prices it.
"""

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from optimizer.cost.batch import Batch
from optimizer.cost.bursts import front_end
from optimizer.cost.case import Case
from optimizer.cost.serving import Load, operate
from optimizer.cost.settings import resolve, version_facts
from optimizer.cost.step import step
from optimizer.inputs import presets
from optimizer.inputs.workload import EngineChoice, Lengths, Slo, WorkloadSpec
from optimizer.layout import Layout, split_layers
from optimizer.topology.wiring import ALONE, HopPath, Wiring


@dataclass
class Request:
    """One request on its way."""

    arrival_s: float
    isl: int
    osl: int
    prefilled: int = 0
    made: int = 0
    first_s: float = 0.0


@dataclass
class Played:
    """What the requests saw after the replica had warmed up."""

    ttft_s: list[float] = field(default_factory=list)
    tpot_s: list[float] = field(default_factory=list)
    requests_per_s: float = 0.0

    def at(self, name: str, percentile: float | None) -> float:
        """Return the mean, or what ``percentile`` percent of requests keep."""
        values = sorted(getattr(self, name))
        if percentile is None:
            return float(sum(values)) / len(values)
        return float(values[min(len(values) - 1, int(percentile / 100 * len(values)))])


def play(
    case: Case, workload: WorkloadSpec, requests: int, *, rate: float | None = None, seed: int = 0, clients: int = 0
) -> Played:
    """Return TTFT and TPOT of ``requests`` arriving at random at a rate, or of so many ``clients`` that never pause."""
    draw = random.Random(seed)
    front_s, price = front_end(case, workload), _prices(case)
    due = deque(_arrivals(draw, workload, requests, rate, clients))
    waiting: deque[Request] = deque()
    running: list[Request] = []
    clock, seen, ends = 0.0, Played(), [0.0]
    skipped = requests // 5
    while due or waiting or running:
        while due and due[0].arrival_s + front_s <= clock:
            waiting.append(due.popleft())
        if not waiting and not running:
            clock = due[0].arrival_s + front_s
            continue
        chunks = _admit(case, waiting, running)
        decodes = [r for r in running if r.made]
        clock += price(chunks, decodes)
        for request, tokens in chunks:
            request.prefilled += tokens
            if request.prefilled == request.isl:
                request.made, request.first_s = 1, clock
        for request in decodes:
            request.made += 1
        for request in [r for r in running if r.made >= r.osl]:
            running.remove(request)
            ends.append(clock)
            if len(ends) > skipped:
                seen.ttft_s.append(request.first_s - request.arrival_s)
                if request.osl > 1:
                    seen.tpot_s.append((clock - request.first_s) / (request.osl - 1))
            if clients and len(ends) + len(due) + len(running) + len(waiting) <= requests:
                due.append(draw_request(draw, workload, clock))
    seen.requests_per_s = (len(ends) - 1 - skipped) / (ends[-1] - ends[skipped])
    return seen


def _arrivals(
    draw: random.Random, workload: WorkloadSpec, requests: int, rate: float | None, clients: int
) -> list[Request]:
    if rate is None:
        return [draw_request(draw, workload, 0.0) for _ in range(clients)]
    clock, made = 0.0, []
    for _ in range(requests):
        clock += draw.expovariate(rate)
        made.append(draw_request(draw, workload, clock))
    return made


def draw_request(draw: random.Random, workload: WorkloadSpec, now: float) -> Request:
    """Return a request of the traffic that arrives now."""
    return Request(now, _length(draw, workload.isl), _length(draw, workload.osl))


def _length(draw: random.Random, lengths: Lengths) -> int:
    """Return a length of a gamma distribution of that mean and cv."""
    if lengths.cv == 0:
        return lengths.mean
    shape = lengths.cv**-2
    return max(1, round(draw.gammavariate(shape, lengths.mean / shape)))


def _admit(case: Case, waiting: deque[Request], running: list[Request]) -> list[tuple[Request, int]]:
    """Return the prompts of this step with their new tokens: started ones first, then new ones while there is room."""
    room = case.engine.max_num_batched_tokens - sum(1 for r in running if r.made)
    chunks = []
    for request in [r for r in running if not r.made]:
        tokens = min(room, request.isl - request.prefilled)
        if tokens > 0:
            chunks.append((request, tokens))
            room -= tokens
    while waiting and room > 0 and len(running) < case.engine.max_num_seqs:
        request = waiting.popleft()
        running.append(request)
        tokens = min(room, request.isl)
        chunks.append((request, tokens))
        room -= tokens
    return chunks


def _prices(case: Case) -> Callable[[Sequence[tuple[Request, int]], Sequence[Request]], float]:
    @lru_cache(maxsize=100_000)
    def known(prompts: int, tokens: int, past: int, decodes: int, context: int) -> float:
        return step(case, Batch(float(prompts), float(tokens), float(past), float(decodes), float(context))).total

    def price(chunks: Sequence[tuple[Request, int]], decodes: Sequence[Request]) -> float:
        count = max(1, len(chunks))
        context = sum(r.isl + r.made for r in decodes) // max(1, len(decodes))
        return known(
            len(chunks), sum(t for _, t in chunks) // count, sum(r.prefilled for r, _ in chunks) // count, len(decodes),
            context // 32 * 32,
        )  # fmt: skip

    return price


def replica(model: str, gpu: str, tp: int, traffic: WorkloadSpec, sequences: int, *, pp: int = 1) -> Case:
    """Return a replica of a preset model on a preset GPU."""
    spec, hardware, engine = presets.load_model(model), presets.load_gpu(gpu), presets.load_engine("vllm")
    layout = Layout(tp, pp, split_layers(spec.num_layers, pp))
    settings = resolve(EngineChoice(), engine, hardware, spec, traffic, sequences)
    facts = version_facts(engine, settings.version)
    paths = Wiring(replace(ALONE, ranks=tp), (HopPath("nvswitch", 450e9, tp),) * (pp - 1))
    return Case(spec, layout, hardware, paths, settings, facts, presets.load_calibration(hardware))


TRAFFICS = (
    ("chat", 1024, 256, 0.0), ("chat, cv 0.8", 1024, 256, 0.8), ("documents", 4096, 128, 0.0),
    ("answers", 256, 1024, 0.5),
)  # fmt: skip
QUANTILES = (None, 50.0, 90.0, 99.0)
SLOTS = 256


def main() -> None:
    """Print the tables."""
    for line in tables(3000):
        print(line)


def tables(requests: int) -> list[str]:
    """Return two tables in Markdown: random arrivals by share of the saturation rate, and a closed loop."""
    head = ["| traffic | load | | " + " | ".join(name_of(q) for q in QUANTILES) + " |", "|---|---|---|" + "---|" * 4]
    lines = ["Random arrivals (form / played):", "", *head]
    for label, isl, osl, cv in TRAFFICS:
        traffic = WorkloadSpec(isl=Lengths(mean=isl, cv=cv), osl=Lengths(mean=osl, cv=cv))
        case = replica("llama-3.1-8b", "h200-sxm", 1, traffic, SLOTS)
        for share in (0.3, 0.5, 0.7, 0.8, 0.9):
            found, rate = _at_share(case, traffic, share)
            lines += _rows(f"{label} | {share:.1f}", found, play(case, traffic, requests, rate=rate))
    lines += ["", "Closed loop (form / played):", "", *head]
    for label, isl, osl, cv in TRAFFICS:
        traffic = WorkloadSpec(isl=Lengths(mean=isl, cv=cv), osl=Lengths(mean=osl, cv=cv))
        for clients in (16, 64):
            case = replica("llama-3.1-8b", "h200-sxm", 1, traffic, clients)
            found = {q: operate(case, _with(traffic, q), clients) for q in QUANTILES}
            lines += _rows(f"{label} | {clients}", found, play(case, traffic, requests, clients=clients))
    return lines


def _with(traffic: WorkloadSpec, percentile: float | None, rate: float | None = None) -> WorkloadSpec:
    return traffic.model_copy(update={"slo": Slo(percentile=percentile), "request_rate": rate})


def _at_share(case: Case, traffic: WorkloadSpec, share: float) -> tuple[dict[float | None, Load], float]:
    """Return the forms by quantile at the slots that carry ``share`` of the saturation rate, and that rate."""
    top = operate(case, traffic, SLOTS).requests_per_s
    slots = next(
        n for n in range(1, 10 * SLOTS) if operate(case, _with(traffic, None, top), n).requests_per_s >= share * top
    )
    found = {q: operate(case, _with(traffic, q, top), slots) for q in QUANTILES}
    return found, found[None].requests_per_s


def _rows(label: str, found: dict[float | None, Load], played: Played) -> list[str]:
    lines = []
    for name, slo in (("ttft_s", "ttft_slo_s"), ("tpot_s", "tpot_slo_s")):
        cells = []
        for q in QUANTILES:
            form, real = getattr(found[q], slo), played.at(name, q)
            cells.append(f"{1e3 * form:.3g} / {1e3 * real:.3g} ms ({form / real - 1:+.0%})")
        lines.append(f"| {label} | {name[:4].upper()} | {' | '.join(cells)} |")
    return lines


def name_of(quantile: float | None) -> str:
    """Return how tables call a percentile, None being the mean."""
    return "mean" if quantile is None else f"p{quantile:.0f}"


if __name__ == "__main__":
    main()
