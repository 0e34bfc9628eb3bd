"""How it is run: a plan to deployment files, as text; nothing is written here."""

from collections.abc import Callable

from optimizer.export import compose, dynamo, llmd, lws, ray, sglang, slurm, systemd, trtllm, vllm
from optimizer.export.artifact import Artifact
from optimizer.plan import Plan

EXPORTERS: dict[str, Callable[[Plan], tuple[Artifact, ...]]] = {
    "vllm": vllm.export,
    "sglang": sglang.export,
    "slurm": slurm.export,
    "compose": compose.export,
    "systemd": systemd.export,
    "lws": lws.export,
    "ray": ray.export,
    "dynamo": dynamo.export,
    "llm-d": llmd.export,
    "trtllm": trtllm.export,
}
"""Targets by name."""

__all__ = ["EXPORTERS", "Artifact"]
