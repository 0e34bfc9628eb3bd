"""What would make an answer possible: one limit changed, all else as asked, and the plan that this gives."""

from typing import Literal

from optimizer.plan import PlanRecord

Kind = Literal[
    "ttft", "tpot", "request_rate", "concurrency", "gpus", "kv_cache", "weights", "isl", "osl", "max_model_len",
    "roles", "max_gpus", "fix", "exclude", "survive", "margin", "faults",
]  # fmt: skip

KINDS: tuple[Kind, ...] = (
    "ttft", "tpot", "request_rate", "concurrency", "gpus", "kv_cache", "weights", "isl", "osl", "max_model_len",
    "roles", "max_gpus", "fix", "exclude", "survive", "margin", "faults",
)  # fmt: skip
"""In the order in which relaxations are told: kinds do not compare, so none comes first for being small."""

Value = float | int | str | tuple[str, ...] | None
"""Seconds, requests/s, tokens, GPUs, names; None where nothing limits."""


class Given(PlanRecord):
    """The plan that a relaxation gives, in short."""

    status: Literal["optimal", "feasible"]
    layout: str
    gpus: int
    ttft_s: float
    """Mean over requests."""
    tpot_s: float
    """Mean over requests."""
    requests_per_s: float


class Relaxation(PlanRecord):
    """One limit, changed as little as gives an answer."""

    kind: Kind
    model: str | None = None
    """Whose limit it is, where there are several models."""
    asked: Value
    enough: Value
    detail: str = ""
    """What that means for the hardware, in words."""
    plan: Given
