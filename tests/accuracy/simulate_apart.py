"""Prints how far the closed forms of prefill and decode apart are from a pair of replicas played step by step.

``python tests/accuracy/simulate_apart.py``: requests arrive at random at a prefill replica, which computes prompts
first come, first served into its token budget, its stages working on several steps at once; their KV goes over the
link one after another; a decode replica takes them in at its next step. Steps are priced alike on both sides.
"""

import itertools
import random
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from simulate import QUANTILES, Request, draw_request, name_of, replica

from optimizer.cost.apart import decode_only, prefill_only
from optimizer.cost.batch import Batch
from optimizer.cost.bursts import front_end
from optimizer.cost.case import Case
from optimizer.cost.quantities import Estimate
from optimizer.cost.step import stations, step
from optimizer.inputs.workload import Lengths, Slo, WorkloadSpec
from optimizer.topology.wiring import HopPath


@dataclass
class Seen:
    """What requests saw after the pair had warmed up."""

    prompt_s: list[float] = field(default_factory=list)
    """Arrival to end of prompt."""
    handed_s: list[float] = field(default_factory=list)
    """End of prompt to all KV on the other side."""
    first_s: list[float] = field(default_factory=list)
    """KV there to first token."""
    ttft_s: list[float] = field(default_factory=list)
    tpot_s: list[float] = field(default_factory=list)

    def at(self, name: str, percentile: float | None) -> float:
        """Return the mean, or what ``percentile`` percent of requests keep."""
        values = sorted(getattr(self, name))
        if percentile is None:
            return float(sum(values)) / len(values)
        return float(values[min(len(values) - 1, int(percentile / 100 * len(values)))])


Renew = Callable[[float], Request | None]


def prompts_done(
    case: Case, workload: WorkloadSpec, arrivals: Sequence[Request], renew: Renew = lambda _: None
) -> list[tuple[Request, float]]:
    """Return when the prompt of each request is computed by a replica that does nothing else, first come, first served.

    ``renew``: the request that follows one that is done, if any.
    """
    front_s = front_end(case, workload) + case.calibration.host.step_base * case.layout.pp
    price, free = _station_prices(case), [0.0] * len(stations(case, Batch(1.0, 1.0)).in_order)
    serial_s = step(case, Batch(1.0, 1.0)).total - sum(stations(case, Batch(1.0, 1.0)).sum)
    waiting, done = deque(arrivals), list[tuple[Request, float]]()
    while waiting:
        now = max(free[0], waiting[0].arrival_s + front_s)
        chunks = _filled(case, waiting, now - front_s)
        passed = price(chunks)
        for place, seconds in enumerate(passed):
            now = max(now, free[place]) + seconds + (serial_s if place == 0 else 0.0)
            free[place] = now
        for request, tokens in chunks:
            request.prefilled += tokens
        while waiting and waiting[0].prefilled == waiting[0].isl:
            done.append((waiting.popleft(), now))
            follower = renew(now)
            waiting.extend([follower] if follower else [])
    return done


def played_by_clients(case: Case, workload: WorkloadSpec, clients: int, requests: int) -> tuple[float, Seen]:
    """Return prompts/s and what is seen where so many clients send the next prompt as soon as the last is done."""
    draw, sent = random.Random(0), itertools.count(clients)
    first = [draw_request(draw, workload, 0.0) for _ in range(clients)]
    done = prompts_done(
        case, workload, first, lambda now: draw_request(draw, workload, now) if next(sent) < requests else None
    )[requests // 5 :]
    rate = (len(done) - 1) / (done[-1][1] - done[0][1])
    return rate, Seen(prompt_s=[end - request.arrival_s for request, end in done])


def _filled(case: Case, waiting: deque[Request], now: float) -> list[tuple[Request, int]]:
    """Return the prompts of a step with their new tokens: those that are there, as far as the budget goes."""
    room, chunks = case.engine.max_num_batched_tokens, list[tuple[Request, int]]()
    for request in waiting:
        tokens = min(room, request.isl - request.prefilled)
        if request.arrival_s > now + 1e-12 or tokens == 0 or len(chunks) == case.engine.max_num_seqs:
            break
        chunks.append((request, tokens))
        room -= tokens
    return chunks


def _station_prices(case: Case) -> Callable[[Sequence[tuple[Request, int]]], tuple[float, ...]]:
    @lru_cache(maxsize=100_000)
    def known(prompts: int, tokens: int, past: int) -> tuple[float, ...]:
        return tuple(s.total for s in stations(case, Batch(float(prompts), float(tokens), float(past))).in_order)

    def price(chunks: Sequence[tuple[Request, int]]) -> tuple[float, ...]:
        count = len(chunks)
        return known(count, sum(t for _, t in chunks) // count, sum(r.prefilled for r, _ in chunks) // count)

    return price


def handed_over(done: Sequence[float], seconds: float) -> list[float]:
    """Return when the KV of each prompt is on the other side: one after another over one link."""
    free, there = 0.0, {}
    for index in sorted(range(len(done)), key=done.__getitem__):
        free = there[index] = max(free, done[index]) + seconds
    return [there[index] for index in range(len(done))]


def answers(
    case: Case, workload: WorkloadSpec, requests: Sequence[Request], there: Sequence[float]
) -> list[tuple[float, float]]:
    """Return when each request has its first and its last token from a replica that only decodes."""
    front_s, price = front_end(case, workload), _step_prices(case)
    due = deque(sorted(range(len(there)), key=there.__getitem__))
    running: dict[int, int] = {}
    first, last, clock = {}, {}, 0.0
    while due or running:
        if not running:
            clock = max(clock, there[due[0]] + front_s)
        while due and there[due[0]] + front_s <= clock + 1e-12 and len(running) < case.engine.max_num_seqs:
            running[due.popleft()] = 0
        context = sum(requests[i].isl + made for i, made in running.items()) // len(running)
        clock += price(len(running), context // 32 * 32)
        for index in list(running):
            running[index] += 1
            if running[index] == 1:
                first[index] = clock
            if running[index] >= requests[index].osl:
                last[index] = clock
                del running[index]
    return [(first[index], last[index]) for index in range(len(there))]


def _step_prices(case: Case) -> Callable[[int, int], float]:
    @lru_cache(maxsize=100_000)
    def known(decodes: int, context: int) -> float:
        return step(case, Batch(decodes=float(decodes), context=float(context))).total

    return known


def play(
    prefill: Case, decode: Case, workload: WorkloadSpec, requests: int, rate: float, transfer_s: float, seed: int = 0
) -> Seen:
    """Return what ``requests`` arriving at random at a rate see of a pair of replicas."""
    draw, clock, arrivals = random.Random(seed), 0.0, []
    for _ in range(requests):
        clock += draw.expovariate(rate)
        arrivals.append(draw_request(draw, workload, clock))
    done = [end for _, end in prompts_done(prefill, workload, arrivals)]
    there = handed_over(done, transfer_s)
    seen = Seen()
    told = zip(arrivals, done, there, answers(decode, workload, arrivals, there), strict=True)
    for request, prompt_s, kv_s, (first_s, last_s) in list(told)[requests // 5 :]:
        seen.prompt_s.append(prompt_s - request.arrival_s)
        seen.handed_s.append(kv_s - prompt_s)
        seen.first_s.append(first_s - kv_s)
        seen.ttft_s.append(first_s - request.arrival_s)
        if request.osl > 1:
            seen.tpot_s.append((last_s - first_s) / (request.osl - 1))
    return seen


@dataclass(frozen=True)
class Pair:
    """A prefill and a decode replica at matched rates, by the closed forms."""

    prefill: Case
    decode: Case
    traffic: WorkloadSpec
    rate: float
    prompts: dict[float | None, Estimate]
    answers: dict[float | None, Estimate]

    @property
    def transfer_s(self) -> float:
        """Seconds to hand one request over."""
        return max(self.prompts[None].transfer_s, self.answers[None].transfer_s)

    def form(self, name: str, quantile: float | None) -> float:
        """Return the closed form of what ``Seen`` calls ``name``."""
        prompt_s, first_s = self.prompts[quantile].ttft_slo_s, self.answers[quantile].ttft_slo_s
        if name == "ttft_s":
            return prompt_s + self.transfer_s + first_s
        return {"prompt_s": prompt_s, "first_s": first_s, "tpot_s": self.answers[quantile].tpot_slo_s}[name]


def pair(isl: int, osl: int, cv: float, prompts: int, *, pp: int = 1) -> Pair:
    """Return Llama-3.1-8B on H200 with ``prompts`` in flight in prefill, and as many answers as keep up with them."""
    lengths = {"isl": Lengths(mean=isl, cv=cv), "osl": Lengths(mean=osl, cv=cv)}
    traffic = WorkloadSpec(**lengths, request_rate="1 /s")
    way = HopPath("rdma", 50e9, 1)

    def case(at: int, stages: int) -> Case:
        found = replica("llama-3.1-8b", "h200-sxm", 1, traffic, at, pp=stages)
        return replace(found, wiring=replace(found.wiring, exit=way))

    prefill = case(prompts, pp)
    rate = prefill_only(prefill, traffic, prompts).requests_per_s
    slots = 1 + bisect_left(range(1, 2048), rate, key=lambda n: decode_only(case(n, 1), traffic, n).requests_per_s)
    decode = case(slots, 1)
    asked = {q: traffic.model_copy(update={"slo": Slo(percentile=q)}) for q in QUANTILES}
    return Pair(
        prefill, decode, traffic, rate, {q: prefill_only(prefill, asked[q], prompts) for q in QUANTILES},
        {q: decode_only(decode, asked[q], slots) for q in QUANTILES},
    )  # fmt: skip


CASES = (
    ("chat", 1024, 256, 0.0, 1), ("chat, cv 0.8", 1024, 256, 0.8, 1), ("documents", 8192, 128, 0.0, 1),
    ("long documents", 32768, 128, 0.0, 1), ("documents, 2 stages", 8192, 128, 0.0, 2),
    ("short, cv 0.5", 256, 32, 0.5, 1),
)  # fmt: skip


def tables(requests: int) -> list[str]:
    """Return the table in Markdown: by traffic and prompts in flight."""
    lines = ["| traffic | prompts in flight | | " + " | ".join(name_of(q) for q in QUANTILES) + " |"]
    lines.append("|---|---|---|" + "---|" * len(QUANTILES))
    for label, isl, osl, cv, pp in CASES:
        for prompts in (2, 4, 8, 16, 32):
            found = pair(isl, osl, cv, prompts, pp=pp)
            seen = play(found.prefill, found.decode, found.traffic, requests, found.rate, found.transfer_s)
            load = found.rate
            for name in ("prompt_s", "first_s", "ttft_s", "tpot_s"):
                cells = []
                for q in QUANTILES:
                    form, real = found.form(name, q), seen.at(name, q)
                    cells.append(f"{1e3 * form:.3g} / {1e3 * real:.3g} ms ({form / real - 1:+.0%})")
                told = f"{prompts} ({load:.3g}/s)"
                lines.append(f"| {label} | {told} | {name.removesuffix('_s')} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Print the table."""
    for line in tables(4000):
        print(line)


if __name__ == "__main__":
    main()
