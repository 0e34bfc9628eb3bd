"""From machines to a routed pool: what each carries, what the ways between them carry, and what KV a turn costs.

A turn is what the longest path of a token through the model may take. KV of a request is kept on every machine of its
path for as many turns as it has output tokens and chunks of its prompt (Little's law): a machine with room for n
sequences carries n per turn, whatever it computes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations

from optimizer.cost.bursts import front_end
from optimizer.cost.collectives import link
from optimizer.cost.machine import Curve, Held, Kind, Place, Step, Terms, chunks, curve, prompt_tokens
from optimizer.cost.pool import SINK, SOURCE, Ends, Link, Machine, Pool, Run
from optimizer.cost.work import work
from optimizer.errors import NoPathError
from optimizer.layout import refusals
from optimizer.topology.bandwidth import wiring
from optimizer.topology.exits import leaving
from optimizer.topology.graph import Topology
from optimizer.topology.machines import MachineSeats, machine_seats
from optimizer.topology.wiring import HopPath


@dataclass(frozen=True)
class Priced:
    """Machines and the ways between them, for turns of any length."""

    terms: Terms
    seats: tuple[MachineSeats, ...]
    kinds: Mapping[str, Kind]
    """By machine."""
    curves: Mapping[Kind, Curve]
    links: tuple[Link, ...]
    """Between machines."""
    ways_out: Mapping[str, float]
    """Tokens/s that all links of a machine carry together."""

    @property
    def num_layers(self) -> int:
        """Layers of the model."""
        return self.terms.market.model.num_layers

    def held(self, run: Run) -> Held | None:
        """Return what a machine can do with its layers; None beyond its memory."""
        known = self.curves[self.kinds[run.machine]][run.first == 0, run.end == self.num_layers]
        return known[run.num_layers - 1] if run.num_layers <= len(known) else None

    def steps(self, held: Held, count: int, turn_s: float) -> tuple[Step, ...]:
        """Return the ways to run ``count`` layers in a turn: what is left of it must do for all other layers.

        Where the objectives name a percentile, no turn at all may be longer, else the mean one.
        """
        own_s = turn_s - (self.num_layers - count) * self.least_layer_s
        return held.within(own_s, own_s if self.at_worst else float("inf"))

    def kept(self, held: Held, turn_s: float) -> float:
        """Return the tokens/s whose KV a machine holds."""
        return held.sequences / (self.kept_for * turn_s)

    def seconds(self, step: Step) -> float:
        """Return what a step takes of a turn, at worst or in the mean, as turns are bounded."""
        return step.longest_s if self.at_worst else step.turn_s

    @property
    def at_worst(self) -> bool:
        """Whether turns are bounded at worst, as the objectives name a percentile; else in the mean."""
        return self.terms.load.slo.percentile is not None

    @cached_property
    def least_layer_s(self) -> float:
        """The least seconds that a layer takes of a turn, on any machine."""
        every = (known for places in self.curves.values() for known in places.values())
        found = (s.turn_s / count for known in every for count, held in enumerate(known, 1) for s in held.steps)
        return min(found, default=0.0)

    @cached_property
    def kept_for(self) -> float:
        """Turns per output token for which the KV of a request is kept: its answer's, and those of its prompt."""
        return 1.0 + self._later_chunks / self.terms.load.osl.mean

    @property
    def _later_chunks(self) -> float:
        """Turns that the chunks of a prompt take after the first: each starts when the last has come back."""
        return chunks(self.terms.load) - 1.0

    def ttft_s(self, turn_s: float) -> float:
        """Return the time to a first token: the front end, the first chunk's turn, and those that follow it."""
        terms = self.terms
        front_s = max((front_end(terms.case(kind, 1), terms.load) for kind in self.curves), default=0.0)
        return front_s * (1.0 + terms.load.margin) + turn_s * (1.0 + self._later_chunks)

    @property
    def longest_turn_s(self) -> float:
        """The longest turn that keeps the objectives on TTFT and TPOT; inf without any, negative when none does."""
        slo, none = self.terms.load.slo, self.ttft_s(0.0)
        by_ttft = float("inf") if slo.ttft is None else (slo.ttft - none) / (self.ttft_s(1.0) - none)
        return min(by_ttft, float("inf") if slo.tpot is None else slo.tpot)


def groups_of(topology: Topology, terms: Terms, most: int) -> tuple[MachineSeats, ...]:
    """Return the usable GPUs as machines of at most ``most`` GPUs, each a TP group that the engine's rules admit."""
    model, engine = terms.market.model, terms.load.engine.name
    return machine_seats(topology, lambda ranks: not refusals(model, terms.layout(ranks), engine), most)


def price(topology: Topology, terms: Terms, seats: Sequence[MachineSeats]) -> Priced:
    """Return machines on these seats priced; UnknownRateError names a bandwidth to give."""
    hops = dict(_hops(topology, seats))
    kinds = {one.id: _kind(topology, one, hops) for one in seats}
    curves = {kind: curve(terms, kind) for kind in dict.fromkeys(kinds.values())}
    per_token = _bytes_per_token(terms, kinds)
    links = tuple(
        Link(here, there, _efficiency(terms, (kinds[here], kinds[there]), hop) * _rate(hop) / per_token)
        for (here, there), hop in hops.items()
    )
    return Priced(terms, tuple(seats), kinds, curves, links, dict(_ways_out(topology, terms, seats, kinds, per_token)))


def _hops(topology: Topology, seats: Sequence[MachineSeats]) -> Iterator[tuple[tuple[str, str], HopPath]]:
    """Yield the way from each machine to each other, its fair share; of unequal groups as many ranks as both have."""
    for here, there in permutations(seats, 2):
        ranks = min(len(here.gpus), len(there.gpus))
        try:
            paths = wiring(topology, (here.gpus[:ranks], there.gpus[:ranks]))
        except NoPathError:
            continue
        yield (here.id, there.id), paths.hops[0]


def _kind(topology: Topology, one: MachineSeats, hops: Mapping[tuple[str, str], HopPath]) -> Kind:
    own = dict.fromkeys(hop for (here, _), hop in hops.items() if here == one.id)
    return Kind(one.gpu_type, len(one.gpus), wiring(topology, (one.gpus,)), tuple(sorted(own, key=repr)))


def _bytes_per_token(terms: Terms, kinds: Mapping[str, Kind]) -> float:
    """Return what crosses between machines per output token: hidden state and residual, of prompt tokens too."""
    hidden_bytes = work(terms.case(next(iter(kinds.values())), 1)).hidden_bytes
    return 2.0 * hidden_bytes * (1.0 + prompt_tokens(terms.load))


def _efficiency(terms: Terms, ends: Sequence[Kind], hop: HopPath) -> float:
    """Return the share of the nominal rate that messages reach, the worse of two types of GPU."""
    fits = [terms.market.calibrations[kind.gpu_type] for kind in ends]
    margin = terms.load.margin
    return (1.0 - margin) * min(link(fit, hop.medium).operations["p2p"].efficiency for fit in fits)


def _rate(hop: HopPath) -> float:
    return hop.bytes_per_s * hop.streams


def _ways_out(
    topology: Topology,
    terms: Terms,
    seats: Sequence[MachineSeats],
    kinds: Mapping[str, Kind],
    per_token: float,
) -> Iterator[tuple[str, float]]:
    """Yield what each machine may send in all: its fair share of NICs, or of its own links in the only node.

    None for one without a way out of its node, which has links inside it at most.
    """
    for one in seats if len(seats) > 1 else ():
        try:
            hop = leaving(topology, (one.gpus,))
        except NoPathError:
            continue
        yield one.id, _efficiency(terms, (kinds[one.id],), hop) * _rate(hop) / per_token


def pool_at(priced: Priced, turn_s: float, part: float = float("inf")) -> Pool:
    """Return what machines carry when KV is kept for turns of ``turn_s``; those that carry nothing are left out.

    It admits all that keeps such turns, and more: that what machines take on a path adds up to a turn is not asked.
    ``part``: machines take at most so many times the part that their layers are of all; at 1 every path keeps the turn.
    """
    known = {kind: _rates(priced, kind, turn_s, part) for kind in priced.curves}
    machines = tuple(
        machine
        for one in priced.seats
        if (machine := _machine(one, known[priced.kinds[one.id]], priced.ways_out.get(one.id))).tokens_per_s
    )
    most = {machine.id: max(machine.tokens_per_s) for machine in machines}
    return Pool(
        priced.num_layers,
        machines,
        (
            *(Link(SOURCE, name, rate) for name, rate in most.items()),
            *(Link(name, SINK, rate) for name, rate in most.items()),
            *(link for link in priced.links if link.sender in most and link.receiver in most),
        ),
    )


def _rates(priced: Priced, kind: Kind, turn_s: float, part: float) -> dict[Place, tuple[float, ...]]:
    """Return tokens/s by place and number of layers."""
    return {
        place: tuple(_rate_of(priced, held, count, turn_s, part) for count, held in enumerate(known, 1))
        for place, known in priced.curves[kind].items()
    }


def _rate_of(priced: Priced, held: Held, count: int, turn_s: float, part: float) -> float:
    most_s = part * turn_s * count / priced.num_layers
    able = (step.tokens_per_s for step in priced.steps(held, count, turn_s) if step.turn_s <= most_s)
    fastest = max(able, default=0.0)
    return min(fastest, priced.kept(held, turn_s))


def _machine(one: MachineSeats, rates: Mapping[Place, tuple[float, ...]], way_out: float | None) -> Machine:
    """Return a machine whose rates end with the last that is not 0; all but a whole model is sent on."""
    most = float("inf") if way_out is None else way_out
    capped = {
        place: known if place == (True, True) else tuple(min(rate, most) for rate in known)
        for place, known in rates.items()
    }
    length = max((count for known in capped.values() for count, rate in enumerate(known, 1) if rate > 0), default=0)
    inside, first, last, both = (
        tuple(known[:length]) + (0.0,) * (length - len(known))
        for known in (capped[False, False], capped[True, False], capped[False, True], capped[True, True])
    )
    ends = Ends(inside, first, last, both)
    at_most = tuple(map(max, inside, first, last, both))
    return Machine(one.id, one.gpu_type, at_most, ends)
