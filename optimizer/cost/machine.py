"""A machine of a routed pool, priced: what it carries when it holds so many layers, and how long a turn takes.

Requests of all paths through a machine meet in its steps: each step takes one token of every sequence that waits, and
chunks of prompts in the proportion of the workload. A token arrives at any moment of the step in progress and waits for
its end; then come its own step and the hand-over.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil

from optimizer.cost.batch import Batch
from optimizer.cost.bursts import mean_context, new_tokens
from optimizer.cost.case import Case
from optimizer.cost.collectives import hand_over
from optimizer.cost.memory import stage_fits
from optimizer.cost.options import concurrencies
from optimizer.cost.pipeline import Causes, priced
from optimizer.cost.shapes import Market
from optimizer.cost.stages import held_by, stage_work
from optimizer.cost.step import cycle, stage_prices
from optimizer.cost.work import work
from optimizer.inputs.identity import Same
from optimizer.inputs.model import ModelSpec, Scheme
from optimizer.inputs.workload import KvScheme, WorkloadSpec
from optimizer.layout import Layout
from optimizer.topology.wiring import HopPath, Wiring

CHUNK = 128
"""Tokens of a prompt in one step: so few that a step with a prompt takes little longer than one without, which must
read the weights all the same."""

TOKEN_ID_BYTES = 4
"""What the router and the ends of the model send each other for a token."""

Place = tuple[bool, bool]
"""Whether the first layers are held, with the embedding, and the last, with the head."""

PLACES: tuple[Place, ...] = ((False, False), (True, False), (False, True), (True, True))


@dataclass(frozen=True)
class Kind:
    """Machines that no price tells apart."""

    gpu_type: str
    tp: int
    paths: Wiring
    """Of its TP group."""
    hops: tuple[HopPath, ...]
    """Its ways to others, each once."""


@dataclass(frozen=True)
class Step:
    """One way to run a machine."""

    batch: int
    """Sequences in decode that a step advances."""
    tokens_per_s: float
    """Output tokens of steps without a pause, the prompts that belong to them included."""
    turn_s: float
    """Seconds of a token here: half a step of waiting, its step, the hand-over."""
    longest_s: float
    """The same at worst: a whole step of waiting, and steps with a whole chunk of a prompt."""


@dataclass(frozen=True)
class Held:
    """What a machine can do with some layers."""

    sequences: int
    """The most whose KV its memory holds, each of the workload's mean length at its end."""
    steps: tuple[Step, ...]

    def within(self, turn_s: float, longest_s: float = float("inf")) -> tuple[Step, ...]:
        """Return the ways to run it in turns of at most ``turn_s``, ``longest_s`` at worst."""
        return tuple(
            step
            for step in self.steps
            if step.turn_s <= turn_s and step.longest_s <= longest_s and step.batch <= self.sequences
        )

    def carrying(self, tokens_per_s: float) -> Step | None:
        """Return the shortest steps that carry so much; None when none do."""
        able = (step for step in self.within(float("inf")) if step.tokens_per_s >= tokens_per_s)
        return min(able, key=lambda step: step.turn_s, default=None)


Curve = dict[Place, tuple[Held, ...]]
"""What a machine can do with 1, 2, … layers, by their place."""


@dataclass(frozen=True)
class Terms:
    """What all machines of a pool have in common."""

    market: Market
    weights: Scheme
    kv_cache: KvScheme

    @property
    def load(self) -> WorkloadSpec:
        """The traffic."""
        return self.market.workload

    def layout(self, tp: int, split: tuple[int, ...] | None = None) -> Layout:
        """Return a machine that holds all layers, or with ``split`` one among others."""
        layers = split or (self.market.model.num_layers,)
        return Layout(tp, len(layers), layers, self.weights, self.kv_cache)

    def case(self, kind: Kind, sequences: int) -> Case:
        """Return a machine as it would be started for so many sequences, all layers in it."""
        return self.market.case(self.layout(kind.tp), kind.gpu_type, kind.paths, sequences)


def prompt_tokens(load: WorkloadSpec) -> float:
    """Return the prompt tokens that are computed for each output token."""
    return new_tokens(load) / load.osl.mean


def chunks(load: WorkloadSpec) -> int:
    """Return the turns in which one prompt is computed."""
    return ceil(new_tokens(load) / CHUNK)


def curve(terms: Terms, kind: Kind) -> Curve:
    """Return what a kind of machine can do, by place and number of layers, as far as its memory reaches.

    Where layers differ the slowest and the largest run of so many stands for all.
    """
    tables = tuple(_tables(terms, kind))
    return {place: tuple(_held(terms, kind, place, tables)) for place in PLACES}


@dataclass(frozen=True)
class _Table:
    """Prices of one batch."""

    case: Case
    batch: int
    mean: Batch
    longest: Batch


def _tables(terms: Terms, kind: Kind) -> Iterator[_Table]:
    load, most = terms.load, terms.market.limit(kind.gpu_type)
    case = terms.case(kind, most)
    each = min(float(CHUNK), new_tokens(load))
    past = load.isl.mean - new_tokens(load) + (new_tokens(load) - each) / 2
    for batch in concurrencies(load, most):
        prompts = batch * prompt_tokens(load) / each
        mean = Batch(prompts, each, past, float(batch), mean_context(load))
        longest = mean._replace(prompts=max(1.0, prompts))
        if batch + longest.prompts * each <= case.engine.max_num_batched_tokens:
            yield _Table(case, batch, mean, longest)


def _held(terms: Terms, kind: Kind, place: Place, tables: Sequence[_Table]) -> Iterator[Held]:
    """Yield what a machine can do with 1, 2, … layers at one place."""
    model, most = terms.market.model, terms.market.limit(kind.gpu_type)
    prices = [(one, stage_prices(one.case, one.mean), stage_prices(one.case, one.longest)) for one in tables]
    for count in range(1, model.num_layers + 1):
        runs = _runs(Same(model), count, place)
        for first, _ in runs:
            most = _sequences(terms, kind, first, count, most)
        if runs and not most:
            return
        parts = [
            stage_work(work(one.case).kinds, held, is_first=place[0], is_last=place[1])
            for one, _, _ in prices[:1] for _, held in runs
        ]  # fmt: skip
        yield Held(
            most if runs else 0,
            tuple(
                _step(terms, kind, one, place, [mean(part) for part in parts], [longest(part) for part in parts])
                for one, mean, longest in prices if parts
            ),
        )  # fmt: skip


@lru_cache(maxsize=4096)
def _runs(model: Same[ModelSpec], count: int, place: Place) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """Return (first layer, layers of each kind) of the runs of ``count`` layers at a place, alike ones once."""
    last = model.value.num_layers - count
    starts: range | tuple[int, ...] = range(1, last)
    if place == (True, True):
        starts = (0,) if last == 0 else ()
    elif place != (False, False):
        starts = ((0,) if place[0] else (last,)) if last else ()
    found: dict[tuple[int, ...], int] = {}
    for first in starts:
        found.setdefault(held_by(model, first, first + count), first)
    return tuple((first, held) for held, first in found.items())


def _sequences(terms: Terms, kind: Kind, first: int, count: int, most: int) -> int:
    """Return how many sequences a machine with these layers holds, at most ``most``."""
    tokens = terms.load.isl.mean + terms.load.osl.mean
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        case, stage = stage_case(terms, kind, first, count, middle)
        low, high = (middle, high) if stage_fits(case, stage, middle, tokens) else (low, middle - 1)
    return low


def stage_case(terms: Terms, kind: Kind, first: int, count: int, sequences: int) -> tuple[Case, int]:
    """Return a machine with these layers as a stage of a pipeline, for its memory, and which stage it is."""
    split = (first, count, terms.market.model.num_layers - first - count)
    layout = terms.layout(kind.tp, tuple(layers for layers in split if layers))
    return replace(terms.case(kind, sequences), layout=layout), int(first > 0)


def _step(
    terms: Terms, kind: Kind, one: _Table, place: Place, mean: Sequence[Causes], longest: Sequence[Causes]
) -> Step:
    """Return one way to run a machine, the slowest of some runs of layers standing for all."""
    margin, group = terms.load.margin, kind.paths.group
    mean_s = max(cycle(one.case, one.mean, priced((part,)), 1).total for part in mean)
    longest_s = max(cycle(one.case, one.longest, priced((part,)), 1).total for part in longest)
    sent_s = _hand_over(one.case, kind, one.mean, place)
    apart = all(hop.medium not in (group.inner, group.outer) for hop in kind.hops)
    busy_s = max(mean_s, sent_s) if apart else mean_s + sent_s
    turn_s = 1.5 * mean_s + sent_s
    worst_s = 2.0 * longest_s + _hand_over(one.case, kind, one.longest, place)
    return Step(one.batch, one.batch / busy_s * (1.0 - margin), turn_s * (1.0 + margin), worst_s * (1.0 + margin))


def _hand_over(case: Case, kind: Kind, batch: Batch, place: Place) -> float:
    """Return the seconds of handing a step over on the slowest way: hidden state and residual of every row.

    What holds the last layers sends token ids to the router, which sends them on to the first.
    """
    rows = batch.prompts * batch.tokens + batch.decodes
    sent = TOKEN_ID_BYTES * rows if place[1] else 2.0 * rows * work(case).hidden_bytes
    times = 2.0 if place[1] else 1.0
    return times * max((hand_over(case.calibration, sent, hop, kind.tp) for hop in kind.hops), default=0.0)
