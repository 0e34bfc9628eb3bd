"""Layouts: the degrees of one replica, and which of them an engine admits for a model."""

from collections.abc import Iterable
from dataclasses import dataclass

from optimizer.inputs.model import Scheme
from optimizer.inputs.workload import KvScheme


@dataclass(frozen=True, order=True)
class Layout:
    """How one replica splits the model, without seats.

    Ranks are numbered stage by stage, TP fastest: rank = stage * ranks_per_stage + index in the stage.
    """

    tp: int
    pp: int
    layers_per_stage: tuple[int, ...]
    weights: Scheme = "bf16"
    kv_cache: KvScheme = "bf16"
    ep: int = 1
    """GPUs over which whole experts are spread: 1 (experts are sliced by TP) or tp * attn_dp."""
    dcp: int = 1
    """Decode context parallel degree, inside the TP group."""
    pcp: int = 1
    """Prefill context parallel degree."""
    attn_dp: int = 1
    """Attention replicas that share one set of experts; each has ``tp`` ranks per stage."""

    @property
    def ranks_per_stage(self) -> int:
        """GPUs that hold one run of layers."""
        return self.tp * self.attn_dp * self.pcp

    @property
    def world_size(self) -> int:
        """GPUs of the replica."""
        return self.ranks_per_stage * self.pp

    @property
    def label(self) -> str:
        """Short name: "tp4pp2", with ep, dcp, pcp and dp (attention) where they exceed 1."""
        named: Iterable[tuple[str, int]] = (
            ("tp", self.tp), ("pp", self.pp), ("ep", self.ep),
            ("dcp", self.dcp), ("pcp", self.pcp), ("attndp", self.attn_dp),
        )  # fmt: skip
        return "".join(f"{name}{degree}" for name, degree in named if degree > 1 or name == "tp")
