"""What a single failure takes: the most, over all that may break, of the replicas that break with it.

A GPU breaks one replica; a node breaks all that have a piece on it; a NIC breaks those that cross it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ortools.sat.python import cp_model

from optimizer.formulation.columns import NICS, Column, Piece
from optimizer.formulation.instance import Instance
from optimizer.formulation.integers import guard
from optimizer.formulation.variables import Counted, Decisions, Named, at_least_if_chosen


def told_apart(columns: Iterable[Column]) -> tuple[Column, ...]:
    """Return the columns with pieces of their own: what breaks with a node depends on whose pieces it holds."""
    return tuple(
        replace(column, pieces=tuple(replace(piece, owner=number) for piece in column.pieces))
        for number, column in enumerate(columns, start=1)
    )


def not_told_apart(columns: Iterable[Column]) -> tuple[Column, ...]:
    """Return the columns with pieces that are equal where they take the same, as before ``told_apart``."""
    bare: dict[tuple[Piece, ...], tuple[Piece, ...]] = {}
    found = []
    for column in columns:
        pieces = tuple(replace(piece, owner=0) for piece in column.pieces)
        found.append(replace(column, pieces=bare.setdefault(pieces, pieces)))
    return tuple(found)


def largest_loss(model: cp_model.CpModel, decisions: Decisions, weights: Sequence[int]) -> cp_model.IntVar:
    """Return a variable that is at least what any single failure takes, each replica weighing as its column says."""
    instance = decisions.instance
    most = sum(weight * n for weight, n in zip(weights, instance.most, strict=True))
    guard(most, "what a failure takes")
    worst = model.new_int_var(0, most, "worst_failure")
    for number, (column, var) in enumerate(zip(instance.columns, decisions.replicas, strict=True)):
        if weights[number] and breaks_alone(instance, column):
            at_least_if_chosen(model, worst, var, weights[number])
    if instance.survive != "gpu":
        _with_nodes(model, decisions, worst, _weight_of(instance, zip(instance.columns, weights, strict=True)))
    return worst


def breaks_alone(instance: Instance, column: Column) -> bool:
    """Whether some failure takes just this replica: of one of its GPUs, or of a NIC that serves one GPU."""
    if instance.survive == "nic":
        return any(crosses(piece) and instance.own_nics[piece.node_class] for piece in column.pieces)
    return instance.survive == "gpu"


def crosses(piece: Piece) -> bool:
    """Whether a replica sends over the NICs of the node of this piece."""
    return any(place == NICS and share > 0 for place, share in piece.shares)


def _weight_of(instance: Instance, weighed: Iterable[tuple[Column, int]]) -> dict[Piece, int]:
    """Return what is lost with each piece; pieces that columns share count as those of the heaviest."""
    found: dict[Piece, int] = {}
    for column, weight in weighed:
        for piece in column.pieces:
            if instance.survive == "node" or crosses(piece):
                found[piece] = max(found.get(piece, 0), weight)
    return found


def loss_of(
    instance: Instance, used: Iterable[int], held: Mapping[str, Mapping[Piece, int]], weights: Sequence[int]
) -> int:
    """Return the most that any single failure takes of a plan, counted as above.

    ``used``: the places of its columns; ``held``: what each node holds; ``weights``: of a replica of each column.
    """
    weighed = [(instance.columns[number], weights[number]) for number in used]
    alone = max((weight for column, weight in weighed if breaks_alone(instance, column)), default=0)
    if instance.survive == "gpu":
        return alone
    lost, together = _weight_of(instance, weighed), instance.survive == "node"
    nodes = [n for i, c in enumerate(instance.classes) if together or not instance.own_nics[i] for n in c.nodes]
    by_node = (sum(n * lost.get(piece, 0) for piece, n in held.get(node, {}).items()) for node in nodes)
    return max([alone, *by_node])


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
    """Let the worst be at least what breaks with a node of each pattern; those that lose as much are one question."""
    followers: dict[int, list[cp_model.IntVar]] = {}
    for pattern, var in filling.nodes:
        if taken := sum(n * lost.get(piece, 0) for piece, n in pattern.pieces):
            followers.setdefault(taken, []).append(var)
    for taken, own in followers.items():
        followed = model.new_bool_var(f"followed[{taken}:{own[0].name}]")
        model.add(cp_model.LinearExpr.sum(own) <= nodes * followed)
        model.add(worst >= taken).only_enforce_if(followed)
