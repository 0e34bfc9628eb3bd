"""solve --routed for people: machines with their layers, what flows, the proof, and ordinary replicas beside it."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from optimizer.cost.pool import SOURCE
from optimizer.plan import NO_WORKLOAD
from optimizer.report.models import workload_line
from optimizer.report.tables import bullets, columns, pairs, percent
from optimizer.routed_plan import Ordinary, RoutedPlan
from optimizer.units import show_number, show_seconds

MOST_LINES = 40
"""More machines or flows than this are counted, not listed; plan.json holds all."""


def routed(plan: RoutedPlan) -> RenderableType:
    """Return the answer of ``solve --routed``."""
    totals = plan.totals
    head = f"{plan.inputs.model.name} on {plan.inputs.cluster.name}: routed pool of {totals.machines} machines"
    return Group(
        Text(f"{head}, {totals.gpus} GPUs", style="bold green"),
        pairs("Answer", _answer(plan)),
        _machines(plan),
        _flows(plan),
        bullets("Notes", (note for note in plan.provenance.notes if not note.startswith(NO_WORKLOAD))),
    )


def _answer(plan: RoutedPlan) -> Iterator[tuple[str, str]]:
    totals, objective = plan.totals, plan.objective
    assumed = any(note.startswith(NO_WORKLOAD) for note in plan.provenance.notes)
    yield "objective", f"throughput: {objective.value:,.6g} {objective.unit}"
    yield "proof", f"{plan.status}, bound {objective.bound:,.6g} {objective.unit}, gap {objective.gap:.2%}"
    yield "workload", workload_line(plan.inputs.workload) + (" (assumed: no workload was given)" if assumed else "")
    yield "output", f"{totals.output_tokens_per_s:,.1f} tokens/s, {show_number(totals.requests_per_s)} requests/s"
    chain = f"{totals.longest_chain} machine{'s in a row' if totals.longest_chain > 1 else ''}"
    latency = f"TTFT {show_seconds(totals.ttft_s)}, TPOT {show_seconds(totals.tpot_s)}"
    yield "latency", f"{latency} on the longest path, of up to {chain}"
    if len(lanes := lanes_of(plan)) > 1:
        told = " + ".join(f"{rate:,.0f}" for rate in lanes)
        yield "lanes", f"{len(lanes)} that share no machine: {told} tokens/s"
    yield "replicas", _beside(plan.ordinary, totals.output_tokens_per_s)


def lanes_of(plan: RoutedPlan) -> list[float]:
    """Return what flows through each set of machines that share no machine with the others, the most first."""
    home = {machine.id: machine.id for machine in plan.machines}
    for flow in plan.flows:
        if flow.sender in home and flow.receiver in home:
            one, other = home[flow.sender], home[flow.receiver]
            home = {name: one if lane == other else lane for name, lane in home.items()}
    rates = dict.fromkeys(home.values(), 0.0)
    for flow in plan.flows:
        if flow.sender == SOURCE:
            rates[home[flow.receiver]] += flow.tokens_per_s
    return sorted(rates.values(), reverse=True)


def _beside(ordinary: Ordinary, routed_tokens_per_s: float) -> str:
    """Return one line that tells whether routing pays."""
    if not ordinary.layout:
        return f"no ordinary replicas: {ordinary.why}"
    gain = routed_tokens_per_s / ordinary.output_tokens_per_s - 1
    pays = f"routing gives {gain:.1%} more" if gain > 0 else "routing does not pay here"
    rate = f"{ordinary.output_tokens_per_s:,.1f} tokens/s"
    return f"best ordinary plan {ordinary.layout} on {ordinary.gpus} GPUs: {rate}; {pays}"


def _machines(plan: RoutedPlan) -> RenderableType:
    kinds = list(dict.fromkeys(machine.gpu_type for machine in plan.machines))
    several = len(kinds) > 1
    rows = [
        (
            machine.id, *([machine.gpu_type] if several else []), str(machine.tp),
            f"{machine.first_layer}-{machine.end_layer - 1}",
            str(machine.batch), show_seconds(machine.turn_s),
            f"{machine.in_flight:,.0f}/{machine.most_in_flight}",
            f"{machine.tokens_per_s:,.0f}/{machine.most_tokens_per_s:,.0f}",
            percent(machine.tokens_per_s / machine.most_tokens_per_s),
        )
        for machine in plan.machines
    ]  # fmt: skip
    of = [] if several else [f" of {kind}" for kind in kinds]
    heads = ("machine", *(["GPU"] if several else []), "TP", "layers", "batch", "turn", "KV held/room", "tokens/s", "")
    title = f"Machines{''.join(of)}: tokens/s carried of what they could"
    table = columns(title, heads, rows[:MOST_LINES], left=(0, 1) if several else (0,))
    idle = [Text(f"  idle: {', '.join(plan.idle[:MOST_LINES])}")] if plan.idle else []
    return Group(table, *_left_out(len(rows)), *idle)


def _flows(plan: RoutedPlan) -> RenderableType:
    rows = [(flow.sender, flow.receiver, f"{flow.tokens_per_s:,.1f}", percent(flow.weight)) for flow in plan.flows]
    heads = ("from", "to", "tokens/s", "weight")
    return Group(columns("Flows: a router's weights", heads, rows[:MOST_LINES], left=(0, 1)), *_left_out(len(rows)))


def _left_out(rows: int) -> list[Text]:
    return [Text(f"  and {rows - MOST_LINES} more lines (all in plan.json)")] if rows > MOST_LINES else []
