"""An instance as a model: its variables and all rules."""

from collections.abc import Mapping

from ortools.sat.python import cp_model

from optimizer.formulation.instance import Instance
from optimizer.formulation.rules import RULES, each_needs_its_own
from optimizer.formulation.variables import Decisions, declare


def stated(instance: Instance, known: Mapping[int, int] | None = None) -> tuple[cp_model.CpModel, Decisions]:
    """Return a model that has the plans of an instance as its solutions, and its variables.

    ``known``: replicas of a plan to start from, by the id of their column.
    """
    model = cp_model.CpModel()
    decisions = declare(model, instance)
    for rule in RULES:
        rule(model, decisions)
    each_needs_its_own(model, decisions)
    if known:
        for column, var in zip(instance.columns, decisions.replicas, strict=True):
            model.add_hint(var, known.get(id(column), 0))
    return model, decisions
