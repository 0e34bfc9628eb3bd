"""What both searches share: their quanta, the flow to reach, and worths as whole numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

from optimizer.formulation.integers import capacity, requirement
from optimizer.formulation.routing.bound import Worths

STEPS = 10**7
"""Quanta in the most that can flow."""

_PRICE_STEP = 1e-4
"""Of a layer's price, rounded up: a cut may lose a little of its strength by it, no placement."""


@dataclass(frozen=True)
class Goal:
    """What is looked for: flows from ``least`` to ``most`` quanta."""

    quantum: float
    """Tokens/s."""
    least: int
    most: int

    def whole(self, rate: float) -> int:
        """Return a rate in quanta, rounded up, at most all that is looked for."""
        return min(requirement(rate, self.quantum), self.most)

    def tokens_per_s(self, quanta: float) -> float:
        """Return what quanta are."""
        return quanta * self.quantum


def more_than(reached: float, possible: float) -> Goal:
    """Return the goal of any flow above one. Rates are rounded up, so all that really flows has room in the model."""
    quantum = possible / STEPS
    return Goal(quantum, min(capacity(reached, quantum) + 1, STEPS), STEPS)


def at_least(target: float, possible: float) -> Goal:
    """Return the goal of a flow as large as the target."""
    quantum = possible / STEPS
    return Goal(quantum, min(capacity(target, quantum), STEPS), STEPS)


def costs_of(cut: Worths, held: Sequence[tuple[int, int]]) -> tuple[list[int], int]:
    """Return what (class, layers held) costs a layer, in steps, and the steps that are due."""
    costs = [requirement(cut.by_class[index] / count, _PRICE_STEP) for index, count in held]
    return costs, capacity(1.0, _PRICE_STEP)
