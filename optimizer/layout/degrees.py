"""The degrees of one replica and their short names."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from optimizer.errors import InputError
from optimizer.inputs.model import Scheme
from optimizer.inputs.workload import KvScheme

_NAMES = {"tp": "tp", "pp": "pp", "attndp": "attn_dp", "ep": "ep", "dcp": "dcp", "pcp": "pcp"}
"""The fields of a layout by their names in a label, in the label's order."""


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
        """Short name: "tp4pp2", "tp1attndp8ep8": degrees of 1 are left out, but for tp."""
        return label_of({field: getattr(self, field) for field in _NAMES.values()})


def label_of(degrees: Mapping[str, int]) -> str:
    """Return the short name of degrees by their fields ("attn_dp"): "tp1attndp8ep8"."""
    named = ((name, degrees.get(field, 1)) for name, field in _NAMES.items())
    return "".join(f"{name}{degree}" for name, degree in named if degree > 1 or name == "tp")


def parse_label(label: str) -> dict[str, int] | None:
    """Return the degrees of a short name by their fields, in any order, 1 where it names none; None if it is none."""
    found = re.findall(r"(attndp|tp|pp|ep|dcp|pcp)([1-9]\d{0,6})", label)
    given = {_NAMES[name]: int(degree) for name, degree in found}
    if len(given) < len(found) or "".join(map("".join, found)) != label or "tp" not in given:
        return None
    return dict.fromkeys(_NAMES.values(), 1) | given


def split_layers(num_layers: int, pp: int) -> tuple[int, ...]:
    """Return layers per stage by vLLM's rule: what does not divide goes one each to stages pp-2, pp-3, ...

    The last stage never gets one, since it holds the head (vllm/distributed/utils.py, get_pp_indices). InputError where
    there are more stages than layers.
    """
    if pp > num_layers:
        raise InputError(f"pp {pp}: more stages than the {num_layers} layers")
    least, rest = divmod(num_layers, pp)
    return tuple(least + (1 if pp - 1 - rest <= stage < pp - 1 else 0) for stage in range(pp))
