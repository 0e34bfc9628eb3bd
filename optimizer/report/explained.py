"""explain: the numbers of a plan, each traced to formula, inputs and calibration."""

from collections.abc import Iterable
from dataclasses import replace

from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree

from optimizer.compare import ReplicaGroup, replica_groups, service_names, workload_of
from optimizer.cost.estimate import estimate
from optimizer.inputs.workload import WorkloadSpec
from optimizer.plan import Plan
from optimizer.report.explained_apart import FACTS
from optimizer.report.explained_memory import memory_facts
from optimizer.report.explained_serving import serving_facts
from optimizer.report.facts import Fact, case_of, fact
from optimizer.report.models import traffic_lines
from optimizer.report.solved import proof_line
from optimizer.report.tables import amount
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
    served: dict[int, dict[str, list[Fact]]] = {number: {} for number in range(len(plan.inputs.services))}
    memory = []
    for number, group in enumerate(replica_groups(plan)):
        one, replica = _Group(group, number, plan), group.one
        case, workload = case_of(plan, replica, topology), workload_of(plan, replica)
        told = FACTS.get(replica.role, serving_facts)
        for name, found in told(case, workload, replica.estimate).items():
            served[replica.service].setdefault(name, []).append(one.named(found))
        memory.append(one.named(memory_facts(case, workload, replica)))
    return (_objective(plan), *_totals(plan, served), *memory)


def stale(plan: Plan) -> tuple[str, ...]:
    """Return which replicas this tpopt prices otherwise than the plan says: another version or calibration made it."""
    topology = build(plan.inputs.cluster)
    told = []
    for number, group in enumerate(replica_groups(plan)):
        stated = group.one.estimate
        case = case_of(plan, group.one, topology)
        fresh = estimate(case, workload_of(plan, group.one), stated.concurrency, group.one.role)
        for name in ("ttft_s", "tpot_s", "requests_per_s", "transfer_s"):
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
    objective, goal = plan.objective, _GOALS[plan.objective.name]
    if objective.name == "throughput" and any(service.weight != 1 for service in plan.inputs.services):
        goal += "; tokens count by their model's weight"
    return fact(
        objective.name, objective.value, amount(objective.value, objective.unit), goal,
        fact("bound", objective.bound, amount(objective.bound, objective.unit), "proven by CP-SAT over all candidates"),
        fact("gap", objective.gap, f"{objective.gap:.2%}", "|bound - value| / |value|"),
        Fact("status", proof_line(plan, {}), formula="optimal is said only when the bound equals the value"),
        Fact("candidates", f"{len(plan.candidates)} priced layouts", formula="all that the engine admits"),
        *(Fact("workload" + (f" of {name}" if plan.inputs.more else ""), line) for name, line in traffic_lines(plan)),
    )  # fmt: skip


def _totals(plan: Plan, served: dict[int, dict[str, list[Fact]]]) -> Iterable[Fact]:
    totals = plan.totals
    yield from _traffic(plan, served) if totals.services else _whole(plan, served[0])
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


_MEAN = "mean over requests: sum(value x requests/s) / sum(requests/s)"


def _whole(plan: Plan, served: dict[str, list[Fact]]) -> Iterable[Fact]:
    """Yield what one model gives whose replicas all do both phases."""
    totals, workload = plan.totals, plan.inputs.workload
    rate = "sum over replicas" + (", at most what is asked" if workload.request_rate is not None else "")
    yield fact(
        "output tokens/s", totals.output_tokens_per_s, f"{totals.output_tokens_per_s:,.1f} tokens/s",
        f"OSL x requests/s; requests/s: {rate}", *served["requests/s"], _osl(workload),
    )  # fmt: skip
    yield fact("TTFT", totals.ttft_s, show_seconds(totals.ttft_s), _MEAN, *served["TTFT"])
    yield fact("TPOT", totals.tpot_s, show_seconds(totals.tpot_s), _MEAN, *served["TPOT"])


def _osl(workload: WorkloadSpec) -> Fact:
    return fact("OSL", workload.osl.mean, f"{workload.osl.mean} tokens", source="workload")


_RATE_APART = "the lesser of what its replicas prefill and what they decode"
_TTFT_APART = "mean over requests; where apart: prefill + KV transfer (the slower side) + first decode step"


def _traffic(plan: Plan, served: dict[int, dict[str, list[Fact]]]) -> Iterable[Fact]:
    """Yield the totals by model: tokens/s add up, latencies are means over all requests; of one model, its own."""
    totals, names = plan.totals, service_names(plan.inputs.services)
    rates, ttfts, tpots = [], [], []
    for one in totals.services:
        name, workload, own = names[one.service], plan.inputs.services[one.service].workload, served[one.service]
        most = ", at most what is asked" if workload.request_rate is not None else ""
        apart = _is_split(plan, one.service)
        rate = (_RATE_APART if apart else "sum over replicas") + most
        tokens = f"{one.output_tokens_per_s:,.1f} tokens/s"
        formula = f"OSL x requests/s; requests/s: {rate}"
        rates.append(fact(name, one.output_tokens_per_s, tokens, formula, *own["requests/s"], _osl(workload)))
        formula = _TTFT_APART if apart else _MEAN
        transfers = own.get("KV transfer", [])
        ttfts.append(fact(name, one.ttft_s, show_seconds(one.ttft_s), formula, *own["TTFT"], *transfers))
        tpots.append(fact(name, one.tpot_s, show_seconds(one.tpot_s), _MEAN, *own.get("TPOT", [])))
    if not plan.inputs.more:
        for name, (only,) in (("output tokens/s", rates), ("TTFT", ttfts), ("TPOT", tpots)):
            yield replace(only, name=name)
        return
    shown = f"{totals.output_tokens_per_s:,.1f} tokens/s"
    yield fact("output tokens/s", totals.output_tokens_per_s, shown, "sum over models", *rates)
    yield fact("TTFT", totals.ttft_s, show_seconds(totals.ttft_s), _MEAN, *ttfts)
    yield fact("TPOT", totals.tpot_s, show_seconds(totals.tpot_s), _MEAN, *tpots)


def _is_split(plan: Plan, service: int) -> bool:
    return any(replica.role != "both" for replica in plan.replicas if replica.service == service)


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
