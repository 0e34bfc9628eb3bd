"""From a choice to a plan: seats, totals, candidates, provenance, verification."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from optimizer.errors import Stopped, VerificationError
from optimizer.formulation.candidates import candidates
from optimizer.formulation.readback import engines_of, objective_of, replica_of
from optimizer.formulation.seating import Seated, seat
from optimizer.formulation.solve import Choice
from optimizer.pipeline.prepare import Prepared
from optimizer.pipeline.provenance import STOPPED, provenance
from optimizer.pipeline.request import Progress, Request
from optimizer.pipeline.survival import survival_of
from optimizer.pipeline.totals import totals_of
from optimizer.plan import Inputs, Plan, Replica, Survival
from optimizer.verify import check

LEAST_S = 1.0
"""For the layouts by themselves where the time limit is over when the plan is known."""


def _survival(request: Request, known: Prepared, replicas: Sequence[Replica]) -> Survival | None:
    """Return what the worst failure leaves when one is to be survived: by rate, unless clients are asked for."""
    if request.survive is None:
        return None
    by_rate = request.objective == "throughput" or any(one.workload.request_rate for one in request.services)
    return survival_of(known.topology, replicas, request.survive, request.services, by_rate=by_rate)


def _order(seated: Seated) -> tuple[int, bool]:
    """Return the place of a replica in the plan: by model, prompts before answers."""
    return seated.column.service, seated.column.role == "decode"


def kept(request: Request, known: Prepared, choice: Choice, progress: Progress, until_s: float = math.inf) -> Plan:
    """Return the plan of a choice, verified, with every layout by itself beside it unless the user stops that.

    ``until_s``: monotonic seconds at which the time limit is over; LEAST_S is left to the layouts in any case.
    """
    try:
        return planned(request, known, choice, until_s=max(until_s, time.monotonic() + LEAST_S))
    except (KeyboardInterrupt, Stopped):
        progress("stopped: the plan is kept, other layouts are left out")
        return planned(request, known, replace(choice, interrupted=True), alternatives=False)


def _cut_short(choice: Choice, until_s: float) -> Iterator[str]:
    """Yield what the user, or the time limit, has left out."""
    if choice.interrupted:
        yield STOPPED
    elif time.monotonic() >= until_s:
        yield "the time limit was over before every layout was looked at by itself"


def planned(
    request: Request, known: Prepared, choice: Choice, *, alternatives: bool = True, until_s: float = math.inf
) -> Plan:
    """Return the plan of a choice, verified; ``alternatives``: with every layout by itself beside it.

    Of these, those that are looked at by ``until_s`` (monotonic).
    """
    seated = sorted(seat(known.topology, known.classes, known.instance.columns, choice), key=_order)
    engines = engines_of(known.topology, known.markets, (one.column for one in seated))
    names = [service.model.name for service in request.services]
    replicas = tuple(
        replica_of(known.topology, names[one.column.service], one, engines[id(one.column)]) for one in seated
    )
    survival = _survival(request, known, replicas)
    others = candidates(known.instance, known.shapes, known.columns, replicas, until_s) if alternatives else ()
    plan = Plan(
        status="optimal" if choice.proven else "feasible",
        objective=objective_of(known.instance, seated, choice, survival),
        replicas=replicas,
        totals=totals_of(request.services, replicas, request.cluster),
        inputs=Inputs(
            cluster=known.topology.cluster,
            model=request.model,
            workload=request.workload,
            weight=request.weight,
            more=request.more,
        ),
        candidates=others,
        provenance=provenance(request, replicas, (*known.scope, *_cut_short(choice, until_s))),
        survival=survival,
    )
    if broken := check(plan):
        raise VerificationError("the plan fails its own check: " + "; ".join(broken))
    return plan
