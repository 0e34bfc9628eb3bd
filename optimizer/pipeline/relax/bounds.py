"""Bounds that do not change prices: TTFT, TPOT and the request rate are sought among prices made once.

With the bounds dropped, and tokens per step tried everywhere, every operating point is priced; a value of a bound then
only selects among them. What is found is asked once more as any user would ask it.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import product
from typing import Literal

from optimizer.cost.options import meets_slo
from optimizer.cost.quantities import pair_ttft_slo_s
from optimizer.formulation.columns import Column
from optimizer.formulation.dominance import essential
from optimizer.formulation.instance import Load
from optimizer.formulation.pairs import kept_s
from optimizer.formulation.partners import with_partners
from optimizer.pipeline.prepare import Prepared, in_pairs
from optimizer.pipeline.relax.asking import Asker, Relaxed, first_confirmed, first_true, with_service
from optimizer.pipeline.request import Request

DIGITS = 4
"""To which values are told, rounded to the side that gives an answer: a thousandth less does not."""

MOST_PAIRS = 250_000
"""Pairs of a prefill and a decode replica whose TTFT is looked at one by one."""


def relaxed_bounds(asker: Asker) -> Iterator[Relaxed]:
    """Yield the least TTFT and TPOT and the largest request rate that give an answer, for each model."""
    services = asker.request.services
    if any(one.workload.slo.ttft or one.workload.slo.tpot for one in services) and asker.may_ask("ttft"):
        known = asker.known(_unbounded(asker.request))
        if known is not None:
            for service in range(len(services)):
                yield from _latency(asker, known, service, "ttft")
                yield from _latency(asker, known, service, "tpot")
    if asker.asked is not None:
        for service in range(len(services)):
            yield from _rate(asker, asker.asked, service)


def _unbounded(request: Request) -> Request:
    """Return the question without bounds on latency; its objective has tokens per step tried everywhere."""
    for number, one in enumerate(request.services):
        slo = one.workload.slo.model_copy(update={"ttft": None, "tpot": None})
        load = one.workload.model_copy(update={"slo": slo})
        request = with_service(request, number, one.model_copy(update={"workload": load}))
    return replace(request, objective="ttft", then=())


def answers(asker: Asker, known: Prepared, request: Request) -> bool:
    """Return whether a question has an answer among the operating points known of one that is less bounded."""
    services = request.services
    loads = tuple(Load(one.workload, one.weight) for one in services)
    kept = [column for column in known.columns if meets_slo(column.point, loads[column.service].workload)]
    columns = with_partners(in_pairs(kept), loads)
    if {column.service for column in columns} != set(range(len(services))):
        return False
    instance = replace(known.instance, columns=columns, loads=loads, objective=request.objective, then=())
    return asker.choice(replace(instance, columns=essential(instance))) is not None


# -- latency -------------------------------------------------------------------------------------------------------


def _latency(asker: Asker, known: Prepared, service: int, kind: Literal["ttft", "tpot"]) -> Iterator[Relaxed]:
    """Yield the question with the least bound that gives an answer, if one alone does."""
    asked = getattr(asker.request.services[service].workload.slo, kind)
    if asked is None or not asker.may_ask(kind):
        return
    own = [column for column in known.columns if column.service == service]
    reached = _ttfts(own) if kind == "ttft" else (column.point.tpot_slo_s for column in own)
    values = sorted({rounded(seconds, math.ceil) for seconds in reached if seconds > asked})
    asked_again = cache(lambda n: _bounded(asker, service, kind, values[n]))
    plan_of = cache(lambda n: asker.plan(asked_again(n), asker.others(service)) if asker.may_ask(kind) else None)
    best = first_confirmed(
        lambda n: answers(asker, known, asked_again(n)), lambda n: plan_of(n) is not None, len(values)
    )
    if best is not None:
        yield from asker.told(kind, asked, values[best], asked_again(best), plan_of(best), service=service)


def _bounded(asker: Asker, service: int, kind: str, seconds: float) -> Request:
    slo = asker.request.services[service].workload.slo
    return asker.loaded(service, slo=slo.model_copy(update={kind: seconds}))


def _ttfts(own: Sequence[Column]) -> Iterable[float]:
    """Yield the TTFT of every replica by itself, and of every pair where prefill and decode are apart."""
    yield from (column.point.ttft_slo_s for column in own)
    prefill, decode = (_fronts([c for c in own if c.role == role]) for role in ("prefill", "decode"))
    if len(prefill) * len(decode) <= MOST_PAIRS:
        yield from (pair_ttft_slo_s(p.point, d.point) for p, d in product(prefill, decode))


def _fronts(own: Sequence[Column]) -> Sequence[Column]:
    """Return one of the columns with equal seconds each."""
    return list({(kept_s(column), column.point.transfer_s): column for column in own}.values())


def rounded(value: float, to: Callable[[float], int]) -> float:
    """Return a positive value to four digits, by ``math.ceil`` or ``math.floor``."""
    exponent = math.floor(math.log10(value)) - DIGITS + 1
    units = to(float(f"{value / 10.0**exponent:.9g}"))
    return float(f"{units}e{exponent}")


# -- rate ----------------------------------------------------------------------------------------------------------


def _rate(asker: Asker, known: Prepared, service: int) -> Iterator[Relaxed]:
    """Yield the question with the largest request rate that is carried, if a smaller one alone gives an answer."""
    rate = asker.request.services[service].workload.request_rate
    if rate is None or not asker.may_ask("request_rate"):
        return

    def works(value: float) -> bool:
        return answers(asker, known, asker.loaded(service, request_rate=value))

    most = min(rate, _most_carried(asker, known, service))
    best = _largest(rounded(most, math.floor), works) if most else None
    if best is not None and best < rate:
        request = asker.loaded(service, request_rate=best)
        plan = asker.plan(request, asker.prices)  # prices of any rate are the same
        yield from asker.told("request_rate", rate, best, request, plan, service=service)


def _largest(top: float, works: Callable[[float], bool]) -> float | None:
    """Return the largest value up to ``top`` that works, in steps of its last digit, if any does."""
    if works(top):
        return top
    exponent = math.floor(math.log10(top)) - DIGITS + 1
    units = round(top / 10.0**exponent)
    values = [float(f"{n}e{exponent}") for n in range(units - 1, 0, -1)]
    if not works(values[-1]):
        return None
    return values[first_true(lambda n: works(values[n]), 0, len(values) - 1)]


def _most_carried(asker: Asker, known: Prepared, service: int) -> float:
    """Return requests/s that no plan of a single model exceeds within its bounds; without limit for several models."""
    own = asker.request.services[service]
    columns = in_pairs([column for column in known.columns if meets_slo(column.point, own.workload)])
    if asker.request.more or not columns:
        return math.inf if columns else 0.0
    gpus = sum(island.size * len(node_class.nodes) for node_class in known.classes for island in node_class.islands)
    beyond = 2 * gpus * max(column.point.requests_per_s for column in columns)
    load = own.workload.model_copy(update={"request_rate": beyond})
    instance = replace(
        known.instance, columns=columns, loads=(Load(load),), objective="throughput", then=(), survive=None, own_nics=()
    )
    choice = asker.choice(replace(instance, columns=essential(instance)))
    return 0.0 if choice is None else choice.bound / load.osl.mean
