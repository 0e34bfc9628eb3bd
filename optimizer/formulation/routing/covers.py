"""Covers: the machines that together carry a flow across one layer, the cheapest first."""

from collections.abc import Sequence
from dataclasses import dataclass

from optimizer.formulation.routing.classes import MachineClass


@dataclass(frozen=True)
class Cover:
    """Machines across one layer: (class, layers that the machine holds), in class order."""

    members: tuple[tuple[int, int], ...]

    def carries(self, classes: Sequence[MachineClass]) -> float:
        """Return tokens/s across the layer."""
        return sum(classes[c].tokens_per_s[k - 1] for c, k in self.members)

    def share(self, index: int) -> float:
        """Return how much of the machines of a class this layer takes: 1/k of one that holds k layers."""
        return sum(1 / k for c, k in self.members if c == index)

    def price(self, worth: Sequence[float]) -> float:
        """Return what the cover costs when a machine of class c costs ``worth[c]``."""
        return sum(worth[c] / k for c, k in self.members)


@dataclass(frozen=True)
class _State:
    price: float
    carries: float
    members: tuple[tuple[int, int], ...]


def cheapest(classes: Sequence[MachineClass], worth: Sequence[float], above: float) -> Cover | None:
    """Return the cheapest cover that carries more than ``above`` tokens/s; None when all machines together do not.

    Dynamic programming over machines; kept are the states that carry more than every cheaper one.
    """
    front, best = [_State(0.0, 0.0, ())], None
    for index, one in enumerate(classes):
        for _ in range(one.count):
            wider, best = _add_machine(front, best, index, one, worth[index], above)
            if wider == front:
                break
            front = wider
    return Cover(best.members) if best else None


def _add_machine(
    front: list[_State], best: _State | None, index: int, one: MachineClass, worth: float, above: float
) -> tuple[list[_State], _State | None]:
    """Return the states with or without one more machine of a class, and the cheapest cover known."""
    grown = [
        _State(state.price + worth / k, state.carries + rate, (*state.members, (index, k)))
        for state in front
        for k, rate in enumerate(one.tokens_per_s, 1)
        if best is None or state.price + worth / k < best.price
    ]
    covers = [state for state in grown if state.carries > above]
    best = min([*([best] if best else []), *covers], key=lambda state: state.price, default=None)
    return _undominated([*front, *(state for state in grown if state.carries <= above)], best), best


def _undominated(states: list[_State], best: _State | None) -> list[_State]:
    kept: list[_State] = []
    for state in sorted(states, key=lambda state: (state.price, -state.carries)):
        if best is not None and state.price >= best.price:
            break
        if not kept or state.carries > kept[-1].carries:
            kept.append(state)
    return kept
