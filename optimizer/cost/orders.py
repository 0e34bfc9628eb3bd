"""Orders of GPU types along a pipeline: where such a replica can sit, how its layers are split, and its shapes."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import combinations, permutations
from math import inf

from optimizer.cost.balance import Loads, Split, best_split, fastest, within
from optimizer.cost.options import Points, concurrencies
from optimizer.cost.shapes import Market, Shape, ways
from optimizer.cost.shards import weights_bytes
from optimizer.errors import UnknownRateError
from optimizer.inputs.identity import Same
from optimizer.inputs.model import ModelSpec
from optimizer.layout import Layout
from optimizer.topology.classes import NodeClass, joins_nodes
from optimizer.topology.footprints import Footprint
from optimizer.topology.graph import Topology
from optimizer.topology.mixed import mixed_footprints
from optimizer.topology.sections import counts_of, told
from optimizer.topology.wiring import Wiring

MOST_STAGES = 8
"""Longest pipeline over several types."""

MOST_TYPES = 3
"""In one pipeline."""

BALANCED_AT = 3
"""Splits are balanced for so many of the highest numbers of requests in flight that fit, and for few."""

Unknown = Callable[[UnknownRateError, Footprint], None]


@dataclass(frozen=True)
class Place:
    """Where a model may be served, and what prices are made from."""

    topology: Topology
    classes: tuple[NodeClass, ...]
    market: Market
    unknown: Unknown

    def points(self, gpu_types: Iterable[str]) -> tuple[int, ...]:
        """Return the numbers of requests in flight that are priced on GPUs of these types."""
        return concurrencies(self.market.workload, self.market.limit(*gpu_types))


@dataclass(frozen=True)
class Order:
    """A layout whose stages sit on these types; its own split of the layers is of no account."""

    place: Place
    layout: Layout
    gpu_types: tuple[str, ...]
    every_seat: bool = False
    """Whether all of its footprints are looked at, and not only those over the fewest nodes."""
    _prices: dict[tuple[Wiring, Split], Points] = field(default_factory=dict)

    @cached_property
    def footprints(self) -> tuple[Footprint, ...]:
        """Where it can sit."""
        place, ranks = self.place, self.layout.ranks_per_stage
        joined = joins_nodes(place.topology)
        return tuple(mixed_footprints(place.classes, self.gpu_types, ranks, joined=joined, every=self.every_seat))

    @property
    def gpus_of_type(self) -> dict[str, int]:
        """Its GPUs by type."""
        return counts_of(self.gpu_types, self.layout.ranks_per_stage)

    @property
    def label(self) -> str:
        """The types and their GPUs."""
        return told(self.gpus_of_type)

    @cached_property
    def paths(self) -> Wiring | None:
        """The paths of the first seats that take it, None when none does."""
        place = self.place
        found = (ways(place.topology, place.classes, f, place.market.role, place.unknown) for f in self.footprints)
        return next((paths for seats in found for _, _, paths, _ in seats), None)

    @cached_property
    def fitting(self) -> tuple[int, ...]:
        """Requests in flight, ascending, for which some split has room; none without seats."""
        if not self._holds_weights or self.paths is None or within(self._loads(1), inf) is None:
            return ()
        every = self.place.points(self.gpu_types)
        return every[: bisect_left(every, True, key=lambda n: within(self._loads(n), inf) is None)]

    @property
    def _holds_weights(self) -> bool:
        """Whether all its GPUs together hold the weights, which is quickly told."""
        visible = sum(self.place.market.gpus[gpu_type].memory for gpu_type in self.gpu_types)
        return _stages_bytes(Same(self.place.market.model), self.layout) <= visible

    @cached_property
    def promise(self) -> float:
        """Requests/s that the slowest stage lets through, at the highest numbers in flight that fit."""
        found = ((loads, fastest(loads)) for loads in map(self._loads, self.fitting[-1:-4:-2]))
        return max(1.0 / loads.slowest(split) for loads, split in found if split is not None)

    @cached_property
    def splits(self) -> tuple[Split, ...]:
        """Layers per stage that are best at some number of requests in flight."""
        often = self.fitting[-BALANCED_AT:]
        numbers = dict.fromkeys((self.fitting[0], self.fitting[-1 - len(self.fitting) // 3], *often))
        found = (best_split(self._loads(n), self._rate(n)) for n in numbers)
        return tuple(dict.fromkeys(split for split in found if split is not None))

    @property
    def all_splits(self) -> Iterator[Split]:
        """Every way to give each stage a layer or more."""
        layers, stages = self.layout.layers_per_stage, self.layout.pp
        for cuts in combinations(range(1, sum(layers)), stages - 1):
            yield tuple(end - first for first, end in zip((0, *cuts), (*cuts, sum(layers)), strict=True))

    def shapes(self, splits: Iterable[Split]) -> Iterator[Shape]:
        """Yield the shapes with these splits, on all of its seats, that have an operating point."""
        place, market, tried = self.place, self.place.market, tuple(splits)
        for footprint in self.footprints:
            for seats in ways(place.topology, place.classes, footprint, market.role, place.unknown):
                for split in tried:
                    found = self._points(seats[2], split)
                    if found.admissible:
                        layout = replace(self.layout, layers_per_stage=split)
                        yield Shape(
                            layout, footprint, seats[0], seats[1], seats[3], found.admissible, found.miss,
                            market.service, market.role,
                        )  # fmt: skip

    def _points(self, paths: Wiring, split: Split) -> Points:
        if (paths, split) not in self._prices:
            layout = replace(self.layout, layers_per_stage=split)
            steps = self.place.points(self.gpu_types)
            self._prices[paths, split] = self.place.market.among(steps, layout, self.label, paths)
        return self._prices[paths, split]

    def _loads(self, concurrency: int) -> Loads:
        assert self.paths is not None
        market = self.place.market
        case = market.case(self.layout, self.label, self.paths, concurrency)
        return Loads(case, market.workload, concurrency, market.role)

    def _rate(self, concurrency: int) -> Callable[[Split], float]:
        def rate(split: Split) -> float:
            assert self.paths is not None
            layout = replace(self.layout, layers_per_stage=split)
            price = self.place.market.price(layout, self.label, self.paths)(concurrency)
            return price.requests_per_s if price.fits else 0.0

        return rate


@lru_cache(maxsize=1024)
def _stages_bytes(model: Same[ModelSpec], layout: Layout) -> int:
    """Return the bytes of parameters on one rank of each stage together: the same for all splits."""
    return sum(weights_bytes(model.value, layout, stage) for stage in range(layout.pp))


def orders(place: Place, layouts: Iterable[Layout], usable: Mapping[str, int], *, every: bool) -> Iterator[Order]:
    """Yield the orders of types for layouts without degrees beside TP, PP and EP, as ``layouts`` come.

    Stages of one type are in a row and all types of one vendor; ``every``: any type comes first, else those with the
    fastest memory come first, or last.
    """
    for layout in layouts:
        if layout.attn_dp == layout.dcp == layout.pcp == 1 and 2 <= layout.pp <= MOST_STAGES:
            for gpu_types in _in_rows(place.market, usable, layout, every=every):
                yield Order(place, layout, gpu_types, every)


def _in_rows(market: Market, usable: Mapping[str, int], layout: Layout, *, every: bool) -> Iterator[tuple[str, ...]]:
    """Yield the type of each stage."""
    ranked = sorted(usable, key=lambda t: (-market.gpus[t].memory_bandwidth, t))
    for kinds in range(2, min(MOST_TYPES, layout.pp) + 1):
        for among in combinations(ranked, kinds):
            if len({market.gpus[t].vendor for t in among}) > 1:
                continue
            for row in permutations(among) if every else (among, among[::-1]):
                for cuts in combinations(range(1, layout.pp), kinds - 1):
                    counts = [end - first for first, end in zip((0, *cuts), (*cuts, layout.pp), strict=True)]
                    if all(n * layout.ranks_per_stage <= usable[t] for t, n in zip(row, counts, strict=True)):
                        yield tuple(t for t, n in zip(row, counts, strict=True) for _ in range(n))
