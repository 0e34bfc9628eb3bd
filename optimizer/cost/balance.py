"""Which layers each stage of a pipeline holds, so that the slowest stage is as fast as can be.

A stage's load is what one request costs it: its steps of decode, each shared by a micro-batch, and its prefill. It
grows with every layer, so whether all stages keep a bound is decided by giving each, in turn, as many layers as keep
it: if that does not place all layers, nothing does. Memory binds the same way. The least bound is found by halving,
then by asking for less than the best found until there is none: a proof, not a tolerance.

The slowest stage of decode and that of prefill may be two, and few requests leave stages idle: a replica's rate is
then a little higher elsewhere, so ``best_split`` goes on from there layer by layer, by the price of the whole.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate, permutations, product
from math import ceil, inf, nextafter

from optimizer.cost.batch import Batch
from optimizer.cost.bursts import mean_context, new_tokens
from optimizer.cost.case import Case
from optimizer.cost.memory import stage_fits
from optimizer.cost.pipeline import Causes
from optimizer.cost.speculation import decode_steps
from optimizer.cost.stages import StageWork, held_by, stage_work
from optimizer.cost.step import micro_batches, stage_prices
from optimizer.cost.work import LayerWork, work
from optimizer.inputs.identity import Same
from optimizer.inputs.workload import Role, WorkloadSpec

Split = tuple[int, ...]
"""Layers of each stage."""

FEW_STAGES = 4
"""In pipelines of up to so many stages every stage may give a layer to every other."""

_HALVINGS = 12
"""Of the bound, before the best split found is improved one by one."""


@dataclass(frozen=True)
class Loads:
    """What each stage of a pipeline takes for any run of layers, and whether it holds them."""

    case: Case
    """The layout's own split is of no account."""
    workload: WorkloadSpec
    sequences: int
    """Requests in flight, whose KV must fit."""
    role: Role = "both"
    _shapes: dict[tuple[int, int, int], StageWork] = field(default_factory=dict)
    _seconds: dict[tuple[int, StageWork], float] = field(default_factory=dict)
    _fits: dict[tuple[int, StageWork], bool] = field(default_factory=dict)

    @property
    def layers(self) -> int:
        """Layers of the model."""
        return self.case.model.num_layers

    @property
    def stages(self) -> int:
        """Stages of the pipeline."""
        return self.case.layout.pp

    def seconds(self, stage: int, first: int, end: int) -> float:
        """Return what one request costs a stage that holds the layers from ``first`` to before ``end``."""
        part, shape = self._parts[stage], self._shape(stage, first, end)
        if (part, shape) not in self._seconds:
            self._seconds[part, shape] = sum([times * sum(price(shape)) for price, times in self._prices[part]])
        return self._seconds[part, shape]

    def fits(self, stage: int, first: int, end: int) -> bool:
        """Return whether a stage holds these layers with their part of all requests in flight."""
        key = (self._parts[stage], self._shape(stage, first, end))
        if key not in self._fits:
            split = [0] * self.stages
            split[0], split[-1] = first, self.layers - end
            split[stage] = end - first
            case = replace(self.case, layout=replace(self.case.layout, layers_per_stage=tuple(split)))
            tokens = self.workload.isl.mean + self.workload.osl.mean
            self._fits[key] = stage_fits(case, stage, self.sequences, tokens)
        return self._fits[key]

    def slowest(self, split: Split) -> float:
        """Return the load of the slowest stage."""
        return max(self.each(split))

    def each(self, split: Split) -> Iterator[float]:
        """Yield the load of every stage."""
        first = 0
        for stage, layers in enumerate(split):
            yield self.seconds(stage, first, first + layers)
            first += layers

    def hold(self, split: Split) -> bool:
        """Return whether every stage holds its layers."""
        ends = accumulate(split)
        return all(self.fits(stage, end - split[stage], end) for stage, end in enumerate(ends))

    def _shape(self, stage: int, first: int, end: int) -> StageWork:
        key = (stage, first, end)
        if key not in self._shapes:
            held, last = held_by(Same(self.case.model), first, end), self.stages - 1
            self._shapes[key] = stage_work(self._kinds, held, is_first=stage == 0, is_last=stage == last)
        return self._shapes[key]

    @cached_property
    def _kinds(self) -> tuple[LayerWork, ...]:
        return work(self.case.at(0)).kinds

    @cached_property
    def _parts(self) -> tuple[int, ...]:
        """The part of the case that each stage belongs to."""
        return tuple(number for number, (_, held) in enumerate(self.case.parts) for _ in held)

    @cached_property
    def _prices(self) -> tuple[tuple[tuple[Callable[[StageWork], Causes], float], ...], ...]:
        """Seconds of each part's steps as functions of a stage's layers, and how many of them one request takes."""
        steps = tuple(_steps(self.case, self.workload, self.sequences, self.role))
        return tuple(tuple((stage_prices(part, batch), times) for batch, times in steps) for part, _ in self.case.parts)


def _steps(case: Case, workload: WorkloadSpec, sequences: int, role: Role) -> Iterator[tuple[Batch, float]]:
    """Yield the steps of a micro-batch and how many of each one request pays for: its decodes and its prompt."""
    each = sequences / micro_batches(case, sequences)
    if role != "prefill":
        yield Batch(decodes=each, context=mean_context(workload)), decode_steps(case, workload.osl.mean) / each
    if role != "decode":
        todo, budget = new_tokens(workload), case.engine.max_num_batched_tokens
        chunks, together = ceil(todo / budget), max(1.0, min(each, budget // todo))
        past = workload.isl.mean - todo + todo * (chunks - 1) / (2 * chunks)
        yield Batch(prompts=together, tokens=todo / chunks, past=past), chunks / together


def fastest(loads: Loads) -> Split | None:
    """Return the split whose slowest stage is fastest, None when no split fits."""
    best = within(loads, inf)
    if best is None:
        return None
    low, high = 0.0, loads.slowest(best)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        found = within(loads, middle)
        if found is None:
            low = middle
        else:
            best, high = found, loads.slowest(found)
    while (found := within(loads, nextafter(high, 0.0))) is not None:
        best, high = found, loads.slowest(found)
    return best


def within(loads: Loads, bound_s: float, *, backwards: bool = False) -> Split | None:
    """Return the split that gives each stage in turn as many layers as fit and keep the bound, None when some are left.

    ``backwards``: the last stage comes first.
    """
    split, placed = [0] * loads.stages, 0
    for turn in range(loads.stages):
        stage = loads.stages - 1 - turn if backwards else turn
        most = loads.layers - placed - (loads.stages - 1 - turn)

        def keeps(layers: int, stage: int = stage, placed: int = placed) -> bool:
            first = loads.layers - placed - layers if backwards else placed
            return loads.seconds(stage, first, first + layers) <= bound_s and loads.fits(stage, first, first + layers)

        split[stage] = bisect_left(range(1, most + 1), True, key=lambda layers: not keeps(layers))
        if split[stage] == 0:
            return None
        placed += split[stage]
    return tuple(split) if placed == loads.layers else None


def best_split(loads: Loads, rate: Callable[[Split], float]) -> Split | None:
    """Return a split of the highest ``rate`` that moving one layer does not raise, None when none fits.

    It starts from the best of the split whose slowest stage is fastest and of those that fill one end first.
    """
    balanced = fastest(loads)
    if balanced is None:
        return None
    bounds = (loads.slowest(balanced), inf)
    starts = {within(loads, bound_s, backwards=way) for bound_s in bounds for way in (False, True)}
    rates = {start: rate(start) for start in sorted(filter(None, starts))}
    best = max(rates, key=lambda split: rates[split])
    while True:
        for split in _neighbours(loads, best):
            if split not in rates:
                rates[split] = rate(split) if loads.hold(split) else 0.0
        better = max(_neighbours(loads, best), key=lambda split: rates[split], default=best)
        if rates[better] <= rates[best]:
            return best
        best = better


def _neighbours(loads: Loads, split: Split) -> list[Split]:
    """Return the splits next to one: a layer moved, and one from each stage of a type moved to the stages of another.

    In long pipelines only the slowest stage of a type gives a layer, and only the fastest takes one.
    """
    each = list(loads.each(split))
    groups = [held for _, held in loads.case.parts]
    givers, takers = list(range(loads.stages)), list(range(loads.stages))
    if loads.stages > FEW_STAGES:
        givers = [max(held, key=each.__getitem__) for held in groups]
        takers = [min(held, key=each.__getitem__) for held in groups]
    changes = [({giver: -1}, {taker: 1}) for giver, taker in product(givers, takers) if giver != taker]
    for here, there in permutations(groups, 2):
        least, more = divmod(len(here), len(there))
        taken = {stage: least + (place < more) for place, stage in enumerate(there)}
        changes.append((dict.fromkeys(here, -1), taken))
    found = (
        tuple(n + given.get(stage, 0) + taken.get(stage, 0) for stage, n in enumerate(split))
        for given, taken in changes
    )
    return [changed for changed in found if min(changed) > 0]
