"""Prints what one estimate costs over a candidate sweep: python tests/benchmarks/benchmark_prices.py."""

import time
from itertools import product

from optimizer.cost.case import Case
from optimizer.cost.estimate import estimate
from optimizer.cost.settings import resolve, version_facts
from optimizer.inputs import presets
from optimizer.inputs.model import ModelSpec
from optimizer.inputs.workload import EngineChoice, Lengths, WorkloadSpec
from optimizer.layout import layouts
from optimizer.validation import one_node

MODELS = ("llama-3.1-8b", "llama-3.1-70b", "qwen3-30b-a3b", "deepseek-v3")
CONCURRENCIES = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256)
CLIENTS = WorkloadSpec(isl=Lengths(mean=2048), osl=Lengths(mean=512))
ARRIVALS = CLIENTS.model_copy(update={"request_rate": 10.0})
LOADS = {"clients": CLIENTS, "arrivals": ARRIVALS}
"""Requests kept in flight (closed loop), and requests that come at random (open loop)."""


def sweep(model_name: str, gpu_name: str, load: WorkloadSpec) -> tuple[int, float]:
    """Return how many estimates were made and the CPU seconds of one, the constants of each layout included.

    The least of some sweeps, each of a model that no cache knows: what else runs on the machine can only slow it down.
    """
    passes = [_one_sweep(presets.load_model(model_name).model_copy(), gpu_name, load) for _ in range(PASSES)]
    return passes[0][0], min(seconds for _, seconds in passes)


PASSES = 3


def _one_sweep(model: ModelSpec, gpu_name: str, load: WorkloadSpec) -> tuple[int, float]:
    gpu, engine = presets.load_gpu(gpu_name), presets.load_engine("vllm")
    fits, facts = presets.load_calibration(gpu), version_facts(engine, engine.latest)
    found = layouts(model, 8, weights=("bf16", "fp8"), kv=("bf16", "fp8"), engine="vllm")
    settings = resolve(EngineChoice(), engine, gpu, model, load, None)
    cases = [Case(model, layout, gpu, one_node(gpu, layout), settings, facts, fits) for layout in found]
    start = time.process_time()
    for case, concurrency in product(cases, CONCURRENCIES):
        estimate(case, load, concurrency)
    count = len(cases) * len(CONCURRENCIES)
    return count, (time.process_time() - start) / count


def main() -> None:
    """Print milliseconds per estimate of each model and load, and the mean over all estimates."""
    made, spent_s = 0, 0.0
    for model, (name, load) in product(MODELS, LOADS.items()):
        count, seconds = sweep(model, "h200-sxm", load)
        made, spent_s = made + count, spent_s + count * seconds
        print(f"{model:16} {name:9} {count:6,} estimates, {seconds * 1e3:.3f} ms each")
    print(f"{'all':16} {'':9} {made:6,} estimates, {spent_s / made * 1e3:.3f} ms each")


if __name__ == "__main__":
    main()
