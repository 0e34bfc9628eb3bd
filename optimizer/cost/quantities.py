"""What a price consists of: memory per rank, seconds per step and per request, and where they come from."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product

from optimizer.inputs.workload import EngineName


@dataclass(frozen=True)
class EngineSettings:
    """The engine as it will be started: every value here is priced and exported."""

    name: EngineName
    version: str
    gpu_memory_utilization: float
    max_num_seqs: int
    max_num_batched_tokens: int
    max_model_len: int
    block_tokens: int
    cuda_graphs: bool
    cuda_graph_sizes: tuple[int, ...]
    """Captured batch sizes, ascending."""
    reserve_bytes: int = 0
    fragmentation: float = 0.0


@dataclass(frozen=True, slots=True)
class RankMemory:
    """The ledger of one rank."""

    rank: int
    stage: int
    weights_bytes: int
    kv_bytes_per_token: float
    """Of layers that keep every token."""
    kv_bytes_per_sequence: int
    """Constant per running sequence: sliding windows, recurrent state."""
    kv_tokens: int
    """Tokens the replica's pool holds (the scarcest rank decides; equal on all ranks)."""
    activation_bytes: int
    overhead_bytes: int
    capacity_bytes: int
    """Utilisation times visible memory, less the user's reserve."""
    fits: bool


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Seconds of one step by cause; they add up to the step."""

    gemm: float = 0.0
    attention: float = 0.0
    collectives: float = 0.0
    pipeline: float = 0.0
    overhead: float = 0.0

    @property
    def total(self) -> float:
        """Seconds of the step."""
        return self.gemm + self.attention + self.collectives + self.pipeline + self.overhead

    @staticmethod
    def sum(parts: "Iterable[Breakdown]") -> "Breakdown":
        """Return all parts together, cause by cause."""
        return Breakdown.weighed([(part, 1.0) for part in parts])

    @staticmethod
    def weighed(parts: "Iterable[tuple[Breakdown, float]]") -> "Breakdown":
        """Return all parts together, cause by cause, each so many times."""
        gemm = attention = collectives = pipeline = overhead = 0.0
        for part, times in parts:
            gemm += part.gemm * times
            attention += part.attention * times
            collectives += part.collectives * times
            pipeline += part.pipeline * times
            overhead += part.overhead * times
        return Breakdown(gemm, attention, collectives, pipeline, overhead)

    def __add__(self, other: "Breakdown") -> "Breakdown":
        """Return both together, cause by cause."""
        return Breakdown(
            self.gemm + other.gemm, self.attention + other.attention, self.collectives + other.collectives,
            self.pipeline + other.pipeline, self.overhead + other.overhead,
        )  # fmt: skip

    def __sub__(self, other: "Breakdown") -> "Breakdown":
        """Return what this takes beyond another, cause by cause; parts may be negative."""
        return Breakdown(
            self.gemm - other.gemm, self.attention - other.attention, self.collectives - other.collectives,
            self.pipeline - other.pipeline, self.overhead - other.overhead,
        )  # fmt: skip

    def __mul__(self, times: float) -> "Breakdown":
        """Return every cause so many times."""
        return Breakdown(
            self.gemm * times, self.attention * times, self.collectives * times, self.pipeline * times,
            self.overhead * times,
        )  # fmt: skip


@dataclass(frozen=True)
class Phases:
    """Where the seconds of both phases go."""

    prefill: Breakdown = Breakdown()
    """One prompt of the workload on the idle replica."""
    decode: Breakdown = Breakdown()
    """One decode step at the estimate's concurrency."""
    request: Breakdown = Breakdown()
    """What one request costs the replica at this load, all its steps shared with others: adds up to 1 / requests_per_s.
    Times the replica's GPUs it is GPU time."""


@dataclass(frozen=True)
class Estimate:
    """One replica priced at one operating point."""

    concurrency: int
    """Requests in flight in the replica."""
    ttft_s: float
    """Mean seconds to the first token at this load, queueing included."""
    tpot_s: float
    """Mean seconds per output token after the first, at this load."""
    ttft_slo_s: float = field(kw_only=True)
    """TTFT that the percentile of the workload's objectives keeps; the mean where it names none."""
    tpot_slo_s: float = field(kw_only=True)
    """The same of TPOT."""
    requests_per_s: float
    output_tokens_per_s: float
    memory: tuple[RankMemory, ...]
    """One entry per rank."""
    breakdown: Phases
    fits: bool
    """Memory fits, KV for ``concurrency`` requests included."""
    reasons: tuple[str, ...] = ()
    """Why it does not fit, in numbers."""
    notes: tuple[str, ...] = field(default=())
    """What is not measured: constants taken from kin, datasheet guesses."""
    crossing_bytes_per_s: float = 0.0
    """Mean traffic the replica sends over the boundary of its busiest node at this load, KV handed over included."""
    batched_tokens: int | None = None
    """Tokens of a step at most, where they were chosen; None: as the workload or the engine has them."""
    transfer_s: float = 0.0
    """Seconds in which this replica's side of a hand-over can move one request's KV; 0 where no KV moves."""


def pair_ttft_s(prefill: Estimate, decode: Estimate) -> float:
    """Return the mean TTFT of requests that go from one replica to another: KV moves as fast as the slower side."""
    return prefill.ttft_s + max(prefill.transfer_s, decode.transfer_s) + decode.ttft_s


def pair_ttft_slo_s(prefill: Estimate, decode: Estimate) -> float:
    """Return the same of the percentile that the objectives keep."""
    return prefill.ttft_slo_s + max(prefill.transfer_s, decode.transfer_s) + decode.ttft_slo_s


def mean_over_requests(estimates: Sequence[Estimate], of: Callable[[Estimate], float]) -> float:
    """Return the mean of a figure of replicas that share requests in proportion to their rates; 0 of none."""
    total = sum(one.requests_per_s for one in estimates)
    return sum(of(one) * one.requests_per_s for one in estimates) / total if total else 0.0


def mean_transfer_s(prefill: Iterable[Estimate], decode: Iterable[Estimate]) -> float:
    """Return the mean seconds of a transfer when requests are routed to each side by its rates, independently.

    Replicas with equal transfers count as one, so that thousands of equal pairs are not gone through; 0 of none.
    """
    sent, taken = _rates_by_transfer(prefill), _rates_by_transfer(decode)
    pairs = [(max(a, b), rate * other) for (a, rate), (b, other) in product(sent.items(), taken.items())]
    total = sum(weight for _, weight in pairs)
    return sum(seconds * weight for seconds, weight in pairs) / total if total else 0.0


def _rates_by_transfer(estimates: Iterable[Estimate]) -> dict[float, float]:
    rates: dict[float, float] = defaultdict(float)
    for one in estimates:
        rates[one.transfer_s] += one.requests_per_s
    return rates
