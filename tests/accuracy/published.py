"""Sets that others published, mapped to the schema of measurements.csv.

Fitted to them: one host overhead per engine generation (``serial_step`` of the engine's facts).
18 ms for the vLLM of 2023 that Splitwise ran; its launch cost of 5 us (eager, no graphs) was picked with it from a
grid, so that set has two host figures. 1.3 ms for vLLM 0.10 of the Dynamo profiles, chosen on their prefill rows
and on the decode rows of one sequence or one GPU only: decode of several long sequences under TP is far off
whatever the overhead. There each further sequence costs 4 to 6 times what reading its KV would; prefill of
neighbours inside the measured interval would explain it, but the source does not say so and the one-GPU rows do not
show it. Those rows stay in the totals below.
Tables of names and units are in tests/accuracy/published.py; a row that is not mapped is counted with its reason.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import fit_tables

from optimizer.inputs.calibration import Calibration
from optimizer.inputs.engine import EngineSpec

Row = Mapping[str, str]

MODELS = {
    "Llama-2-70B": "llama-2-70b", "BLOOM-176B": "bloom-176b", "Llama-3.3-70B": "llama-3.3-70b",
    "Llama-3.1-8B": "llama-3.1-8b",
}  # fmt: skip
GPUS = {"A100-SXM-80G": "a100-80-sxm", "H100-SXM-80G": "h100-sxm", "H200-SXM-141G": "h200-sxm"}
WEIGHTS = {"fp16": "bf16", "bf16": "bf16", "fp8": "fp8"}
SECONDS = {"ms": 1e-3, "s": 1.0}


@dataclass(frozen=True)
class Set:
    """Where a set's rows are, and what its engine was like."""

    source: str
    """Beginning of the rows' source."""
    columns: Mapping[str, str]
    """What the schema asks for and the set does not say per row."""
    serial_step_s: float | None = None
    """Host overhead of its engine generation; None: as shipped."""
    launch_s: float | None = None


SETS = {
    "Splitwise (ISCA24)": Set(
        "Splitwise", {"cuda_graphs": "0", "engine_version": "0.8", "max_num_batched_tokens": "65536"}, 18e-3, 5e-6
    ),
    "NVIDIA Dynamo pre-swept profiles, vLLM 0.10": Set("NVIDIA Dynamo", {}),
}
"""The oldest engine facts stand for the vLLM of 2023, which matters for memory only."""


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
    batch = float(row["concurrency_or_batch"] or 1)
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
    for name, known in SETS.items():
        results = [mapped(row, known.columns) for row in rows if row["source"].startswith(known.source)]
        found[name] = ([r for r in results if isinstance(r, dict)], [r for r in results if isinstance(r, str)])
    sources = tuple(known.source for known in SETS.values())
    others = [row["source"] for row in rows if not row["source"].startswith(sources)]
    found["Other sets"] = ([], [f"{source}: the set is not mapped" for source in others])
    return found


def counted(reasons: Iterable[str]) -> dict[str, int]:
    """Return how many rows have each reason, most frequent first."""
    return dict(Counter(reasons).most_common())


def engine_of(name: str, spec: EngineSpec) -> EngineSpec:
    """Return the engine's facts with the set's host overhead."""
    known = SETS.get(name)
    if known is None or known.serial_step_s is None:
        return spec
    versions = [facts.model_copy(update={"serial_step": known.serial_step_s}) for facts in spec.versions]
    return spec.model_copy(update={"versions": tuple(versions)})


def host_of(name: str, fits: Calibration) -> Calibration:
    """Return the calibration with the set's launch cost."""
    known = SETS.get(name)
    if known is None or known.launch_s is None:
        return fits
    return fits.model_copy(update={"host": fits.host.model_copy(update={"launch": known.launch_s})})
