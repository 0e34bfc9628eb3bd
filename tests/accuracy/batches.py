"""Published throughputs of many requests sent at once, mapped to the schema: batch_output_tokens_per_s.

These sets say little of how the engine was started (GPUStack's pages change one setting after the other), so wide
errors are expected and nothing is fitted to them. Lengths are given as means; where they vary as ShareGPT's do the
longest answer decides when a batch ends, and it is not given: those rows are dropped. A rate of all tokens becomes that
of output tokens by the share of output in a request.
"""

import re
from collections.abc import Mapping

Row = Mapping[str, str]

SETS = {
    "GPUStack performance-lab": "GPUStack performance-lab",
    "dstack benchmarks": "dstack benchmarks",
    "Tandemn LLM_placement_solver": "Tandemn",
    "ANL LLM-Inference-Bench": "ANL LLM-Inference-Bench",
}
"""Name to the beginning of the rows' source."""

MODELS = {
    "DeepSeek-R1": "deepseek-r1", "DeepSeek-V3.2": "deepseek-v3.2", "DeepSeek-v3.2": "deepseek-v3.2",
    "GLM-4.5-Air": "glm-4.5-air", "GLM-4.6": "glm-4.6", "GLM-5.2": "glm-5.2", "gpt-oss-120b": "gpt-oss-120b",
    "gpt-oss-20b": "gpt-oss-20b", "Qwen3-8B": "qwen3-8b", "Qwen3-14B": "qwen3-14b", "Qwen3-32B": "qwen3-32b",
    "Qwen3-235B-A22B": "qwen3-235b-a22b", "Llama-3.1-405B": "llama-3.1-405b",
    "DeepSeek-R1-Distill-Llama-70B": "deepseek-r1-distill-llama-70b",
}  # fmt: skip
GPUS = {
    "A100-SXM-80G": "a100-80-sxm", "H100-SXM-80G": "h100-sxm", "H200-SXM-141G": "h200-sxm", "MI300X": "mi300x",
    "L40S-48G (AWS g6e, PCIe)": "l40s",
}  # fmt: skip
WEIGHTS = {"fp16": "bf16", "bf16": "bf16", "fp8": "fp8", "mxfp4": "mxfp4", "int4": "int4"}
ENGINES = {"vLLM": "vllm", "SGLang": "sglang", "TensorRT-LLM": "trtllm"}
OLDEST = {"0.6.x (Nov 2024)": "0.8", "0.10.0": "0.10.0"}
"""The oldest engine facts stand for older engines, which matters for memory only."""
KINDS = {"serving_burst": "output_token_throughput", "static_batch": "total_token_throughput",
         "offline_batch": "output_token_throughput"}  # fmt: skip
"""The one metric of each kind of run that is mapped; the others follow from it or mix in waiting for a place."""


def mapped(row: Row) -> dict[str, str] | str:
    """Return a row of the schema, or why there is none."""
    if row["quality"] != "A":
        return f"quality {row['quality']}: one field was inferred by whoever read the source"
    if row["kind"] not in KINDS:
        return f"kind {row['kind']} is not mapped: clients come and go at a pace the source does not give"
    if row["metric"] != KINDS[row["kind"]]:
        return f"metric {row['metric']} of {row['kind']} is not mapped"
    for table, key in ((MODELS, "model"), (GPUS, "gpu"), (WEIGHTS, "precision_w"), (ENGINES, "engine")):
        if row[key] not in table:
            return f"{key} {row[key]!r} is not mapped"
    nodes = re.search(r"nodes=([0-9.]+)", row["notes"])
    if nodes is not None and float(nodes[1]) > 1:
        return "several nodes: how they are joined is not said"
    requests = re.search(r"\d+", row["concurrency_or_batch"])
    if requests is None:
        return "the number of requests is not said"
    isl, osl = float(row["isl"]), float(row["osl"])
    if 205 < isl < 236 and 190 < osl < 226:
        return "lengths vary as ShareGPT's do: when the last request ends is not said by their means"
    share = 1.0 if KINDS[row["kind"]].startswith("output") else osl / (isl + osl)
    return {
        "run": row["run_id"], "model": MODELS[row["model"]], "gpu": GPUS[row["gpu"]],
        **{axis: row[axis] for axis in ("tp", "pp", "dp", "ep")},
        "weights": WEIGHTS[row["precision_w"]], "kv_cache": "bf16", "engine": ENGINES[row["engine"]],
        "engine_version": OLDEST.get(row["engine_version"], row["engine_version"]),
        "metric": "batch_output_tokens_per_s", "concurrency": requests[0], "isl": str(max(1, round(isl))),
        "osl": str(max(1, round(osl))), "value": repr(float(row["value"]) * share), "unit": "tokens/s",
        "source": row["source"],
    }  # fmt: skip
