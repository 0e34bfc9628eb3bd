"""The least seconds of the slowest replica, by bisection: which columns are fast enough decides, one question a step.

A plan whose slowest replica takes T at most is a plan of the columns up to T. Among those only what they carry counts,
so that few of them are left (``essential``), and whether they meet what is asked is soon proven either way.
"""

from dataclasses import replace

from optimizer.formulation.columns import Column
from optimizer.formulation.dominance import essential
from optimizer.formulation.goals import Goal
from optimizer.formulation.instance import Instance
from optimizer.formulation.narrowed import Narrowed
from optimizer.formulation.search import Search
from optimizer.formulation.stated import stated


def narrowed(instance: Instance, search: Search) -> Narrowed:
    """Return an instance of equal optimum, if the search does not end before that is known.

    It is the same where that is not the first objective, where phases are apart or several replicas break at once.
    """
    together = instance.survive in ("node", "nic") or any(column.role != "both" for column in instance.columns)
    if instance.objective not in ("latency", "ttft") or together:
        return Narrowed(instance)
    places = sorted({_seconds(instance, column) for column in instance.columns})
    asked = len({column.service for column in instance.columns})
    low, high = 0, len(places) - 1
    known = _plan(_up_to(instance, places[high]), asked, search) if places else None
    if not known:
        return Narrowed(instance)
    while low < high:
        middle = (low + high) // 2
        found = _plan(_up_to(instance, places[middle]), asked, search)
        if found is None:
            break
        low, high, known = (low, middle, found) if found else (middle + 1, high, known)
    left = replace(_up_to(instance, places[high]), slowest_s=places[low])
    return Narrowed(left) if low == high else Narrowed(left, settled=False, known=known)


def _seconds(instance: Instance, column: Column) -> float:
    """Return what is minimised of a replica, to twelve digits: float sums in another order are no difference."""
    seconds = column.point.tpot_s if instance.objective == "latency" else column.point.ttft_s
    return float(f"{seconds:.12g}")


def _up_to(instance: Instance, seconds: float) -> Instance:
    fast = replace(instance, columns=tuple(c for c in instance.columns if _seconds(instance, c) <= seconds))
    return replace(fast, columns=essential(fast, all_fast=True))


def _plan(instance: Instance, models: int, search: Search) -> dict[int, int] | None:
    """Return some plan of these columns that serves all models, an empty one when there is none.

    None when the search ends before that is known.
    """
    if len({column.service for column in instance.columns}) < models:
        return {}  # a model without columns asks for nothing any more
    model, decisions = stated(instance)
    found = search.minimize(model, Goal(0, float))
    if found.solver is not None:
        pairs = zip(instance.columns, decisions.replicas, strict=True)
        return {id(column): found.solver.value(var) for column, var in pairs}
    return {} if found.is_infeasible else None
