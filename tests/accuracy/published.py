"""Sets that others published, mapped to the schema of measurements.csv.

Fitted to them: one host overhead per engine generation (``serial_step`` of the engine's facts).

Splitwise: 9 ms for the vLLM of 2023 (of 7, 8, 9 and 10, by the bias of its decode rows), which sends every worker its
inputs anew, more by 0.478 with every doubling of the TP group: that growth is not fitted here but what a fit of
launches under TP1, TP2 and TP4 on our H200 host gave, where it is weak evidence and not used. Its
launch cost of 5 us (eager, no graphs) was picked from a grid, so that set has two host figures. What is left: its two
hosts differ (decode takes 1.5 times as much host time on the A100 host as on the H100 host), and from somewhere between
2048 and 4096 tokens a step on it takes up to twice what its GEMM, attention and all-reduce do, under TP4 and TP8, and
little under TP2. It is not the batch: one prompt of 8192 tokens shows it as 16 of 512 do, which rules out padding,
logits of whole prompts and one prompt after the other. It is not bytes on the links: under TP8 it is 0.6 to 0.8 us for
each token and layer on H100 and 1.2 to 2.4 on A100, for Llama and BLOOM alike, though BLOOM reduces 1.75 times as much.
It is not in the collective tables either. It stays unexplained, and is why batched prefill misses its bar.

Dynamo: 1.3 ms for vLLM 0.10, chosen on its prefill rows and on the decode rows of one sequence or one GPU only. Its
prompts are text sent to /v1/chat/completions (genai_perf.py there), so that a front end must tokenize them within the
time to the first token: 2 us a token, not fitted but timed (tests/accuracy/measure/tokenizing.py). Beyond that, 70B
under TP2 takes up to a fifth more for prompts that are longer than the token budget of a step (8192), TP4 and TP8 less;
8B does not. It is not explained.

Dynamo's decode rows: its profiler (ai-dynamo/dynamo benchmarks/profiler/utils/profile_decode.py and genai_perf.py)
sends n prompts at once, 500 tokens each, and averages all gaps between tokens; it sends the same prompts once before,
"hopefully" to find them in the prefix cache. In the 70B runs they were not found: what n requests take beyond one is
(n - 1) / 2 x TTFT / 499 with the TTFT of the set's own prefill rows (tests/accuracy/published.py --data DIR prints the
ratio). Those rows are priced as what they are, burst_tpot; the 8B rows show no such share and stay tpot.
Tables of names and units are in tests/accuracy/published.py; a row that is not mapped is counted with its reason.
"""

import argparse
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import batches
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
    serial_growth: float = 0.0
    """Its growth with every doubling of the TP group."""
    launch_s: float | None = None
    prompt_token_s: float | None = None
    """What the front end spends on a prompt's token where prompts are text; None: they are token ids, as shipped."""
    answer_tokens: int = 0
    """Where the context of decode rows is that of the middle of so many tokens; 0: it is the prompt."""
    cold: tuple[str, ...] = ()
    """Models whose requests were sent at once and prefilled anew while others decoded."""


TOKENIZED_S = 2e-6
"""Turning text into token ids, per token on one thread: medians of 1.8 to 2.4 us for 128 to 16,384 tokens
(measure/README.md)."""

SETS = {
    "Splitwise (ISCA24)": Set(
        "Splitwise",
        {"cuda_graphs": "0", "engine_version": "0.8", "max_num_batched_tokens": "65536"},
        9e-3,
        0.478,
        5e-6,
    ),
    "NVIDIA Dynamo pre-swept profiles, vLLM 0.10": Set(
        "NVIDIA Dynamo", {}, prompt_token_s=TOKENIZED_S, answer_tokens=500, cold=("Llama-3.3-70B",)
    ),
}
"""The oldest engine facts stand for the vLLM of 2023, which matters for memory only."""


def mapped(row: Row, known: Set) -> dict[str, str] | str:
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
    is_first, isl = row["metric"] == "ttft", round(float(row["isl"].removeprefix("ctx=")))
    answer = 0 if is_first else known.answer_tokens
    decoding = "burst_tpot" if row["model"] in known.cold and batch > 1 else "tpot"
    return {
        "run": row["run_id"], "model": MODELS[row["model"]], "gpu": GPUS[row["gpu"]], "tp": row["tp"], "pp": row["pp"],
        "weights": WEIGHTS[row["precision_w"]], "kv_cache": "bf16", "engine": "vllm",
        "engine_version": row["engine_version"],
        "metric": ("ttft" if batch == 1 else "batch_prefill_time") if is_first else decoding,
        "concurrency": str(round(batch)), "isl": str(isl - answer // 2), "osl": str(answer or row["osl"] or "1"),
        "value": repr(float(row["value"]) * SECONDS[row["unit"]]), "unit": "s",
        "source": row["source"],
    } | dict(known.columns)  # fmt: skip


def sets(data: Path) -> dict[str, tuple[list[dict[str, str]], list[str]]]:
    """Return rows of the schema and the reasons of dropped rows, by set."""
    rows = fit_tables.table(data / "published.csv.gz")
    found: dict[str, tuple[list[dict[str, str]], list[str]]] = {}
    for name, known in SETS.items():
        results = [mapped(row, known) for row in rows if row["source"].startswith(known.source)]
        found[name] = ([r for r in results if isinstance(r, dict)], [r for r in results if isinstance(r, str)])
    for name, source in batches.SETS.items():
        results = [batches.mapped(row) for row in rows if row["source"].startswith(source)]
        found[name] = ([r for r in results if isinstance(r, dict)], [r for r in results if isinstance(r, str)])
    sources = (*(known.source for known in SETS.values()), *batches.SETS.values())
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
    host = {"serial_step": known.serial_step_s, "serial_step_growth": known.serial_growth}
    versions = [facts.model_copy(update=host) for facts in spec.versions]
    return spec.model_copy(update={"versions": tuple(versions)})


def host_of(name: str, fits: Calibration) -> Calibration:
    """Return the calibration with the set's launch cost, and what its front end spends on a prompt."""
    known = SETS.get(name)
    if known is None:
        return fits
    own = {"launch": known.launch_s, "prompt_token": known.prompt_token_s}
    host = fits.host.model_copy(update={name: seconds for name, seconds in own.items() if seconds is not None})
    return fits.model_copy(update={"host": host})


def cold_shares(data: Path) -> dict[str, list[float]]:
    """Return, by model and TP of the Dynamo set, what is between tokens beyond decode over prefill of the neighbours.

    Beyond decode: measured gap less that of one sequence and less the KV that the others read, priced. Near 1 where
    nobody's prompt was cached, near 0 where all were.
    """
    rows = fit_tables.table(data / "published.csv.gz")
    rows = [row for row in rows if row["source"].startswith("NVIDIA Dynamo") and row["quality"] == "A"]
    first = {(r["model"], r["tp"], round(float(r["isl"]))): float(r["value"]) for r in rows if r["metric"] == "ttft"}
    alone: dict[tuple[str, str, str], float] = {}
    for row in rows:
        if row["metric"] == "itl" and float(row["concurrency_or_batch"]) == 1:
            alone[row["model"], row["tp"], row["isl"]] = float(row["value"])
    shares: dict[str, list[float]] = {}
    for row in rows:
        n, key = float(row["concurrency_or_batch"]), (row["model"], row["tp"], row["isl"])
        isl = float(row["isl"].removeprefix("ctx=")) - 250
        known = [at for model, tp, at in first if (model, tp) == key[:2] and abs(at - isl) < 0.07 * isl]
        if row["metric"] != "itl" or n < 2 or key not in alone or not known:
            continue
        tokens_s = isl / 1e3 * KV_MS_PER_1000[row["model"]] / float(row["tp"]) * (n - 1)
        prefill = first[key[0], key[1], min(known, key=lambda at: abs(at - isl))] * (n - 1) / 2 / 499
        shares.setdefault(f"{row['model']} tp{row['tp']}", []).append(
            (float(row["value"]) - alone[key] - tokens_s) / prefill
        )
    return shares


KV_MS_PER_1000 = {"Llama-3.3-70B": 327_680 / 3.35e9 / 0.85 * 1e3, "Llama-3.1-8B": 131_072 / 4.8e9 / 0.85 * 1e3}
"""Reading the KV of 1000 tokens: bytes per token over 85 % of the datasheet's bandwidth."""


def main() -> None:
    """Print how much of Dynamo's gaps is prefill of neighbours."""
    options = argparse.ArgumentParser(description=main.__doc__)
    options.add_argument("--data", type=Path, required=True)
    for name, shares in cold_shares(options.parse_args().data).items():
        print(f"{name}: {len(shares)} rows, prefill between tokens {median(shares):.2f} of a cold burst's (median)")


if __name__ == "__main__":
    main()
