"""Is a routed plan allowed: machines, layers, flows, memory and turns again, from the plan's own inputs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from optimizer.cost.machine import Step, Terms
from optimizer.cost.pool import SINK, SOURCE, Pool, Run
from optimizer.cost.routed import Priced, groups_of, pool_at, price
from optimizer.cost.shapes import Market
from optimizer.errors import InputError
from optimizer.inputs import presets
from optimizer.routed_plan import RoutedMachine, RoutedPlan
from optimizer.topology.graph import Topology, build
from optimizer.verify.evidence import agree
from optimizer.verify.flow import largest_flow

ROOM = 1e-6
"""Relative: what sums of floats may take too much."""


@dataclass(frozen=True)
class Case:
    """A plan beside fresh prices of all machines of its cluster."""

    plan: RoutedPlan
    topology: Topology
    priced: Priced

    @cached_property
    def pool(self) -> Pool:
        """The machines as the plan's turn makes them."""
        return pool_at(self.priced, self.plan.turn_s)

    @cached_property
    def known(self) -> dict[str, tuple[RoutedMachine, Run]]:
        """Machines of the plan that the cluster has, with their layers."""
        real = {one.id for one in self.priced.seats}
        found = ((m, Run(m.id, m.first_layer, m.end_layer)) for m in self.plan.machines if m.id in real)
        inside = ((m, run) for m, run in found if 0 <= run.first < run.end <= self.priced.num_layers)
        return {machine.id: (machine, run) for machine, run in inside}

    def step(self, machine: RoutedMachine, run: Run) -> Step | None:
        """Return the price of the machine's steps; None when it has no such."""
        held = self.priced.held(run)
        steps = held.steps if held else ()
        return next((step for step in steps if step.batch == machine.batch), None)


Rule = Callable[[Case], Iterator[str]]


def terms_are_allowed(case: Case) -> Iterator[str]:
    """Precisions are those that the workload allows."""
    plan, load = case.plan, case.plan.inputs.workload
    if plan.weights not in (load.weights or (plan.inputs.model.checkpoint_scheme,)):
        yield f"weights {plan.weights} are not among those allowed"
    if plan.kv_cache not in load.kv_cache:
        yield f"kv_cache {plan.kv_cache} is not among those allowed"


def machines_are_real_and_used_once(case: Case) -> Iterator[str]:
    """Every machine is a group of the cluster's usable GPUs, and no GPU is in two."""
    groups, seen = {one.id: one for one in case.priced.seats}, set[str]()
    for machine in case.plan.machines:
        gpus = tuple(seat.gpu for seat in sorted(machine.seats, key=lambda seat: seat.rank))
        group = groups.get(machine.id)
        if group is None or group.gpus != gpus or machine.tp != len(gpus) or machine.gpu_type != group.gpu_type:
            yield f"{machine.id}: its seats are no machine of at most {case.plan.max_tp} GPUs of this cluster"
        for seat in machine.seats:
            gpu = next((one for one in case.topology.gpus if one.id == seat.gpu), None)
            if gpu is not None and (gpu.node, gpu.local_index) != (seat.node, seat.local_index):
                yield f"{machine.id}: {seat.gpu} is {gpu.node}/{gpu.local_index}"
        if twice := seen & set(gpus):
            yield f"{machine.id}: {min(twice)} is in two machines"
        seen |= set(gpus)


def layers_are_covered(case: Case) -> Iterator[str]:
    """Machines hold layers of the model, and each layer is held by one at least."""
    layers = case.priced.num_layers
    held = {layer for _, run in case.known.values() for layer in range(run.first, run.end)}
    for machine in case.plan.machines:
        if not 0 <= machine.first_layer < machine.end_layer <= layers:
            yield f"{machine.id}: layers {machine.first_layer} to {machine.end_layer} of {layers}"
    if missing := sorted(set(range(layers)) - held):
        yield f"nothing holds layer {missing[0]}"


def flows_join(case: Case) -> Iterator[str]:
    """What flows goes from a machine to one that starts where it ends, from the source and to the sink at the ends."""
    ends = {SOURCE: 0, **{name: run.end for name, (_, run) in case.known.items()}}
    starts = {SINK: case.priced.num_layers, **{name: run.first for name, (_, run) in case.known.items()}}
    for flow in case.plan.flows:
        if ends.get(flow.sender, -1) != starts.get(flow.receiver, -2):
            yield f"{flow.sender} to {flow.receiver}: the one does not start where the other ends"


def flow_is_conserved(case: Case) -> Iterator[str]:
    """What a machine takes in is what it states and what it gives; weights are shares of what its sender gives."""
    plan = case.plan
    for machine in plan.machines:
        taken = sum(flow.tokens_per_s for flow in plan.flows if flow.receiver == machine.id)
        given = sum(flow.tokens_per_s for flow in plan.flows if flow.sender == machine.id)
        if not (agree(taken, machine.tokens_per_s) and agree(given, machine.tokens_per_s)):
            yield f"{machine.id}: {taken:.6g} tokens/s in, {given:.6g} out, {machine.tokens_per_s:.6g} stated"
    for flow in plan.flows:
        sent = sum(other.tokens_per_s for other in plan.flows if other.sender == flow.sender)
        if flow.tokens_per_s <= 0 or not agree(flow.weight * sent, flow.tokens_per_s):
            yield f"{flow.sender} to {flow.receiver}: weight {flow.weight:.6g} of {sent:.6g} tokens/s"


def links_carry_the_flow(case: Case) -> Iterator[str]:
    """No link carries more than its share of the network does."""
    links = case.pool.between()
    for flow in case.plan.flows:
        most = links.get((flow.sender, flow.receiver), 0.0)
        if flow.tokens_per_s > most * (1 + ROOM):
            yield f"{flow.sender} to {flow.receiver}: {flow.tokens_per_s:.6g} of {most:.6g} tokens/s"


def machines_carry_the_flow(case: Case) -> Iterator[str]:
    """Steps of the stated batch carry what flows, take the stated time, and what is stated as most is so."""
    capacity = {machine.id: machine for machine in case.pool.machines}
    for machine, run in case.known.values():
        step = case.step(machine, run)
        if step is None or machine.tokens_per_s > step.tokens_per_s * (1 + ROOM):
            yield f"{machine.id}: steps of {machine.batch} do not carry {machine.tokens_per_s:.6g} tokens/s"
            continue
        own_s = step.longest_s if case.priced.at_worst else step.turn_s
        if not agree(own_s, machine.turn_s):
            yield f"{machine.id}: a turn of {machine.turn_s:.6g} s is stated, {own_s:.6g} s recomputed"
        known = capacity.get(machine.id)
        most = known.carries(run.first, run.num_layers, case.priced.num_layers) if known else 0.0
        if not agree(most, machine.most_tokens_per_s) or machine.tokens_per_s > most * (1 + ROOM):
            yield f"{machine.id}: {machine.tokens_per_s:.6g} of {most:.6g} tokens/s"


def memory_holds_the_kv(case: Case) -> Iterator[str]:
    """Memory holds the KV of all requests whose paths pass a machine, kept for a turn per token."""
    for machine, run in case.known.values():
        held = case.priced.held(run)
        most = held.sequences if held else 0
        needed = machine.tokens_per_s * case.priced.kept_for * case.plan.turn_s
        if needed > most * (1 + ROOM) or most != machine.most_in_flight or not agree(needed, machine.in_flight):
            yield f"{machine.id}: KV of {needed:.6g} sequences of {most} that fit beside {run.num_layers} layers"


def turns_are_kept(case: Case) -> Iterator[str]:
    """No path takes longer than the turn, and the turn keeps the objectives on TTFT and TPOT."""
    until = {SOURCE: 0.0}
    for machine, run in sorted(case.known.values(), key=lambda pair: pair[1].first):
        before = [until.get(flow.sender, 0.0) for flow in case.plan.flows if flow.receiver == run.machine]
        until[machine.id] = machine.turn_s + max(before, default=0.0)
    longest = max((until.get(flow.sender, 0.0) for flow in case.plan.flows if flow.receiver == SINK), default=0.0)
    if longest > case.plan.turn_s * (1 + ROOM):
        yield f"the longest path takes {longest:.6g} s of a turn of {case.plan.turn_s:.6g} s"
    if case.plan.turn_s > case.priced.longest_turn_s * (1 + ROOM):
        yield f"turns of {case.plan.turn_s:.6g} s, {case.priced.longest_turn_s:.6g} s keep the objectives"


def a_maximum_flow_agrees(case: Case) -> Iterator[str]:
    """What flows is what leaves the source, and no more than an independent maximum flow through these runs."""
    value = case.plan.objective.value
    sent = sum(flow.tokens_per_s for flow in case.plan.flows if flow.sender == SOURCE)
    if not agree(sent, value):
        yield f"{value:.6g} tokens/s are stated, {sent:.6g} leave the source"
    most = largest_flow(case.pool, [run for _, run in case.known.values()])
    if value > most * (1 + ROOM):
        yield f"{value:.6g} tokens/s are stated, a maximum flow is {most:.6g}"


def proof_is_stated_truly(case: Case) -> Iterator[str]:
    """The bound is not below the value, the gap is theirs, and only without one the plan is optimal."""
    objective = case.plan.objective
    if objective.bound < objective.value * (1 - ROOM):
        yield f"bound {objective.bound:.6g} below the value {objective.value:.6g}"
    gap = (objective.bound - objective.value) / objective.value if objective.value else 0.0
    if abs(gap - objective.gap) > ROOM or (case.plan.status == "optimal") != (gap <= ROOM):
        yield f"{case.plan.status} with a gap of {objective.gap:.6g}, recomputed {gap:.6g}"


def totals_are_sums(case: Case) -> Iterator[str]:
    """Totals are those of the machines."""
    plan, totals = case.plan, case.plan.totals
    expected = {
        "gpus": sum(machine.tp for machine in plan.machines), "machines": len(plan.machines),
        "output_tokens_per_s": plan.objective.value, "tpot_s": plan.turn_s, "ttft_s": case.priced.ttft_s(plan.turn_s),
        "requests_per_s": plan.objective.value / plan.inputs.workload.osl.mean,
    }  # fmt: skip
    for name, value in expected.items():
        if not agree(getattr(totals, name), value):
            yield f"{name} {getattr(totals, name):.6g}, recomputed {value:.6g}"


RULES: tuple[Rule, ...] = (
    terms_are_allowed, machines_are_real_and_used_once, layers_are_covered, flows_join, flow_is_conserved,
    links_carry_the_flow, machines_carry_the_flow, memory_holds_the_kv, turns_are_kept, a_maximum_flow_agrees,
    proof_is_stated_truly, totals_are_sums,
)  # fmt: skip


def check(plan: RoutedPlan) -> tuple[str, ...]:
    """Return every rule that a routed plan breaks, as "rule: what is wrong"; nothing when it is allowed."""
    try:
        case = _gather(plan)
    except InputError as error:
        return (f"inputs: {error}",)
    return tuple(f"{rule.__name__}: {wrong}" for rule in RULES for wrong in rule(case))


def _gather(plan: RoutedPlan) -> Case:
    topology, given = build(plan.inputs.cluster), plan.inputs
    gpus = given.cluster.gpus
    fits = {gpu_type: presets.calibration_of(given.cluster, gpu_type) for gpu_type in gpus}
    market = Market(given.model, given.workload, presets.load_engine(given.workload.engine.name), gpus, fits)
    terms = Terms(market, plan.weights, plan.kv_cache)
    return Case(plan, topology, price(topology, terms, groups_of(topology, terms, plan.max_tp)))
