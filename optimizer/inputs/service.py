"""A model and the traffic that it serves: one of those that share a cluster."""

from typing import Annotated

from pydantic import Field

from optimizer.inputs.model import ModelSpec
from optimizer.inputs.schema import Record
from optimizer.inputs.workload import WorkloadSpec


class Service(Record):
    """One model with its own traffic and objectives."""

    model: ModelSpec
    workload: WorkloadSpec = WorkloadSpec()
    weight: Annotated[float, Field(gt=0)] = 1.0
    """What one of its output tokens is worth beside those of the other models, where throughput is summed."""
