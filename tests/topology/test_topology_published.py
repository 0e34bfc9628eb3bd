"""Nominal bus bandwidths of shipped machines against what was measured on them, with one efficiency per kind of link.

Large messages, in GB/s. Sources: stas00/ml-engineering (commit 744d01e), ai-dynamo/aiconfigurator (095f58a),
NVIDIA/nccl-tests issue 290 (H100, in-switch). The efficiency of a kind is the mean over the machines that are not held
out; no machine has one of its own.
"""

from dataclasses import dataclass
from statistics import fmean

import pytest

from optimizer.inputs.presets import load_cluster
from optimizer.topology.busbw import busbw
from optimizer.topology.graph import build


@dataclass(frozen=True)
class Run:
    """One measured collective."""

    preset: str
    gpus: int
    question: str
    measured: float
    kind: str
    held_out: bool = False

    @property
    def nominal(self) -> float:
        """GB/s that the topology gives."""
        found = build(load_cluster(self.preset))
        answer = getattr(busbw(found, [gpu.id for gpu in found.gpus[: self.gpus]]), self.question)
        return float(answer) / 1e9


RUNS = (
    Run("dgx-a100", 8, "ring", 235, "nvswitch"),
    Run("dgx-h100", 4, "ring", 366, "nvswitch"),
    Run("hgx-h200", 8, "ring", 367.6, "nvswitch", held_out=True),
    Run("hgx-b200", 8, "ring", 682, "nvswitch"),
    Run("dgx-h100", 8, "in_switch", 476, "in-switch"),
    Run("hgx-h200", 8, "in_switch", 482, "in-switch", held_out=True),
    Run("hgx-b200", 8, "in_switch", 838, "in-switch"),
    Run("aws-p5en-x4", 32, "ring", 364.9, "rdma"),
    Run("gcp-a3-mega-x2", 16, "hierarchical", 340, "rdma", held_out=True),
    Run("gcp-a3-mega-x2", 16, "ring", 188, "rdma"),
    Run("mi300x-8", 2, "ring", 47.7, "mesh"),
    Run("mi300x-8", 8, "ring", 312.9, "mesh", held_out=True),
    Run("rtx-pro-6000-8", 2, "ring", 39, "pcie"),
    Run("l40s-8", 2, "ring", 20, "pcie", held_out=True),
    Run("rtx-pro-6000-8", 4, "ring", 26, "host", held_out=True),
    Run("rtx-pro-6000-8", 8, "ring", 25, "host"),
)


def efficiency(kind: str) -> float:
    return fmean(run.measured / run.nominal for run in RUNS if run.kind == kind and not run.held_out)


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run.preset}-{run.gpus}-{run.question}")
def test_one_efficiency_per_kind_of_link_is_within_ten_percent(run: Run) -> None:
    assert run.nominal * efficiency(run.kind) == pytest.approx(run.measured, rel=0.1)


def test_a_third_of_the_machines_is_held_out() -> None:
    assert sum(run.held_out for run in RUNS) * 3 >= len(RUNS)


def test_a_pair_on_a_mesh_is_far_slower_than_on_a_switch() -> None:
    """The trap of advertised totals: 896 GB/s of MI300X are 64 to one peer and direction."""
    pair, node = (run for run in RUNS if run.preset == "mi300x-8")
    assert (pair.nominal, node.nominal) == (64, 448)
