"""Replicas whose pipeline runs over GPUs of several types: which orders of types are worth a price, and their shapes.

They are tried only for types that are short of GPUs: too few hold no replica, or less of it than would serve best. Of
those orders the ones are priced whose slowest stage lets through more than replicas of one type on as many GPUs.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, islice
from math import inf

from optimizer.cost.balance import Loads, Split, best_split, fastest, within
from optimizer.cost.options import concurrencies, operating_points
from optimizer.cost.shapes import Market, Shape, Way, ways
from optimizer.errors import UnknownRateError
from optimizer.layout import Layout
from optimizer.topology.classes import NodeClass, joins_nodes
from optimizer.topology.footprints import Footprint
from optimizer.topology.graph import Topology
from optimizer.topology.mixed import mixed_footprints
from optimizer.topology.wiring import Wiring

MOST_STAGES = 8
"""Longest pipeline over several types."""

MOST_TYPES = 3
"""In one pipeline."""

MULTIPLE = 2
"""Pipelines of up to so many times the GPUs of the smallest that fits are tried."""

SCANNED = 80
"""So many orders of types that fit are looked at, fewest GPUs first."""

PRICED = 8
"""So many of them are priced: those that promise most over what the same GPUs give in replicas of one type."""

FEW = 4
"""And so many of those that need fewer GPUs than any replica of one type."""

BALANCED_AT = 3
"""Splits are balanced for so many of the highest numbers of requests in flight that fit, and for few."""

Unknown = Callable[[UnknownRateError, Footprint], None]


@dataclass(frozen=True)
class Mixtures:
    """Shapes over several GPU types, and how many orders of types were priced of those that fit."""

    short: bool = False
    """Whether some type is short of GPUs: they are tried only then."""
    shapes: tuple[Shape, ...] = ()
    priced: int = 0
    fitting: int = 0


@dataclass(frozen=True)
class _Order:
    """Stages on types in a row, on the first seats that take them."""

    market: Market
    layout: Layout
    gpu_types: tuple[str, ...]
    footprints: tuple[Footprint, ...]
    paths: Wiring

    @cached_property
    def label(self) -> str:
        """The types and their GPUs."""
        return self.footprints[0].gpu_type

    def loads(self, concurrency: int) -> Loads:
        """Return what stages take with so many requests in flight."""
        case = self.market.case(self.layout, self.label, self.paths, concurrency)
        return Loads(case, self.market.workload, concurrency, self.market.role)

    @cached_property
    def fitting(self) -> tuple[int, ...]:
        """Requests in flight, ascending, for which some split has room."""
        every = concurrencies(self.market.workload, self.market.limit(*self.gpu_types))
        return every[: bisect_left(every, True, key=lambda n: within(self.loads(n), inf) is None)]

    @cached_property
    def promise(self) -> float:
        """Requests/s that the slowest stage lets through, at the highest numbers in flight that fit."""
        found = ((loads, fastest(loads)) for loads in map(self.loads, self.fitting[-1:-4:-2]))
        return max(1.0 / loads.slowest(split) for loads, split in found if split is not None)

    @cached_property
    def splits(self) -> tuple[Split, ...]:
        """Layers per stage that are best at some number of requests in flight."""
        often = self.fitting[-BALANCED_AT:]
        numbers = dict.fromkeys((self.fitting[0], self.fitting[-1 - len(self.fitting) // 3], *often))
        found = (best_split(self.loads(n), self._rate(n)) for n in numbers)
        return tuple(dict.fromkeys(split for split in found if split is not None))

    def _rate(self, concurrency: int) -> Callable[[Split], float]:
        def rate(split: Split) -> float:
            layout = replace(self.layout, layers_per_stage=split)
            price = self.market.price(layout, self.label, self.paths)(concurrency)
            return price.requests_per_s if price.fits else 0.0

        return rate


def mixtures(
    topology: Topology,
    classes: Sequence[NodeClass],
    layouts: Callable[[], Iterable[Layout]],
    market: Market,
    alone: Sequence[Shape],
    usable: Mapping[str, int],
    unknown: Unknown,
) -> Mixtures:
    """Return the shapes over several types, beside those ``alone`` on one; ``layouts``: those the engine admits.

    Empty where the cluster has one type or none of them is short of GPUs, where the engine does not run such pipelines,
    and for prefill or decode alone.
    """
    best = _best_alone(alone)
    short = {t for t, n in usable.items() if t not in best or MULTIPLE * best[t].footprint.gpus > n}
    if len(usable) < 2 or not short or not market.facts.several_gpu_types or market.role != "both":
        return Mixtures()
    orders = tuple(islice(_fitting(topology, classes, layouts(), market, usable, short, unknown), SCANNED))
    smallest = min((shape.footprint.gpus for shape in alone if shape.points), default=inf)
    chosen = _promising(orders, {t: _per_gpu(shape) for t, shape in best.items()}, smallest)
    shapes = tuple(shape for order in chosen for shape in _shapes(topology, classes, order, unknown))
    return Mixtures(True, shapes, len(chosen), len(orders))


def _best_alone(alone: Iterable[Shape]) -> dict[str, Shape]:
    """Return the shape of each type that gives most requests/s per GPU."""
    best: dict[str, Shape] = {}
    for shape in alone:
        gpu_type = shape.footprint.gpu_type
        if shape.points and (gpu_type not in best or _per_gpu(shape) > _per_gpu(best[gpu_type])):
            best[gpu_type] = shape
    return best


def _per_gpu(shape: Shape) -> float:
    return max(point.requests_per_s for point in shape.points) / shape.footprint.gpus


def _fitting(
    topology: Topology,
    classes: Sequence[NodeClass],
    layouts: Iterable[Layout],
    market: Market,
    usable: Mapping[str, int],
    short: set[str],
    unknown: Unknown,
) -> Iterator[_Order]:
    """Yield the orders that hold a request, fewest GPUs first, up to a multiple of the fewest."""
    most = inf
    for layout in layouts:
        plain = layout.attn_dp == layout.dcp == layout.pcp == 1
        if not plain or not 2 <= layout.pp <= MOST_STAGES or layout.world_size > most:
            continue
        for gpu_types in _orders(market, usable, layout.ranks_per_stage, layout.pp):
            if not short & set(gpu_types):
                continue
            order = _seated(topology, classes, market, layout, gpu_types, unknown)
            if order is not None and order.fitting:
                most = min(most, MULTIPLE * layout.world_size)
                yield order


def _orders(market: Market, usable: Mapping[str, int], ranks: int, stages: int) -> Iterator[tuple[str, ...]]:
    """Yield the types of each stage, of one vendor: the fastest memory first, or last, stages of one type in a row."""
    ranked = sorted(usable, key=lambda t: (-market.gpus[t].memory_bandwidth, t))
    for kinds in range(2, min(MOST_TYPES, stages) + 1):
        for among in combinations(ranked, kinds):
            if len({market.gpus[t].vendor for t in among}) > 1:
                continue
            for cuts in combinations(range(1, stages), kinds - 1):
                counts = [end - first for first, end in zip((0, *cuts), (*cuts, stages), strict=True)]
                if all(n * ranks <= usable[t] for t, n in zip(among, counts, strict=True)):
                    order = tuple(t for t, n in zip(among, counts, strict=True) for _ in range(n))
                    yield from (order, order[::-1])


def _seated(
    topology: Topology,
    classes: Sequence[NodeClass],
    market: Market,
    layout: Layout,
    gpu_types: tuple[str, ...],
    unknown: Unknown,
) -> _Order | None:
    """Return an order with the paths of the first seats that take it, None when none does."""
    found = tuple(mixed_footprints(classes, gpu_types, layout.ranks_per_stage, joined=joins_nodes(topology)))
    seats = (way for footprint in found for way in ways(topology, classes, footprint, market.role, unknown))
    first: Way | None = next(seats, None)
    return None if first is None else _Order(market, layout, gpu_types, found, first[2])


def _promising(orders: Sequence[_Order], per_gpu: Mapping[str, float], smallest: float) -> tuple[_Order, ...]:
    """Return the orders that promise more than their GPUs give in replicas of one type, best first.

    Besides, the first of those that need fewer GPUs than any such replica.
    """
    gain = {}
    for order in orders:
        otherwise = sum(per_gpu.get(t, 0.0) * n for t, n in order.footprints[0].gpus_of_type.items())
        gain[id(order)] = order.promise / otherwise if otherwise else inf
    able = [order for order in orders if gain[id(order)] > 1.0]
    ranked = sorted(able, key=lambda order: (-gain[id(order)], -order.promise))
    small = [order for order in orders if order.layout.world_size < smallest]
    return tuple({id(order): order for order in (*ranked[:PRICED], *small[:FEW])}.values())


def _shapes(topology: Topology, classes: Sequence[NodeClass], order: _Order, unknown: Unknown) -> Iterator[Shape]:
    """Yield the shapes of an order on all of its seats that have an operating point."""
    market, prices = order.market, {}
    for footprint in order.footprints:
        for share, seats, paths, reserved in ways(topology, classes, footprint, market.role, unknown):
            for split in order.splits:
                layout = replace(order.layout, layers_per_stage=split)
                if (paths, split) not in prices:
                    price, limit = market.price(layout, order.label, paths), market.limit(*order.gpu_types)
                    prices[paths, split] = operating_points(
                        price, market.workload, concurrencies(market.workload, limit)
                    )  # fmt: skip
                found = prices[paths, split]
                if found.admissible:
                    yield Shape(
                        layout, footprint, share, seats, reserved, found.admissible, found.miss,
                        market.service, market.role,
                    )  # fmt: skip
