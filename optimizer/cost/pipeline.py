"""The stages of a replica and the hand-overs between them, in their order; those that no price tells apart, once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise, zip_longest
from typing import NamedTuple

from optimizer.cost.case import Case
from optimizer.cost.collectives import Ways, part, passing, senders, ways
from optimizer.cost.groups import Groups, groups
from optimizer.cost.quantities import Breakdown
from optimizer.cost.stages import StageWork
from optimizer.cost.work import Work, work
from optimizer.inputs.calibration import Calibration
from optimizer.inputs.identity import Same
from optimizer.topology.wiring import GroupPath, HopPath, Wiring


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Stages in a row on GPUs of one type: what all of them have in common."""

    constants: Work
    all_reduce: Ways
    """Over a TP group."""
    all_gather: Ways
    groups: Groups


@dataclass(frozen=True, slots=True)
class HandOver:
    """From one stage to the next."""

    hop: HopPath
    ways: tuple[Ways, ...]
    """How one rank's slice goes over it by the constants of either end, once where both are of one type of GPU."""
    senders: int
    """Ranks that send at the same time."""

    def seconds(self, message_bytes: float) -> float:
        """Return the seconds of passing on a whole tensor: of two types of GPU the one that takes longer decides."""
        slice_bytes = message_bytes / self.senders
        return max([way.seconds(slice_bytes) for way in self.ways])


@dataclass(frozen=True, slots=True, eq=False)
class Pipeline:
    """What one (micro-)batch passes, each serving one at a time: stages, and hand-overs that are no part of one."""

    parts: tuple[Part, ...]
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


Causes = tuple[float, float, float, float, float]
"""Seconds by cause, in the order of a breakdown: one is made of the sum only."""


class Stations(NamedTuple):
    """What one (micro-)batch passes, priced."""

    each: tuple[Causes, ...]
    """The stations that differ."""
    times: tuple[int, ...]
    """How many there are of each."""
    order: tuple[int, ...]
    """Which is at every place."""
    seconds: tuple[float, ...]
    """Of each."""

    @property
    def in_order(self) -> tuple[Breakdown, ...]:
        """The station at every place."""
        return tuple([Breakdown(*self.each[station]) for station in self.order])

    @property
    def sum(self) -> Causes:
        """All of them, one after the other."""
        if self.times == (1,):
            return self.each[0]
        gemm_s = attention_s = collectives_s = pipeline_s = overhead_s = 0.0
        for n, (gemm, attention, collectives, pipeline, overhead) in zip(self.times, self.each, strict=True):
            gemm_s += n * gemm
            attention_s += n * attention
            collectives_s += n * collectives
            pipeline_s += n * pipeline
            overhead_s += n * overhead
        return gemm_s, attention_s, collectives_s, pipeline_s, overhead_s


def priced(each: Sequence[Causes], times: tuple[int, ...] = (1,), order: tuple[int, ...] = (0,)) -> Stations:
    """Return the stations that differ, how many there are of each, and which is at every place."""
    return Stations(tuple(each), times, order, tuple([sum(one) for one in each]))


def part_of(case: Case) -> Part:
    """Return what the stages of a case on one type of GPU have in common."""
    return _part(work(case), Same(case.calibration), case.wiring.group)


@lru_cache(maxsize=8192)
def _part(constants: Work, calibration: Same[Calibration], group: GroupPath) -> Part:
    tp_group = part(group, constants.layout.tp)
    all_reduce, all_gather = (ways(calibration, operation, tp_group) for operation in ("all_reduce", "all_gather"))
    return Part(constants, all_reduce, all_gather, groups(constants, calibration, group))


@lru_cache(maxsize=256)
def pipeline_of(case: Case) -> Pipeline:
    """Return the stages of a replica and what they hand over, from the cache for the same constants and wiring."""
    parts = tuple([(work(one), Same(one.calibration)) for one, _ in case.parts])
    return _pipeline(Same(case.wiring), parts)


@lru_cache(maxsize=8192)
def _pipeline(wiring: Same[Wiring], constants: tuple[tuple[Work, Same[Calibration]], ...]) -> Pipeline:
    sections = wiring.value.sections if len(constants) > 1 else ()
    paths = [section.group for section in sections] or [wiring.value.group]
    parts = tuple(_part(*known, path) for known, path in zip(constants, paths, strict=True))
    tp = parts[0].constants.layout.tp
    places = list(_in_order([section.stages for section in sections], parts))
    sent = list(_handed_over(wiring.value, tp, places, [calibration for _, calibration in constants]))
    stages, hand_overs = tuple(dict.fromkeys(places)), tuple(dict.fromkeys(sent))
    passed: list[tuple[int | None, int | None]] = []
    for place, handed in zip_longest(places, sent):
        stage = stages.index(place)
        if handed is None:
            passed.append((stage, None))
            continue
        group, hand_over = paths[place[0]], hand_overs.index(handed)
        joined = handed.hop.medium in (group.inner, group.outer)  # where collectives cross its link it has to wait
        passed += [(stage, hand_over)] if joined else [(stage, None), (None, hand_over)]
    stations = tuple(dict.fromkeys(passed))
    order = tuple(map(stations.index, passed))
    return Pipeline(parts, stages, hand_overs, stations, order, tuple(map(order.count, range(len(stations)))))


def _in_order(stages: Sequence[int], parts: Sequence[Part]) -> Iterable[tuple[int, StageWork]]:
    """Yield the part and the content of every stage; ``stages``: of each part, where there are several."""
    first = 0
    for index, (count, one) in enumerate(zip(stages or [len(parts[0].constants.order)], parts, strict=True)):
        for shape in one.constants.order[first : first + count]:
            yield index, one.constants.shapes[shape]
        first += count


def _handed_over(
    wiring: Wiring, tp: int, places: Sequence[tuple[int, StageWork]], calibrations: Sequence[Same[Calibration]]
) -> Iterable[HandOver]:
    """Yield what every stage but the last passes on."""
    for hop, ((here, _), (there, _)) in zip(wiring.hops, pairwise(places), strict=False):
        ends = (here,) if here == there else (here, there)
        yield HandOver(hop, tuple([passing(calibrations[end], hop) for end in ends]), senders(hop, tp))
