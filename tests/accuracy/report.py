"""Writes docs/accuracy.md: python tests/accuracy/report.py [--data DIR] [--out FILE].

The error of every metric on every set, in-sample and with each model left out, beside the physical lower bound. Our own
measurement ships with the project; the other sets are read from DIR when it is given.
"""

import argparse
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from statistics import fmean

import batches
import capacity
import fit_tables
import hosts
import kin
import published
import ranking
import simulate

from optimizer.inputs import presets
from optimizer.inputs.calibration import Calibration, Roofline
from optimizer.inputs.cells import Row
from optimizer.inputs.engine import EngineSpec
from optimizer.validation import Errors, Prediction, Validation, validate

ROOT = Path(__file__).resolve().parents[2]
OWN = Path(__file__).parent / "data" / "h200_vllm.csv"
UNSEEN = Path(__file__).parent / "data" / "h100_vllm.csv"


def check(rows: Sequence[Row], name: str = "", *, at_bound: bool = False) -> Validation:
    """Return the rows of a set priced with the shipped files, or with hardware at its datasheet and a host for free."""

    @cache
    def calibration(gpu: str) -> Calibration:
        fits = published.host_of(name, presets.load_calibration(presets.load_gpu(gpu)))
        return bound(fits) if at_bound else fits

    @cache
    def engine(engine_name: str) -> EngineSpec:
        spec = presets.load_engine(engine_name)
        free = [facts.model_copy(update={"serial_step": 0.0}) for facts in spec.versions]
        return spec.model_copy(update={"versions": tuple(free)}) if at_bound else published.engine_of(name, spec)

    return validate(
        rows, load_model=presets.load_model, load_gpu=presets.load_gpu, load_engine=engine,
        load_calibration=lambda gpu: calibration(gpu.id),
    )  # fmt: skip


def bound(fits: Calibration) -> Calibration:
    """Return the calibration of hardware that reaches its datasheet and loses nothing else."""
    sharp = {"memory": 1.0, "compute": 1.0, "power": 32.0, "fixed": 0.0}

    def best(family: Roofline) -> Roofline:
        free = {"per_sequence": 0.0, "activations": 1.0}
        return family.model_copy(update=sharp | {name: value for name, value in free.items() if hasattr(family, name)})

    host = fits.host.model_copy(update=dict.fromkeys(type(fits.host).model_fields, 0.0))
    families = ("attention_prefill", "mla_prefill", "mla_decode")
    groups = ("gemm", "attention_decode", "moe")
    return fits.model_copy(
        update={name: best(getattr(fits, name)) for name in families}
        | {name: {key: best(fit) for key, fit in getattr(fits, name).items()} for name in groups}
        | {"elementwise": 1.0, "kernel": 0.0, "host": host}
    )


def share_of_bound(found: Validation, least: Validation, key: str) -> float:
    """Return the mean of bound over measurement for times, measurement over bound for rates."""
    shares = []
    for prediction, floor in zip(found.predictions, least.predictions, strict=True):
        if prediction.metric == key and prediction.measured and floor.predicted:
            share = floor.predicted / prediction.measured
            shares.append(1 / share if key.endswith("per_s") else share)
    return fmean(shares) if shares else float("nan")


def percent(value: float | None) -> str:
    """Return a fraction for people."""
    return "" if value is None else f"{100 * value:.1f} %"


def metric_table(found: Validation, least: Validation, held_out: dict[str, float]) -> list[str]:
    """Return one line per metric."""
    lines = [
        "| metric | rows | MAPE | median | bias | left out | bound / measured |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, e in found.metrics.items():
        floor = percent(share_of_bound(found, least, name)) if name != "kv_tokens" else ""
        cells = [
            name,
            str(e.n),
            percent(e.mape),
            percent(e.median_ape),
            percent(e.bias),
            percent(held_out.get(name)),
            floor,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def group_table(groups: dict[str, Errors]) -> list[str]:
    """Return one line per group."""
    lines = ["| | rows | MAPE | median | bias |", "|---|---:|---:|---:|---:|"]
    lines += [
        f"| {name} | {e.n} | {percent(e.mape)} | {percent(e.median_ape)} | {percent(e.bias)} |"
        for name, e in groups.items()
    ]
    return lines


def worst_table(found: Validation, rows: Sequence[Row], count: int) -> list[str]:
    """Return the rows with the largest errors."""
    lines = [
        "| row | metric | concurrency | ISL | measured | predicted | error |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for p in found.worst(count):
        row = rows[p.row]
        cells = [
            row.get("run", ""), p.metric, row.get("concurrency", ""), row.get("isl", ""), f"{p.measured:.4g}",
            f"{p.predicted:.4g}", percent(p.error),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def measured_section(file: Path, about: list[str], held_out: dict[str, float], after: list[str]) -> list[str]:
    """Return the section on one of our own measurements: by metric, by run, and the rows furthest off."""
    rows = fit_tables.table(file)
    found, least = check(rows), check(rows, at_bound=True)

    def by_run(p: Prediction) -> str:
        return rows[p.row]["run"]

    return [
        *about, "",
        *metric_table(found, least, held_out), "", f"Not priced: {len(found.unpriced)} rows.", "", "By run:", "",
        *group_table(found.by(by_run)), "", "Largest errors:", "", *worst_table(found, rows, 12), "", *after, "",
    ]  # fmt: skip


def own_sections() -> list[str]:
    """Return the sections on our own runs: on H200, which constants were fitted to, and on H100, which none was."""
    fits = presets.load_calibration(presets.load_gpu("h200-sxm"))
    left_out = {name: e.held_out for name, e in fits.errors.items() if e.held_out is not None}
    return [
        "## vLLM 0.24.0 on H200 (tests/accuracy/data/h200_vllm.csv)", "",
        *measured_section(OWN, ABOUT, left_out, UNEXPLAINED),
        "## vLLM 0.24.0 on H100, never fitted to (tests/accuracy/data/h100_vllm.csv)", "",
        *measured_section(UNSEEN, UNSEEN_ABOUT, {}, UNSEEN_AFTER),
    ]  # fmt: skip


ABOUT = """\
In-sample: 21 constants were fitted to these rows (kv_tokens: none). Left out: each model's rows predicted by a fit that
saw none of them. Read the left-out column as optimistic. It refits constants only: the form of the model, the launch
counts of fused experts, MLA prefill, all-reduces and piecewise steps, and the experts hit by DeepSeek-V2-Lite were set
with all rows in sight; the weight that pulls the fit to its priors was chosen among 0.03, 0.05, 0.08 and 0.1 by this
very column. With today's form it reads, for ttft / tpot / batch prefill / closed loop: 7.7 / 2.4 / 5.2 / 3.3 % at 0.03,
7.1 / 2.4 / 3.8 / 3.5 % at 0.05, and what the table shows at 0.1, while in-sample ttft stays at 6.1 %. What norms of
queries and keys and MLA's joined keys move, and what is left for the last step of a burst, were counted after these
rows' errors had been seen, without a constant (ttft 6.2 and 7.0 % left out, batch prefill 2.3 and 3.7 % before). Errors
beyond 3 % count linearly (soft L1 of the logarithm), so that single draws do not steer the fit. Where that begins
hardly matters: from 1.5 or 10 % on, ttft reads 6.2 and 6.2 % and left out 6.6 and 6.9 %, that of the H100 rows below
21.0 and 20.2 instead of 20.8 %; relative errors instead of logarithms give 6.2, 6.8 and 21.1 %. It was left as it was.
The priors of the host come from earlier fits to the same rows. Kernel priors come from independent tables. Bound /
measured: what the datasheet's bandwidth and FLOP rate alone would take, over what it took.
""".splitlines()


UNEXPLAINED = """\
What remains unexplained: the host. First tokens of short prompts are bound by kernel launches, and the runs shared one
host: launches took 0.5 ms a layer under TP2 and 1.0 under TP4 (inferred from the first tokens), and the FP8 run took 15
ms for 128 tokens that 16-bit weights prefill in 9. That is no property of FP8, and no growth with ranks that one figure
would hold (see Hosts): these are single draws of a time that doubles within one run elsewhere. One constant per launch
is kept, in the middle. TTFT misses its bar of 6 %: the first four rows above make up 3.6 of its 6.1 points.
Matrix products: tables show that matrices with a side of 5,120 reach 0.72 to 0.76 of the bandwidth with 128 tokens
where those with sides of 6,144 to 16,384 reach 0.86 (Qwen3-32B at 128), and those of Llama-3.1-70B more of the peak
with 1,024 tokens than others (its first tokens under PP2). Waves of tiles over the SMs do not explain it: with the best
of ten tile shapes the tables are met within 6.7 % as without, within 7.1 instead of 6.7 % held out.
DeepSeek-V2-Lite ran with dummy weights, and its decode reads far fewer experts than even routing would: 10 of 64 are
taken as hit in these rows (scanned 6, 8, 10; never used in planning; why it is so was not checked in the engine). Its
rows say little about a real DeepSeek.""".splitlines()


UNSEEN_ABOUT = """\
No constant was fitted to them: the H100's come from kernel tables, the host's are those of the H200 runs' host. The
prices stood before these rows did, but for launches (two more for experts and one for each all-reduce were counted with
runs on such a host in sight) and for what norms of queries and keys move, which Qwen3-8B's long prompts showed (2 % of
them, without a constant). Two models (Llama-3.2-3B, Qwen3-8B) are in no engine run that was fitted to. How it was
measured: tests/accuracy/measure/README.md.""".splitlines()


UNSEEN_AFTER = """\
What is off is the host again, (a) under Hosts. Where GPUs are busy (prompts of 4,096 tokens and more, batches of them,
decode of many) and for the pool, prices hold. Prompts of up to 512 tokens, which replay graphs, took no less than 14 ms
on dense models, where 9 were expected; longer ones, launched kernel by kernel, no less than 27 ms for 28 layers on one
GPU, 46 for 32 layers on two and 98 for 48 layers of experts. One request's decode on two GPUs took 5.2 ms a token where
4.3 were expected; on host (c) it took 4.3. Small models' closed loops lose to the same.""".splitlines()


def host_section() -> list[str]:
    """Return the section on the hosts that drove our own runs."""
    return ["## Hosts", "", hosts.__doc__ or "", *hosts.table(), ""]


def kernel_section() -> list[str]:
    """Return the errors of every fitted family as the calibration files hold them."""
    lines = ["## Kernel and link families", "", "Held out: every fifth point, fitted without them.", ""]
    lines += ["| GPU | family | points | in-sample | held out |", "|---|---|---:|---:|---:|"]
    for name in presets.names("calibrations"):
        fits = presets.load_calibration(presets.load_gpu(name))
        for family, e in fits.errors.items():
            lines.append(f"| {name} | {family} | {e.n} | {percent(e.in_sample)} | {percent(e.held_out)} |")
    return [*lines, ""]


def published_section(data: Path) -> list[str]:
    """Return the section on sets that others published; every row that is dropped is counted with its reason."""
    lines = ["## Published measurements", "", published.__doc__ or "", "", batches.__doc__ or "", ""]
    for name, (rows, dropped) in published.sets(data).items():
        found, least = check(rows, name), check(rows, name, at_bound=True)
        lines += [f"### {name}", ""]
        if rows:
            lines += [*metric_table(found, least, {}), "", *group_table(found.by(partial(_group, rows))), ""]
        if name == kin.SET:
            lines += [kin.__doc__ or "", *kin.table(rows, found), ""]
        reasons = published.counted([*dropped, *(p.reason for p in found.unpriced)])
        lines += [f"- not priced, {count} rows: {reason}" for reason, count in reasons.items()] + [""]
    return lines


def memory_section(data: Path) -> list[str]:
    """Return the section on memory: weights and pools that engines logged, and what did not start."""
    found, dropped = capacity.starts(data)
    reasons = published.counted(dropped).items()
    return [
        "## Memory", "", capacity.__doc__ or "", "", *capacity.table(found), "",
        *(f"- not priced, {count} rows: {reason}" for reason, count in reasons), "",
    ]  # fmt: skip


def ranking_section(data: Path) -> list[str]:
    """Return the section on layouts that others compared: what tpopt's pick loses on their own numbers."""
    return ["## Layouts that others compared", "", *RANKING, "", *ranking.table(*ranking.groups(data)), ""]


RANKING = """\
Mean regret of the layout that tpopt would pick, by kind, on each group's own measurements (tests/accuracy/ranking.py
--data DIR --groups prints every group). By metric: the largest TP for latencies, the smallest for throughputs. Runs of
TensorRT-LLM are priced with the graph sizes, memory share and KV precision that NVIDIA's page names. Where a layout was
measured at some loads only, it is priced at those.""".splitlines()


def load_section() -> list[str]:
    """Return the section on load: closed forms beside requests played one by one."""
    return ["## Under load: closed forms beside a simulator", "", *LOAD, "", *simulate.tables(3000), ""]


LOAD = """\
Llama-3.1-8B on one H200, steps priced alike on both sides: what differs is queueing only (tests/accuracy/simulate.py).
Load is the share of the rate that 256 requests in flight would carry, or the number of clients. Means are within 10 %
for chat and answers up to 0.9. Forms are too low for TPOT where few long prompts fill a step (documents: 17 % in the
mean at 0.7, 40 % at 0.9, tails more: crowds last longer than the form knows), in the TTFT of a closed loop of equal
requests (prompts that do not fit into what decodes leave of the token budget take a second step, up to 40 %), and in
the far tail of lengths that vary (p99 of TTFT up to 30 %).""".splitlines()


def _group(rows: Sequence[Row], prediction: Prediction) -> str:
    row = rows[prediction.row]
    several = " of several" if prediction.metric == "tpot" and row["concurrency"] != "1" else ""
    return f"{prediction.model} {row['gpu']} {prediction.layout} {prediction.metric}{several}"


def main() -> None:
    """Write the report."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path)
    options.add_argument("--out", type=Path, default=ROOT / "docs" / "accuracy.md")
    chosen = options.parse_args()
    lines = ["# Accuracy", "", "Written by tests/accuracy/report.py. Error = (predicted - measured) / measured.", ""]
    lines += own_sections() + host_section() + kernel_section()
    if chosen.data is not None:
        lines += memory_section(chosen.data) + published_section(chosen.data) + ranking_section(chosen.data)
    lines += load_section()
    chosen.out.parent.mkdir(exist_ok=True)
    chosen.out.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
