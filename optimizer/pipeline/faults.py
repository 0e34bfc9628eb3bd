"""Which fault changed the answer and what it costs: the same question again on the cluster without it."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from optimizer.errors import InfeasibleError, NoAnswerError, Stopped
from optimizer.formulation.objectives import value
from optimizer.formulation.solve import Limits, choose
from optimizer.inputs.cluster import Match, Override, Torus
from optimizer.inputs.hostlist import expand
from optimizer.pipeline.prepare import Known, Prepared, prepare
from optimizer.pipeline.request import Progress, Request, silent
from optimizer.plan import FaultCost, ObjectiveName, Plan
from optimizer.topology.faults import Fault, faults, without
from optimizer.topology.graph import Topology

MOST = 8
"""Different faults that are repaired one at a time; more are only told together."""

MOST_SHAPES = 15_000
"""Priced shapes times repaired clusters: some seconds of pricing. Counted, not timed, so that answers repeat."""

MOST_NODES = 256
"""Nodes up to which a question is asked again: beyond, each answer takes seconds by itself."""

EFFORT = 8.0
"""Deterministic seconds of solving each repaired cluster; an answer that is not proven by then is not told."""


@dataclass(frozen=True)
class _Repair:
    """Faults that are alike, or all there are, and the ones to repair to learn what each costs."""

    words: str
    like: tuple[Fault, ...]
    repaired: tuple[Fault, ...]


@dataclass(frozen=True)
class _Answer:
    value: float
    gpus: int


def with_fault_costs(
    request: Request, known: Prepared, plan: Plan, progress: Progress = silent, until_s: float = math.inf
) -> Plan:
    """Return the plan with what each fault of its cluster costs, or with a note on why that is not told.

    ``until_s``: monotonic seconds after which nothing more is asked.
    """
    broken = faults(request.cluster) if request.faults else ()
    if not broken:
        return plan
    if reason := _not_asked(known, plan):
        return _noted(plan, f"what {_count(broken)} cost is not told: {reason}")
    repairs = _repairs(request, known, broken)
    room = max(1, MOST_SHAPES // len(known.shapes))
    progress(f"{_count(broken)}: solving again without {'it' if len(broken) == 1 else 'them'}")
    try:
        told = tuple(_costs(request, known, plan, repairs[: min(room, MOST + 1)], until_s))
    except (KeyboardInterrupt, Stopped):
        return _noted(plan, f"what {_count(broken)} cost is not told: stopped by the user")
    plan = plan.model_copy(update={"faults": told})
    if len(told) == len(repairs) or (told and told[0].harmless and len(repairs) > 1):
        return plan
    asked = f"{len(told)} of {len(repairs)} questions about faults"
    return _noted(plan, f"{asked} are answered: at most {MOST} different faults, and so much effort for each")


def _count(broken: Sequence[Fault]) -> str:
    return "1 fault" if len(broken) == 1 else f"{len(broken)} faults"


def _noted(plan: Plan, note: str) -> Plan:
    more = plan.provenance.model_copy(update={"notes": (*plan.provenance.notes, note)})
    return plan.model_copy(update={"provenance": more})


def _not_asked(known: Prepared, plan: Plan) -> str | None:
    """Return why the question is not asked again; None when it is."""
    if plan.survival is not None:
        return "what is left after a failure is not compared with other clusters; ask without --survive"
    if plan.status != "optimal":
        return "the plan itself is not proven"
    if len(known.topology.nodes) > MOST_NODES:
        return f"the cluster has more than {MOST_NODES} nodes; ask about a part of it"
    if len(known.shapes) > MOST_SHAPES:
        return "every answer on this cluster takes long; narrow it with --fix or --max-gpus"
    return None


# -- what to repair ------------------------------------------------------------------------------------------------


def _repairs(request: Request, known: Prepared, broken: Sequence[Fault]) -> list[_Repair]:
    """Return what to repair: all together first when there are several, then one of each kind of fault."""
    kinds: dict[object, list[Fault]] = {}
    for fault in broken:
        kinds.setdefault(_kind(request.cluster.overrides[fault.override], known.topology), []).append(fault)
    single = [_Repair(_words(like), tuple(like), (like[0],)) for like in kinds.values()]
    together = [_Repair(f"all {len(broken)} faults together", tuple(broken), tuple(broken))] if len(broken) > 1 else []
    return [*together, *single]


def _words(like: Sequence[Fault]) -> str:
    return like[0].words + (f" (one of {len(like)} alike)" if len(like) > 1 else "")


def _kind(override: Override, topology: Topology) -> object:
    """Return what tells a fault from others: what is wrong with which part, and the places that it may be at.

    Two equal faults on nodes of one template and leaf group are one kind: repairing either gives the same answer.
    """
    match = override.match
    if match.node is None or isinstance(topology.cluster.fabric, Torus):  # no two nodes of a torus are at one place
        return override
    nodes = [topology.node(name) for name in expand(match.node)]
    places = tuple(sorted((node.template, node.leaf or "") for node in nodes))
    part = match.gpu if not isinstance(match.gpu, str) else nodes[0].gpus.index(match.gpu)
    bare = override.model_copy(update={"match": Match(gpu=part, nic=match.nic, link=match.link), "reason": None})
    return bare, places, _others(match, nodes[0].name, topology)


def _others(match: Match, node: str, topology: Topology) -> tuple[Override, ...]:
    """Return what else is said of the node, without its name."""
    found = (
        o for o in topology.cluster.overrides if o.match.node and o.match != match and node in expand(o.match.node)
    )
    return tuple(
        o.model_copy(update={"match": o.match.model_copy(update={"node": None}), "reason": None}) for o in found
    )


# -- asking again --------------------------------------------------------------------------------------------------


def _costs(
    request: Request, known: Prepared, plan: Plan, repairs: Sequence[_Repair], until_s: float
) -> Iterator[FaultCost]:
    """Yield the costs of the repairs that can be told; when all together cost nothing, none is looked at alone."""
    for repair in repairs:
        if time.monotonic() > until_s:
            return
        found = _answer(replace(request, cluster=without(request.cluster, *repair.repaired)), known.prices, until_s)
        if found is None:
            continue
        cost = FaultCost(
            fault=repair.words,
            overrides=tuple(fault.override for fault in repair.like),
            value_without=found.value,
            loss_fraction=loss_fraction(request.objective, plan.objective.value, found.value),
            more_gpus=plan.totals.gpus - found.gpus,
        )
        yield cost
        if len(repair.repaired) > 1 and cost.harmless:
            return


def loss_fraction(objective: ObjectiveName, with_it: float, without_it: float) -> float:
    """Return the part of the healthy value that is lost: less throughput, or more seconds, GPUs or money."""
    if without_it == 0:
        return 0.0
    lost = without_it - with_it if objective == "throughput" else with_it - without_it
    return lost / without_it


def _answer(request: Request, prices: Known | None = None, until_s: float = math.inf) -> _Answer | None:
    """Return the proven answer to a question; None when there is none or it is not proven in bounded effort."""
    try:
        known = prepare(request, silent, prices=prices)
        left_s = None if math.isinf(until_s) else max(0.0, until_s - time.monotonic())
        choice = choose(known.instance, Limits(left_s, effort=EFFORT, seed=request.seed), silent)
    except (InfeasibleError, NoAnswerError):
        return None
    if choice is None or not choice.proven:
        return None
    copies = [c for c, n in zip(known.instance.columns, choice.replicas, strict=True) for _ in range(n)]
    return _Answer(value(known.instance, request.objective, copies), sum(column.gpus for column in copies))
