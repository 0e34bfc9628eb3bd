"""A plan by construction: replicas put on nodes one after the other, so that some plan is known before any search.

Columns are taken by what they add for their GPUs (or price, or power), each as often as it is needed and has room; the
last replica of a demand is the least that covers what is left of it. Nothing is tried twice, so a plan may be missed
that the solver would find, and it is seldom the best; that it obeys all rules follows from how it is made.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from optimizer.formulation.boxes import Held
from optimizer.formulation.covers import cheapest_cover
from optimizer.formulation.demands import Need, fastest_rate, needs_of, weight_of_columns
from optimizer.formulation.instance import Instance, Phase
from optimizer.formulation.integers import SHARE_STEPS, need
from optimizer.formulation.rules import asked_of
from optimizer.formulation.seeds import Menus, menus
from optimizer.formulation.site import Ground, Site

TURNS = 8
"""How often what a failure takes is added to what is asked, until it is covered."""

CHUNKS = 32
"""Parts in which a phase is filled beside the other, where prompts and answers are apart."""


@dataclass(frozen=True)
class Built:
    """Replicas of each column, and what every node holds."""

    replicas: tuple[int, ...]
    held: Held


def built(instance: Instance) -> Built | None:
    """Return a plan of an instance, None where none is found without trying."""
    several = instance.survive in ("node", "nic") and instance.objective != "throughput"
    for spread in (True, False) if several else (False,):
        site = _made(Ground(instance, spread))
        if site is not None and _is_allowed(site):
            return Built(site.replicas, site.held)
    return None


def _made(ground: Ground) -> Site | None:
    every = [n for n, c in enumerate(ground.instance.columns) if not c.footprint.places]
    match ground.instance.objective:
        case "throughput":
            return _filled(ground, every)
        case "latency" | "ttft":
            return _fastest(ground, every)
        case _:
            return _covered(ground, every) if ground.instance.survive is None else _of_sizes(ground, every)


def _is_allowed(site: Site) -> bool:
    wanted = site.instance.replicas
    return bool(site.copies) and (wanted is None or site.copies.total() == wanted)


# -- a demand is covered -----------------------------------------------------------------------------------------------


def _fastest(ground: Ground, numbers: Sequence[int]) -> Site | None:
    """Return a plan whose slowest replica is as fast as bisection finds one."""
    seconds = [ground.instance.seconds(column) for column in ground.instance.columns]
    places = sorted({seconds[n] for n in numbers})
    best, low, high = None, 0, len(places) - 1
    while low <= high:
        middle = high if best is None else (low + high) // 2
        found = _covered(ground, [n for n in numbers if seconds[n] <= places[middle]])
        if best is None and found is None:
            return None
        best = found or best
        low, high = (low, middle - 1) if found else (middle + 1, high)
    return best


def _of_sizes(ground: Ground, numbers: Sequence[int]) -> Site | None:
    """Return the lightest plan of those of replicas up to some size: the larger they are, the more breaks with one."""
    columns, weight = ground.instance.columns, weight_of_columns(ground.instance)
    sizes = sorted({columns[n].gpus for n in numbers})
    found = (_covered(ground, [n for n in numbers if columns[n].gpus <= size]) for size in sizes)
    plans = [site for site in found if site is not None]
    return min(plans, key=lambda site: sum(weight(columns[n]) * k for n, k in site.copies.items()), default=None)


def _covered(ground: Ground, numbers: Sequence[int]) -> Site | None:
    """Return a plan that meets every demand, and still does after a failure where that is asked."""
    instance = ground.instance
    needs = tuple(needs_of(instance))
    offered = menus(instance, numbers, [(one.phase, one.amounts) for one in needs], weight_of_columns(instance))
    more = [0] * len(needs)
    for _ in range(TURNS):
        site = _met(ground, needs, offered, more)
        if site is None:
            return None
        short = [_short(site, one) for one in needs]
        if not any(short):
            return _with_as_many(site, offered)
        more = [before + lacking for before, lacking in zip(more, short, strict=True)]
    return None


def _short(site: Site, one: Need) -> int:
    """Return what a failure leaves too little."""
    if not one.survives or one.asked is None:
        return 0
    return max(0, one.asked + site.lost(one.amounts) - site.carried(one.amounts))


def _met(ground: Ground, needs: Sequence[Need], offered: Menus, more: Sequence[int]) -> Site | None:
    """Return a plan that carries what is asked of each phase and so much more; the largest replicas sit first."""
    site = Site(ground)
    order = sorted(range(len(needs)), key=lambda n: (needs[n].asked is None, -_largest(ground, offered[n])))
    for number in order:
        one = needs[number]
        asked = _answers(site, one.phase) if one.asked is None else one.asked
        if not _carry(site, one, offered[number], asked + more[number]):
            return None
    return site


def _carry(site: Site, one: Need, menu: Sequence[int], asked: int) -> bool:
    """Add what carries a demand at least weight as far as that has room, then whatever has; whether it is carried."""
    weight = weight_of_columns(site.instance)
    weights = [weight(column) for column in site.instance.columns] if menu else []
    cover = cheapest_cover(menu, one.amounts, weights, asked - site.carried(one.amounts))
    for number in sorted(cover, key=lambda n: -site.instance.columns[n].gpus):
        if n := site.room(number, cover[number]):
            site.add(number, n)
    while (lacking := max(asked, 1) - site.carried(one.amounts)) > 0:
        taken = _next(site, menu, one.amounts, lacking)
        if taken is None:
            return False
        site.add(*taken)
    return True


def _largest(ground: Ground, menu: Sequence[int]) -> int:
    return ground.instance.columns[menu[0]].gpus if menu else 0


def _answers(site: Site, phase: Phase) -> int:
    """Return how many prompts the answers that were chosen take, as the rule counts them."""
    instance = site.instance
    fastest = fastest_rate(instance, phase.service)
    taken = tuple(need(c.point.requests_per_s / fastest) for c in instance.columns)
    return site.carried(taken, Phase(phase.service, "decode"))


def _next(site: Site, menu: Sequence[int], amounts: Sequence[int], lacking: int) -> tuple[int, int] | None:
    """Return the column to take next and how often: the first with room, or the least that covers all that is left."""
    for place, number in enumerate(menu):
        if not amounts[number]:
            continue
        if amounts[number] < lacking and (n := site.room(number, lacking // amounts[number])):
            return number, n
        if amounts[number] >= lacking and site.room(number, 1):
            return _least(site, menu[place:], amounts, lacking), 1
    return None


def _least(site: Site, menu: Sequence[int], amounts: Sequence[int], lacking: int) -> int:
    """Return the column of least weight of which one covers what is left."""
    weight, columns = weight_of_columns(site.instance), site.instance.columns
    able = [number for number in menu if amounts[number] >= lacking]
    order = sorted(able, key=lambda number: weight(columns[number]))
    return next(number for number in order if site.room(number, 1))


def _with_as_many(site: Site, offered: Menus) -> Site | None:
    """Return the plan with as many replicas as were fixed, the smallest added."""
    wanted, columns = site.instance.replicas, site.instance.columns
    smallest = sorted({n for menu in offered for n in menu}, key=lambda n: columns[n].gpus)
    while wanted is not None and site.copies.total() < wanted:
        number = next((n for n in smallest if site.room(n, 1)), None)
        if number is None:
            return None
        site.add(number, site.room(number, wanted - site.copies.total()))
    return site


# -- as much as there is room for --------------------------------------------------------------------------------------


def _filled(ground: Ground, numbers: Sequence[int]) -> Site | None:
    """Return a plan of many tokens: every phase has a replica, then the model whose tokens take least is filled up."""
    instance = ground.instance
    rates = tuple(math.ceil(SHARE_STEPS * c.point.requests_per_s / _most_rate(instance)) for c in instance.columns)
    phases = [(phase, _of_phase(instance, phase, rates)) for phase in instance.phases]
    offered = menus(instance, numbers, phases, weight_of_columns(instance))
    site = Site(ground)
    for (_, amounts), menu in sorted(zip(phases, offered, strict=True), key=lambda one: -_largest(ground, one[1])):
        if not site.carried(amounts) and not _fill(site, menu, amounts, 1):
            return None
    services = dict.fromkeys(phase.service for phase in instance.phases)  # a model without columns has no part in it
    for service in sorted(services, key=lambda s: _tokens_dear(instance, phases, offered, s)):
        both = zip(phases, offered, strict=True)
        _fill_up(site, service, [(amounts, menu) for (phase, amounts), menu in both if phase.service == service])
    weights = [asked_of(instance, phase) for phase in instance.phases] if instance.survive else []
    return site if all(site.carried(w) - site.lost(w) >= left for w, left in weights) else None


def _most_rate(instance: Instance) -> float:
    return max(column.point.requests_per_s for column in instance.columns)


def _of_phase(instance: Instance, phase: Phase, amounts: Sequence[int]) -> tuple[int, ...]:
    return tuple(n if phase.covers(c) else 0 for n, c in zip(amounts, instance.columns, strict=True))


def _tokens_dear(
    instance: Instance, phases: Sequence[tuple[Phase, Sequence[int]]], offered: Menus, service: int
) -> float:
    """Return what a weighted token of a model takes up at least, over its phases."""
    weight, tokens = weight_of_columns(instance), instance.loads[service].tokens
    return sum(
        weight(instance.columns[menu[0]]) / (amounts[menu[0]] * tokens)
        for (phase, amounts), menu in zip(phases, offered, strict=True)
        if phase.service == service and menu
    )


def _fill_up(site: Site, service: int, own: Sequence[tuple[Sequence[int], Sequence[int]]]) -> None:
    """Add replicas of a model, of the phase that carries least, until there is no room or nothing more is asked."""
    instance = site.instance
    rate = instance.loads[service].workload.request_rate
    asked = math.inf if rate is None else SHARE_STEPS * rate / _most_rate(instance)
    while True:
        amounts, menu = min(own, key=lambda one: site.carried(one[0]))
        carried = site.carried(amounts)
        if carried >= asked:
            return
        ahead = max(site.carried(other) for other, _ in own) - carried
        step = max(ahead, max(amounts) * _chunk(site, menu)) if len(own) > 1 else asked - carried
        if not _fill(site, menu, amounts, min(step, asked - carried)):
            return


def _chunk(site: Site, menu: Sequence[int]) -> int:
    most = site.room(menu[0], 2**40) if menu else 0
    return max(1, most // CHUNKS)


def _fill(site: Site, menu: Sequence[int], amounts: Sequence[int], lacking: float) -> bool:
    """Add the first column that has room, as often as what is lacking takes; whether there is any."""
    for number in menu:
        most = min(_clients_left(site, number), _replicas_left(site))
        wanted = most if lacking == math.inf else min(most, max(1, math.ceil(lacking / amounts[number])))
        if wanted >= 1 and (n := site.room(number, int(wanted) if wanted < math.inf else 2**40)):
            site.add(number, n)
            return True
    return False


def _clients_left(site: Site, number: int) -> float:
    """Return how many more replicas of a column the clients of its model take up."""
    column = site.instance.columns[number]
    clients = site.instance.loads[column.service].clients("throughput")
    if clients is None:
        return math.inf
    own = tuple(c.point.concurrency * (c.service == column.service) for c in site.instance.columns)
    return (clients - site.carried(own)) // column.point.concurrency


def _replicas_left(site: Site) -> float:
    wanted = site.instance.replicas
    return math.inf if wanted is None else wanted - site.copies.total()
