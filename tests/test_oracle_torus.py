"""The solver against brute force on small tori: every order of the nodes of every box is looked at there."""

from importlib import import_module

import pytest
from hypothesis import HealthCheck, given, settings
from strategies import Instance, problems
from test_oracle import compared
from tori import tori

SIZES = (0.5, 0.9, 1.5, 1.9, 2.5, 3.8)
"""About how many GPUs the weights need."""

checked = settings(derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))


@settings(checked, max_examples=120)
@given(problems(tori(4), SIZES, routed=False))
def test_the_solver_finds_the_best_of_all_plans_on_a_torus(instance: Instance) -> None:
    compared(instance)


@settings(checked, max_examples=60)
@given(problems(tori(6), (1.5, 1.9, 2.5, 3.8, 5.5), routed=False))
def test_counting_equal_nodes_of_a_torus_loses_nothing(instance: Instance) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_module("optimizer.pipeline.usable"), "FEW_NODES", 0)
        compared(instance)
