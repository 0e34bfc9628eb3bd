"""Bus bandwidths of large messages that others measured on machines that ship as presets, with one place for all.

In GB/s. Sources: stas00/ml-engineering (commit 744d01e), ai-dynamo/aiconfigurator (095f58a, 512 MiB), NVIDIA/nccl-tests
issue 290 (H100, in-switch).
"""

from dataclasses import dataclass
from functools import cache
from statistics import fmean

from optimizer.inputs.presets import load_cluster
from optimizer.topology.busbw import busbw
from optimizer.topology.graph import Topology, build


@dataclass(frozen=True)
class Run:
    """One measured collective."""

    preset: str
    gpus: int
    question: str
    measured: float
    kind: str
    held_out: bool = False
    operation: str = "all_reduce"

    @property
    def nominal(self) -> float:
        """GB/s that the topology gives."""
        found = topology(self.preset)
        answer = getattr(busbw(found, [gpu.id for gpu in found.gpus[: self.gpus]]), self.question)
        return float(answer) / 1e9


@cache
def topology(preset: str) -> Topology:
    return build(load_cluster(preset))


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
    Run("gcp-a3-mega-x2", 16, "ring", 188, "rdma", operation="all_gather"),
    Run("mi300x-8", 2, "ring", 47.7, "mesh"),
    Run("mi300x-8", 8, "ring", 312.9, "mesh", held_out=True),
    Run("rtx-pro-6000-8", 2, "ring", 39, "pcie"),
    Run("l40s-8", 2, "ring", 20, "pcie", held_out=True),
    Run("rtx-pro-6000-8", 4, "ring", 26, "host", held_out=True),
    Run("rtx-pro-6000-8", 8, "ring", 25, "host"),
)


def efficiency(kind: str) -> float:
    """Return what a kind of link reaches of its nominal rate: the mean over the machines that are not held out."""
    return fmean(run.measured / run.nominal for run in RUNS if run.kind == kind and not run.held_out)
