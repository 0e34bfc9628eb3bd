"""Sets that others published, mapped to the schema of measurements.csv. Nothing is fitted to them but one factor on the
host's constants per set, since hosts and engine generations differ: the one of the grid below with the least error.

Every table of names and units is below; a row that is not mapped is counted with its reason.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import fit_tables

from optimizer.inputs.calibration import Calibration

Row = Mapping[str, str]

HOST_FACTORS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.2, 1.5, 2.0)

MODELS = {
    "Llama-2-70B": "llama-2-70b", "BLOOM-176B": "bloom-176b", "Llama-3.3-70B": "llama-3.3-70b",
    "Llama-3.1-8B": "llama-3.1-8b",
}  # fmt: skip
GPUS = {"A100-SXM-80G": "a100-80-sxm", "H100-SXM-80G": "h100-sxm", "H200-SXM-141G": "h200-sxm"}
WEIGHTS = {"fp16": "bf16", "bf16": "bf16", "fp8": "fp8"}
SECONDS = {"ms": 1e-3, "s": 1.0}

SETS = {
    "Splitwise (ISCA24)": (
        "Splitwise",
        {"cuda_graphs": "0", "engine_version": "0.8", "max_num_batched_tokens": "65536"},
    ),
    "NVIDIA Dynamo pre-swept profiles": ("NVIDIA Dynamo", {}),
}
"""Set to the beginning of its source, and what holds for its engine. Splitwise ran vLLM of 2023: no graphs, whole
prompts; the oldest engine facts stand for it, which matters for memory only."""


def mapped(row: Row, engine: Mapping[str, str]) -> dict[str, str] | str:
    """Return a row of the schema, or why there is none."""
    if row["quality"] != "A":
        return f"quality {row['quality']}: one field was inferred by whoever read the source"
    if row["metric"] not in ("ttft", "tpot", "itl"):
        return f"metric {row['metric']} follows from the others"
    if row["unit"] not in SECONDS:
        return f"unit {row['unit']!r} is not mapped"
    for table, key in ((MODELS, "model"), (GPUS, "gpu"), (WEIGHTS, "precision_w")):
        if row[key] not in table:
            return f"{key} {row[key]!r} is not mapped"
    batch = float(row["concurrency_or_batch"])
    if batch < 1 or batch != round(batch):
        return "concurrency is no whole number"
    is_first = row["metric"] == "ttft"
    return {
        "run": row["run_id"], "model": MODELS[row["model"]], "gpu": GPUS[row["gpu"]], "tp": row["tp"], "pp": row["pp"],
        "weights": WEIGHTS[row["precision_w"]], "kv_cache": "bf16", "engine": "vllm",
        "engine_version": row["engine_version"],
        "metric": ("ttft" if batch == 1 else "batch_prefill_time") if is_first else "tpot",
        "concurrency": str(round(batch)), "isl": str(round(float(row["isl"].removeprefix("ctx=")))),
        "osl": row["osl"] or "1", "value": repr(float(row["value"]) * SECONDS[row["unit"]]), "unit": "s",
        "source": row["source"],
    } | dict(engine)  # fmt: skip


def sets(data: Path) -> dict[str, tuple[list[dict[str, str]], list[str]]]:
    """Return rows of the schema and the reasons of dropped rows, by set."""
    rows = fit_tables.table(data / "published.csv.gz")
    found: dict[str, tuple[list[dict[str, str]], list[str]]] = {}
    for name, (source, engine) in SETS.items():
        results = [mapped(row, engine) for row in rows if row["source"].startswith(source)]
        found[name] = ([r for r in results if isinstance(r, dict)], [r for r in results if isinstance(r, str)])
    known = tuple(source for source, _ in SETS.values())
    others = [row["source"] for row in rows if not row["source"].startswith(known)]
    found["Other sets"] = ([], [f"{source}: the set is not mapped" for source in others])
    return found


def counted(reasons: Iterable[str]) -> dict[str, int]:
    """Return how many rows have each reason, most frequent first."""
    return dict(Counter(reasons).most_common())


def with_host(fits: Calibration, factor: float) -> Calibration:
    """Return the calibration with a host that is slower by ``factor``."""
    names = ("launch", "piece", "step_floor", "step_base", "per_sequence", "request")
    changes = {name: getattr(fits.host, name) * factor for name in names}
    return fits.model_copy(update={"host": fits.host.model_copy(update=changes)})
