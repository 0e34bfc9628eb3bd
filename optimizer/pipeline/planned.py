"""From a choice to a plan: seats, totals, candidates, provenance, verification."""

from optimizer.errors import VerificationError
from optimizer.formulation.candidates import candidates
from optimizer.formulation.readback import objective_of, replica_of, totals_of
from optimizer.formulation.seating import seat
from optimizer.formulation.solve import Choice
from optimizer.pipeline.prepare import Prepared
from optimizer.pipeline.provenance import STOPPED, provenance
from optimizer.pipeline.request import Request
from optimizer.plan import Inputs, Plan
from optimizer.verify import check


def planned(request: Request, known: Prepared, choice: Choice, *, alternatives: bool = True) -> Plan:
    """Return the plan of a choice, verified; ``alternatives``: with every layout by itself beside it."""
    seated = seat(known.topology, known.classes, known.instance.columns, choice)
    replicas = tuple(replica_of(known.topology, known.market, one) for one in seated)
    plan = Plan(
        status="optimal" if choice.proven else "feasible",
        objective=objective_of(known.instance, seated, choice),
        replicas=replicas,
        totals=totals_of(known.instance, replicas, request.cluster),
        inputs=Inputs(cluster=known.topology.cluster, model=request.model, workload=request.workload),
        candidates=candidates(known.instance, known.shapes, known.columns, replicas) if alternatives else (),
        provenance=provenance(request, replicas, (*known.scope, *([STOPPED] if choice.interrupted else []))),
    )
    if broken := check(plan):
        raise VerificationError("the plan fails its own check: " + "; ".join(broken))
    return plan
