"""Cloud machine types whose makers publish GPUs and NICs."""

from dataclasses import dataclass

from optimizer.inputs.importers.facts import Transport
from optimizer.units import parse_bytes_per_s


@dataclass(frozen=True)
class Machine:
    """GPUs and compute NICs of one machine type."""

    gpu: str
    gpus: int
    nics: int
    nic_bytes_per_s: float
    transport: Transport


def _machine(gpu: str, gpus: int, nics: int, rate: str, transport: Transport) -> Machine:
    return Machine(gpu, gpus, nics, parse_bytes_per_s(rate), transport)


MACHINES: dict[str, Machine] = {
    # AWS: docs.aws.amazon.com/ec2 "Accelerated computing instances", network specifications
    "p4d.24xlarge": _machine("a100-40-sxm", 8, 4, "100 Gb/s", "efa"),
    "p4de.24xlarge": _machine("a100-80-sxm", 8, 4, "100 Gb/s", "efa"),
    "p5.48xlarge": _machine("h100-sxm", 8, 32, "100 Gb/s", "efa"),
    "p5e.48xlarge": _machine("h200-sxm", 8, 32, "100 Gb/s", "efa"),
    "p5en.48xlarge": _machine("h200-sxm", 8, 16, "200 Gb/s", "efa"),
    "p6-b200.48xlarge": _machine("b200-sxm", 8, 8, "400 Gb/s", "efa"),
    "p6-b300.48xlarge": _machine("b300-sxm", 8, 16, "400 Gb/s", "efa"),
    # Google Cloud: cloud.google.com/compute/docs/gpus, network bandwidth table
    "a3-highgpu-8g": _machine("h100-sxm", 8, 4, "200 Gb/s", "tcp"),
    "a3-megagpu-8g": _machine("h100-sxm", 8, 8, "200 Gb/s", "tcp"),
    "a3-ultragpu-8g": _machine("h200-sxm", 8, 8, "400 Gb/s", "roce"),
    "a4-highgpu-8g": _machine("b200-sxm", 8, 8, "400 Gb/s", "roce"),
    # Azure: learn.microsoft.com/azure/virtual-machines, ND-series pages
    "standard_nd96asr_v4": _machine("a100-40-sxm", 8, 8, "200 Gb/s", "infiniband"),
    "standard_nd96amsr_a100_v4": _machine("a100-80-sxm", 8, 8, "200 Gb/s", "infiniband"),
    "standard_nd96isr_h100_v5": _machine("h100-sxm", 8, 8, "400 Gb/s", "infiniband"),
    "standard_nd96isr_h200_v5": _machine("h200-sxm", 8, 8, "400 Gb/s", "infiniband"),
}
"""By type, lower case."""


def machine(name: str | None) -> Machine | None:
    """Return what a machine type holds, or None when it is not known."""
    return MACHINES.get(name.lower()) if name else None
