"""Limits that are lifted whole: precisions and roles that may not be chosen, options, what is broken."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from optimizer.inputs.model import Scheme
from optimizer.inputs.workload import ROLES, KvScheme
from optimizer.pipeline.relax.asking import Asker, Relaxed, with_service
from optimizer.pipeline.request import Request
from optimizer.relaxation import Kind
from optimizer.topology.faults import faults, without

MOST_ALONE = 8
"""Faults, excluded parts or fixed degrees that are looked at one by one."""

_SMALLER: tuple[Scheme, ...] = ("fp8", "int4")
"""Weights that engines or tools make of a 16-bit checkpoint, largest first."""

T = TypeVar("T")


def wider_choices(asker: Asker) -> Iterator[Relaxed]:
    """Yield what gives an answer when it may be chosen too, or is no longer asked of a model."""
    for service in range(len(asker.request.services)):
        yield from _kv_cache(asker, service)
        yield from _weights(asker, service)
        yield from _margin(asker, service)
        yield from _longest(asker, service)
        yield from _roles(asker, service)


def lifted_options(asker: Asker) -> Iterator[Relaxed]:
    """Yield which options, and what that is broken, stand in the way."""
    for search in (_max_gpus, _fixed, _excluded, _survival, _repaired):
        yield from search(asker)


# -- what may be chosen --------------------------------------------------------------------------------------------


def _kv_cache(asker: Asker, service: int) -> Iterator[Relaxed]:
    allowed = asker.request.services[service].workload.kv_cache
    if "fp8" not in allowed and asker.may_ask("kv_cache"):
        enough: tuple[KvScheme, ...] = (*allowed, "fp8")
        request = asker.loaded(service, kv_cache=enough)
        yield from asker.told("kv_cache", allowed, enough, request, asker.plan(request, asker.prices), service=service)


def _weights(asker: Asker, service: int) -> Iterator[Relaxed]:
    """Yield the first smaller precision that gives an answer; a quantised checkpoint is served as it is."""
    own = asker.request.services[service]
    if own.model.quantization is not None:
        return
    allowed = own.workload.weights or (own.model.checkpoint_scheme,)
    for scheme in _SMALLER:
        if scheme in allowed or not asker.may_ask("weights"):
            continue
        request = asker.loaded(service, weights=(*allowed, scheme))
        plan = asker.plan(request, asker.prices)
        if plan is not None:
            yield from asker.told("weights", allowed, (*allowed, scheme), request, plan, service=service)
            return


def _roles(asker: Asker, service: int) -> Iterator[Relaxed]:
    allowed = asker.request.services[service].workload.roles
    if set(allowed) != set(ROLES) and asker.may_ask("roles"):
        request = asker.loaded(service, roles=ROLES)
        yield from asker.told("roles", allowed, ROLES, request, asker.plan(request, asker.prices), service=service)


def _margin(asker: Asker, service: int) -> Iterator[Relaxed]:
    asked = asker.request.services[service].workload.margin
    if asked and asker.may_ask("margin"):
        request = asker.loaded(service, margin=0.0)
        yield from asker.told(
            "margin", asked, 0.0, request, asker.plan(request, asker.others(service)), service=service
        )


def _longest(asker: Asker, service: int) -> Iterator[Relaxed]:
    """Yield the question with sequences no longer than the workload's long requests, if longer ones are to fit."""
    own = asker.request.services[service]
    asked, enough = own.model.max_model_len, own.workload.longest_tokens
    if asked and enough < asked and asker.may_ask("max_model_len"):
        model = own.model.model_copy(update={"max_model_len": enough})
        request = with_service(asker.request, service, own.model_copy(update={"model": model}))
        plan = asker.plan(request, asker.others(service))
        yield from asker.told("max_model_len", asked, enough, request, plan, service=service)


# -- options -------------------------------------------------------------------------------------------------------


def _max_gpus(asker: Asker) -> Iterator[Relaxed]:
    """Yield the question with the fewest GPUs that give an answer, where the user allows fewer."""
    asked = asker.request.max_gpus
    if asked is None or not asker.may_ask("max_gpus"):
        return
    fewest = asker.fewest_gpus(replace(asker.request, max_gpus=None), asker.prices)
    if fewest is not None:
        request = replace(asker.request, max_gpus=fewest)
        yield from asker.told("max_gpus", asked, fewest, request, asker.plan(request, asker.prices))


def _survival(asker: Asker) -> Iterator[Relaxed]:
    asked = asker.request.survive
    if asked is not None and asker.may_ask("survive"):
        request = replace(asker.request, survive=None)
        yield from asker.told("survive", asked, None, request, asker.plan(request, asker.prices))


def _fixed(asker: Asker) -> Iterator[Relaxed]:
    """Yield the question without what was fixed: one degree if that is enough."""
    fix = asker.request.fix

    def without_degrees(degrees: Sequence[str]) -> Request:
        return replace(asker.request, fix={key: n for key, n in fix.items() if key not in degrees})

    yield from _lifted(asker, "fix", tuple(fix), without_degrees, lambda degree: f"{degree}={fix[degree]}")


def _excluded(asker: Asker) -> Iterator[Relaxed]:
    """Yield the question with what was excluded: one node or GPU if that is enough."""
    names = asker.request.exclude

    def using(parts: Sequence[str]) -> Request:
        return replace(asker.request, exclude=tuple(name for name in names if name not in parts))

    yield from _lifted(asker, "exclude", names, using, str)


def _repaired(asker: Asker) -> Iterator[Relaxed]:
    """Yield the question on the cluster without what is broken: one fault if that is enough."""
    cluster = asker.request.cluster
    broken = faults(cluster) if asker.request.faults else ()
    yield from _lifted(
        asker, "faults", broken, lambda some: replace(asker.request, cluster=without(cluster, *some)),
        lambda fault: fault.words,
    )  # fmt: skip


def _lifted(
    asker: Asker, kind: Kind, limits: Sequence[T], lift: Callable[[Sequence[T]], Request], words: Callable[[T], str]
) -> Iterator[Relaxed]:
    """Yield the question with the first limit of a kind lifted that is enough by itself, else with all lifted."""
    if not limits or not asker.may_ask(kind):
        return
    request = lift(limits)
    plan, lifted = asker.plan(request, asker.prices), tuple(limits)
    if plan is None:
        return
    for one in limits[:MOST_ALONE] if len(limits) > 1 else ():
        if not asker.may_ask(kind):
            break
        alone = lift([one])
        found = asker.plan(alone, asker.prices)
        if found is not None:
            request, plan, lifted = alone, found, (one,)
            break
    yield from asker.told(kind, tuple(words(one) for one in lifted), None, request, plan)
