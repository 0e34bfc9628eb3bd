"""The least seconds of the slowest replica, by bisection: which columns are fast enough decides, one question a step.

A plan whose slowest replica takes T at most is a plan of the columns up to T. Among those only what they carry counts,
so that few of them are left (``reduced``), and whether they meet what is asked is soon proven either way.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from optimizer.formulation.columns import Column
from optimizer.formulation.dominance import reduced
from optimizer.formulation.failures import not_told_apart
from optimizer.formulation.goals import Goal
from optimizer.formulation.instance import Instance
from optimizer.formulation.narrowed import Narrowed
from optimizer.formulation.search import Search
from optimizer.formulation.stated import stated


def narrowed(instance: Instance, search: Search, first: Mapping[int, int] | None = None) -> Narrowed:
    """Return an instance of equal optimum, if the search does not end before that is known.

    It is the same where that is not the first objective or phases are apart. ``first``: replicas of some plan by the id
    of their column, if one is known.
    """
    if instance.objective not in ("latency", "ttft") or any(column.role != "both" for column in instance.columns):
        return Narrowed(instance, known=first or {})
    every = _Columns.of(instance)
    asked = len({column.service for column in instance.columns})
    low, high, known = 0, len(every.places) - 1, dict(first or {})
    if known:
        high = every.places.index(max(_seconds(instance, c) for c in instance.columns if known.get(id(c))))
    elif every.places:
        known = _plan(every.up_to(high), asked, search) or {}
    if not known:
        return Narrowed(instance)
    while low < high:
        middle = (low + high) // 2
        found = _plan(every.up_to(middle), asked, search)
        if found is None:
            break
        low, high, known = (low, middle, found) if found else (middle + 1, high, known)
    left = replace(every.up_to(high), slowest_s=every.places[low])
    return Narrowed(left, settled=low == high, known=known if first or low < high else {})


@dataclass(frozen=True)
class _Columns:
    """The columns of an instance by their seconds."""

    instance: Instance
    seconds: tuple[float, ...]
    alike: tuple[Column, ...]
    """The same with pieces that are not told apart, so that of those that take the same the best is found."""

    @classmethod
    def of(cls, instance: Instance) -> "_Columns":
        """Return those of an instance."""
        told = instance.survive in ("node", "nic")
        alike = not_told_apart(instance.columns) if told else instance.columns
        return cls(instance, tuple(_seconds(instance, column) for column in instance.columns), alike)

    @cached_property
    def places(self) -> list[float]:
        """All different seconds, ascending."""
        return sorted(set(self.seconds))

    def up_to(self, place: int) -> Instance:
        """Return the instance with columns as fast as that, of which only what they carry counts."""
        fast = [n for n, seconds in enumerate(self.seconds) if seconds <= self.places[place]]
        alike = replace(self.instance, columns=tuple(self.alike[n] for n in fast))
        kept = set(map(id, reduced(alike, all_fast=True)))
        return replace(
            self.instance, columns=tuple(self.instance.columns[n] for n in fast if id(self.alike[n]) in kept)
        )


def _seconds(instance: Instance, column: Column) -> float:
    """Return what is minimised of a replica, to twelve digits: float sums in another order are no difference."""
    return float(f"{instance.seconds(column):.12g}")


def _plan(instance: Instance, models: int, search: Search) -> dict[int, int] | None:
    """Return some plan of these columns that serves all models, an empty one when there is none.

    None when the search ends before that is known.
    """
    if len({column.service for column in instance.columns}) < models:
        return {}  # a model without columns asks for nothing any more
    model, decisions = stated(instance, go_on=search.go_on)
    found = search.minimize(model, Goal(0, float))
    if found.solver is not None:
        pairs = zip(instance.columns, decisions.replicas, strict=True)
        return {id(column): found.solver.value(var) for column, var in pairs}
    return {} if found.is_infeasible else None
