"""Prints how well collectives are predicted: python tests/accuracy/collectives.py [--data DIR].

No machine is priced with constants of its own where its family has another machine: H200 with those of H100, B300 with
those of B200, MI300X, p5en and a3-mega with the one set of their kind of link. GB200 has its own for groups of up to
four: in its tables the engine's all-reduce starts 2 us sooner than on B200 with the same vLLM. DIR holds
collectives.csv.gz (the tables of ai-dynamo/aiconfigurator); without it only published figures are compared.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.metadata import version
from pathlib import Path
from statistics import fmean

sys.path.insert(0, str(Path(__file__).parents[1]))

import fit_tables
from measured_busbw import RUNS, Run, efficiency, topology

from optimizer.cost.collectives import collective, volume_factor
from optimizer.inputs import presets
from optimizer.inputs.calibration import Calibration, Operation
from optimizer.topology.bandwidth import group_path

MIB = 1 << 20
LARGE = 8192 * MIB
HOST_DEPENDENT = {("L40S-48G", 4), ("L40S-48G", 8)}
"""The tables say of the box that it runs from 1.5 to 20.8 GB/s, depending on the host: shown, not counted."""


@dataclass(frozen=True)
class Machine:
    """A GPU type of the tables: the preset it sits in, and whose constants price it."""

    preset: str
    family: str
    """GPU whose calibration is used; another machine's wherever the family has one."""
    kin: str
    held_out: bool


MACHINES = {
    "A100-SXM-80G": Machine("dgx-a100", "NVLink 3", "a100-80-sxm", held_out=False),
    "H100-SXM-80G": Machine("dgx-h100", "NVLink 4", "h100-sxm", held_out=False),
    "H200-SXM-141G": Machine("hgx-h200", "NVLink 4", "h100-sxm", held_out=True),
    "B200-180G": Machine("hgx-b200", "NVLink 5", "b200-sxm", held_out=False),
    "B300-288G": Machine("aws-p6-b300", "NVLink 5", "b200-sxm", held_out=True),
    "GB200-192G": Machine("gb200-nvl72", "NVLink 5", "gb200", held_out=False),
    "RTX-PRO-6000-96G": Machine("rtx-pro-6000-8", "PCIe", "rtx-pro-6000-bw-server", held_out=False),
    "L40S-48G": Machine("l40s-8", "PCIe", "l40s", held_out=False),
}
KIN = {"dgx-a100": "a100-80-sxm", "hgx-b200": "b200-sxm", "rtx-pro-6000-8": "rtx-pro-6000-bw-server", "l40s-8": "l40s"}
"""Whose constants price a published machine; H100's where nothing else is said."""

OPERATIONS: dict[str, Operation] = {
    "all_reduce": "all_reduce", "all_gather": "all_gather", "reduce_scatter": "reduce_scatter",
    "alltoall": "all_to_all",
}  # fmt: skip


@cache
def calibration(gpu: str) -> Calibration:
    """Return the shipped constants of a GPU."""
    return presets.load_calibration(presets.load_gpu(gpu))


def predicted_s(
    preset: str, kin: str, operation: Operation, gpus: int, size: float, *, without: tuple[str, ...] = ()
) -> float:
    """Return the seconds of a collective on a preset's first GPUs; ``without`` some of "own" and "in_switch"."""
    found = topology(preset)
    path = group_path(found, [gpu.id for gpu in found.gpus[:gpus]])
    fits = calibration(kin)
    bare: dict[str, object] = {"own": {}, "in_switch": None}
    left = {name: bare[name] for name in without}
    links = {kind: link.model_copy(update=left) for kind, link in fits.links.items()}
    return collective(fits.model_copy(update={"links": links}), operation, size, path)


def published() -> Iterator[tuple[str, float, float, float]]:
    """Yield machine, measured GB/s, by one efficiency per kind of link, and by the shipped constants."""
    for run in RUNS:
        name = f"{run.preset} {run.gpus} GPUs {run.operation} ({run.question})" + (" *" if run.held_out else "")
        yield name, run.measured, run.nominal * efficiency(run.kind), shipped(run)


def shipped(run: Run) -> float:
    """Return the GB/s of bus bandwidth that the cost room predicts for a published machine, at 8 GiB."""
    operation: Operation = "all_reduce" if run.operation == "all_reduce" else "all_gather"
    kin, without = KIN.get(run.preset, "h100-sxm"), ("own", "in_switch") if run.question == "ring" else ("own",)
    seconds = predicted_s(run.preset, kin, operation, run.gpus, LARGE, without=without)
    return volume_factor(operation, run.gpus) * LARGE / seconds / 1e9


def tables(rows: Sequence[fit_tables.Row]) -> Iterator[tuple[str, float, float]]:
    """Yield machine, measured and predicted GB/s at the largest size of each collective on 4 and 8 GPUs."""
    for gpu, machine in MACHINES.items():
        for name, operation in OPERATIONS.items():
            for gpus in (4, 8):
                key = (gpu, "nccl", name, str(gpus), "half")
                of = [r for r in rows if (r["gpu"], r["library"], r["op"], r["num_gpus"], r["dtype"]) == key]
                size = max((float(r["bytes"]) for r in of), default=0.0)
                measured = [float(r["busbw_GBps"]) for r in of if float(r["bytes"]) == size]
                if measured:
                    seconds = predicted_s(machine.preset, machine.kin, operation, gpus, size, without=("own",))
                    mark = _mark(gpu, gpus)
                    rate = volume_factor(operation, gpus) * size / seconds / 1e9
                    yield f"{gpu} {gpus} GPUs {name}{mark}", fmean(measured), rate


def _mark(gpu: str, gpus: int) -> str:
    return " †" if (gpu, gpus) in HOST_DEPENDENT else " *" if MACHINES[gpu].held_out else ""


SMALL = (8192, 16384, 65536)


def small(rows: Sequence[fit_tables.Row]) -> Iterator[tuple[str, float, float]]:
    """Yield machine, measured and predicted microseconds of small all-reduces in a graph, as engines run them."""
    for gpu, machine in MACHINES.items():
        for gpus in (2, 4, 8):
            for size in SMALL:
                key = (gpu, "vllm_graph", str(gpus), float(size))
                of = [r for r in rows if (r["gpu"], r["mode"], r["num_gpus"], float(r["bytes"] or 0)) == key]
                latest = max((r["file_version"] for r in of), default="", key=lambda v: [int(n) for n in v.split(".")])
                measured = [float(r["latency_us"]) for r in of if r["file_version"] == latest]
                if measured:
                    seconds = predicted_s(machine.preset, machine.kin, "all_reduce", gpus, size)
                    mark = _mark(gpu, gpus)
                    yield f"{gpu} {gpus} GPUs {size // 1024} KiB{mark}", fmean(measured), seconds * 1e6


def compared(rows: Sequence[tuple[str, float, float]], bar: float) -> Iterator[str]:
    """Yield a table line for each row, then how many are within the bar."""
    errors: list[float] = []
    for name, measured, predicted in rows:
        error = predicted / measured - 1
        errors += [] if name.endswith("†") else [error]
        yield f"| {name} | {measured:.4g} | {predicted:.4g} | {error:+.1%} |"
    inside = sum(abs(error) <= bar for error in errors)
    yield ""
    yield f"{inside} of {len(errors)} within {bar:.0%}; mean absolute error {fmean(map(abs, errors)):.1%}."


def _measured_with(rows: Sequence[fit_tables.Row]) -> str:
    used = [(r["library"], r["file_version"]) for r in rows if r["gpu"] in MACHINES]
    told = {lib: sorted({v for name, v in used if name == lib}) for lib in ("nccl", "vllm")}
    return f"NCCL {', '.join(told['nccl'])} and vLLM {', '.join(told['vllm'])}"


HEAD = ("| machine | measured | predicted | error |", "|---|---:|---:|---:|")


def page(data: Path | None) -> Iterator[str]:
    """Yield the lines of the report."""
    yield from ("Machines marked * are held out, those marked † depend on the host and are not counted.", "")
    yield from ("## Large messages, bus bandwidth in GB/s, by one efficiency per kind of link", "", *HEAD)
    yield from compared([(name, got, by_kind) for name, got, by_kind, _ in published()], 0.1)
    yield from ("", "## The same by the constants that ship, at 8 GiB", "", *HEAD)
    yield from compared([(name, got, by_cost) for name, got, _, by_cost in published()], 0.1)
    if data is not None:
        rows = fit_tables.table(data / "collectives.csv.gz")
        yield from ("", f"Measured with {_measured_with(rows)}.")
        yield from ("", "## Tables of measured collectives at 512 MiB, by the constants that ship", "", *HEAD)
        yield from compared(list(tables(rows)), 0.1)
        yield from ("", "## Small all-reduces of vLLM in a CUDA graph, microseconds", "", *HEAD)
        yield from compared(list(small(rows)), 0.2)


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    arguments = parser.parse_args()
    sys.stdout.write(
        f"# Bandwidth\n\nPrinted by tests/accuracy/collectives.py, tpopt {version('tpopt')}, {date.today()}.\n\n"
    )
    for line in page(arguments.data):
        sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
