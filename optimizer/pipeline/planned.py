"""From a choice to a plan: seats, totals, candidates, provenance, verification."""

from collections.abc import Sequence

from optimizer.errors import VerificationError
from optimizer.formulation.candidates import candidates
from optimizer.formulation.readback import engines_of, objective_of, replica_of, totals_of
from optimizer.formulation.seating import seat
from optimizer.formulation.solve import Choice
from optimizer.formulation.survival import survival_of
from optimizer.pipeline.prepare import Prepared
from optimizer.pipeline.provenance import STOPPED, provenance
from optimizer.pipeline.request import Request
from optimizer.plan import Inputs, Plan, Replica, Survival
from optimizer.verify import check


def _survival(request: Request, known: Prepared, replicas: Sequence[Replica]) -> Survival | None:
    """Return what the worst failure leaves when one is to be survived: by rate, unless clients are asked for."""
    if request.survive is None:
        return None
    by_rate = request.workload.request_rate is not None or request.objective == "throughput"
    return survival_of(known.topology, replicas, request.survive, request.workload, by_rate=by_rate)


def planned(request: Request, known: Prepared, choice: Choice, *, alternatives: bool = True) -> Plan:
    """Return the plan of a choice, verified; ``alternatives``: with every layout by itself beside it."""
    seated = seat(known.topology, known.classes, known.instance.columns, choice)
    engines = engines_of(known.topology, known.market, (one.column for one in seated))
    replicas = tuple(replica_of(known.topology, known.market, one, engines[id(one.column)]) for one in seated)
    survival = _survival(request, known, replicas)
    plan = Plan(
        status="optimal" if choice.proven else "feasible",
        objective=objective_of(known.instance, seated, choice, survival),
        replicas=replicas,
        totals=totals_of(known.instance, replicas, request.cluster),
        inputs=Inputs(cluster=known.topology.cluster, model=request.model, workload=request.workload),
        candidates=candidates(known.instance, known.shapes, known.columns, replicas) if alternatives else (),
        provenance=provenance(request, replicas, (*known.scope, *([STOPPED] if choice.interrupted else []))),
        survival=survival,
    )
    if broken := check(plan):
        raise VerificationError("the plan fails its own check: " + "; ".join(broken))
    return plan
