"""What a single failure takes: the most, over all that may break, of the replicas that break with it.

A GPU breaks one replica; a node breaks all that have a piece on it; a NIC breaks those that cross it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ortools.sat.python import cp_model

from optimizer.formulation.columns import NICS, Column, Piece
from optimizer.formulation.integers import guard
from optimizer.formulation.variables import Counted, Decisions, Named, at_least_if_chosen


def told_apart(columns: Iterable[Column]) -> tuple[Column, ...]:
    """Return the columns with pieces of their own: what breaks with a node depends on whose pieces it holds."""
    return tuple(
        replace(column, pieces=tuple(replace(piece, owner=number) for piece in column.pieces))
        for number, column in enumerate(columns, start=1)
    )


def largest_loss(model: cp_model.CpModel, decisions: Decisions, weights: Sequence[int]) -> cp_model.IntVar:
    """Return a variable that is at least what any single failure takes, each replica weighing as its column says."""
    instance = decisions.instance
    most = sum(weight * n for weight, n in zip(weights, instance.most, strict=True))
    guard(most, "what a failure takes")
    worst = model.new_int_var(0, most, "worst_failure")
    for number, (column, var) in enumerate(zip(instance.columns, decisions.replicas, strict=True)):
        if weights[number] and _breaks_alone(decisions, column):
            at_least_if_chosen(model, worst, var, weights[number])
    if instance.survive != "gpu":
        _with_nodes(model, decisions, worst, _weight_of(decisions, weights))
    return worst


def _breaks_alone(decisions: Decisions, column: Column) -> bool:
    """Whether some failure takes just this replica: of one of its GPUs, or of a NIC that serves one GPU."""
    instance = decisions.instance
    if instance.survive == "nic":
        return any(crosses(piece) and instance.own_nics[piece.node_class] for piece in column.pieces)
    return instance.survive == "gpu"


def crosses(piece: Piece) -> bool:
    """Whether a replica sends over the NICs of the node of this piece."""
    return any(place == NICS and share > 0 for place, share in piece.shares)


def _weight_of(decisions: Decisions, weights: Sequence[int]) -> dict[Piece, int]:
    """Return what is lost with each piece; pieces that columns share count as those of the heaviest."""
    found: dict[Piece, int] = {}
    for column, weight in zip(decisions.instance.columns, weights, strict=True):
        for piece in column.pieces:
            if decisions.instance.survive == "node" or crosses(piece):
                found[piece] = max(found.get(piece, 0), weight)
    return found


def _with_nodes(model: cp_model.CpModel, decisions: Decisions, worst: cp_model.IntVar, lost: dict[Piece, int]) -> None:
    """Let the worst be at least what breaks with each node; its NICs count as one where they serve several GPUs."""
    for index, node_class, filling in decisions.classes():
        if decisions.instance.survive == "nic" and decisions.instance.own_nics[index]:
            continue
        if isinstance(filling, Named):
            for v in range(len(node_class.nodes)):
                taken = [held[v] * lost[piece] for piece, held in filling.held if lost.get(piece)]
                model.add(worst >= cp_model.LinearExpr.sum(taken))
        elif isinstance(filling, Counted):
            _with_patterns(model, filling, len(node_class.nodes), worst, lost)


def _with_patterns(
    model: cp_model.CpModel, filling: Counted, nodes: int, worst: cp_model.IntVar, lost: dict[Piece, int]
) -> None:
    for number, (pattern, var) in enumerate(filling.nodes):
        if taken := sum(n * lost.get(piece, 0) for piece, n in pattern.pieces):
            followed = model.new_bool_var(f"followed[{number}:{var.name}]")
            model.add(var <= nodes * followed)
            model.add(worst >= taken).only_enforce_if(followed)
