"""The stages of a replica and the hand-overs between them, in their order; those that no price tells apart, once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise, zip_longest

from optimizer.cost.case import Case
from optimizer.cost.quantities import Breakdown
from optimizer.cost.stages import Same, StageWork
from optimizer.cost.work import Work, work
from optimizer.topology.wiring import HopPath, Wiring


@dataclass(frozen=True, slots=True)
class HandOver:
    """From one stage to the next."""

    hop: HopPath
    ends: tuple[int, ...]
    """The parts of the replica at its ends, once where both are of one."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What one (micro-)batch passes, each serving one at a time: stages, and hand-overs that are no part of one."""

    stages: tuple[tuple[int, StageWork], ...]
    """Those that differ: the part of the replica they belong to, and what they hold."""
    hand_overs: tuple[HandOver, ...]
    """Those that differ."""
    stations: tuple[tuple[int | None, int | None], ...]
    """Those that differ: a stage with what it hands over, either alone."""
    order: tuple[int, ...]
    """The station at every place."""
    times: tuple[int, ...]
    """At how many places each station is."""


@dataclass(frozen=True, slots=True)
class Stations:
    """Seconds of what one (micro-)batch passes."""

    each: tuple[Breakdown, ...]
    """Of the stations that differ."""
    times: tuple[int, ...] = (1,)
    """How many there are of each."""
    order: tuple[int, ...] = (0,)
    """Which is at every place."""

    @property
    def in_order(self) -> tuple[Breakdown, ...]:
        """Seconds of the station at every place."""
        return tuple([self.each[station] for station in self.order])

    @property
    def sum(self) -> Breakdown:
        """Seconds of all, one after the other."""
        gemm = attention = collectives = pipeline = overhead = 0.0
        for n, one in zip(self.times, self.each, strict=True):
            gemm += n * one.gemm
            attention += n * one.attention
            collectives += n * one.collectives
            pipeline += n * one.pipeline
            overhead += n * one.overhead
        return Breakdown(gemm, attention, collectives, pipeline, overhead)

    @property
    def slowest_s(self) -> float:
        """Seconds of the slowest."""
        return max([one.total for one in self.each])


def pipeline_of(case: Case) -> Pipeline:
    """Return the stages of a replica and what they hand over, from the cache for the same constants and wiring."""
    return _pipeline(Same(case.wiring), tuple([Same(work(part)) for part, _ in case.parts]))


@lru_cache(maxsize=8192)
def _pipeline(wiring: Same[Wiring], parts: tuple[Same[Work], ...]) -> Pipeline:
    places = list(_in_order(wiring.value, parts))
    sent = list(_handed_over(wiring.value, places))
    stages, hand_overs = tuple(dict.fromkeys(places)), tuple(dict.fromkeys(sent))
    passed: list[tuple[int | None, int | None]] = []
    for place, handed in zip_longest(places, sent):
        stage = stages.index(place)
        if handed is None:
            passed.append((stage, None))
            continue
        joined, hand_over = handed.hop.medium in _media(wiring.value, place[0]), hand_overs.index(handed)
        passed += [(stage, hand_over)] if joined else [(stage, None), (None, hand_over)]
    stations = tuple(dict.fromkeys(passed))
    order = tuple(map(stations.index, passed))
    return Pipeline(stages, hand_overs, stations, order, tuple(map(order.count, range(len(stations)))))


def _in_order(wiring: Wiring, parts: Sequence[Same[Work]]) -> Iterable[tuple[int, StageWork]]:
    """Yield the part and the content of every stage."""
    counts = [section.stages for section in wiring.sections] or [len(parts[0].value.order)]
    first = 0
    for index, (count, part) in enumerate(zip(counts, parts, strict=True)):
        for shape in part.value.order[first : first + count]:
            yield index, part.value.shapes[shape]
        first += count


def _handed_over(wiring: Wiring, places: Sequence[tuple[int, StageWork]]) -> Iterable[HandOver]:
    for hop, ((here, _), (there, _)) in zip(wiring.hops, pairwise(places), strict=False):
        yield HandOver(hop, (here,) if here == there else (here, there))


def _media(wiring: Wiring, part: int) -> tuple[str, str]:
    """Return the links that the collectives of a part of the replica cross: what is handed over there has to wait."""
    group = wiring.sections[part].group if wiring.sections else wiring.group
    return group.inner, group.outer
