"""An instance as a model: its variables and all rules."""

from collections.abc import Callable, Mapping

from ortools.sat.python import cp_model

from optimizer.formulation.instance import Instance
from optimizer.formulation.rules import RULES, each_needs_its_own
from optimizer.formulation.variables import Decisions, declare


def stated(
    instance: Instance, known: Mapping[int, int] | None = None, go_on: Callable[[], None] = lambda: None
) -> tuple[cp_model.CpModel, Decisions]:
    """Return a model that has the plans of an instance as its solutions, and its variables.

    ``known``: replicas of a plan to start from, by the id of their column; ``go_on`` is called between its parts and
    may raise to leave it at that.
    """
    model = cp_model.CpModel()
    decisions = declare(model, instance, go_on)
    for rule in RULES:
        go_on()
        rule(model, decisions)
    each_needs_its_own(model, decisions)
    if known:
        for column, var in zip(instance.columns, decisions.replicas, strict=True):
            model.add_hint(var, known.get(id(column), 0))
    return model, decisions
