"""Rules on where a plan came from: it answers the question that was asked, of the inputs that were solved."""

import hashlib
from collections.abc import Iterator

from optimizer.plan import Plan
from optimizer.verify.evidence import Evidence


def inputs_are_those_solved(evidence: Evidence) -> Iterator[str]:
    """The digests of the inputs are those stated; of a cluster from which something was excluded there is none."""
    plan = evidence.plan
    given = plan.inputs
    records = {"model": given.model, "workload": given.workload}
    if "exclude" not in plan.provenance.options:  # marked in the cluster before it was solved
        records["cluster"] = given.cluster
    records |= {f"service {number}": service for number, service in enumerate(given.more, start=1)}
    for name, record in records.items():
        stated = plan.provenance.inputs_sha256.get(name)
        if stated is not None and stated != hashlib.sha256(record.model_dump_json().encode()).hexdigest():
            yield f"{name} is another than was solved"


def objectives_are_those_asked(evidence: Evidence) -> Iterator[str]:
    """The objectives are those asked for, in their order; only one that is not called optimal may lack the last."""
    plan, asked = evidence.plan, evidence.plan.provenance.options.get("objective")
    stated = [objective.name for objective in (plan.objective, *plan.objective.then)]
    known = stated if asked is None else asked.split(",")
    if stated != known[: len(stated)] or (plan.status == "optimal" and len(stated) < len(known)):
        yield f"{', '.join(stated)} {'is' if len(stated) == 1 else 'are'} stated, asked for was {asked}"


def options_are_kept(evidence: Evidence) -> Iterator[str]:
    """Degrees that were fixed are those of every replica, and no more GPUs are used than allowed."""
    plan, options = evidence.plan, evidence.plan.provenance.options
    fixed = dict(pair.partition("=")[::2] for pair in options.get("fix", "").split(",") if pair)
    numbers = {"max_gpus": options.get("max_gpus", "0"), **fixed}
    if unread := [f"{name} {text!r}" for name, text in numbers.items() if not text.isdecimal()]:
        yield f"no number: {', '.join(unread)}"
        return
    yield from _exceeded(plan)
    for degree, wanted in fixed.items():
        for claim in evidence.claims if degree != "dp" else ():
            held = getattr(claim.replica, degree, None)
            if held != int(wanted):
                yield f"{claim.name}: {degree} is {held}, fixed was {wanted}"
    if "dp" in fixed and len(plan.replicas) != int(fixed["dp"]):
        yield f"there are {len(plan.replicas)} replicas, fixed was {options['fix']}"


def _exceeded(plan: Plan) -> Iterator[str]:
    most = plan.provenance.options.get("max_gpus")
    if most is not None and plan.totals.gpus > int(most):
        yield f"{plan.totals.gpus} GPUs are used, {most} are allowed"
