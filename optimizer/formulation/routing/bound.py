"""Bounds on what flows, from what a machine is worth in layers: a linear program over covers, cut by cut."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ortools.linear_solver.python import model_builder

from optimizer.formulation.routing.classes import MachineClass
from optimizer.formulation.routing.covers import Cover, cheapest

STEPS = 24
"""Halvings between what is reached and the ceiling: a bound to about 1e-7 of their distance."""

ROUNDS = 400
"""Covers looked for at one flow; more have not been seen to be needed."""

MARGIN = 1e-9
"""Relative: worths are raised by it, so that the proof stands in exact fractions too."""

NOISE = 1e-10
"""Relative: a cover that carries so little more than a flow carries the same, summed in another order."""


@dataclass(frozen=True)
class Worths:
    """Layers that a machine of each class is worth: every cover of more than ``above`` tokens/s costs 1 or more."""

    above: float
    by_class: tuple[float, ...]

    def total(self, classes: Sequence[MachineClass]) -> float:
        """Return what all machines are worth."""
        return sum(one.count * worth for one, worth in zip(classes, self.by_class, strict=True))

    def prove(self, classes: Sequence[MachineClass], num_layers: int) -> bool:
        """Return whether no more than ``above`` flows: more would need as much worth as there are layers."""
        return self.total(classes) < num_layers


def least_worths(classes: Sequence[MachineClass], num_layers: int, above: float, known: list[Cover]) -> Worths | None:
    """Return worths of a small total for flows above ``above``; None when the search for covers was cut short.

    The linear program: least total worth, every cover costing at least 1. Covers are added until the worths prove
    something or none costs less; found ones stay in ``known``.
    """
    flow = above * (1 + NOISE)
    for _ in range(ROUNDS):
        worth = _cheapest_worths(classes, [cover for cover in known if cover.carries(classes) > flow])
        cover = cheapest(classes, worth, flow)
        if cover is None:
            return Worths(above, (0.0,) * len(classes))
        price = cover.price(worth)
        if price > 0:
            worths = Worths(above, tuple(value / price * (1 + MARGIN) for value in worth))
            if price >= 1 - MARGIN or worths.prove(classes, num_layers):
                return worths
        known.append(cover)
    return None


def _cheapest_worths(classes: Sequence[MachineClass], covers: Sequence[Cover]) -> list[float]:
    """Solve: least sum of count·worth over the classes, each cover costing at least 1."""
    model = model_builder.Model()  # type: ignore[no-untyped-call]
    worth = [model.new_num_var(0.0, float("inf"), f"w{index}") for index in range(len(classes))]
    for cover in covers:
        model.add(sum(cover.share(index) * value for index, value in enumerate(worth)) >= 1.0)
    model.minimize(sum(one.count * value for one, value in zip(classes, worth, strict=True)))
    solver = model_builder.Solver("GLOP")
    if solver.solve(model) != model_builder.SolveStatus.OPTIMAL:
        raise ArithmeticError("a linear program that always has an answer was not solved")
    return [max(0.0, solver.value(value)) for value in worth]


def evidence(
    classes: Sequence[MachineClass], num_layers: int, reached: float, ceiling: float, stop: Callable[[], bool]
) -> Worths | None:
    """Return the worths that prove the least bound, at best ``reached`` itself; None when none below the ceiling."""
    known: list[Cover] = []
    best = least_worths(classes, num_layers, reached, known)
    if best is not None and best.prove(classes, num_layers):
        return best
    best, low, high = None, reached, ceiling
    for _ in range(STEPS):
        if stop():
            break
        middle = (low + high) / 2
        worths = least_worths(classes, num_layers, middle, known)
        if worths is not None and worths.prove(classes, num_layers):
            high, best = middle, worths
        else:
            low = middle
    return best
