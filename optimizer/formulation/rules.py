"""What a plan must obey: one function per rule, all of them in RULES. Each has its twin in ``verify``."""

from collections import defaultdict
from collections.abc import Callable
from functools import partial

from ortools.sat.python import cp_model

from optimizer.formulation.boxes import held_by_boxes
from optimizer.formulation.columns import Column, Piece, pieces_of
from optimizer.formulation.failures import largest_loss
from optimizer.formulation.instance import Instance, Phase
from optimizer.formulation.integers import SHARE_STEPS, guard, need, part
from optimizer.formulation.objectives import additive_weights
from optimizer.formulation.pairs import pairs_agree, pairs_meet_ttft, services_apart
from optimizer.formulation.pooled import sizes_of
from optimizer.formulation.variables import Counted, Decisions, Named, Pooled
from optimizer.topology.classes import NodeClass


def pieces_have_a_place(model: cp_model.CpModel, decisions: Decisions) -> None:
    """Every piece of a chosen replica is held by a node of its class."""
    for index, _, filling in decisions.classes():
        if isinstance(filling, Named):
            for piece, held in filling.held:
                model.add(cp_model.LinearExpr.sum(list(held)) == decisions.used(piece))
        if not isinstance(filling, Counted):
            continue
        for n, piece in enumerate(pieces_of(decisions.instance.columns, index)):
            offered = [var * k for pattern, var in filling.nodes if (k := pattern.count(piece))]
            model.add(decisions.used(piece) <= cp_model.LinearExpr.sum(offered)).with_name(f"place[{index},{n}]")


def nodes_are_not_exceeded(model: cp_model.CpModel, decisions: Decisions) -> None:
    """No class has more filled nodes than nodes, no island holds more ranks than GPUs."""
    for index, node_class, filling in decisions.classes():
        if isinstance(filling, Counted):
            total = cp_model.LinearExpr.sum([var for _, var in filling.nodes])
            model.add(total <= len(node_class.nodes)).with_name(f"nodes[{index}]")
            continue
        if isinstance(filling, Pooled):
            _filled_freely(model, decisions, filling, node_class)
            continue
        for v, node in enumerate(node_class.nodes):
            for i, island in enumerate(node_class.islands):
                ranks = [held[v] * piece.counts[i] for piece, held in filling.held if piece.counts[i]]
                model.add(cp_model.LinearExpr.sum(ranks) <= island.size).with_name(f"gpus[{node},{i}]")


def _filled_freely(model: cp_model.CpModel, decisions: Decisions, filling: Pooled, node_class: NodeClass) -> None:
    """Pieces of each size and more take no more GPUs than whole places of that size hold (pooled.py has the proof)."""
    room = node_class.islands[0].size
    for size in sizes_of(filling.pieces):
        taken = [decisions.used(piece) * piece.counts[0] for piece in filling.pieces if piece.counts[0] >= size]
        model.add(cp_model.LinearExpr.sum(taken) <= len(node_class.nodes) * (room // size) * size)


def classes_have_the_gpus(model: cp_model.CpModel, decisions: Decisions) -> None:
    """No replicas take more of the equal islands of a class than there are: the two rules above, summed over its nodes.

    Nothing is ruled out that they allow; the solver reads whole-number bounds off this row, which patterns hide.
    """
    instance = decisions.instance
    for index, node_class in enumerate(instance.classes):
        for i, island in enumerate(node_class.islands):
            ranks = _sum(decisions, partial(_ranks_on, index, i))
            model.add(ranks <= island.size * len(node_class.nodes)).with_name(f"gpus[{index},{i}]")


def _ranks_on(node_class: int, island: int, column: Column) -> int:
    return sum(piece.counts[island] for piece in column.pieces if piece.node_class == node_class)


def links_carry_what_is_promised(model: cp_model.CpModel, decisions: Decisions) -> None:
    """No boundary in or around a node is promised beyond its capacity (patterns are built so)."""
    for _, node_class, filling in decisions.classes():
        if not isinstance(filling, Named):
            continue
        places = {name: None for piece, _ in filling.held for name, share in piece.shares if share > 0}
        for v, node in enumerate(node_class.nodes):
            for place in places:
                promised = [held[v] * need(dict(piece.shares).get(place, 0.0)) for piece, held in filling.held]
                model.add(cp_model.LinearExpr.sum(promised) <= SHARE_STEPS).with_name(f"link[{node},{place}]")


def uplinks_carry_what_is_promised(model: cp_model.CpModel, decisions: Decisions) -> None:
    """No leaf's uplinks are promised beyond their capacity."""
    promised: dict[str, list[cp_model.LinearExpr]] = defaultdict(list)
    for column, var in zip(decisions.instance.columns, decisions.replicas, strict=True):
        for leaf, share in column.leaf_shares:
            promised[leaf].append(var * need(share))
    for leaf, terms in promised.items():
        guard(SHARE_STEPS * sum(decisions.instance.most), f"uplinks of {leaf}")
        model.add(cp_model.LinearExpr.sum(terms) <= SHARE_STEPS).with_name(f"uplinks[{leaf}]")


def pieces_of_a_replica_sit_apart(model: cp_model.CpModel, decisions: Decisions) -> None:
    """A replica's pieces sit on different nodes.

    With X replicas that put k equal pieces each on a class, a node is of use to at most X of them, so a k-th piece on
    a node counts only when there are k such replicas; by Gale and Ryser (1957) that is also enough.
    """
    for index, node_class, filling in decisions.classes():
        for piece in pieces_of(decisions.instance.columns, index):
            if piece.nodes == 1:
                continue
            if isinstance(filling, Named):
                for var in dict(filling.held)[piece]:
                    model.add(var <= decisions.spanning(piece))
            elif isinstance(filling, Counted):
                _apart_by_patterns(model, decisions, filling, piece, len(node_class.nodes))


def _apart_by_patterns(
    model: cp_model.CpModel, decisions: Decisions, filling: Counted, piece: Piece, nodes: int
) -> None:
    """Count the k-th piece of a node only when k replicas have such a piece."""
    most = max((pattern.count(piece) for pattern, _ in filling.nodes), default=0)
    heights = []
    for k in range(1, most + 1):
        height = model.new_int_var(0, nodes, f"height[{piece.counts},{k}]")
        model.add(height <= cp_model.LinearExpr.sum([var for p, var in filling.nodes if p.count(piece) >= k]))
        if k > 1:
            enough = model.new_bool_var(f"enough[{piece.counts},{k}]")
            model.add(height <= nodes * enough)
            model.add(decisions.spanning(piece) >= k * enough)
        heights.append(height)
    model.add(decisions.used(piece) <= cp_model.LinearExpr.sum(heights))


def boxes_do_not_overlap(model: cp_model.CpModel, decisions: Decisions) -> None:
    """Replicas on named nodes have a box each, and no node is in two."""
    boxes_of: dict[str, list[cp_model.IntVar]] = defaultdict(list)
    for n, boxed in enumerate(decisions.boxes):
        copies = cp_model.LinearExpr.sum([decisions.replicas[index] for index in boxed.columns])
        model.add(copies == cp_model.LinearExpr.sum([taken for _, taken in boxed.places])).with_name(f"boxes[{n}]")
        for nodes, taken in boxed.places:
            for node in nodes:
                boxes_of[node].append(taken)
    for node, boxes in boxes_of.items():
        model.add_at_most_one(boxes).with_name(f"boxed[{node}]")
    put = held_by_boxes(decisions.boxes)
    for _, node_class, filling in decisions.classes():
        if put and isinstance(filling, Named):
            for v, node in enumerate(node_class.nodes):
                for piece, held in filling.held:
                    if any(piece in boxed.pieces for boxed in decisions.boxes):
                        model.add(held[v] == cp_model.LinearExpr.sum(put.get((node, piece), [])))


def gpus_are_not_exceeded(model: cp_model.CpModel, decisions: Decisions) -> None:
    """No more GPUs are used than the user allows."""
    if decisions.instance.max_gpus is not None:
        model.add(_sum(decisions, lambda column: column.gpus) <= decisions.instance.max_gpus).with_name("max_gpus")


def replicas_are_as_fixed(model: cp_model.CpModel, decisions: Decisions) -> None:
    """Every phase of every model has at least one replica; in all they are as many as the user fixed."""
    for phase in decisions.instance.phases:
        own = _sum(decisions, lambda _: 1, phase)
        model.add(own >= 1).with_name(f"replicas[{phase.service},{phase.role}]")
    if decisions.instance.replicas is not None:
        model.add(_sum(decisions, lambda _: 1) == decisions.instance.replicas).with_name("replicas")


def demand_is_met(model: cp_model.CpModel, decisions: Decisions) -> None:
    """All clients or the whole rate of each model are served, in each phase."""
    instance = decisions.instance
    for phase in instance.phases:
        load = instance.loads[phase.service]
        clients, rate = load.clients(instance.objective), load.workload.request_rate
        if clients is not None:
            _clients_are_served(model, decisions, phase, clients)
        elif rate is not None and instance.objective != "throughput":
            served = _rates(decisions, phase, rate)
            model.add(served >= SHARE_STEPS).with_name(f"rate[{phase.service},{phase.role}]")


def _clients_are_served(model: cp_model.CpModel, decisions: Decisions, phase: Phase, clients: int) -> None:
    """All clients have a place where answers are made; for throughput there are never more requests than clients."""
    if decisions.instance.objective == "throughput":
        own = _sum(decisions, lambda column: column.point.concurrency * (column.service == phase.service))
        model.add(own <= clients).with_name(f"clients[{phase.service}]")
    elif phase.role != "prefill":
        places = _sum(decisions, lambda column: column.point.concurrency, phase)
        model.add(places >= clients).with_name(f"clients[{phase.service}]")


def prompts_keep_up(model: cp_model.CpModel, decisions: Decisions) -> None:
    """Where clients wait for answers, prefill replicas make as many prompts as the decode replicas finish."""
    instance = decisions.instance
    for service in services_apart(instance.columns):
        if instance.objective == "throughput" or instance.loads[service].clients(instance.objective) is None:
            continue
        fastest = max(column.point.requests_per_s for column in instance.columns if column.service == service)
        made = _rates(decisions, Phase(service, "prefill"), fastest)
        finished = _rates(decisions, Phase(service, "decode"), fastest, need)
        model.add(made >= finished).with_name(f"prompts[{service}]")


def enough_is_left(model: cp_model.CpModel, decisions: Decisions) -> None:
    """Any single failure leaves each phase enough to meet the demand; for throughput, counted after it, a replica."""
    instance = decisions.instance
    if instance.survive is None:
        return
    for phase in instance.phases:
        weights, demand = asked_of(instance, phase)
        total = cp_model.LinearExpr.weighted_sum(list(decisions.replicas), weights)
        loss = largest_loss(model, decisions, weights)
        model.add(total - loss >= demand).with_name(f"enough_left[{phase.service},{phase.role}]")


def asked_of(instance: Instance, phase: Phase) -> tuple[list[int], int]:
    """Return what each column adds to a phase, and what has to be left of the sum."""
    workload, most = instance.loads[phase.service].workload, instance.objective == "throughput"
    rate = workload.request_rate
    if rate is not None and not most:
        parts = [part(column.point.requests_per_s / rate) for column in instance.columns]
        demand = SHARE_STEPS
    else:
        parts = [column.point.concurrency for column in instance.columns]
        demand = 1 if most or phase.role == "prefill" else workload.concurrency or 1
    return [n * phase.covers(column) for n, column in zip(parts, instance.columns, strict=True)], demand


def _rates(
    decisions: Decisions, phase: Phase, whole: float, steps: Callable[[float], int] = part
) -> cp_model.LinearExpr:
    """Return what a phase carries, in steps of which ``whole`` requests/s have SHARE_STEPS."""
    return _sum(decisions, lambda column: steps(column.point.requests_per_s / whole), phase)


def _sum(decisions: Decisions, of: Callable[[Column], int], phase: Phase | None = None) -> cp_model.LinearExpr:
    """Return the sum of a whole number over all chosen replicas (of a phase), guarded against overflow."""
    weights = [of(c) if phase is None or phase.covers(c) else 0 for c in decisions.instance.columns]
    guard(sum(w * m for w, m in zip(weights, decisions.instance.most, strict=True)), "a sum over replicas")
    return cp_model.LinearExpr.weighted_sum(list(decisions.replicas), weights)


Rule = Callable[[cp_model.CpModel, Decisions], None]

RULES: tuple[Rule, ...] = (
    pieces_have_a_place,
    nodes_are_not_exceeded,
    classes_have_the_gpus,
    links_carry_what_is_promised,
    uplinks_carry_what_is_promised,
    pieces_of_a_replica_sit_apart,
    boxes_do_not_overlap,
    gpus_are_not_exceeded,
    replicas_are_as_fixed,
    demand_is_met,
    prompts_keep_up,
    pairs_agree,
    pairs_meet_ttft,
    enough_is_left,
)

ON_REPLICAS: tuple[Rule, ...] = (
    classes_have_the_gpus,
    uplinks_carry_what_is_promised,
    gpus_are_not_exceeded,
    replicas_are_as_fixed,
    demand_is_met,
    prompts_keep_up,
)
"""Rules that are linear in the replicas and say nothing of what nodes hold."""


def each_needs_its_own(model: cp_model.CpModel, decisions: Decisions) -> None:
    """Every model's replicas weigh no less than the least it needs alone, where that was looked at (shared.py)."""
    instance = decisions.instance
    weights = (additive_weights(instance) if instance.needs else None) or []
    for service, least in enumerate(instance.needs):
        own = [place for place, column in enumerate(instance.columns) if column.service == service]
        taken = cp_model.LinearExpr.weighted_sum(
            [decisions.replicas[place] for place in own], [weights[place] for place in own]
        )
        model.add(taken >= least).with_name(f"alone[{service}]")
