"""The least seconds of the slowest replica, by bisection: which columns are fast enough decides, one question a step.

A plan whose slowest replica takes T at most is a plan of the columns up to T. Among those only what they carry counts,
so that few of them are left (``essential``), and whether they meet what is asked is soon proven either way.
"""

from dataclasses import replace

from ortools.sat.python import cp_model

from optimizer.formulation.columns import Column
from optimizer.formulation.dominance import essential
from optimizer.formulation.goals import Goal
from optimizer.formulation.instance import Instance
from optimizer.formulation.rules import RULES
from optimizer.formulation.search import Search
from optimizer.formulation.variables import declare


def narrowed(instance: Instance, search: Search) -> Instance:
    """Return an instance of equal optimum without columns that are slower than its best plan's slowest replica.

    It is the same where that is not the first objective, where phases are apart or several replicas break at once.
    """
    together = instance.survive in ("node", "nic") or any(column.role != "both" for column in instance.columns)
    if instance.objective not in ("latency", "ttft") or together:
        return instance
    places = sorted({_seconds(instance, column) for column in instance.columns})
    asked = len({column.service for column in instance.columns})
    low, high = 0, len(places) - 1
    if not places or not _are_enough(_up_to(instance, places[high]), asked, search):
        return instance
    while low < high:
        middle = (low + high) // 2
        enough = _are_enough(_up_to(instance, places[middle]), asked, search)
        if enough is None:
            break
        low, high = (low, middle) if enough else (middle + 1, high)
    return replace(_up_to(instance, places[high]), slowest_s=places[low])


def _seconds(instance: Instance, column: Column) -> float:
    """Return what is minimised of a replica, to twelve digits: float sums in another order are no difference."""
    seconds = column.point.tpot_s if instance.objective == "latency" else column.point.ttft_s
    return float(f"{seconds:.12g}")


def _up_to(instance: Instance, seconds: float) -> Instance:
    fast = replace(instance, columns=tuple(c for c in instance.columns if _seconds(instance, c) <= seconds))
    return replace(fast, columns=essential(fast, all_fast=True))


def _are_enough(instance: Instance, models: int, search: Search) -> bool | None:
    """Return whether some plan of these columns serves all models; None when the search ends before that is known."""
    if len({column.service for column in instance.columns}) < models:
        return False  # a model without columns asks for nothing any more
    model = cp_model.CpModel()
    decisions = declare(model, instance)
    for rule in RULES:
        rule(model, decisions)
    _, status = search.minimize(model, Goal(0, float))
    if status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return True
    return False if status == cp_model.INFEASIBLE else None
