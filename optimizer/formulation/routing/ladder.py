"""The search when no link binds: how many machines of a class hold which layers; they meet at the layer boundaries."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ortools.sat.python import cp_model

from optimizer.cost.pool import SOURCE, Run
from optimizer.formulation.routing.bound import Worths
from optimizer.formulation.routing.classes import MachineClass
from optimizer.formulation.routing.terms import Goal, costs_of

Rung = tuple[int, int, int]
"""Class, first layer, number of layers."""


@dataclass(frozen=True)
class Ladder:
    """The model and its variables."""

    model: cp_model.CpModel
    classes: Sequence[MachineClass]
    num_layers: int
    goal: Goal
    holders: dict[Rung, cp_model.IntVar]
    """Machines that hold these layers."""
    through: dict[Rung, cp_model.IntVar]
    """Quanta that flow through them together."""
    flow: cp_model.IntVar

    def read(self, solver: cp_model.CpSolver) -> tuple[Run, ...]:
        """Return who holds what."""
        free = [list(one.machines) for one in self.classes]
        return tuple(
            Run(free[index].pop(0), first, first + count)
            for (index, first, count), holders in self.holders.items()
            for _ in range(solver.value(holders))
        )

    def hint(self, runs: Sequence[Run], flows: Mapping[tuple[str, str], int]) -> None:
        """Start the search from a placement and what flows through it, in quanta by (sender, receiver)."""
        place = {name: index for index, one in enumerate(self.classes) for name in one.machines}
        held = {run.machine: (place[run.machine], run.first, run.num_layers) for run in runs}
        holders, through = Counter(held.values()), Counter[Rung]()
        for (sender, _), flow in flows.items():
            if sender in held:
                through[held[sender]] += flow
        self.model.add_hint(self.flow, sum(flow for (sender, _), flow in flows.items() if sender == SOURCE))
        for rung in self.holders:
            self.model.add_hint(self.holders[rung], holders[rung])
            self.model.add_hint(self.through[rung], through[rung])


def build(classes: Sequence[MachineClass], num_layers: int, goal: Goal, cut: Worths | None) -> Ladder:
    """Return the model: most quanta from layer 0 to the last, more than what is reached."""
    model = cp_model.CpModel()
    rungs = [
        (index, first, count)
        for index, one in enumerate(classes)
        for count in range(1, len(one.tokens_per_s) + 1)
        for first in range(num_layers - count + 1)
    ]
    holders = {rung: model.new_int_var(0, classes[rung[0]].count, "") for rung in rungs}
    through = {rung: model.new_int_var(0, goal.most, "") for rung in rungs}
    flow = model.new_int_var(goal.least, goal.most, "flow")
    ladder = Ladder(model, classes, num_layers, goal, holders, through, flow)
    _machines_are_not_exceeded(ladder)
    _machines_carry_what_they_can(ladder)
    _what_comes_goes(ladder)
    _layers_are_paid(ladder, cut)
    model.maximize(flow)
    return ladder


def _machines_are_not_exceeded(ladder: Ladder) -> None:
    for index, one in enumerate(ladder.classes):
        held = sum(holders for (other, _, _), holders in ladder.holders.items() if other == index)
        ladder.model.add(held <= one.count)


def _machines_carry_what_they_can(ladder: Ladder) -> None:
    for rung, holders in ladder.holders.items():
        index, first, count = rung
        rate = ladder.classes[index].carries(first, count, ladder.num_layers)
        ladder.model.add(ladder.through[rung] <= ladder.goal.whole(rate) * holders)


def _what_comes_goes(ladder: Ladder) -> None:
    """All that ends at a boundary between layers goes on from it, through any machine that starts there."""
    for boundary in range(ladder.num_layers + 1):
        comes = [flow for (_, first, count), flow in ladder.through.items() if first + count == boundary]
        goes = [flow for (_, first, _), flow in ladder.through.items() if first == boundary]
        ladder.model.add(sum(comes or [ladder.flow]) == sum(goes or [ladder.flow]))


def _layers_are_paid(ladder: Ladder, cut: Worths | None) -> None:
    """The machines across a layer are a cover: they cost 1 or more at these worths."""
    if cut is None:
        return
    for layer in range(ladder.num_layers):
        across = [rung for rung in ladder.holders if rung[1] <= layer < rung[1] + rung[2]]
        paid, due = costs_of(cut, [(index, count) for index, _, count in across])
        terms = (cost * ladder.holders[rung] for cost, rung in zip(paid, across, strict=True))
        ladder.model.add(sum(terms) >= due)
