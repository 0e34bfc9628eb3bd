"""Nodes within reach of a good plan: where a known one has few GPUs, the best is on few of many equal nodes."""

import math
from dataclasses import replace

from optimizer.formulation.bounds import worth
from optimizer.formulation.first import Built
from optimizer.formulation.instance import AMOUNTS, Instance

ROUNDING = 1e-6
"""Relative: what sums of floats and the steps that goals count in may differ by."""


def within_reach(instance: Instance, known: Built) -> Instance:
    """Return the instance without the equal nodes that no plan as good as a known one can use.

    Where GPUs, prices or power are kept small, each GPU adds its part to the sum: so such a plan has no more of them
    than the known sum over the least part, and lies on no more nodes of a class. Further objectives and tie-breaks
    choose among plans of the least sum.
    """
    amount = AMOUNTS.get(instance.objective)
    if amount is None or any(c.footprint.places for c in instance.columns):
        return instance
    lightest = min(amount(column) / column.gpus for column in instance.columns)
    if not lightest:
        return instance
    most = math.floor(worth(instance, known) / lightest * (1 + ROUNDING)) + 1
    return replace(instance, classes=tuple(replace(c, nodes=c.nodes[:most]) for c in instance.classes))
