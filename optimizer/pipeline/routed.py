"""The trip of a routed pool: machines, prices, placement and flows, plan, verification; ordinary replicas beside it."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from math import inf
from typing import TYPE_CHECKING

from optimizer import pipeline
from optimizer.compare import replica_groups
from optimizer.cost.machine import CHUNK, Terms
from optimizer.cost.notes import notes
from optimizer.cost.pool import EQUAL, SINK, SOURCE, Link, Run
from optimizer.cost.routed import Priced, groups_of, pool_at, price
from optimizer.errors import InfeasibleError, InputError, NoAnswerError, Stopped, VerificationError
from optimizer.inputs.cluster import Torus
from optimizer.inputs.workload import WorkloadSpec
from optimizer.pipeline.markets import market_of
from optimizer.pipeline.provenance import STOPPED, record_of
from optimizer.pipeline.refused import weights_of
from optimizer.pipeline.request import Progress, Request, silent
from optimizer.pipeline.usable import without
from optimizer.plan import NO_WORKLOAD, Inputs, Objective, Seat
from optimizer.routed_plan import Flow, Ordinary, RoutedMachine, RoutedPlan, RoutedTotals
from optimizer.topology.graph import Topology, build
from optimizer.units import show_seconds
from optimizer.verify.routed import check

if TYPE_CHECKING:
    from optimizer.formulation.routing.operate import Operated
    from optimizer.formulation.routing.settle import Settled

LEAST_S = 2.0
"""Seconds that ordinary replicas are looked for in any case."""

MOST_MACHINES = 64
"""Every machine has a link to every other: beyond so many the pool is better cut into several."""


def solve_routed(request: Request, progress: Progress = silent) -> RoutedPlan:
    """Return the routed pool that carries most, verified, beside the best plan of ordinary replicas.

    InputError when something is asked that is not planned for pools, InfeasibleError when nothing flows.
    """
    from optimizer.formulation.routing.operate import operate
    from optimizer.formulation.solve import Limits

    _refuse(request)
    start_s = time.monotonic()
    cluster = without(request.cluster, request.exclude)
    topology = build(cluster)
    groupings = groupings_of(request, topology)
    found = operate(
        [priced for _, priced in groupings], Limits(request.time_limit_s, request.workers, request.seed), progress
    )
    if found is None:
        raise _nothing_flows(request, [priced for _, priced in groupings])
    most, priced = groupings[found.grouping]
    value, runs = found.best.tokens_per_s, found.best.runs
    proven = found.bound <= value * (1 + EQUAL)
    bound = value if proven else found.bound
    machines = tuple(_machine(topology, priced, run, found.best) for run in sorted(runs, key=_order))
    plan = RoutedPlan(
        status="optimal" if proven else "feasible",
        objective=Objective(
            name="throughput", value=value, bound=bound, gap=(bound - value) / value, unit="output tokens/s"
        ),
        turn_s=found.best.turn_s,
        max_tp=most,
        weights=priced.terms.weights,
        kv_cache=priced.terms.kv_cache,
        machines=machines,
        idle=tuple(one.id for one in priced.seats if one.id not in {machine.id for machine in machines}),
        flows=tuple(_flows(found.best.flows, [SOURCE, *(machine.id for machine in machines), SINK])),
        totals=_totals(request, priced, found.best, machines),
        ordinary=_ordinary(request, found, time.monotonic() - start_s, progress),
        inputs=Inputs(cluster=cluster, model=request.model, workload=request.workload),
        provenance=record_of(
            request, {one.gpu_type for one in priced.seats}, (*_notes(request, priced), *_scope(found))
        ),
    )
    if broken := check(plan):
        raise VerificationError("the routed plan fails its own check: " + "; ".join(broken))
    return plan


def groupings_of(request: Request, topology: Topology) -> tuple[tuple[int, Priced], ...]:
    """Return every way to take GPUs together, with the most GPUs in a machine, priced."""
    return tuple(_groupings(request, topology))


def _refuse(request: Request) -> None:
    """Raise InputError for what is asked of replicas only."""
    load = request.workload
    asked = {
        "several models": bool(request.more), f"--objective {request.objective}": request.objective != "throughput",
        "several objectives": bool(request.then), "--survive": request.survive is not None,
        "--max-gpus": request.max_gpus is not None, "--fix beside tp": bool(set(request.fix) - {"tp"}),
        "prefill and decode apart": load.roles != ("both",), "speculative decoding": load.speculative is not None,
        "a request_rate": load.request_rate is not None, "a concurrency": load.concurrency is not None,
    }  # fmt: skip
    if found := [what for what, is_asked in asked.items() if is_asked]:
        raise InputError(
            f"--routed: {', '.join(found)} is not planned for routed pools, which are made for one model under "
            "saturating load; leave it out"
        )
    if isinstance(request.cluster.fabric, Torus):
        raise InputError(
            "--routed: machines of a pool send to any other, and paths on a torus would share links; "
            "leave --routed out, or describe another fabric"
        )
    if len({spec.vendor for spec in request.cluster.gpus.values()}) > 1:
        raise InputError("--routed: GPUs of several vendors share no pool; --exclude the nodes of all but one")


def _groupings(request: Request, topology: Topology) -> Iterator[tuple[int, Priced]]:
    """Yield every way to take GPUs together, at every precision that is allowed; larger groups first."""
    market, load = market_of(topology.cluster, request.model, request.workload), request.workload
    types = {gpu.type for gpu in topology.gpus if gpu.placeable}
    if refused := [why for gpu_type in sorted(types) if (why := market.refuses(gpu_type))]:
        raise InputError(f"--routed: {'; '.join(refused)}; --exclude their nodes or take another --engine")
    for weights, cache in product(weights_of(request), load.kv_cache):
        terms, seen = Terms(market, weights, cache), set()
        for most in _sizes(request, topology):
            seats = groups_of(topology, terms, most)
            if len(seats) > MOST_MACHINES:
                continue
            if seats and seats not in seen:
                seen.add(seats)
                yield most, price(topology, terms, seats)
        if not seen:
            raise InputError(
                f"--routed: cluster {topology.cluster.name} has no usable GPUs, or makes more than {MOST_MACHINES} "
                "machines; --exclude some nodes"
            )


def _sizes(request: Request, topology: Topology) -> list[int]:
    if "tp" in request.fix:
        return [request.fix["tp"]]
    most = max((len(node.gpus) for node in topology.node_by_name.values()), default=1)
    return [most, *(2**power for power in range(most.bit_length() - 1, -1, -1) if 2**power < most)]


def _order(run: Run) -> tuple[int, int, str]:
    return run.first, run.end, run.machine


def _machine(topology: Topology, priced: Priced, run: Run, found: "Settled") -> RoutedMachine:
    seats = next(one for one in priced.seats if one.id == run.machine)
    held, step = priced.held(run), found.steps[run.machine]
    assert held is not None
    through = sum(link.tokens_per_s for link in found.flows if link.receiver == run.machine)
    capacity = next(one for one in pool_at(priced, found.turn_s).machines if one.id == run.machine)
    return RoutedMachine(
        id=run.machine, gpu_type=seats.gpu_type, tp=len(seats.gpus),
        seats=tuple(
            Seat(rank=rank, stage=0, node=gpu.node, gpu=gpu.id, local_index=gpu.local_index)
            for rank, gpu in enumerate(map(topology.gpu, seats.gpus))
        ),
        first_layer=run.first, end_layer=run.end, batch=step.batch,
        turn_s=priced.seconds(step),
        tokens_per_s=through,
        most_tokens_per_s=capacity.carries(run.first, run.num_layers, priced.num_layers),
        in_flight=through * priced.kept_for * found.turn_s, most_in_flight=held.sequences,
    )  # fmt: skip


def _flows(flows: Sequence[Link], order: Sequence[str]) -> Iterator[Flow]:
    """Yield what flows, along the layers."""
    place = {name: index for index, name in enumerate(order)}
    for link in sorted(flows, key=lambda link: (place[link.sender], place[link.receiver])):
        sent = sum(other.tokens_per_s for other in flows if other.sender == link.sender)
        yield Flow(
            sender=link.sender, receiver=link.receiver, tokens_per_s=link.tokens_per_s, weight=link.tokens_per_s / sent
        )


def _totals(request: Request, priced: Priced, found: "Settled", machines: Sequence[RoutedMachine]) -> RoutedTotals:
    return RoutedTotals(
        gpus=sum(machine.tp for machine in machines),
        machines=len(machines),
        output_tokens_per_s=found.tokens_per_s,
        requests_per_s=found.tokens_per_s / request.workload.osl.mean,
        ttft_s=priced.ttft_s(found.turn_s),
        tpot_s=found.turn_s,
        longest_chain=longest_chain(machines, found.flows),
    )


def longest_chain(machines: Sequence[RoutedMachine], flows: Sequence[Link | Flow]) -> int:
    """Return how many machines the path with most of them has; ``machines`` in order of their first layers."""
    until = {SOURCE: 0}
    for machine in machines:
        until[machine.id] = 1 + max(until[link.sender] for link in flows if link.receiver == machine.id)
    return max(until[link.sender] for link in flows if link.receiver == SINK)


def _ordinary(request: Request, found: "Operated", spent_s: float, progress: Progress) -> Ordinary:
    """Return the best plan of ordinary replicas, or why there is none."""
    if found.stopped:
        return Ordinary(layout="", why="the user stopped before they were looked for")
    left_s = None if request.time_limit_s is None else max(LEAST_S, request.time_limit_s - spent_s)
    try:
        plan = pipeline.solve(replace(request, faults=False, time_limit_s=left_s), progress).plan
    except (KeyboardInterrupt, Stopped):
        progress("stopped: the routed pool is kept")
        return Ordinary(layout="", why="the user stopped before one was found")
    except (InfeasibleError, NoAnswerError) as error:
        return Ordinary(layout="", why=str(error))
    told = "; ".join(f"{group.dp} x {group.label}" for group in replica_groups(plan))
    return Ordinary(layout=told, gpus=plan.totals.gpus, output_tokens_per_s=plan.totals.output_tokens_per_s)


def _notes(request: Request, priced: Priced) -> Iterator[str]:
    """Yield what was assumed, and what is not measured, each once."""
    if request.workload == WorkloadSpec():
        yield f"{NO_WORKLOAD}: ISL 1024, OSL 256, saturating load"
    if request.time_limit_s is not None:
        yield "time-limited: another run may find another plan"
    yield f"prompts are computed {CHUNK} tokens a turn, beside the tokens of others"
    yield from dict.fromkeys(note for kind in priced.curves for note in notes(priced.terms.case(kind, 1)))


def _scope(found: "Operated") -> Iterator[str]:
    if found.stopped:
        yield STOPPED
    proven = found.bound <= found.best.tokens_per_s * (1 + EQUAL)
    others = "bounds rule out the others" if proven else "none of the others carries more than the bound"
    yield f"of turns from 1 ms to 2 min, 4.4 % apart, {found.routed} were routed; {others}"
    yield "GPUs of an island are grouped into machines of equal TP as far as they go, alike on all nodes"
    yield "no engine among tpopt's targets runs a routed pool: it needs a router and workers such as Helix's"


def _nothing_flows(request: Request, groupings: Sequence[Priced]) -> InfeasibleError:
    """Return why no pool carries anything: memory, or the objectives."""
    most = max(map(_layers_held, groupings), default=0)
    needs, name = request.model.num_layers, request.model.name
    if most < needs:
        miss = f"the machines together hold {most} of {needs} layers beside KV of one sequence"
    else:
        from optimizer.formulation.routing.lanes import shortest_turn_s

        limit, least = max(priced.longest_turn_s for priced in groupings), min(map(shortest_turn_s, groupings))
        miss = f"no path through all layers takes a token within the {show_seconds(max(0.0, limit))} allowed"
        miss += f"; the shortest takes {show_seconds(least)}" if least < inf else ""
    return InfeasibleError(
        f"no routed pool serves {name} on cluster {request.cluster.name}",
        nearest_miss=(miss,),
        remedies=("more GPUs, weights or KV in fewer bits, a shorter ISL, or longer objectives (slo)",),
    )


def _layers_held(priced: Priced) -> int:
    most = {
        kind: max((n for known in curve.values() for n, held in enumerate(known, 1) if held.sequences), default=0)
        for kind, curve in priced.curves.items()
    }
    return sum(most[kind] for kind in priced.kinds.values())
