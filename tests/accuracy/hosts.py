"""First tokens on every host we measured on: priced with the host that ships and with two figures of their own.

Printed by tests/accuracy/hosts.py. For each host `tpopt calibrate` chooses the launch and the piece that meet its first
tokens best, as ``host:`` of a cluster file may state them; none where no prompt waited for it. Left out: every run of
the engine predicted with the figures that the host's other runs give. data/h100_hosts.csv adds hosts (b) and (c) to the
runs above, 15 to 31 repeats a row.

What the repeats show: with front end and engine in one process first tokens are steady (up to 512 tokens the spread is
21 % at most), and were priced unseen within 4 % in the mean for 16-bit Llama-3.1-8B and within 12 % in each row for its
FP8 run. With the engine in a process of its own, as it is served, 128 tokens took 12 to 25 ms where one process takes 9
to 12, and 16 tokens of the FP8 run 10 to 24, in stretches of seconds, on one host within minutes. Idle loops that kept
all cores busy did not take that away. Traces under TP2 show one rank launching half as fast as the other, which waits
for it in the all-reduce. So the same run may show either: this is no property of a layout or a precision.

Tried and rejected: launches that slow down with the ranks of a host, as the slowest of n would. At 1024 tokens TP2
takes 0.7 times as long as the FP8 run of one GPU, which launches as much, on the H200 host, and 1.6 times on (c); with
such a growth the H200 rows move by 0.03 points and the H100 rows by 0.5, whatever its strength. A rate of long matrix
products that falls with their length: 0.05 points. All-reduces of 8 MiB and more, which are NCCL's, counted without the
copy that the engine's own need: the H200 rows read 6.0 instead of 6.1 %, but with figures of their own (a) reads 10.7
instead of 9.3 % and TP2 on (c) 6.0 instead of 4.1: NCCL's call takes the host as long as both. The host that ships
stays: short prompts of Dynamo's runs (below) leave room for 50 us a piece and no more, while virtual machines as (a) to
(c) can state their own. Experts launched kernel by kernel take 1.6 to 1.9 times as long on (a) to (c) as on the H200
host; the engine has no tile sizes tuned for them on H100, and two figures do not suit all models of (c).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import fit_tables

from optimizer.host_fit import HostFit, fit, priced
from optimizer.inputs import presets
from optimizer.inputs.cells import Row
from optimizer.validation import Validation

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Measured:
    """First tokens measured on one host in one way of running the engine."""

    host: str
    rows: tuple[Row, ...]

    @property
    def runs(self) -> tuple[str, ...]:
        """Starts of the engine, in the order of the file."""
        return tuple(dict.fromkeys(row["run"] for row in self.rows))

    def fitted(self) -> HostFit:
        """Return the host in two figures."""
        return fit(self.rows, presets.load_model)


def hosts() -> tuple[Measured, ...]:
    """Return our own first tokens by host, and by whether the engine shares the front end's process."""
    found = {"4 H200": _first_tokens("h200_vllm.csv")}
    found["2 H100 (a), engines side by side"] = _first_tokens("h100_vllm.csv")
    for row in _first_tokens("h100_hosts.csv"):
        found.setdefault(_kind(row["run"]), []).append(row)
    return tuple(Measured(host, tuple(rows)) for host, rows in found.items())


def _first_tokens(file: str) -> list[Row]:
    return [row for row in fit_tables.table(DATA / file) if row["metric"] == "ttft"]


def _kind(run: str) -> str:
    return ("1 H100 (b)" if run.startswith("vm16") else "2 H100 (c)") + (
        ", one process" if run.endswith("one-process") else ""
    )


def price(rows: Sequence[Row]) -> Validation:
    """Return rows priced on the host that ships."""
    return priced(rows, presets.load_model)


def table() -> list[str]:
    """Return one line for each host."""
    lines = [
        "| host | runs | rows | launch | piece | as shipped | its own | left out |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for measured in hosts():
        own = measured.fitted()
        errors = (own.shipped, own.fitted, own.left_out)
        cells = [
            measured.host, str(len(measured.runs)), str(own.shipped.n),
            *(_microseconds(figure) for figure in (own.figures.launch, own.figures.piece)),
            *("" if one is None else f"{100 * one.mape:.1f} %" for one in errors),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _microseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{1e6 * seconds:.0f} us"


if __name__ == "__main__":
    print("\n".join(table()))
