"""A sweep: the grid of clusters, models, workloads, precisions and objectives that sweep.yaml spans."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from optimizer.errors import InputError
from optimizer.inputs.cluster import ClusterSpec
from optimizer.inputs.complaints import validated
from optimizer.inputs.documents import read_document
from optimizer.inputs.model import ModelSpec, Scheme
from optimizer.inputs.read import beside, check_lengths, read_cluster, read_model, read_workload
from optimizer.inputs.schema import Count, Record, Seconds
from optimizer.inputs.workload import KvScheme, WorkloadSpec

SweepObjective = Literal["throughput", "latency", "ttft", "gpus", "cost"]


class Precision(Record):
    """Weights and KV cache that every workload of the sweep is limited to; None: as the workload says."""

    weights: Scheme | None = None
    kv_cache: KvScheme | None = None

    @property
    def label(self) -> str:
        """Short name: "fp8 KV fp8"; empty when nothing is limited."""
        parts = [self.weights or "", f"KV {self.kv_cache}" if self.kv_cache else ""]
        return " ".join(part for part in parts if part)


class SweepSpec(Record):
    """sweep.yaml: every combination is solved."""

    clusters: tuple[str, ...] = Field(min_length=1)
    """Files (beside sweep.yaml) or presets."""
    models: tuple[str, ...] = Field(min_length=1)
    workloads: dict[str, str | WorkloadSpec] = Field(default={"default": WorkloadSpec()}, min_length=1)
    """By name: a file, or the workload itself."""
    precisions: tuple[Precision, ...] = Field(default=(Precision(),), min_length=1)
    objectives: tuple[SweepObjective, ...] = Field(default=("throughput",), min_length=1)
    max_gpus: tuple[Count | None, ...] = Field(default=(None,), min_length=1)
    time_limit: Seconds | None = None
    """Of each solve; results may then differ between runs."""
    seed: int = 0


@dataclass(frozen=True)
class Grid:
    """A sweep with every input read."""

    spec: SweepSpec
    clusters: Mapping[str, ClusterSpec]
    models: Mapping[str, ModelSpec]
    workloads: Mapping[str, WorkloadSpec]


def read_sweep(source: str) -> Grid:
    """Return the sweep of a file, every input read; InputError names the file and key that is wrong."""
    path = Path(source)
    if not path.exists():
        raise InputError(f"{source}: no such file; write one with clusters, models and workloads")
    spec = validated(SweepSpec, read_document(path), source)
    folder = path.parent
    grid = Grid(
        spec,
        {name: read_cluster(beside(folder, name)) for name in spec.clusters},
        {name: read_model(beside(folder, name)) for name in spec.models},
        {name: _workload(folder, given) for name, given in spec.workloads.items()},
    )
    for model_name, model in grid.models.items():
        for name, workload in grid.workloads.items():
            check_lengths(model, workload, where=f"{source}: models.{model_name}, workloads.{name}")
    return grid


def _workload(folder: Path, given: str | WorkloadSpec) -> WorkloadSpec:
    return given if isinstance(given, WorkloadSpec) else read_workload(beside(folder, given))
