"""The independent check of routed pools: what is wrong is said, and only true certificates pass."""

from dataclasses import replace

import pytest

from optimizer.cost.pool import SINK, SOURCE, Link, Machine, Pool, Routing, Run
from optimizer.verify.flow import bound_holds, check, largest_flow

RATES = (9.0, 4.0)
POOL = Pool(
    4,
    (Machine("x", "k", RATES), Machine("y", "k", RATES)),
    tuple(
        Link(*ends, 100.0) for ends in ((SOURCE, "x"), (SOURCE, "y"), ("x", "y"), ("y", "x"), ("x", SINK), ("y", SINK))
    ),
)
GOOD = Routing((Run("x", 0, 2), Run("y", 2, 4)), (), 4.0, 4.0, (("x", 1.5), ("y", 1.5)))


def test_a_true_answer_passes() -> None:
    assert check(POOL, GOOD) == ()


def test_flow_goes_only_where_runs_join() -> None:
    assert largest_flow(POOL, (Run("x", 0, 2), Run("y", 2, 4))) == 4.0
    assert largest_flow(POOL, (Run("x", 0, 2), Run("y", 3, 4))) == 0.0


def test_flow_is_held_by_a_link() -> None:
    thin = replace(POOL, links=tuple(replace(x, tokens_per_s=1.5) if x.sender == "x" else x for x in POOL.links))
    assert largest_flow(thin, GOOD.runs) == 1.5


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (replace(GOOD, runs=(Run("x", 0, 3), Run("y", 3, 4))), "holds 3 layers of at most 2"),
        (replace(GOOD, runs=(Run("x", 3, 5),)), "layers 3 to 5 of 4"),
        (replace(GOOD, runs=(Run("x", 0, 2), Run("x", 2, 4))), "holds two runs"),
        (replace(GOOD, runs=(Run("z", 0, 2),)), "not in the pool"),
        (replace(GOOD, tokens_per_s=4.1), "4 flow"),
        (replace(GOOD, bound_tokens_per_s=3.9), "less than"),
        (replace(GOOD, worth=(("x", 0.5), ("y", 0.5))), "do not prove"),
        (replace(GOOD, worth=(("x", 2.0), ("y", 2.0))), "do not prove"),
    ],
)
def test_what_is_wrong_is_said(wrong: Routing, said: str) -> None:
    assert any(said in line for line in check(POOL, wrong))


def test_worths_prove_just_what_they_can() -> None:
    """More than 4 tokens/s needs 1 layer from a whole machine, or a half from both: 1 of 1 or 2 half layers."""
    assert bound_holds(POOL, {"x": 1.0, "y": 1.0}, 4.0)
    assert not bound_holds(POOL, {"x": 1.0, "y": 1.0}, 3.9)
    assert not bound_holds(POOL, {"x": 0.9, "y": 0.9}, 4.0)
    assert not bound_holds(POOL, {"x": 1.0, "y": 3.0}, 4.0)
