"""A routed pool, priced: what each machine carries with so many layers, and what each link carries, in tokens/s.

Every machine holds one run of consecutive layers; a token flows from the source to the sink through machines whose runs
join exactly, and several paths may share a machine (Mei et al., Helix, ASPLOS 2025).
"""

from dataclasses import dataclass

SOURCE = "source"
SINK = "sink"

EQUAL = 1e-6
"""Relative: a bound this close is the value; the search counts in whole quanta, a ten-millionth of the most each."""


@dataclass(frozen=True)
class Ends:
    """What a machine carries with so many layers by their place in the model: as long as its ``tokens_per_s``."""

    inside: tuple[float, ...]
    """With none of the first and last layers."""
    first: tuple[float, ...]
    """With the first layers: the embedding."""
    last: tuple[float, ...]
    """With the last layers: the head."""
    both: tuple[float, ...]
    """With all layers."""


@dataclass(frozen=True)
class Machine:
    """One machine of the pool."""

    id: str
    kind: str
    """Of its hardware, for reports: machines are equal when their numbers are, whatever they are called."""
    tokens_per_s: tuple[float, ...]
    """What it carries at most when it holds 1, 2, … layers; its memory ends where the tuple does."""
    ends: Ends | None = None
    """What it carries by the place of its layers, never more; None: the same everywhere."""

    def carries(self, first: int, count: int, num_layers: int) -> float:
        """Return tokens/s with ``count`` layers from ``first`` of a model of ``num_layers``; 0 beyond its memory."""
        rates = self.tokens_per_s if self.ends is None else _at(self.ends, first == 0, first + count == num_layers)
        return rates[count - 1] if count <= len(rates) else 0.0

    @property
    def max_layers(self) -> int:
        """The most layers that it holds."""
        return len(self.tokens_per_s)


def _at(ends: Ends, is_first: bool, is_last: bool) -> tuple[float, ...]:
    if is_first and is_last:
        return ends.both
    if is_first or is_last:
        return ends.first if is_first else ends.last
    return ends.inside


@dataclass(frozen=True)
class Link:
    """One direction of a connection between two machines, or with ``SOURCE`` or ``SINK``."""

    sender: str
    receiver: str
    tokens_per_s: float


@dataclass(frozen=True)
class Pool:
    """The machines that may serve a model together; where no link is named, nothing flows."""

    num_layers: int
    machines: tuple[Machine, ...]
    links: tuple[Link, ...]

    def between(self) -> dict[tuple[str, str], float]:
        """Return what flows at most from one end to another, tokens/s by (sender, receiver)."""
        return {(link.sender, link.receiver): link.tokens_per_s for link in self.links}


@dataclass(frozen=True)
class Run:
    """The layers that a machine holds: ``first`` up to, not including, ``end``."""

    machine: str
    first: int
    end: int

    @property
    def num_layers(self) -> int:
        """How many they are."""
        return self.end - self.first


@dataclass(frozen=True)
class Routing:
    """An answer: who holds what, how much flows, and why no more can."""

    runs: tuple[Run, ...]
    """Machines that hold nothing are left out."""
    flows: tuple[Link, ...]
    """What each link carries; a router's weights."""
    tokens_per_s: float
    """From source to sink."""
    bound_tokens_per_s: float
    """No placement carries more; equal to ``tokens_per_s`` (within ``EQUAL``) when proven."""
    worth: tuple[tuple[str, float], ...]
    """Layers that a machine is worth, by its id: the certificate of the bound (``verify.flow.bound_holds``); empty
    when the bound is the machines' layer-tokens or comes from the solver's search."""

    @property
    def proven(self) -> bool:
        """Whether the bound equals the value."""
        return self.bound_tokens_per_s <= self.tokens_per_s * (1 + EQUAL)
