"""The search when links bind: every machine by itself, and what flows from each to each.

Inside a group no link binds: what leaves its machines at a layer boundary meets in one hub. Between groups every pair
of machines has its own flow, which is open only when one starts where the other ends.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ortools.sat.python import cp_model

from optimizer.cost.pool import SINK, SOURCE, Machine, Pool, Run
from optimizer.formulation.routing.bound import Worths
from optimizer.formulation.routing.classes import MachineClass
from optimizer.formulation.routing.terms import Goal, costs_of

Choices = list[cp_model.IntVar]

Key = tuple[str, str]
"""Sender and receiver of a pipe; one of them may be a hub."""


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
    pipes: dict[Key, cp_model.IntVar] = field(default_factory=dict)
    joined: dict[Key, cp_model.IntVar] = field(default_factory=dict)

    def read(self, solver: cp_model.CpSolver) -> tuple[Run, ...]:
        """Return who holds what."""
        return tuple(
            Run(name, first, end)
            for name, seat in self.seats.items()
            for (first, end), held in seat.holds.items()
            if solver.value(held)
        )

    def hint(self, runs: Sequence[Run], flows: Mapping[tuple[str, str], int]) -> None:
        """Start the search from a placement and what flows through it, in quanta by (sender, receiver)."""
        chosen = {run.machine: (run.first, run.end) for run in runs}
        for name, seat in self.seats.items():
            for stretch, held in seat.holds.items():
                self.model.add_hint(held, int(chosen.get(name) == stretch))
        amounts = self._amounts(chosen, flows)
        for key, pipe in self.pipes.items():
            self.model.add_hint(pipe, amounts[key])
        for pair, joined in self.joined.items():
            self.model.add_hint(joined, int(pair in flows))
        self.model.add_hint(self.flow, sum(flow for (sender, _), flow in flows.items() if sender == SOURCE))

    def _amounts(self, chosen: Mapping[str, tuple[int, int]], flows: Mapping[tuple[str, str], int]) -> Counter[Key]:
        """Return what flows through each pipe: to the other end, or into and out of a hub at a boundary."""
        amounts = Counter[Key]()
        for (sender, receiver), flow in flows.items():
            if (sender, receiver) in self.pipes:
                amounts[sender, receiver] += flow
            else:
                amounts[sender, _into(chosen[sender][1])] += flow
                amounts[_out_of(chosen[sender][1]), receiver] += flow
        return amounts

    def pipe(self, key: Key, opened: Choices, rate: float) -> cp_model.IntVar:
        """Return a flow of at most ``rate`` tokens/s, nothing when none of the choices is taken."""
        most = self.goal.whole(rate)
        self.pipes[key] = pipe = self.model.new_int_var(0, most, "")
        self.model.add(pipe <= most * cp_model.LinearExpr.sum(opened))
        return pipe


def _into(boundary: int) -> str:
    return f"hub {boundary} in"


def _out_of(boundary: int) -> str:
    return f"hub {boundary} out"


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
        first, last = (SOURCE, name), (name, SINK)
        seat.taken.append(joints.pipe(first, seat.starting[0], joints.links.get(first, 0.0)))
        seat.given.append(joints.pipe(last, seat.ending[joints.pool.num_layers], joints.links.get(last, 0.0)))
    joints.model.add(sum(seat.taken[0] for seat in joints.seats.values()) == joints.flow)


def _groups_meet_in_hubs(joints: Joints, group: Sequence[str]) -> None:
    """At every boundary, what a group's machines give to its hub is what others take from it."""
    if len(group) == 1:
        return
    members = [joints.seats[name] for name in group]
    for boundary in range(1, joints.pool.num_layers):
        gives = [joints.pipe((seat.machine.id, _into(boundary)), seat.ending[boundary], seat.most) for seat in members]
        takes = [
            joints.pipe((_out_of(boundary), seat.machine.id), seat.starting[boundary], seat.most) for seat in members
        ]
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
        joints.joined[giver, taker] = joined = joints.model.new_bool_var("")
        gives, takes = joints.seats[giver], joints.seats[taker]
        joints.model.add(gives.end == takes.first).only_enforce_if(joined)
        joints.model.add(gives.used == 1).only_enforce_if(joined)
        joints.model.add(takes.used == 1).only_enforce_if(joined)
        pipe = joints.pipe((giver, taker), [joined], rate)
        gives.given.append(pipe)
        takes.taken.append(pipe)


def _pairs(groups: Sequence[Sequence[str]]) -> Iterator[tuple[str, str]]:
    for one in groups:
        for other in groups:
            if one is not other:
                yield from ((giver, taker) for giver in one for taker in other)


def _machines_carry_what_they_can(joints: Joints) -> None:
    for seat in joints.seats.values():
        layers = joints.pool.num_layers
        rates = (seat.machine.carries(first, end - first, layers) for first, end in seat.holds)
        most = [joints.goal.whole(rate) for rate in rates]
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
