"""Whole numbers that change every price: ISL, OSL and the requests in flight, each lowered on a grid.

Each number of the grid is a question of its own, so a guess comes first: of a length the longest that any replica by
itself still takes, with one request in flight and within the bounds; of requests in flight the most that the operating
points priced for the question as asked hold.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from optimizer.cost.options import meets_slo
from optimizer.inputs.workload import Lengths, Role, WorkloadSpec
from optimizer.pipeline.markets import market_of
from optimizer.pipeline.relax.asking import Asker, Relaxed, Tried, first_true
from optimizer.pipeline.relax.bounds import answers
from optimizer.pipeline.request import Request
from optimizer.plan import Plan
from optimizer.relaxation import Kind

STEPS = 32
"""On the grid in each doubling: numbers there differ by no more than one part in so many."""

LEAST = 16
"""Lengths down to this part of what was asked are looked at."""

PROBES_PER_LAYOUT = 20
"""Operating points of about the effort of one layout's prices."""


def lower_counts(asker: Asker) -> Iterator[Relaxed]:
    """Yield the largest ISL, OSL and number of requests in flight that give an answer, for each model."""
    for service, one in enumerate(asker.request.services):
        load = one.workload
        yield from _length(asker, service, "isl", load.isl)
        yield from _length(asker, service, "osl", load.osl)
        if load.concurrency and asker.request.objective != "throughput":
            yield from _clients(asker, service, load.concurrency)


@dataclass
class _Questions:
    """The question with each number of a grid, largest first, in place of what was asked."""

    asker: Asker
    service: int
    kind: Kind
    grid: tuple[int, ...]
    request_of: Callable[[int], Request]
    plans: dict[int, Plan | None] = field(default_factory=dict)

    def request(self, place: int) -> Request:
        return self.request_of(self.grid[place])

    def works(self, place: int) -> bool:
        """Return whether the question at one place of the grid has an answer; its plan is kept."""
        if place not in self.plans:
            may = self.asker.may_ask(self.kind)
            prices = self.asker.others(self.service)
            self.plans[place] = self.asker.plan(self.request(place), prices) if may else None
        return self.plans[place] is not None

    def largest(self, asked: int, guess: int | None) -> Iterator[Relaxed]:
        """Yield the question with the largest number that works; ``guess``: its likely place, None for none."""
        last = len(self.grid) - 1
        if guess is None or not self.asker.may_ask(self.kind):
            return
        if self.works(guess):
            place = guess if not guess or not self.works(guess - 1) else first_true(self.works, 0, guess - 1)
        elif guess < last and self.works(last):
            place = first_true(self.works, guess + 1, last)
        else:
            return
        yield from self.asker.told(
            self.kind, asked, self.grid[place], self.request(place), self.plans[place], service=self.service
        )


def grid(asked: int, least: int) -> tuple[int, ...]:
    """Return numbers below ``asked``, down to ``least``, largest first, in steps of a part of themselves."""
    return tuple(n for n in range(asked - 1, least - 1, -1) if n % _step(n) == 0)


def _step(n: int) -> int:
    """Return the largest power of two that is at most a part of ``n``, at least 1."""
    return 1 << max(0, (n // STEPS).bit_length() - 1)


def _length(asker: Asker, service: int, kind: Literal["isl", "osl"], asked: Lengths) -> Iterator[Relaxed]:
    def shorter(n: int) -> Request:
        return asker.loaded(service, **{kind: asked.model_copy(update={"mean": n})})

    questions = _Questions(asker, service, kind, grid(asked.mean, max(1, asked.mean // LEAST)), shorter)
    yield from questions.largest(asked.mean, _by_itself(questions))


def _clients(asker: Asker, service: int, asked: int) -> Iterator[Relaxed]:
    known = asker.asked

    def fewer(n: int) -> Request:
        return asker.loaded(service, concurrency=n)

    questions = _Questions(asker, service, "concurrency", grid(asked, 1), fewer)
    if known is None or not questions.grid:
        return
    last = len(questions.grid) - 1
    guess = first_true(lambda place: answers(asker, known, questions.request(place)), 0, last)
    yield from questions.largest(asked, guess)


# -- replicas by themselves ----------------------------------------------------------------------------------------


def _by_itself(questions: _Questions) -> int | None:
    """Return the place of the largest number at which some replica takes one request within its bounds, if any does."""
    roles = questions.asker.request.services[questions.service].workload.roles
    whole = _first_kept(questions, "both") if "both" in roles else None
    pair = [_first_kept(questions, role) for role in roles if role != "both"]
    apart = None if not pair or None in pair else max(place for place in pair if place is not None)
    return min((place for place in (whole, apart) if place is not None), default=None)


def _first_kept(questions: _Questions, role: Role) -> int | None:
    """Return the first place at which some replica of a role takes one request; those that do not are dropped."""
    asker, service = questions.asker, questions.service
    able = list(asker.tried.get((service, role), ()))

    def kept(place: int) -> bool:
        load = questions.request(place).services[service].workload
        asker.priced += len(able) // PROBES_PER_LAYOUT
        left = [one for one in able if _keeps(asker, service, role, load, one)]
        able[:] = left or able
        return bool(left)

    last = len(questions.grid) - 1
    return first_true(kept, 0, last) if last >= 0 and kept(last) else None


def _keeps(asker: Asker, service: int, role: Role, load: WorkloadSpec, tried: Tried) -> bool:
    """Return whether a replica takes one request within the bounds."""
    layout, gpu_type, paths = tried
    model = asker.request.services[service].model
    market = replace(market_of(asker.request.cluster, model, load), service=service, role=role)
    point = market.price(layout, gpu_type, paths)(1)
    return point.fits and meets_slo(point, load)
