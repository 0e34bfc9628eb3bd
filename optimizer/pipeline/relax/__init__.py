"""When nothing fits: for every kind of limit the smallest single change that gives an answer, and its plan.

Each relaxed question is asked as ``solve`` would ask it, and its plan is verified. Effort is counted, not timed, so
that the same question gets the same list; what was not looked at for want of effort is told.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from optimizer.pipeline.prepare import Known
from optimizer.pipeline.relax.asking import Asker, Relaxed
from optimizer.pipeline.relax.bounds import relaxed_bounds
from optimizer.pipeline.relax.choices import lifted_options, wider_choices
from optimizer.pipeline.relax.hardware import more_gpus
from optimizer.pipeline.relax.lengths import lower_counts
from optimizer.pipeline.request import Progress, Request, silent
from optimizer.relaxation import KINDS, Kind

__all__ = ["Relaxations", "Relaxed", "relaxations"]


_SEARCHES: tuple[Callable[[Asker], Iterator[Relaxed]], ...] = (
    relaxed_bounds, lifted_options, more_gpus, wider_choices, lower_counts,
)  # fmt: skip
"""In the order in which effort is spent: those that need few new prices first."""


@dataclass(frozen=True)
class Relaxations:
    """What would make an answer possible."""

    found: tuple[Relaxed, ...]
    skipped: tuple[Kind, ...]
    """Kinds that were not looked at, or not to the end, for want of effort."""


def relaxations(request: Request, progress: Progress = silent, prices: Known | None = None) -> Relaxations:
    """Return single changes that give a question without an answer one, by kind, then by model.

    ``prices`` are those that ``solve`` made of the same question.
    """
    asker = Asker(request, time.monotonic() + (request.time_limit_s or math.inf), {} if prices is None else prices)
    progress("which single change would give an answer?")
    asker.start()
    found = [relaxed for search in _SEARCHES for relaxed in search(asker)]
    return Relaxations(
        tuple(sorted(found, key=lambda one: (KINDS.index(one.told.kind), one.service))),
        tuple(kind for kind in KINDS if kind in asker.skipped),
    )
