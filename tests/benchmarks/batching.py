"""What choosing the tokens per step gains: each case with the engine's default, and with tpopt's choice.

python tests/benchmarks/batching.py
"""

import sys
import time
from typing import Any

from rich.console import Console
from rich.table import Table

from optimizer.cost.settings import size_default, version_facts
from optimizer.errors import InfeasibleError
from optimizer.inputs import presets, read
from optimizer.inputs.workload import WorkloadSpec
from optimizer.pipeline import Request, solve
from optimizer.plan import Plan

CASES: tuple[tuple[str, str, dict[str, Any], str], ...] = (
    ("hgx-h200", "llama-3.1-70b", {"isl": 1024, "osl": 256}, "throughput"),
    ("hgx-h200", "llama-3.1-70b", {"isl": 1024, "osl": 256, "slo": {"ttft": "1 s", "tpot": "40 ms"}}, "throughput"),
    ("hgx-h200", "llama-3.1-70b", {"isl": 8192, "osl": 512, "slo": {"ttft": "3 s", "tpot": "50 ms"}}, "throughput"),
    ("hgx-h200", "llama-3.1-70b", {"isl": 32768, "osl": 512}, "throughput"),
    ("dgx-h100", "llama-3.1-70b", {"isl": 8192, "osl": 256, "concurrency": 8}, "ttft"),
    ("dgx-h100", "llama-3.1-70b", {"isl": 2048, "osl": 256, "concurrency": 16}, "latency"),
    ("dgx-h100", "llama-3.1-8b", {"isl": 1024, "osl": 256}, "throughput"),
    ("dgx-h100", "llama-3.1-8b", {"isl": 4096, "osl": 128, "slo": {"ttft": "500 ms", "tpot": "20 ms"}}, "throughput"),
    ("dgx-h100", "qwen3-32b", {"isl": 2048, "osl": 512}, "throughput"),
    ("dgx-h100", "qwen3-32b", {"isl": 2048, "osl": 512, "slo": {"ttft": "1 s", "tpot": "30 ms", "percentile": 99}},
     "throughput"),
    ("dgx-h100", "qwen3-32b", {"isl": 8192, "osl": 256, "request_rate": "4 /s", "slo": {"ttft": "3 s"}}, "gpus"),
    ("dgx-h100", "qwen3-30b-a3b", {"isl": 1024, "osl": 256, "slo": {"ttft": "1 s", "tpot": "40 ms"}}, "throughput"),
    ("dgx-h100", "qwen3-235b-a22b-fp8", {"isl": 1024, "osl": 256}, "throughput"),
    ("dgx-h100", "qwen3-235b-a22b-fp8", {"isl": 8192, "osl": 512, "slo": {"ttft": "4 s", "tpot": "50 ms"}},
     "throughput"),
    ("dgx-h100", "gpt-oss-120b", {"isl": 4096, "osl": 512, "slo": {"ttft": "1 s", "tpot": "25 ms"}}, "throughput"),
    ("hgx-h200-x2", "deepseek-v3", {"isl": 1024, "osl": 256}, "throughput"),
    ("hgx-h200-x2", "deepseek-v3", {"isl": 4096, "osl": 1024, "slo": {"ttft": "2 s", "tpot": "50 ms"}}, "throughput"),
    ("l40s-8", "llama-3.1-8b", {"isl": 1024, "osl": 256}, "throughput"),
    ("l40s-8", "llama-3.1-8b", {"isl": 2048, "osl": 256, "slo": {"ttft": "1 s", "tpot": "40 ms"}}, "throughput"),
    ("dgx-a100", "qwen2.5-72b", {"isl": 1024, "osl": 256, "slo": {"tpot": "50 ms"}}, "throughput"),
)  # fmt: skip


def solved(cluster: str, model: str, load: dict[str, Any], objective: str, tokens: int | None) -> tuple[Plan, float]:
    """Return the plan with so many tokens per step, or with those tpopt chooses, and the CPU seconds it took."""
    chosen = load | ({"engine": {"max_num_batched_tokens": tokens}} if tokens else {})
    start = time.process_time()
    request = Request(
        read.read_cluster(cluster), read.read_model(model), WorkloadSpec.model_validate(chosen),
        objective=objective, faults=False,  # type: ignore[arg-type]
    )  # fmt: skip
    return solve(request).plan, time.process_time() - start


def usual(cluster: str) -> int:
    """Return vLLM's default on the cluster's GPU."""
    engine = presets.load_engine("vllm")
    gpu = next(iter(read.read_cluster(cluster).gpus.values()))
    return size_default(version_facts(engine, engine.latest), gpu).max_num_batched_tokens


def told(load: dict[str, Any]) -> str:
    """Return a workload in a few words."""
    more = {key: value for key, value in load.items() if key not in ("isl", "osl", "slo")} | load.get("slo", {})
    return f"{load['isl']}/{load['osl']}" + "".join(f" {key} {value}" for key, value in more.items())


def main() -> int:
    """Print one line for each case."""
    table = Table("cluster", "model", "ISL/OSL", "objective", "default", "chosen", "gain", "tokens", "CPU s")
    for cluster, model, load, objective in CASES:
        default = usual(cluster)
        try:
            (before, took), (after, takes) = (solved(cluster, model, load, objective, n) for n in (default, None))
        except InfeasibleError as error:
            table.add_row(cluster, model, told(load), objective, str(error)[:40])
            continue
        gain = after.objective.value / before.objective.value - 1
        tokens = sorted({replica.engine.max_num_batched_tokens for replica in after.replicas})
        table.add_row(
            cluster, model, told(load), objective, f"{before.objective.value:.5g}", f"{after.objective.value:.5g}",
            f"{gain:+.2%}", f"{default} -> {'+'.join(map(str, tokens))}", f"{took:.2f} -> {takes:.2f}",
        )  # fmt: skip
    Console(width=170).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
