"""What engines logged when they started: weights of the heaviest rank, tokens of the KV pool, and what did not start.

Printed by tests/accuracy/capacity.py --data DIR, which holds kv_capacity.csv (published logs) and h200_vllm_memory.csv
(our own runs' ledger). Models that are no preset are typed from their published hyper-parameters. The GPU's memory is
what the log says is visible. Rows of vLLM before 0.8 are priced with the facts of 0.8: Llama-2-70B of December 2023
held a third less than those leave it, and what else that engine kept is not known.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean

sys.path.insert(0, str(Path(__file__).parents[1]))

import fit_tables
from ledgers import GIB, decoder

from optimizer.cost.memory import kv_pool, ledger
from optimizer.errors import InputError
from optimizer.inputs import presets
from optimizer.inputs.huggingface import from_config
from optimizer.inputs.model import ModelSpec
from optimizer.validation import row_case

Row = Mapping[str, str]
OWN_RUNS = Path(__file__).parent / "data" / "h200_vllm.csv"

GPUS = {"H100-SXM-80G": "h100-sxm", "A100-80G": "a100-80-sxm", "RTX-4090-24G": "rtx4090"}
PRESETS = {
    "deepseek-ai/DeepSeek-V2-Lite-Chat": "deepseek-v2-lite", "deepseek-ai/DeepSeek-R1": "deepseek-r1",
    "RedHatAI/Llama-3.3-70B-Instruct-fp8-dynamic": "llama-3.3-70b", "google/gemma-2-9b-it": "gemma-2-9b",
    "google/gemma-3-27b-it": "gemma-3-27b", "Qwen/Qwen3-30B-A3B": "qwen3-30b-a3b",
    "RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w4a16": "llama-3.1-8b",
    "RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w8a8": "llama-3.1-8b", "meta-llama/Llama-3.1-8B": "llama-3.1-8b",
    "meta-llama/Llama-2-7b-hf": "llama-2-7b", "meta-llama/Llama-2-70b-hf": "llama-2-70b",
}  # fmt: skip
"""Name in the logs to preset."""

QWEN7 = ("qwen2", 3584, 28, 28, 4, 18944, 152064)
DECODERS: dict[str, tuple[tuple[str, int, int, int, int, int, int], int]] = {
    "codellama/CodeLlama-7b-hf": (("llama", 4096, 32, 32, 32, 11008, 32016), 16384),
    "RedHatAI/Qwen2.5-7B-Instruct-fp8-dynamic": (QWEN7, 32768),
    "RedHatAI/Qwen2.5-7B-Instruct-quantized.w8a8": (QWEN7, 32768),
    "ibm-granite/granite-3.3-8b-instruct": (("granite", 4096, 40, 32, 8, 12800, 49159), 131072),
    "microsoft/phi-2": (("phi", 2560, 32, 32, 32, 10240, 51200), 2048),
    "microsoft/phi-4": (("phi3", 5120, 40, 40, 10, 17920, 100352), 16384),
    "moonshotai/Kimi-Dev-72B": (("qwen2", 8192, 80, 64, 8, 29568, 152064), 131072),
}
"""Name to model type, hidden size, layers, heads, KV heads, intermediate size and vocabulary, and the context."""
TIED = ("granite",)
"""Model types whose head is the embedding."""
TOWERS = {
    "ibm-granite/granite-vision-3.3-2b": "LLaVA-NeXT's", "mistralai/Mistral-Small-3.2-24B-Instruct-2506": "Pixtral's",
}  # fmt: skip
"""Vision towers whose parameters are not modelled."""

GEMMA_3_12B = {
    "model_type": "gemma3",
    "text_config": {
        "model_type": "gemma3_text", "hidden_size": 3840, "num_hidden_layers": 48, "num_attention_heads": 16,
        "num_key_value_heads": 8, "head_dim": 256, "intermediate_size": 15360, "vocab_size": 262208,
        "max_position_embeddings": 131072, "sliding_window": 1024, "sliding_window_pattern": 6,
        "tie_word_embeddings": True, "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    },
    "vision_config": {
        "model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27,
        "num_attention_heads": 16, "patch_size": 14, "image_size": 896,
    },
}  # fmt: skip

SCHEMES = {"w4a16": "int4", "w8a8": "int8", "fp8-dynamic": "fp8"}
"""End of a quantized checkpoint's name to its scheme."""
KV = {"auto": "bf16", "bf16": "bf16", "fp8": "fp8"}
VERSIONS = {"2023-12": "0.8"}


@cache
def model_of(name: str) -> ModelSpec:
    """Return the model of a log; InputError where it is neither typed here nor a preset."""
    if name == "google/gemma-3-12b-it":
        return from_config(GEMMA_3_12B, name=name, where="config.json")
    if name in DECODERS:
        shape, context = DECODERS[name]
        return decoder(*shape, max_position_embeddings=context, tie_word_embeddings=shape[0] in TIED)
    return presets.load_model(PRESETS.get(name, name))


@dataclass(frozen=True)
class Start:
    """What an engine logged, and what is predicted."""

    name: str
    ran: bool
    starts: bool
    """Predicted."""
    weights: float | None
    """Predicted over logged, less one: of the heaviest rank."""
    pool: float | None


def mapped(row: Row) -> dict[str, str] | str:
    """Return a published log as a row of the schema, or why there is none."""
    if row["engine"] != "vLLM" or row["quality"] != "A":
        return f"{row['engine']} of quality {row['quality']}: the bars are on vLLM's rows of quality A"
    if row["gpu"] not in GPUS:
        return f"gpu {row['gpu']!r} is not mapped"
    if row["model"] in TOWERS:
        return f"{row['model']}: vision towers like {TOWERS[row['model']]} are not modelled"
    weights = next((scheme for end, scheme in SCHEMES.items() if row["model"].endswith(end)), "")
    kept = ("tp", "pp", "dp", "gpu_memory_utilization", "max_model_len", "max_num_batched_tokens", "max_num_seqs")
    return {key: row[key] for key in kept} | {
        "run": f"{row['model']} tp{row['tp']}", "model": row["model"], "gpu": GPUS[row["gpu"]], "weights": weights,
        "kv_cache": KV[row["precision_kv"]], "engine": "vllm", "metric": "kv_tokens",
        "engine_version": VERSIONS.get(row["engine_version"], row["engine_version"]), "value": row["kv_cache_tokens"],
        "weights_gib": row["weights_gib_per_gpu"], "gpu_gib": row["gpu_total_gib"],
        "ran": "1" if row["status"] == "ok" else "0",
    }  # fmt: skip


def own(data: Path) -> list[dict[str, str]]:
    """Return the pools of our own runs with the weights that the ledger file says."""
    held = {row["run"]: row["weights_gib_max_rank"] for row in fit_tables.table(data / "h200_vllm_memory.csv")}
    rows = [row for row in fit_tables.table(OWN_RUNS) if row["metric"] == "kv_tokens"]
    return [row | {"weights_gib": held.get(row["run"], ""), "gpu_gib": "", "ran": "1"} for row in rows]


def start(row: Row) -> Start:
    """Return a row with its prediction; InputError says why it has none."""
    gpu, model = presets.load_gpu(row["gpu"]), model_of(row["model"])
    if row["gpu_gib"]:
        gpu = gpu.model_copy(update={"memory": round(float(row["gpu_gib"]) * GIB)})
    case, _ = row_case(row, model, gpu, presets.load_engine(row["engine"]), presets.load_calibration(gpu))
    ranks, reasons = ledger(case, 1, 1.0)
    heaviest = max(rank.weights_bytes for rank in ranks) / GIB

    def error(predicted: float, cell: str) -> float | None:
        return predicted / float(cell) - 1 if cell else None

    pool = error(kv_pool(case), row["value"]) if row["ran"] == "1" else None
    return Start(row["run"], row["ran"] == "1", not reasons, error(heaviest, row["weights_gib"]), pool)


def starts(data: Path) -> tuple[dict[str, list[Start]], list[str]]:
    """Return what was priced by set, and the reasons of rows that were not."""
    rows = [mapped(row) for row in fit_tables.table(data / "kv_capacity.csv")]
    dropped = [row for row in rows if isinstance(row, str)]
    found: dict[str, list[Start]] = {}
    for name, of in (("our own runs", own(data)), ("published logs", [row for row in rows if isinstance(row, dict)])):
        found[name] = []
        for row in of:
            try:
                found[name].append(start(row))
            except InputError as error:
                dropped.append(f"{row['run']}: {error}")
    return found, dropped


def table(found: Mapping[str, Sequence[Start]]) -> list[str]:
    """Return one line for each set and each log."""
    lines = [
        "| | rows | weights | worst | KV pool | worst | ran, called infeasible | failed, called infeasible |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, of in found.items():
        ran, failed = [one for one in of if one.ran], [one for one in of if not one.ran]
        refused = f"{sum(not one.starts for one in ran)} of {len(ran)}"
        told = f"{sum(not one.starts for one in failed)} of {len(failed)}"
        figures = (*_errors([one.weights for one in ran]), *_errors([one.pool for one in ran]))
        lines.append(f"| {' | '.join([name, str(len(of)), *figures, refused, told])} |")
    lines += ["", "| log | weights | KV pool |", "|---|---:|---:|"]
    lines += [
        f"| {one.name} | {_signed(one.weights)} | {_signed(one.pool) if one.ran else 'did not start'} |"
        for of in found.values()
        for one in of
    ]
    return lines


def _errors(errors: Sequence[float | None]) -> tuple[str, str]:
    known = [abs(error) for error in errors if error is not None]
    return (f"{100 * fmean(known):.2f} %", f"{100 * max(known):.2f} %") if known else ("", "")


def _signed(error: float | None) -> str:
    return "" if error is None else f"{100 * error:+.2f} %"


def main() -> None:
    """Print what was logged beside what is predicted."""
    options = argparse.ArgumentParser(description=main.__doc__)
    options.add_argument("--data", type=Path, required=True)
    found, dropped = starts(options.parse_args().data)
    print("\n".join([*table(found), "", *(f"- not priced: {reason}" for reason in dropped)]))


if __name__ == "__main__":
    main()
