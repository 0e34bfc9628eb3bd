"""One relaxed question at a time, in bounded effort."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from optimizer.compare import replica_groups, service_names
from optimizer.errors import InfeasibleError, InputError, NoAnswerError
from optimizer.formulation.instance import Instance
from optimizer.formulation.solve import Choice, Limits, choose
from optimizer.inputs.service import Service
from optimizer.inputs.workload import Role
from optimizer.layout import Layout
from optimizer.pipeline.planned import planned
from optimizer.pipeline.prepare import Known, Prepared, prepare
from optimizer.pipeline.request import Request, silent
from optimizer.plan import Plan
from optimizer.relaxation import Given, Kind, Relaxation, Value
from optimizer.topology.wiring import Wiring

MOST_PRICED = 1000
"""Layouts priced for all questions together: some ten seconds. Counted, not timed, so that answers repeat."""

TIMES = 2
"""Where the question as asked takes more, so many times its layouts."""

NODES_PER_LAYOUT = 8
"""Nodes whose wiring takes about as long as one layout's prices."""

EFFORT = 1.0
"""Deterministic seconds of solving each question; one that is not answered by then counts as one without an answer."""


Tried = tuple[Layout, str, Wiring]
"""A layout on GPUs of one type, and how its ranks are wired."""


@dataclass(frozen=True)
class Relaxed:
    """A relaxation and the question that it makes of the one asked."""

    told: Relaxation
    request: Request
    service: int = 0
    """Place of the model whose limit it is."""


@dataclass
class Asker:
    """Asks relaxed questions until the effort is spent."""

    request: Request
    end: float = float("inf")
    """Monotonic seconds at which the user's time limit is over."""
    prices: Known = field(default_factory=dict)
    """Of the question as asked, on the same GPU types."""
    tried: dict[tuple[int, Role], tuple[Tried, ...]] = field(default_factory=dict)
    """Layouts of the question as asked, on their seats' wiring."""
    priced: int = 0
    """Layouts, and nodes at their worth, beyond the question as asked."""
    most: int = MOST_PRICED
    skipped: dict[Kind, None] = field(default_factory=dict)
    """Kinds that were cut short."""

    asked: Prepared | None = None
    """What is known of the question as asked, where layouts are admissible and only do not add up."""

    def start(self) -> None:
        """Price the question as asked: what changes no prices starts from these."""
        self.asked = self.known(self.request, self.prices)
        self.tried = {key: tuple(known) for key, known in self.prices.items()}
        # what was needed to find that there is no answer does not count
        self.priced, self.most = 0, max(MOST_PRICED, TIMES * sum(map(len, self.tried.values())))

    def may_ask(self, kind: Kind) -> bool:
        """Return whether effort is left, and remember the kind when none is."""
        if self.priced < self.most and time.monotonic() < self.end:
            return True
        self.skipped[kind] = None
        return False

    def known(self, request: Request, prices: Known | None = None) -> Prepared | None:
        """Return what is known before anything is chosen; None when nothing is admissible.

        None as well where a relaxed question is refused (a role that the engine lacks, say): it has no answer. New
        prices go to ``prices``.
        """
        prices = {} if prices is None else prices
        before = sum(map(len, prices.values()))
        try:
            return prepare(request, silent, prices=prices, told=False, reuse="all")
        except (InfeasibleError, InputError):
            return None
        finally:
            nodes = sum(entry.count or 1 for entry in request.cluster.nodes)
            self.priced += sum(map(len, prices.values())) - before + nodes // NODES_PER_LAYOUT

    def choice(self, instance: Instance) -> Choice | None:
        """Return what is chosen in bounded effort, None when that gives nothing."""
        left_s = None if self.end == float("inf") else max(0.0, self.end - time.monotonic())
        try:
            return choose(instance, Limits(left_s, seed=self.request.seed, effort=EFFORT), silent)
        except NoAnswerError:
            return None

    def plan(self, request: Request, prices: Known | None = None) -> Plan | None:
        """Return the verified plan of a relaxed question, None when it has no answer (in bounded effort)."""
        known = self.known(request, prices)
        choice = known and self.choice(known.instance)
        return planned(request, known, choice, alternatives=False) if known and choice else None

    def works(self, request: Request, prices: Known | None = None) -> bool:
        """Return whether a relaxed question has an answer."""
        known = self.known(request, prices)
        return known is not None and self.choice(known.instance) is not None

    def fewest_gpus(self, request: Request, prices: Known) -> int | None:
        """Return the GPUs that a question takes at least, None without an answer.

        Where throughput is asked for, nothing has to be met: any replica will do.
        """
        known = self.known(replace(_undemanding(request), objective="gpus", then=()), prices)
        choice = known and self.choice(known.instance)
        if not known or not choice:
            return None
        return sum(column.gpus * n for column, n in zip(known.instance.columns, choice.replicas, strict=True))

    def loaded(self, service: int, **changes: object) -> Request:
        """Return the question with another workload of one model."""
        own = self.request.services[service]
        load = own.workload.model_copy(update=changes)
        return with_service(self.request, service, own.model_copy(update={"workload": load}))

    def others(self, service: int) -> Known:
        """Return the prices of all models but one, which do not change with its limits."""
        keys = [(number, role) for number, one in enumerate(self.request.services) for role in one.workload.roles]
        return {key: self.prices.setdefault(key, {}) for key in keys if key[0] != service}

    def told(
        self,
        kind: Kind,
        asked: Value,
        enough: Value,
        request: Request,
        plan: Plan | None,
        *,
        service: int | None = None,
        detail: str = "",
    ) -> list[Relaxed]:
        """Return the relaxation in a list, an empty one where it gives no plan."""
        if plan is None:
            return []
        several = service is not None and bool(self.request.more)
        name = service_names(self.request.services)[service or 0] if several else None
        told = Relaxation(kind=kind, model=name, asked=asked, enough=enough, detail=detail, plan=_short(plan))
        return [Relaxed(told, request, service or 0)]


def with_service(request: Request, number: int, service: Service) -> Request:
    """Return the question with one of its models and its traffic replaced."""
    services = list(request.services)
    services[number] = service
    first, *more = services
    return replace(request, model=first.model, workload=first.workload, weight=first.weight, more=tuple(more))


LITTLE = 1e-6
"""Requests/s that any replica carries."""


def _undemanding(request: Request) -> Request:
    """Return the question with next to no demand where throughput is asked for, which no demand has to meet."""
    if request.objective != "throughput":
        return request
    for number, one in enumerate(request.services):
        less = (
            {"request_rate": LITTLE} if one.workload.request_rate else {"concurrency": one.workload.concurrency and 1}
        )
        load = one.workload.model_copy(update=less)
        request = with_service(request, number, one.model_copy(update={"workload": load}))
    return request


def _short(plan: Plan) -> Given:
    totals = plan.totals
    return Given(
        status=plan.status, layout=" + ".join(group.label for group in replica_groups(plan)), gpus=totals.gpus,
        ttft_s=totals.ttft_s, tpot_s=totals.tpot_s, requests_per_s=totals.requests_per_s,
    )  # fmt: skip


def first_confirmed(likely: Callable[[int], bool], works: Callable[[int], bool], count: int) -> int | None:
    """Return the first of 0 to ``count`` - 1 that works, where all after it do; None when none does.

    ``likely`` costs little and is seldom wrong, and then too hopeful: the first likely one is tried first, then ever
    larger ones.
    """
    if not count or not likely(count - 1):
        return None
    failed = first = first_true(likely, 0, count - 1)
    step = 0
    while not works(first + step):
        if first + step == count - 1:
            return None
        failed, step = first + step, min(2 * step + 1, count - 1 - first)
    return first_true(works, failed + 1, first + step) if step else first


def first_true(works: Callable[[int], bool], low: int, high: int) -> int:
    """Return the first number of ``low`` to ``high`` that works, where all after it do, and ``high`` does."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if works(middle) else (middle + 1, high)
    return high
