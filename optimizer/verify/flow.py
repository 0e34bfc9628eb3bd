"""Is a routed pool's answer true: a plain maximum flow over its layer runs, and its certificate in exact fractions."""

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction

import networkx as nx

from optimizer.cost.pool import SINK, SOURCE, Pool, Routing, Run

TOLERANCE = 1e-9
"""Relative: what sums of floats in another order may differ by."""


def largest_flow(pool: Pool, runs: Iterable[Run]) -> float:
    """Return the most tokens/s that flow from source to sink through these runs, summed in fractions."""
    graph = _network(pool, {run.machine: run for run in runs})
    value = nx.maximum_flow_value(graph, (SOURCE, "out"), (SINK, "in"), flow_func=nx.algorithms.flow.edmonds_karp)
    return float(value)


def _network(pool: Pool, runs: Mapping[str, Run]) -> "nx.DiGraph[tuple[str, str]]":
    graph: nx.DiGraph[tuple[str, str]] = nx.DiGraph()
    graph.add_nodes_from([(SOURCE, "out"), (SINK, "in")])
    for machine in pool.machines:
        if (run := runs.get(machine.id)) is not None:
            carries = Fraction(machine.carries(run.first, run.num_layers, pool.num_layers))
            graph.add_edge((machine.id, "in"), (machine.id, "out"), capacity=carries)
    ends = {SOURCE: 0, **{name: run.end for name, run in runs.items()}}
    starts = {SINK: pool.num_layers, **{name: run.first for name, run in runs.items()}}
    for link in pool.links:
        if ends.get(link.sender, -1) == starts.get(link.receiver, -2):
            graph.add_edge((link.sender, "out"), (link.receiver, "in"), capacity=Fraction(link.tokens_per_s))
    return graph


def check(pool: Pool, answer: Routing) -> tuple[str, ...]:
    """Return what is wrong with an answer; nothing when it is true."""
    return (*_runs_are_possible(pool, answer), *_value_is_the_flow(pool, answer), *_bound_is_above(pool, answer))


def _runs_are_possible(pool: Pool, answer: Routing) -> Iterator[str]:
    machines = {machine.id: machine for machine in pool.machines}
    seen: set[str] = set()
    for run in answer.runs:
        if run.machine not in machines or run.machine in seen:
            yield f"runs: {run.machine} is not in the pool, or holds two runs"
        elif not 1 <= run.num_layers <= machines[run.machine].max_layers:
            yield f"runs: {run.machine} holds {run.num_layers} layers of at most {machines[run.machine].max_layers}"
        elif run.first < 0 or run.end > pool.num_layers:
            yield f"runs: {run.machine} holds layers {run.first} to {run.end} of {pool.num_layers}"
        seen.add(run.machine)


def _value_is_the_flow(pool: Pool, answer: Routing) -> Iterator[str]:
    if any(_runs_are_possible(pool, answer)):
        return
    flow = largest_flow(pool, answer.runs)
    if abs(flow - answer.tokens_per_s) > TOLERANCE * max(flow, answer.tokens_per_s):
        yield f"flow: {answer.tokens_per_s:.9g} tokens/s are stated, {flow:.9g} flow"


def _bound_is_above(pool: Pool, answer: Routing) -> Iterator[str]:
    if answer.bound_tokens_per_s < answer.tokens_per_s * (1 - TOLERANCE):
        yield f"bound: {answer.bound_tokens_per_s:.9g} is less than the {answer.tokens_per_s:.9g} tokens/s reached"
    if answer.worth and not bound_holds(pool, dict(answer.worth), answer.bound_tokens_per_s):
        yield f"bound: the worths do not prove {answer.bound_tokens_per_s:.9g} tokens/s"


def bound_holds(pool: Pool, worth: Mapping[str, float], bound_tokens_per_s: float) -> bool:
    """Return whether these worths prove that nothing carries more than the bound.

    A machine that holds k layers lends each of them 1/k of its worth. When every set of machines that together carries
    more than the bound across a layer lends it 1 or more, then more flow needs worths of at least the number of layers:
    so less than that in the whole pool is a proof.
    """
    exact = {name: Fraction(value) for name, value in worth.items()}
    total = sum((exact.get(machine.id, Fraction(0)) for machine in pool.machines), Fraction(0))
    bound = Fraction(bound_tokens_per_s) * (1 + Fraction(TOLERANCE))
    return total < pool.num_layers and _most_for_less_than_one(pool, exact) <= bound


def _most_for_less_than_one(pool: Pool, worth: Mapping[str, Fraction]) -> Fraction:
    """Return the most tokens/s that a set of machines carries across one layer while lending it less than 1."""
    front = [(Fraction(0), Fraction(0))]
    for machine in pool.machines:
        value = worth.get(machine.id, Fraction(0))
        rates = machine.tokens_per_s[: pool.num_layers]
        options = [(value / k, Fraction(rate)) for k, rate in enumerate(rates, 1)]
        grown = [(lent + more, carried + rate) for lent, carried in front for more, rate in options if lent + more < 1]
        front = _undominated([*front, *grown])
    return front[-1][1]


def _undominated(states: list[tuple[Fraction, Fraction]]) -> list[tuple[Fraction, Fraction]]:
    """Return the states (lent, carried) that carry more than every one that lends no more, ascending."""
    kept: list[tuple[Fraction, Fraction]] = []
    for lent, carried in sorted(states, key=lambda state: (state[0], -state[1])):
        if not kept or carried > kept[-1][1]:
            kept.append((lent, carried))
    return kept
