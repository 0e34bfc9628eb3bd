"""Prints the regret of the layout that tpopt would pick: python tests/accuracy/ranking.py --data DIR [--groups].

DIR holds ranking.csv: layouts that others compared on one model, GPU type, engine and load. Of each group tpopt picks
the layout with the best price and pays what the group measured for it: regret = 1 - best / value for latencies,
1 - value / best for throughputs. Beside it: the largest TP, the smallest TP, the largest for latencies and the smallest
for throughputs, and a layout at random. A group with a row that cannot be priced is named and counted.
"""

import argparse
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import fit_tables
import published

from optimizer.cost.bursts import batch_prefill
from optimizer.cost.case import Case
from optimizer.cost.estimate import estimate
from optimizer.cost.memory import sequences_that_fit
from optimizer.cost.quantities import Estimate
from optimizer.cost.settings import version_facts
from optimizer.cost.step import prefill
from optimizer.errors import InputError
from optimizer.inputs import presets
from optimizer.inputs.workload import Lengths, WorkloadSpec
from optimizer.validation import row_case

Row = dict[str, str]

MODELS = {
    "Llama-3.3-70B": "llama-3.3-70b", "Qwen3-30B-A3B": "qwen3-30b-a3b", "Llama-4-Scout": "llama-4-scout",
    "MiniMax-M2.5": "minimax-m2.5", "Kimi-K2": "kimi-k2", "Llama-2-70B": "llama-2-70b", "GLM-5.2": "glm-5.2",
    "QwQ-32B": "qwq-32b", "Mistral-7B": "mistral-7b",
}  # fmt: skip
GPUS = published.GPUS | {
    "B200-180G": "b200-sxm", "B300-288G": "b300-sxm", "RTX-PRO-6000-96G": "rtx-pro-6000-bw-server",
    "A100 80G": "a100-80-sxm",
}  # fmt: skip
ENGINES = {"vLLM": "vllm", "vLLM (2023)": "vllm", "TensorRT-LLM": "trtllm", "SGLang": "sglang"}
WEIGHTS = {"fp4": "nvfp4", "fp8": "fp8", "bf16": "bf16", "fp16": "bf16"}
MOST_SEQUENCES = 2048
"""Requests in flight of runs at full throughput, where memory holds so many."""
TENSORRT = {
    "cuda_graph_sizes": "1 2 4 8 16 32 64 128 256 384 512 1024 2048 4096 8192", "gpu_memory_utilization": "0.95",
    "kv_cache": "fp8",
}  # fmt: skip
"""How NVIDIA's page says its runs were started (TensorRT-LLM docs/source/performance/perf-overview.md), and the KV
precision that its FP8 and FP4 checkpoints name (hf_quant_config.json)."""
LATENCIES = ("tpot", "ttft", "mean_tpot")


@dataclass(frozen=True)
class Group:
    """One comparison, with what tpopt makes of each of its layouts (more is better)."""

    name: str
    kind: str
    rows: Sequence[Row]
    worth: Sequence[float]

    @property
    def is_latency(self) -> bool:
        """Whether less is better."""
        return self.rows[0]["metric"] in LATENCIES

    def measured(self, index: int) -> float:
        """Return the value the group ranks by: per GPU where the source does."""
        row = self.rows[index]
        per_gpu = self.kind in ("tp_vs_replicas", "layout_under_slo") and row["value_per_gpu"]
        return float(row["value_per_gpu"] if per_gpu else row["value"])

    def regret(self, index: int) -> float:
        """Return what the choice of one row loses on the group's own numbers."""
        values = [self.measured(i) for i in range(len(self.rows))]
        return 1 - min(values) / values[index] if self.is_latency else 1 - values[index] / max(values)

    def pick(self, key: Callable[[int], object]) -> float:
        """Return the regret of the row with the largest key, the first of equals."""
        return self.regret(max(range(len(self.rows)), key=key))  # type: ignore[arg-type]

    def size(self, index: int) -> tuple[int, int]:
        """Return TP, then GPUs."""
        return int(self.rows[index]["tp"]), int(self.rows[index]["num_gpus"])

    def regrets(self) -> dict[str, float]:
        """Return the regret of tpopt and of the simple rules."""
        largest, smallest = self.pick(self.size), self.pick(lambda i: tuple(-n for n in self.size(i)))
        return {
            "tpopt": self.pick(lambda i: self.worth[i]), "largest TP": largest, "smallest TP": smallest,
            "by metric": largest if self.is_latency else smallest,
            "random": fmean(self.regret(i) for i in range(len(self.rows))),
        }  # fmt: skip


def groups(data: Path) -> tuple[list[Group], dict[str, str]]:
    """Return the groups that are priced, and the reason of each that is not, by name."""
    tables: dict[str, list[Row]] = defaultdict(list)
    loads: dict[tuple[str, ...], set[int]] = defaultdict(set)
    for row in fit_tables.table(data / "ranking.csv"):
        tables[row["group_id"]].append(row)
        loads[_setup(row)].update(int(n) for n in re.findall(r"concurrency (\d+)", row["workload"] + row["notes"]))
    found, refused = [], {}
    for name, rows in tables.items():
        try:
            found.append(Group(name, rows[0]["kind"], rows, [worth(row, loads[_setup(row)]) for row in rows]))
        except InputError as error:
            refused[name] = str(error).split(";")[0]
    return found, refused


def _setup(row: Row) -> tuple[str, ...]:
    """Return what tells one set of runs from others; the loads that were measured differ from layout to layout."""
    keys = ("source", "model", "precision_w", "gpu", "engine", "engine_version", "layout")
    return (*(row[key] for key in keys), *map(str, _numbers(row["workload"])[:2]))


def worth(row: Row, loads: Iterable[int]) -> float:
    """Return what tpopt predicts for a row, more is better; InputError when it cannot be priced."""
    lengths = _numbers(row["workload"])
    traffic = WorkloadSpec(isl=Lengths(mean=lengths[0]), osl=Lengths(mean=lengths[1]))
    case = _case(row)
    if row["metric"] == "ttft":
        return -batch_prefill(case, traffic, lengths[2])
    if row["metric"] in LATENCIES:
        return -_fitting(case, traffic, lengths[2]).tpot_s
    if row["kind"] == "prefill_layout":
        tokens, prompts = min(lengths[0], case.engine.max_num_batched_tokens), case.layout.attn_dp
        step_s = prefill(case, tokens, lengths[0] / 2, sequences=prompts).total
        return prompts * tokens / step_s / case.layout.world_size
    if row["kind"] == "layout_under_slo":
        return _under(case, traffic, loads, lengths[2] * 1e-3) / case.layout.world_size
    if row["kind"] == "tp_vs_replicas":
        most = max(1, min(MOST_SEQUENCES, sequences_that_fit(case, lengths[0] + lengths[1])))
        return _fitting(case, traffic, most).output_tokens_per_s / case.layout.world_size
    tokens_per_s = _fitting(case, traffic, lengths[2]).output_tokens_per_s
    return tokens_per_s / (case.layout.world_size if row["metric"].endswith("per_gpu") else 1)


def _numbers(workload: str) -> tuple[int, ...]:
    """Return ISL, OSL and the load (batch, requests in flight, or a bound in ms) of a workload in words."""
    known = workload.replace("prefill saturation", "OSL1, at once 1:")
    numbers = [int(n) for n in re.findall(r"\d+", re.sub(r"OSL1, at once 1: ISL (\d+)", r"\1 1 1", known))]
    return tuple((*numbers, 1)[:3])


def _case(row: Row) -> Case:
    for table, key in ((MODELS, "model"), (GPUS, "gpu"), (WEIGHTS, "precision_w"), (ENGINES, "engine")):
        if row[key] not in table:
            raise InputError(f"{key} {row[key]!r} is not mapped")
    hardware, engine = presets.load_gpu(GPUS[row["gpu"]]), presets.load_engine(ENGINES[row["engine"]])
    version = row["engine_version"]
    try:
        version_facts(engine, version)
    except InputError:
        version = engine.versions[0].since if version[:3] in ("", "0.7", "202") else ""
    name = "Splitwise (ISCA24)" if row["source"].startswith("Splitwise") else ""
    columns = dict(published.SETS[name].columns) if name else TENSORRT if "perf-overview" in row["source"] else {}
    given = {
        "tp": row["tp"], "pp": row["pp"], "dp": row["dp"], "ep": row["ep"], "weights": WEIGHTS[row["precision_w"]],
        "engine_version": version, "isl": "1", "osl": "1", "max_num_seqs": str(MOST_SEQUENCES),
    } | columns  # fmt: skip
    fits = published.host_of(name, presets.load_calibration(hardware))
    model = presets.load_model(MODELS[row["model"]])
    case, replicas = row_case(given, model, hardware, published.engine_of(name, engine), fits)
    if replicas > 1:
        raise InputError("replicas side by side are not one layout")
    return case


def _fitting(case: Case, traffic: WorkloadSpec, concurrency: int) -> Estimate:
    """Return the price at this load on an engine started for it; a layout that does not fit is not picked."""
    sequences = max(1, concurrency)
    price = estimate(replace(case, engine=replace(case.engine, max_num_seqs=sequences)), traffic, sequences)
    return price if price.fits else replace(price, tpot_s=float("inf"), output_tokens_per_s=0.0)


def _under(case: Case, traffic: WorkloadSpec, loads: Iterable[int], tpot_s: float) -> float:
    """Return the most output tokens/s among the measured loads that keep TPOT within the bound, 0 when none does."""
    prices = [_fitting(case, traffic, n) for n in loads]
    return max((price.output_tokens_per_s for price in prices if price.tpot_s <= tpot_s), default=0.0)


def table(found: Iterable[Group], refused: dict[str, str]) -> list[str]:
    """Return the mean regret by kind in Markdown, and what could not be priced."""
    by_kind: dict[str, list[dict[str, float]]] = defaultdict(list)
    for group in found:
        by_kind[group.kind].append(group.regrets())
    rules = ("tpopt", "largest TP", "smallest TP", "by metric", "random")
    lines = [f"| kind | groups | {' | '.join(rules)} |", "|---|---:|" + "---:|" * len(rules)]
    for kind, regrets in by_kind.items():
        cells = [f"{100 * fmean(r[rule] for r in regrets):.1f} %" for rule in rules]
        lines.append(f"| {kind} | {len(regrets)} | {' | '.join(cells)} |")
    reasons: dict[str, list[str]] = defaultdict(list)
    for name, reason in refused.items():
        reasons[reason].append(name)
    return [*lines, "", *(f"- {len(names)} groups not priced: {reason}" for reason, names in reasons.items())]


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--groups", action="store_true", help="also print every group, and those not priced by name")
    chosen = options.parse_args()
    found, refused = groups(chosen.data)
    print("\n".join(table(found, refused)))
    if chosen.groups:
        for group in found:
            pick = max(range(len(group.rows)), key=lambda i: group.worth[i])
            picked = f"{group.rows[pick]['layout']} {100 * group.regret(pick):.1f} %"
            measured = [
                f"{r['layout']} {group.measured(i):.4g} ({group.worth[i]:.4g})" for i, r in enumerate(group.rows)
            ]
            print(f"{group.name}: {picked}; measured (priced): {', '.join(measured)}")
        print("\n".join(f"{name}: {reason}" for name, reason in refused.items()))


if __name__ == "__main__":
    main()
