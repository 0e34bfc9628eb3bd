"""What each layout alone would give: equal replicas of one column, as many as there is room and demand for."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from optimizer.cost.quantities import Estimate
from optimizer.formulation.columns import Column, Piece
from optimizer.formulation.instance import Instance, demanded_concurrency
from optimizer.formulation.patterns import room
from optimizer.topology.classes import NodeClass


@dataclass(frozen=True)
class Uniform:
    """Equal replicas of one column."""

    column: Column
    replicas: int
    meets: bool
    """Whether they serve all that is asked."""

    @property
    def gpus(self) -> int:
        """GPUs of all replicas."""
        return self.replicas * self.column.gpus

    def tokens_per_s(self, instance: Instance) -> float:
        """Return output tokens/s of all replicas, never more than the demand."""
        served = self.replicas * self.column.point.output_tokens_per_s
        rate = instance.workload.request_rate
        return served if rate is None else min(served, rate * instance.workload.osl.mean)

    def loss(self, instance: Instance) -> tuple[float, ...]:
        """Return what is to be minimised, in order: shortfall, objective, tie-break."""
        tokens, price = self.tokens_per_s(instance), (self.column.price_per_h or 0.0) * self.replicas
        point = self.column.point
        match instance.objective:
            case "throughput":
                return (-tokens, self.gpus)
            case "latency":
                return (not self.meets, point.tpot_s, self.gpus)
            case "ttft":
                return (not self.meets, point.ttft_s, self.gpus)
            case "gpus":
                return (not self.meets, self.gpus, -tokens)
            case "cost":
                return (not self.meets, price, -tokens)


def best_uniform(instance: Instance, columns: Iterable[Column]) -> Uniform | None:
    """Return the best plan of equal replicas among the columns of one layout, None when none has room."""
    plans = (_plan(instance, column) for column in columns)
    return min((plan for plan in plans if plan), key=lambda plan: plan.loss(instance), default=None)


def _plan(instance: Instance, column: Column) -> Uniform | None:
    """Return as many replicas as the demand needs, or as there is room for."""
    most = most_replicas(instance.classes, column)
    if instance.max_gpus is not None:
        most = min(most, instance.max_gpus // column.gpus)
    asked = instance.replicas or _asked(instance, column.point) or most
    if most < 1 or (instance.replicas and most < instance.replicas):
        return None
    return Uniform(column, max(1, min(asked, most)), meets=asked <= most)


def _asked(instance: Instance, point: Estimate) -> int | None:
    """Return the replicas that the demand needs, None for as many as possible."""
    clients = demanded_concurrency(instance.workload, instance.objective)
    if clients is not None:
        share = clients / point.concurrency
        return math.floor(share) if instance.objective == "throughput" else math.ceil(share)
    if instance.workload.request_rate is not None:
        return math.ceil(instance.workload.request_rate / point.requests_per_s * (1 - 1e-9))
    return None if instance.objective == "throughput" else 1


def most_replicas(classes: Sequence[NodeClass], column: Column) -> int:
    """Return how many equal replicas there is room for; a replica's pieces sit on different nodes."""
    needs = {piece: column.pieces.count(piece) for piece in column.pieces}
    bounds = [_most_on_class(classes[piece.node_class], piece, n) for piece, n in needs.items()]
    shared = [int(1 / share + 1e-9) for _, share in column.leaf_shares if share > 0]
    return min(bounds + shared)


def _most_on_class(node_class: NodeClass, piece: Piece, per_replica: int) -> int:
    """Return the most replicas of which the nodes hold ``per_replica`` pieces each, on different nodes."""
    sizes, links = tuple(i.size for i in node_class.islands), {name: 1.0 for name, _ in piece.shares}
    per_node, nodes = room(sizes, links, piece), len(node_class.nodes)
    fits = (x for x in range(nodes * per_node // per_replica, 0, -1) if nodes * min(per_node, x) >= per_replica * x)
    return next(fits, 0)
