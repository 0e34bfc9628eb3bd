"""What is lost by pricing few numbers of requests in flight: the best that is found against the best of nearly all.

python tests/benchmarks/batch_resolution.py

For each kind of traffic, over models, GPUs and layouts: how many replicas have a point, what the best that is found
carries less than the best of all numbers (in steps of a percent) and all tokens per step that are tried, in the mean
and at worst, where that is, and how many prices a replica takes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from optimizer.cost.options import BATCHED_TOKENS, Batching, meets_slo
from optimizer.cost.quantities import Estimate
from optimizer.cost.shapes import Market
from optimizer.inputs import presets
from optimizer.inputs.workload import WorkloadSpec
from optimizer.layout import Layout, layouts
from optimizer.topology.wiring import Wiring
from optimizer.validation import one_node

REPLICAS = (
    ("llama-3.1-8b", "h100-sxm"), ("llama-3.1-8b", "l40s"), ("llama-3.1-70b", "h200-sxm"),
    ("qwen3-32b", "a100-80-sxm"), ("qwen3-30b-a3b", "h100-sxm"), ("deepseek-v3", "h200-sxm"),
)  # fmt: skip

LENGTHS = ((2048, 512), (512, 128))

TRAFFIC: dict[str, dict[str, Any]] = {
    "clients": {},
    "clients, TPOT 50 ms": {"slo": {"tpot": "50 ms"}},
    "clients, TPOT 25 ms": {"slo": {"tpot": "25 ms"}},
    "clients, p99: TTFT 1 s, TPOT 40 ms": {"slo": {"ttft": "1 s", "tpot": "40 ms", "percentile": 99}},
    "arrivals": {"request_rate": "10 /s"},
    "arrivals, TPOT 40 ms": {"request_rate": "10 /s", "slo": {"tpot": "40 ms"}},
    "arrivals, p95: TTFT 1 s": {"request_rate": "10 /s", "slo": {"ttft": "1 s", "percentile": 95}},
}

STRIDE = 0.01
"""Numbers of requests that are no further apart are taken to be the same."""

LATE = 1.5
"""Beyond so much of a bound no more numbers are looked at."""


@dataclass(frozen=True)
class Counting(Market):
    """A market that counts the prices it makes."""

    made: list[int] = field(default_factory=list)

    def price(
        self, layout: Layout, gpu_type: str, paths: Wiring, batched_tokens: int | None = None
    ) -> Callable[[int], Estimate]:
        """Return the estimate of one replica as a function of its concurrency."""
        priced = super().price(layout, gpu_type, paths, batched_tokens)

        def counted(n: int) -> Estimate:
            self.made.append(n)
            return priced(n)

        return counted


@dataclass
class Tally:
    """Replicas under one kind of traffic."""

    lost: list[tuple[float, str]] = field(default_factory=list)
    prices: int = 0


def tried(model_name: str) -> Iterator[Layout]:
    """Yield layouts on 1, 2, 4 or 8 GPUs of a node, whole replicas or of two stages."""
    model = presets.load_model(model_name)
    for layout in layouts(model, 8, weights=(model.checkpoint_scheme,), kv=("bf16",), engine="vllm"):
        even = layout.world_size in (1, 2, 4, 8) and layout.attn_dp in (1, 8)
        if even and layout.pp <= 2 and layout.ep in (1, 8) and layout.dcp == layout.pcp == 1:
            yield layout


def market(model_name: str, gpu_name: str, load: WorkloadSpec) -> Counting:
    """Return what prices are made from where only rates count."""
    gpu, asked = presets.load_gpu(gpu_name), load.slo.ttft is not None
    return Counting(
        presets.load_model(model_name), load, presets.load_engine("vllm"), {gpu.id: gpu},
        {gpu.id: presets.load_calibration(gpu)}, batching=Batching(BATCHED_TOKENS if asked else ()), only_rates=True,
    )  # fmt: skip


def best_of_all(asked: Market, layout: Layout, gpu_type: str, paths: Wiring) -> tuple[float, int]:
    """Return the most requests/s of nearly all numbers of requests in flight, and that number."""
    best = (0.0, 0)
    for tokens in (None, *asked.batching.ladder):
        price, n, shared = asked.price(layout, gpu_type, paths, tokens), 1, layout.attn_dp
        while n <= asked.limit(gpu_type) and (point := price(n * shared)).fits and not _is_late(point, asked.workload):
            if meets_slo(point, asked.workload):
                best = max(best, (point.requests_per_s, n * shared))
            n += max(1, int(STRIDE * n))
    return best


def _is_late(point: Estimate, load: WorkloadSpec) -> bool:
    pairs = (point.ttft_slo_s, load.slo.ttft), (point.tpot_slo_s, load.slo.tpot)
    return any(bound is not None and seconds > LATE * bound for seconds, bound in pairs)


def compared(load: WorkloadSpec, tally: Tally) -> None:
    """Add what is lost for one kind of traffic."""
    for model_name, gpu_name in REPLICAS:
        asked, near = market(model_name, gpu_name, load), 0
        for layout in tried(model_name):
            paths = one_node(asked.gpus[gpu_name], layout)
            asked.made.clear()
            found = asked.points(layout, gpu_name, paths, near=near)
            prices = len(asked.made)
            if found is None or not found.admissible:
                continue
            near = found.admissible[-1].concurrency
            taken = max(found.admissible, key=lambda point: point.requests_per_s)
            most, at = best_of_all(asked, layout, gpu_name, paths)
            lost = max(0.0, 1.0 - taken.requests_per_s / most)
            where = f"{model_name} {layout.label} on {gpu_name}, {load.isl.mean}/{load.osl.mean}"
            tally.lost.append((lost, f"{where}: {taken.concurrency} for {at}"))
            tally.prices += prices


def main() -> None:
    """Print one line for each kind of traffic."""
    table = Table("traffic", "replicas", "lost, mean", "lost, most", "where", "prices")
    for name, more in TRAFFIC.items():
        tally = Tally()
        for isl, osl in LENGTHS:
            compared(WorkloadSpec.model_validate({"isl": isl, "osl": osl} | more), tally)
        most, where = max(tally.lost)
        mean, count = sum(lost for lost, _ in tally.lost) / len(tally.lost), len(tally.lost)
        table.add_row(name, str(count), f"{mean:.2%}", f"{most:.2%}", where, f"{tally.prices / count:.1f}")
    Console(width=170).print(table)


if __name__ == "__main__":
    main()
