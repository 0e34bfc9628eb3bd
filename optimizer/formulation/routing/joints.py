"""The search when links bind: every machine by itself, and what flows from each to each.

Inside a group no link binds: what leaves its machines at a layer boundary meets in one hub. Between groups every pair
of machines has its own flow, which is open only when one starts where the other ends.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ortools.sat.python import cp_model

from optimizer.cost.pool import SINK, SOURCE, Machine, Pool, Run
from optimizer.formulation.integers import requirement
from optimizer.formulation.routing.bound import Worths
from optimizer.formulation.routing.classes import MachineClass
from optimizer.formulation.routing.terms import Goal, costs_of

Choices = list[cp_model.IntVar]


class Seat:
    """One machine's variables: the layers it may hold, and what flows in and out."""

    def __init__(self, model: cp_model.CpModel, machine: Machine, num_layers: int) -> None:
        self.machine = machine
        self.holds = {
            (first, first + count): model.new_bool_var("")
            for count in range(1, min(machine.max_layers, num_layers) + 1)
            for first in range(num_layers - count + 1)
        }
        self.starting: dict[int, Choices] = defaultdict(list)
        self.ending: dict[int, Choices] = defaultdict(list)
        for (first, end), held in self.holds.items():
            self.starting[first].append(held)
            self.ending[end].append(held)
        self.taken: list[cp_model.IntVar] = []
        self.given: list[cp_model.IntVar] = []

    @property
    def most(self) -> float:
        """The most tokens/s that it carries, whatever it holds."""
        return max(self.machine.tokens_per_s, default=0.0)

    @property
    def used(self) -> cp_model.LinearExpr:
        """1 when it holds layers."""
        return cp_model.LinearExpr.sum(list(self.holds.values()))

    @property
    def first(self) -> cp_model.LinearExpr:
        """The layer that it starts at."""
        return cp_model.LinearExpr.weighted_sum(list(self.holds.values()), [first for first, _ in self.holds])

    @property
    def end(self) -> cp_model.LinearExpr:
        """The layer that it ends before."""
        return cp_model.LinearExpr.weighted_sum(list(self.holds.values()), [end for _, end in self.holds])


@dataclass(frozen=True)
class Joints:
    """The model and its variables."""

    model: cp_model.CpModel
    pool: Pool
    goal: Goal
    seats: dict[str, Seat]
    flow: cp_model.IntVar
    links: dict[tuple[str, str], float]

    def read(self, solver: cp_model.CpSolver) -> tuple[Run, ...]:
        """Return who holds what."""
        return tuple(
            Run(name, first, end)
            for name, seat in self.seats.items()
            for (first, end), held in seat.holds.items()
            if solver.value(held)
        )

    def hint(self, runs: Sequence[Run]) -> None:
        """Start the search near a placement."""
        chosen = {(run.machine, run.first, run.end) for run in runs}
        for name, seat in self.seats.items():
            for (first, end), held in seat.holds.items():
                self.model.add_hint(held, int((name, first, end) in chosen))

    def pipe(self, opened: Choices, rate: float) -> cp_model.IntVar:
        """Return a flow of at most ``rate`` tokens/s, nothing when none of the choices is taken."""
        most = min(requirement(rate, self.goal.quantum), self.goal.most)
        pipe = self.model.new_int_var(0, most, "")
        self.model.add(pipe <= most * cp_model.LinearExpr.sum(opened))
        return pipe


def build(
    pool: Pool,
    groups: Sequence[Sequence[str]],
    classes: Sequence[MachineClass],
    goal: Goal,
    cut: Worths | None,
) -> Joints:
    """Return the model: most quanta from source to sink, more than what is reached."""
    model = cp_model.CpModel()
    seats = {machine.id: Seat(model, machine, pool.num_layers) for machine in pool.machines}
    joints = Joints(model, pool, goal, seats, model.new_int_var(goal.least, goal.most, "flow"), pool.between())
    _machines_hold_one_run(joints)
    _ends_are_linked(joints)
    for group in groups:
        _groups_meet_in_hubs(joints, group)
    _pairs_meet_when_joined(joints, groups)
    _machines_carry_what_they_can(joints)
    _layers_are_paid(joints, classes, cut)
    model.maximize(joints.flow)
    return joints


def _machines_hold_one_run(joints: Joints) -> None:
    for seat in joints.seats.values():
        joints.model.add_at_most_one(seat.holds.values())


def _ends_are_linked(joints: Joints) -> None:
    """The source feeds machines that start at layer 0, the sink takes from those that end after the last."""
    for name, seat in joints.seats.items():
        seat.taken.append(joints.pipe(seat.starting[0], joints.links.get((SOURCE, name), 0.0)))
        seat.given.append(joints.pipe(seat.ending[joints.pool.num_layers], joints.links.get((name, SINK), 0.0)))
    joints.model.add(sum(seat.taken[0] for seat in joints.seats.values()) == joints.flow)


def _groups_meet_in_hubs(joints: Joints, group: Sequence[str]) -> None:
    """At every boundary, what a group's machines give to its hub is what others take from it."""
    if len(group) == 1:
        return
    members = [joints.seats[name] for name in group]
    for boundary in range(1, joints.pool.num_layers):
        gives = [joints.pipe(seat.ending[boundary], seat.most) for seat in members]
        takes = [joints.pipe(seat.starting[boundary], seat.most) for seat in members]
        joints.model.add(sum(gives) == sum(takes))
        for seat, give, take in zip(members, gives, takes, strict=True):
            seat.given.append(give)
            seat.taken.append(take)


def _pairs_meet_when_joined(joints: Joints, groups: Sequence[Sequence[str]]) -> None:
    """A machine gives to one of another group only where that one starts as it ends."""
    for giver, taker in _pairs(groups):
        rate = joints.links.get((giver, taker), 0.0)
        if rate <= 0:
            continue
        joined = joints.model.new_bool_var("")
        gives, takes = joints.seats[giver], joints.seats[taker]
        joints.model.add(gives.end == takes.first).only_enforce_if(joined)
        joints.model.add(gives.used == 1).only_enforce_if(joined)
        joints.model.add(takes.used == 1).only_enforce_if(joined)
        pipe = joints.pipe([joined], rate)
        gives.given.append(pipe)
        takes.taken.append(pipe)


def _pairs(groups: Sequence[Sequence[str]]) -> Iterator[tuple[str, str]]:
    for one in groups:
        for other in groups:
            if one is not other:
                yield from ((giver, taker) for giver in one for taker in other)


def _machines_carry_what_they_can(joints: Joints) -> None:
    for seat in joints.seats.values():
        rates = (seat.machine.tokens_per_s[end - first - 1] for first, end in seat.holds)
        most = [min(requirement(rate, joints.goal.quantum), joints.goal.most) for rate in rates]
        joints.model.add(sum(seat.taken) <= cp_model.LinearExpr.weighted_sum(list(seat.holds.values()), most))
        joints.model.add(sum(seat.taken) == sum(seat.given))


def _layers_are_paid(joints: Joints, classes: Sequence[MachineClass], cut: Worths | None) -> None:
    """The machines across a layer are a cover: they cost 1 or more at these worths."""
    if cut is None:
        return
    place = {name: index for index, one in enumerate(classes) for name in one.machines}
    for layer in range(joints.pool.num_layers):
        across = [
            (place[name], end - first, held)
            for name, seat in joints.seats.items()
            for (first, end), held in seat.holds.items()
            if first <= layer < end
        ]
        costs, due = costs_of(cut, [(index, count) for index, count, _ in across])
        joints.model.add(cp_model.LinearExpr.weighted_sum([held for _, _, held in across], costs) >= due)
