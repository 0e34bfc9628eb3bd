"""What is broken and what it costs, one line for each fault that the plan tells about."""

from collections.abc import Callable, Iterator

from optimizer.plan import NO_LOSS, FaultCost, ObjectiveName, Plan
from optimizer.units import show_number

_LOSSES: dict[ObjectiveName, str] = {
    "throughput": "costs {} of throughput",
    "latency": "adds {} to TPOT",
    "ttft": "adds {} to TTFT",
    "gpus": "adds {} to the GPUs needed",
    "cost": "adds {} to the price",
    "energy": "adds {} to the power",
}


def fault_lines(plan: Plan, show: Callable[[float, str], str]) -> Iterator[str]:
    """Yield "NIC 3 of node01 is down: costs 12 % of throughput (1,200 tokens/s without it)" for each fault."""
    yield from (f"{cost.fault}: {_loss(cost, plan, show)}" for cost in plan.faults)


def _loss(cost: FaultCost, plan: Plan, show: Callable[[float, str], str]) -> str:
    gpus = f"{cost.more_gpus} GPU{'s' if cost.more_gpus > 1 else ''} more" if cost.more_gpus > 0 else ""
    if cost.loss_fraction < NO_LOSS:
        return f"costs {gpus}, at the same {plan.objective.name}" if gpus else "does not change the answer"
    part = f"{show_number(float(f'{100 * cost.loss_fraction:.3g}'))} %"
    more = f", with {gpus}" if gpus and plan.objective.name != "gpus" else ""
    healthy = show(cost.value_without, plan.objective.unit)
    return f"{_LOSSES[plan.objective.name].format(part)} ({healthy} without it{more})"
