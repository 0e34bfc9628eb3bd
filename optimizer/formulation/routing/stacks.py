"""A first placement: blocks of machines side by side on the same layers, stacked until the model is covered."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Literal

from ortools.sat.python import cp_model

from optimizer.cost.pool import Run
from optimizer.formulation.routing.classes import MachineClass

ORDER = {"whole": 0, "first": 1, "inside": 2, "last": 3}

WIDEST = 4
"""Machines side by side at most: wider blocks are left to the search."""


Place = Literal["first", "inside", "last", "whole"]
"""Of a block in the stack; all are "inside" where the ends of the model make no difference."""


@dataclass(frozen=True)
class Block:
    """Machines, by their class, that each hold the same ``num_layers`` layers."""

    num_layers: int
    members: tuple[int, ...]
    tokens_per_s: float
    place: Place = "inside"

    def of(self, index: int) -> int:
        """Return how many machines of a class it takes."""
        return self.members.count(index)


def blocks(classes: Sequence[MachineClass], num_layers: int) -> tuple[Block, ...]:
    """Return every block of at most ``WIDEST`` machines, by its place where the model's ends make a difference."""
    return tuple(_blocks(classes, num_layers))


def _blocks(classes: Sequence[MachineClass], num_layers: int) -> Iterator[Block]:
    for count in range(1, max((len(one.tokens_per_s) for one in classes), default=0) + 1):
        able = [index for index, one in enumerate(classes) if len(one.tokens_per_s) >= count]
        for place, rates in _rates(classes, able, count, num_layers):
            for width in range(1, WIDEST + 1):
                for members in combinations_with_replacement([i for i in able if rates[i] > 0], width):
                    if all(members.count(index) <= classes[index].count for index in members):
                        yield Block(count, members, sum(rates[index] for index in members), place)


def _rates(
    classes: Sequence[MachineClass], able: Sequence[int], count: int, num_layers: int
) -> Iterator[tuple[Place, dict[int, float]]]:
    """Yield what a machine of each class carries with ``count`` layers, by their place."""
    if all(one.one.ends is None for one in classes):
        yield "inside", {index: classes[index].tokens_per_s[count - 1] for index in able}
        return
    places: dict[Place, int] = {"whole": 0} if count == num_layers else {"first": 0, "last": num_layers - count}
    if count <= num_layers - 2:
        places["inside"] = 1
    for place, first in places.items():
        yield place, {index: classes[index].one.carries(first, count, num_layers) for index in able}


def tallest_flow(classes: Sequence[MachineClass], num_layers: int) -> tuple[Block, ...]:
    """Return the stack whose narrowest block carries most; nothing when the machines cannot hold the model."""
    every = blocks(classes, num_layers)
    values = sorted({block.tokens_per_s for block in every})
    best: tuple[Block, ...] = ()
    low, high = 0, len(values)
    while low < high:
        middle = (low + high) // 2
        stack = _stack(classes, num_layers, _enough(every, values[middle]))
        low, high, best = (middle + 1, high, stack) if stack else (low, middle, best)
    return best


def _enough(every: Sequence[Block], flow: float) -> list[Block]:
    """Return the blocks that carry the flow and need all their machines for it."""
    carrying = {(block.place, block.num_layers, block.members) for block in every if block.tokens_per_s >= flow}
    return [
        block
        for block in every
        if block.tokens_per_s >= flow
        and not any((block.place, block.num_layers, less) in carrying for less in _without_one(block))
    ]


def _without_one(block: Block) -> Iterator[tuple[int, ...]]:
    for place in range(len(block.members)):
        yield (*block.members[:place], *block.members[place + 1 :])


def _stack(classes: Sequence[MachineClass], num_layers: int, usable: Sequence[Block]) -> tuple[Block, ...]:
    model = cp_model.CpModel()
    times = [model.new_int_var(0, num_layers // block.num_layers, "") for block in usable]
    model.add(sum(block.num_layers * n for block, n in zip(usable, times, strict=True)) == num_layers)
    for index, one in enumerate(classes):
        model.add(sum(block.of(index) * n for block, n in zip(usable, times, strict=True)) <= one.count)
    if any(one.one.ends is not None for one in classes):
        for end in ("first", "last"):
            held = (n for block, n in zip(usable, times, strict=True) if block.place in (end, "whole"))
            model.add(sum(held) == 1)
    model.minimize(sum(len(block.members) * n for block, n in zip(usable, times, strict=True)))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.max_deterministic_time = 1.0
    if solver.solve(model) not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return ()
    return tuple(block for block, n in zip(usable, times, strict=True) for _ in range(solver.value(n)))


def runs_of(classes: Sequence[MachineClass], stack: Sequence[Block]) -> tuple[Run, ...]:
    """Return who holds what when the blocks are stacked in the order of their classes."""
    free = [list(one.machines) for one in classes]
    runs: list[Run] = []
    first = 0
    for block in sorted(stack, key=lambda block: (ORDER[block.place], block.members, block.num_layers)):
        runs += [Run(free[index].pop(0), first, first + block.num_layers) for index in block.members]
        first += block.num_layers
    return tuple(runs)
