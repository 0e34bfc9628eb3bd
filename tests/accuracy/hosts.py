"""First tokens on every host we measured on: priced with the host that ships and with two figures of their own.

Printed by tests/accuracy/hosts.py. For each host the launch and the piece are chosen that meet its first tokens best,
as ``host:`` of a cluster file may state them. Left out: every run of the engine predicted with the figures that the
host's other runs give. data/h100_hosts.csv adds hosts (b) and (c) to the runs above, 15 to 31 repeats a row.

What the repeats show: with front end and engine in one process first tokens are steady (up to 512 tokens the spread is
20 % at most), and were priced unseen within 4 % in the mean for 16-bit Llama-3.1-8B and within 12 % in each row for its
FP8 run. With the engine in a process of its own, as it is served, 128 tokens took 12 to 25 ms where one process takes 9
to 12, and 16 tokens of the FP8 run 10 to 24, in stretches of seconds, on one host within minutes. Idle loops that kept
all cores busy did not take that away. Traces under TP2 show one rank launching half as fast as the other, which waits
for it in the all-reduce. So the same run may show either: this is no property of a layout or a precision.

Tried and rejected: launches that slow down with the ranks of a host, as the slowest of n would. At 1024 tokens TP2
takes 0.7 times as long as the FP8 run of one GPU, which launches as much, on the H200 host, and 1.6 times on (c); with
such a growth the H200 rows move by 0.03 points and the H100 rows by 0.5, whatever its strength. A rate of long matrix
products that falls with their length: 0.05 points. The host that ships stays: short prompts of Dynamo's runs (below)
leave room for 50 us a piece and no more, while virtual machines as (a) to (c) can state their own. Experts launched
kernel by kernel take 1.6 to 1.9 times as long on (a) to (c) as there; the engine has no tile sizes tuned for them, and
two figures do not suit all models of (c).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log
from pathlib import Path
from statistics import fmean

import fit_tables

from optimizer.inputs import presets
from optimizer.inputs.calibration import Calibration, HostFigures, on_host
from optimizer.inputs.gpu import GpuSpec
from optimizer.validation import validate

DATA = Path(__file__).parent / "data"
Row = dict[str, str]
FACTORS = [exp(step / 20) for step in range(-24, 33)]
"""Of a shipped figure: 0.3 to 5 times, in steps of 5 %."""


@dataclass(frozen=True)
class Host:
    """First tokens measured on one host in one way of running the engine."""

    name: str
    rows: tuple[Row, ...]

    @property
    def runs(self) -> tuple[str, ...]:
        """Starts of the engine, in the order of the file."""
        return tuple(dict.fromkeys(row["run"] for row in self.rows))


def hosts() -> tuple[Host, ...]:
    """Return our own first tokens by host, and by whether the engine shares the front end's process."""
    found = {
        "4 H200": _first_tokens("h200_vllm.csv"),
        "2 H100 (a), engines side by side": _first_tokens("h100_vllm.csv"),
    }
    for row in _first_tokens("h100_hosts.csv"):
        found.setdefault(_kind(row["run"]), []).append(row)
    return tuple(Host(name, tuple(rows)) for name, rows in found.items())


def _first_tokens(file: str) -> list[Row]:
    return [dict(row) for row in fit_tables.table(DATA / file) if row["metric"] == "ttft"]


def _kind(run: str) -> str:
    return ("1 H100 (b)" if run.startswith("vm16") else "2 H100 (c)") + (
        ", one process" if run.endswith("one-process") else ""
    )


def errors(rows: Sequence[Row], figures: HostFigures | None = None) -> list[float]:
    """Return log(predicted / measured) of rows, with the host as shipped or as stated."""

    def calibration(gpu: GpuSpec) -> Calibration:
        fits = presets.load_calibration(gpu)
        return fits if figures is None else on_host(fits, figures)

    found = validate(
        rows, load_model=presets.load_model, load_gpu=presets.load_gpu, load_engine=presets.load_engine,
        load_calibration=calibration,
    )  # fmt: skip
    return [log(p.predicted / p.measured) for p in found.predictions if p.predicted and p.measured]


def best(rows: Sequence[Row]) -> HostFigures:
    """Return the launch and the piece with the least mean error; each row hangs on one of them at most."""
    shipped = presets.load_calibration(presets.load_gpu(rows[0]["gpu"])).host
    chosen = HostFigures()
    for name in ("launch", "piece"):
        tried = [chosen.model_copy(update={name: getattr(shipped, name) * factor}) for factor in FACTORS]
        chosen = min(tried, key=lambda one: fmean(map(abs, errors(rows, one))))
    return chosen


def off(values: Sequence[float]) -> float:
    """Return the mean absolute error as a fraction."""
    return fmean(abs(exp(value) - 1) for value in values)


def left_out(host: Host) -> float | None:
    """Return the mean error of runs predicted with the figures of the host's other runs; None where there is one."""
    if len(host.runs) < 2:
        return None
    found: list[float] = []
    for run in host.runs:
        figures = best([row for row in host.rows if row["run"] != run])
        found += errors([row for row in host.rows if row["run"] == run], figures)
    return off(found)


def table() -> list[str]:
    """Return one line for each host."""
    lines = [
        "| host | runs | rows | launch | piece | as shipped | its own | left out |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for host in hosts():
        own, elsewhere = best(host.rows), left_out(host)
        cells = [
            host.name, str(len(host.runs)), str(len(host.rows)), _microseconds(own.launch),
            _microseconds(own.piece), f"{100 * off(errors(host.rows)):.1f} %",
            f"{100 * off(errors(host.rows, own)):.1f} %", "" if elsewhere is None else f"{100 * elsewhere:.1f} %",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _microseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{1e6 * seconds:.0f} us"


if __name__ == "__main__":
    print("\n".join(table()))
