"""Plans with one thing changed, and the rules they break by it.

Records that derive something from their fields are made again: a copy would keep what was derived.
"""

from dataclasses import replace
from typing import Any, TypeVar

from optimizer.plan import Plan, PlanRecord
from optimizer.verify import check

Record = TypeVar("Record", bound=PlanRecord)


def _again(record: Record, changes: dict[str, Any]) -> Record:
    return type(record)(**({name: getattr(record, name) for name in type(record).model_fields} | changes))


def with_replica(before: Plan, number: int = 0, **changes: Any) -> Plan:
    """Return the plan with fields of one replica replaced."""
    replicas = list(before.replicas)
    replicas[number] = _again(replicas[number], changes)
    return before.model_copy(update={"replicas": tuple(replicas)})


def with_seat(before: Plan, index: int, number: int = 0, **changes: Any) -> Plan:
    """Return the plan with fields of one seat replaced."""
    seats = list(before.replicas[number].seats)
    seats[index] = seats[index].model_copy(update=changes)
    return with_replica(before, number, seats=tuple(seats))


def with_estimate(before: Plan, number: int = 0, **changes: Any) -> Plan:
    """Return the plan with fields of one estimate replaced."""
    return with_replica(before, number, estimate=replace(before.replicas[number].estimate, **changes))


def with_memory(before: Plan, **changes: Any) -> Plan:
    """Return the plan with fields of the first rank's ledger replaced."""
    first, *others = before.replicas[0].estimate.memory
    return with_estimate(before, memory=(replace(first, **changes), *others))


def with_engine(before: Plan, **changes: Any) -> Plan:
    """Return the plan with engine settings of the first replica replaced."""
    return with_replica(before, engine=replace(before.replicas[0].engine, **changes))


def with_objective(before: Plan, **changes: Any) -> Plan:
    """Return the plan with fields of its objective replaced."""
    return before.model_copy(update={"objective": before.objective.model_copy(update=changes)})


def with_totals(before: Plan, **changes: Any) -> Plan:
    """Return the plan with some totals replaced."""
    return before.model_copy(update={"totals": before.totals.model_copy(update=changes)})


def with_inputs(before: Plan, **changes: Any) -> Plan:
    """Return the plan as if other inputs had been asked."""
    return before.model_copy(update={"inputs": _again(before.inputs, changes)})


def with_cluster(before: Plan, **changes: Any) -> Plan:
    """Return the plan as if made for a cluster that differs."""
    return with_inputs(before, cluster=before.inputs.cluster.model_copy(update=changes))


def with_workload(before: Plan, **changes: Any) -> Plan:
    """Return the plan as if other traffic had been asked for."""
    return with_inputs(before, workload=before.inputs.workload.model_copy(update=changes))


def broken_rules(wrong: Plan) -> set[str]:
    """Return the names of the rules a plan breaks."""
    return {violation.split(":")[0] for violation in check(wrong)}
