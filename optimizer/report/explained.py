"""explain: the numbers of a plan, each traced to formula, inputs and calibration."""

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree

from optimizer.compare import ReplicaGroup, replica_groups
from optimizer.cost.estimate import estimate
from optimizer.plan import Plan
from optimizer.report.explained_memory import memory_facts
from optimizer.report.explained_serving import serving_facts
from optimizer.report.facts import Fact, case_of, fact
from optimizer.report.solved import amount, proof_line, workload_line
from optimizer.topology.graph import build
from optimizer.units import show_seconds

DEEPEST = 6
"""Levels there are: beyond it nothing more is known."""

_SAME = 1e-9

_GOALS = {
    "throughput": "greatest output tokens/s (never more than the demand); ties: fewest GPUs",
    "latency": "least TPOT of the slowest replica; ties: fewest GPUs",
    "ttft": "least TTFT of the slowest replica; ties: fewest GPUs",
    "gpus": "fewest GPUs that meet the workload; ties: most output tokens/s",
    "cost": "least price per hour that meets the workload; ties: most output tokens/s",
    "energy": "least power limits (TDP) of the GPUs used; ties: most output tokens/s",
}


def explain(plan: Plan) -> tuple[Fact, ...]:
    """Return the plan's numbers with all that they are made from."""
    topology = build(plan.inputs.cluster)
    groups = [_Group(group, number, plan) for number, group in enumerate(replica_groups(plan))]
    served: dict[str, list[Fact]] = {}
    for one in groups:
        case = case_of(plan, one.group.one, topology)
        for name, found in serving_facts(case, plan.inputs.workload, one.group.one.estimate).items():
            served.setdefault(name, []).append(one.named(found))
        served.setdefault("memory", []).append(one.named(memory_facts(case, plan.inputs.workload, one.group.one)))
    return (_objective(plan), *_totals(plan, served), *served["memory"])


def stale(plan: Plan) -> tuple[str, ...]:
    """Return which replicas this tpopt prices otherwise than the plan says: another version or calibration made it."""
    topology = build(plan.inputs.cluster)
    told = []
    for number, group in enumerate(replica_groups(plan)):
        stated = group.one.estimate
        case = case_of(plan, group.one, topology)
        fresh = estimate(case, plan.inputs.workload, stated.concurrency)
        for name in ("ttft_s", "tpot_s", "output_tokens_per_s"):
            was, now = getattr(stated, name), getattr(fresh, name)
            if abs(was - now) > _SAME * abs(was):
                told.append(f"replica group {number}: {name} is {was:.6g} in the plan, this tpopt says {now:.6g}")
    return tuple(told)


class _Group:
    """Equal replicas, explained once."""

    def __init__(self, group: ReplicaGroup, number: int, plan: Plan) -> None:
        self.group, self.number = group, number
        self.alone = len({id(r) for r in plan.replicas}) == len(group.members)

    def named(self, one: Fact) -> Fact:
        """Return the fact with the replicas it is about in its name."""
        members = self.group.numbers
        which = "each replica" if self.alone and len(members) > 1 else f"replica {members[0]}"
        if len(members) > 1 and not self.alone:
            which = f"replicas {', '.join(map(str, members[:8]))}{', ...' if len(members) > 8 else ''} each"
        return Fact(f"{one.name} of {which}", one.value, one.number, one.formula, one.source, one.inputs)


def _objective(plan: Plan) -> Fact:
    objective = plan.objective
    return fact(
        objective.name, objective.value, amount(objective.value, objective.unit), _GOALS[objective.name],
        fact("bound", objective.bound, amount(objective.bound, objective.unit), "proven by CP-SAT over all candidates"),
        fact("gap", objective.gap, f"{objective.gap:.2%}", "|bound - value| / |value|"),
        Fact("status", proof_line(plan, {}), formula="optimal is said only when the bound equals the value"),
        Fact("candidates", f"{len(plan.candidates)} priced layouts", formula="all that the engine admits"),
        Fact("workload", workload_line(plan.inputs.workload)),
    )  # fmt: skip


def _totals(plan: Plan, served: dict[str, list[Fact]]) -> Iterable[Fact]:
    totals = plan.totals
    rate = "sum over replicas"
    if plan.inputs.workload.request_rate is not None:
        rate += ", at most what is asked"
    yield fact(
        "output tokens/s", totals.output_tokens_per_s, f"{totals.output_tokens_per_s:,.1f} tokens/s",
        f"OSL x requests/s; requests/s: {rate}", *served["requests/s"],
        fact("OSL", plan.inputs.workload.osl.mean, f"{plan.inputs.workload.osl.mean} tokens", source="workload"),
    )  # fmt: skip
    mean = "mean over requests: sum(value x requests/s) / sum(requests/s)"
    yield fact("TTFT", totals.ttft_s, show_seconds(totals.ttft_s), mean, *served["TTFT"])
    yield fact("TPOT", totals.tpot_s, show_seconds(totals.tpot_s), mean, *served["TPOT"])
    yield fact(
        "GPUs", totals.gpus, f"{totals.gpus}", "sum over replicas of TP x PP (x attention DP x PCP)",
        *(Fact(group.label, f"{group.dp * len(group.one.seats)} GPUs") for group in replica_groups(plan)),
    )  # fmt: skip
    if totals.cost_per_h is not None:
        yield fact(
            "cost", totals.cost_per_h, f"{totals.cost_per_h:,.2f} {totals.currency}/h", "GPUs x price of their type",
            *(Fact(name, f"{price:g} {unit}/h", price, source="cluster: prices")
              for name, (price, unit) in plan.inputs.cluster.prices.items()),
        )  # fmt: skip


def explained(facts: tuple[Fact, ...], warnings: tuple[str, ...]) -> RenderableType:
    """Return facts as trees for the terminal."""
    trees = [_tree(one) for one in facts]
    notes = [Text(f"note: {line}", style="yellow") for line in warnings]
    return Group(*trees, *notes)


def _tree(one: Fact) -> Tree:
    top = Tree(_label(one))
    _grow(top, one)
    return top


def _grow(branch: Tree, one: Fact) -> None:
    for inner in one.inputs:
        _grow(branch.add(_label(inner)), inner)


def _label(one: Fact) -> Text:
    words = Text()
    words.append(one.name, style="bold")
    words.append(f" = {one.value}" if one.value else "")
    if one.formula:
        words.append(f"\n{one.formula}", style="cyan")
    if one.source:
        words.append(f"\nsource: {one.source}", style="dim")
    return words
