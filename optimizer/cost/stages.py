"""What stages hold: how many layers of each kind, and the host's work for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Protocol

from optimizer.inputs.identity import Same
from optimizer.inputs.model import LayerRun, ModelSpec


class Launched(Protocol):
    """A layer as the host sees it."""

    @property
    def kernels(self) -> int:
        """Kernels of a decode step."""

    @property
    def launches(self) -> int:
        """Launches of a prefill step that the host starts kernel by kernel."""

    @property
    def pieces(self) -> int:
        """Launches that stay with the host when a short prefill runs piecewise from graphs."""


@dataclass(frozen=True, slots=True)
class StageWork:
    """What stages of one shape hold."""

    counts: tuple[int, ...]
    """Layers of each kind."""
    is_first: bool
    is_last: bool
    kernels: int
    launches: int
    pieces: int


@lru_cache(maxsize=256)
def kinds_of(model: Same[ModelSpec]) -> tuple[tuple[LayerRun, ...], dict[int, int]]:
    """Return one run for every kind of layer, in order of first use, and the kind of each run by its identity."""
    kinds: dict[tuple[object, ...], int] = {}
    first: list[LayerRun] = []
    of_run = {}
    for run in model.value.runs:
        key = (run.attention, run.feed_forward, run.norm_parameters)
        if key not in kinds:
            kinds[key] = len(kinds)
            first.append(run)
        of_run[id(run)] = kinds[key]
    return tuple(first), of_run


def held_by(model: Same[ModelSpec], first: int, end: int) -> tuple[int, ...]:
    """Return how many layers of each kind there are from layer ``first`` to before layer ``end``."""
    runs, of_run = kinds_of(model)
    held = [0] * len(runs)
    for run, count in model.value.layers(first, end):
        held[of_run[id(run)]] += count
    return tuple(held)


@lru_cache(maxsize=4096)
def held_by_stages(model: Same[ModelSpec], split: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Return how many layers of each kind every stage holds; ``split``: layers of each stage."""
    return tuple(held_by(model, end - layers, end) for end, layers in zip(accumulate(split), split, strict=True))


def stage_work(kinds: Sequence[Launched], held: tuple[int, ...], *, is_first: bool, is_last: bool) -> StageWork:
    """Return a stage that holds so many layers of each kind."""
    pairs = list(zip(held, kinds, strict=True))
    return StageWork(
        held,
        is_first,
        is_last,
        kernels=sum([count * kind.kernels for count, kind in pairs]),
        launches=sum([count * kind.launches for count, kind in pairs]),
        pieces=sum([count * kind.pieces for count, kind in pairs]),
    )
