"""Measures one configuration of vLLM with dummy weights: engine.py CONFIG_DIR --model NAME --gpu ID --out rows.csv.

Needs vllm and as many GPUs as ranks; nothing of this project. Rows are of measurements.csv, written as they come, with
three columns more: ``repeats`` (the value is their median), ``spread`` ((most - least) / value) and ``least``. Prompts
are random token ids, prefix caching is off, all else is the engine's default unless an option says otherwise. Each load
runs once unmeasured first where it is short, so that nothing is compiled or allocated while the clock runs.
"""

import argparse
import csv
import importlib
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

VOCABULARY = range(1000, 30000)
"""Token ids of prompts: inside every model's vocabulary."""

MAX_MODEL_LEN = 16384
MAX_NUM_SEQS = 256
MAX_NUM_BATCHED_TOKENS = 8192
UTILIZATION = 0.9


@dataclass(frozen=True)
class Load:
    """Requests sent and what is read from the answer's times."""

    metric: str
    concurrency: int
    isl: int
    osl: int
    requests: int
    repeats: int = 1


@dataclass(frozen=True)
class Arrival:
    """Tokens of one request that came out of one step."""

    at_s: float
    request: str
    tokens: int


LOADS = (
    *(Load("ttft", 1, isl, 1, 1, repeats=7) for isl in (16, 128, 512, 1024, 2048, 4096, 8192)),
    *(Load("tpot", batch, 1024, 96, batch) for batch in (1, 8, 32, 64, 128)),
    *(Load("tpot", batch, 4096, 64, batch) for batch in (8, 32)),
    Load("batch_prefill_time", 16, 4096, 1, 16, repeats=2),
    Load("batch_prefill_time", 64, 512, 1, 64, repeats=2),
    Load("closed_loop_output_tokens_per_s", 64, 1024, 256, 192),
    Load("closed_loop_output_tokens_per_s", 16, 512, 128, 64),
)


def first_tokens(repeats: int) -> tuple[Load, ...]:
    """Return loads that show the host: many first tokens of short and middling prompts, and decode of a few."""
    return (
        *(Load("ttft", 1, isl, 1, 1, repeats=repeats) for isl in (16, 128, 256, 512, 768, 1024, 2048, 4096)),
        *(Load("tpot", batch, 1024, 96, batch, repeats=3) for batch in (1, 8, 32)),
    )


class Driver:
    """Sends loads to an engine of this process and times what comes back."""

    def __init__(self, engine: Any, sampling: Callable[[int], Any]) -> None:
        self._engine = engine
        self._sampling = sampling
        self._random = random.Random(0)
        self._sent = 0

    def run(self, load: Load) -> list[Arrival]:
        """Return all arrivals of ``load``: ``concurrency`` in flight until ``requests`` have ended."""
        arrivals: list[Arrival] = []
        prompts = [self._random.choices(VOCABULARY, k=load.isl) for _ in range(load.requests)]
        start = time.perf_counter()
        for _ in range(min(load.concurrency, load.requests)):
            self._send(prompts.pop(), load.osl)
        while self._engine.has_unfinished_requests():
            outputs = self._engine.step()
            now = time.perf_counter() - start
            for output in outputs:
                tokens = sum(len(part.token_ids) for part in output.outputs)
                arrivals.append(Arrival(now, output.request_id, tokens))
                if output.finished and prompts:
                    self._send(prompts.pop(), load.osl)
        return arrivals

    def _send(self, prompt: list[int], osl: int) -> None:
        self._sent += 1
        self._engine.add_request(str(self._sent), {"prompt_token_ids": prompt}, self._sampling(osl))


def value_of(load: Load, arrivals: list[Arrival]) -> float:
    """Return the load's metric: seconds, or tokens per second for a closed loop."""
    answers = [one for one in arrivals if one.tokens]
    firsts = sorted({one.request: one.at_s for one in reversed(answers)}.values())
    lasts = sorted({one.request: one.at_s for one in answers}.values())
    match load.metric:
        case "ttft":
            return firsts[0]
        case "batch_prefill_time":
            return lasts[-1]
    # all of the first wave decode, and none of the last wave has left a slot empty
    since, until = firsts[load.concurrency - 1], lasts[load.requests - load.concurrency]
    rate = sum(one.tokens for one in answers if since < one.at_s <= until) / (until - since)
    return rate if load.metric.startswith("closed_loop") else load.concurrency / rate


def rows(driver: Driver, kv_tokens: int, loads: tuple[Load, ...] = LOADS) -> Iterator[dict[str, object]]:
    """Yield a row for the pool and one for each load that fits it."""
    yield {"metric": "kv_tokens", "value": kv_tokens, "unit": "tokens", "repeats": 1}
    for load in loads:
        if load.concurrency * (load.isl + load.osl) > kv_tokens:
            continue
        if load.repeats > 1:
            driver.run(load)
        values = [value_of(load, driver.run(load)) for _ in range(load.repeats)]
        middle = median(values)
        yield {
            "metric": load.metric, "concurrency": load.concurrency, "isl": load.isl, "osl": load.osl,
            "requests": load.requests, "value": f"{middle:.6g}",
            "unit": "tokens/s" if load.metric.startswith("closed_loop") else "s",
            "repeats": load.repeats,
            "spread": f"{(max(values) - min(values)) / middle:.3f}" if load.repeats > 1 else "",
            "least": f"{min(values):.6g}" if load.repeats > 1 else "",
        }  # fmt: skip


def started(told: argparse.Namespace) -> Any:
    """Return vLLM's LLM of the configuration asked for."""
    profiler = {"profiler": "torch", "torch_profiler_dir": str(told.profile), "torch_profiler_with_stack": False}
    return importlib.import_module("vllm").LLM(
        model=str(told.config), skip_tokenizer_init=True, load_format="dummy", dtype="bfloat16",
        tensor_parallel_size=told.tp, enable_expert_parallel=told.ep,
        quantization=None if told.weights == "bf16" else told.weights,
        kv_cache_dtype="auto" if told.kv_cache == "bf16" else told.kv_cache,
        max_model_len=MAX_MODEL_LEN, gpu_memory_utilization=UTILIZATION, max_num_seqs=MAX_NUM_SEQS,
        max_num_batched_tokens=MAX_NUM_BATCHED_TOKENS, enable_prefix_caching=False, disable_log_stats=True,
        **({"profiler_config": profiler} if told.profile else {}),
    )  # fmt: skip


def settings(told: argparse.Namespace) -> dict[str, object]:
    """Return the columns that are the same in every row."""
    return {
        "run": told.out.stem, "model": told.model, "gpu": told.gpu, "num_gpus": told.tp, "tp": told.tp, "pp": 1,
        "dp": 1, "ep": told.tp if told.ep else 1, "weights": told.weights, "kv_cache": told.kv_cache,
        "engine": "vllm", "engine_version": importlib.import_module("vllm").__version__,
        "gpu_memory_utilization": UTILIZATION, "max_num_seqs": MAX_NUM_SEQS,
        "max_num_batched_tokens": MAX_NUM_BATCHED_TOKENS, "max_model_len": MAX_MODEL_LEN, "metric": "",
        "concurrency": "", "isl": "", "osl": "", "requests": "", "value": "", "unit": "", "source": told.source,
        "repeats": "", "spread": "", "least": "",
    }  # fmt: skip


def profiled(llm: Any, driver: Driver) -> None:
    """Write the torch profiler's traces of a few prompts alone: where a first token's time goes, rank by rank."""
    for isl in (128, 1024):
        llm.start_profile(f"prefill{isl}")
        driver.run(Load("ttft", 1, isl, 1, 1))
        driver.run(Load("ttft", 1, isl, 1, 1))
        llm.stop_profile()


def main() -> None:
    """Measure and write rows as they come."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("config", type=Path, help="folder with config.json")
    arguments.add_argument("--model", required=True, help="preset or Hugging Face name, for the rows")
    arguments.add_argument("--gpu", required=True, help="catalogue id, for the rows")
    arguments.add_argument("--tp", type=int, default=1)
    arguments.add_argument("--ep", action="store_true", help="experts parallel over all ranks")
    arguments.add_argument("--weights", choices=("bf16", "fp8"), default="bf16")
    arguments.add_argument("--kv-cache", choices=("bf16", "fp8"), default="bf16")
    arguments.add_argument("--source", default="")
    arguments.add_argument("--first-tokens", type=int, metavar="N", help="the host alone: N repeats of short prompts")
    arguments.add_argument("--profile", type=Path, help="folder for traces of single prompts, taken after measuring")
    arguments.add_argument("--out", type=Path, required=True)
    told = arguments.parse_args()
    llm = started(told)
    sampling = importlib.import_module("vllm").SamplingParams
    delta = importlib.import_module("vllm.sampling_params").RequestOutputKind.DELTA
    driver = Driver(
        llm.llm_engine,
        lambda osl: sampling(temperature=0.0, max_tokens=osl, ignore_eos=True, detokenize=False, output_kind=delta),
    )
    driver.run(Load("tpot", 4, 64, 8, 4))
    cache = llm.llm_engine.vllm_config.cache_config
    shared = settings(told)
    with told.out.open("w", newline="") as lines:
        table = csv.DictWriter(lines, list(shared))
        table.writeheader()
        loads = first_tokens(told.first_tokens) if told.first_tokens else LOADS
        for row in rows(driver, cache.num_gpu_blocks * cache.block_size, loads):
            table.writerow(shared | row)
            lines.flush()
    if told.profile:
        profiled(llm, driver)


if __name__ == "__main__":
    main()
