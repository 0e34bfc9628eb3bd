"""Answers that are curves: what each request rate needs, and what is traded off between plans."""

from typing import Literal

from optimizer.plan import ObjectiveName, PlanRecord


class Need(PlanRecord):
    """What one request rate needs."""

    requests_per_s: float
    status: Literal["optimal", "feasible", "beyond"]
    """Of the plan; beyond: the cluster cannot carry the rate."""
    gpus: int | None = None
    cost_per_h: float | None = None
    power_w: float | None = None
    value: float | None = None
    """Of the objective; bound and gap as in a plan."""
    bound: float | None = None
    gap: float | None = None
    ttft_s: float | None = None
    tpot_s: float | None = None
    layout: str = ""


class Capacity(PlanRecord):
    """GPUs, cost or power needed against request rate."""

    objective: ObjectiveName
    points: tuple[Need, ...]
    largest: Need
    """The most requests/s within the objectives; its value and bound are output tokens/s."""
    currency: str | None


class TradeOff(PlanRecord):
    """One plan of a Pareto front."""

    status: Literal["optimal", "feasible"]
    output_tokens_per_s: float
    bound: float
    """Of output tokens/s at this TPOT or on these GPUs."""
    gap: float
    tpot_s: float
    """Of the slowest replica, at the workload's percentile if it has one, else the mean."""
    ttft_s: float
    """Likewise."""
    gpus: int
    cost_per_h: float | None
    layout: str
