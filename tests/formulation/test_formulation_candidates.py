"""Candidates beside a plan: what each loses on, in the words of the objective that was asked."""

from dataclasses import replace
from typing import Any

import handmade
import pytest

from optimizer.cost.quantities import Breakdown, Estimate
from optimizer.formulation import candidates


def point(**changes: Any) -> Estimate:
    return replace(handmade.estimate(4, 1), **changes)


def slower_gemm(one: Estimate, seconds: float) -> Estimate:
    longer = Breakdown(gemm=one.breakdown.decode.gemm + seconds, attention=0.010, collectives=0.003, pipeline=0.0,
                       overhead=0.0021)  # fmt: skip
    return replace(one, breakdown=replace(one.breakdown, decode=longer), tpot_s=one.tpot_s + seconds)


@pytest.mark.parametrize(
    ("mine", "said"),
    [
        (slower_gemm(point(), 0.004), "gemm, +4 ms in a decode step"),
        (point(tpot_s=0.05), "longer waits for other requests"),
    ],
    ids=["longer-step", "longer-wait"],
)
def test_a_later_token_is_laid_to_the_step_only_where_the_step_is_most_of_it(mine: Estimate, said: str) -> None:
    assert candidates._later(mine, point(), decodes=True) == said


@pytest.mark.parametrize(
    ("slo", "said"),
    [
        ({"tpot": "10 ms"}, "TPOT 30.1 ms, 10 ms is asked for"),
        ({"ttft": "200 ms", "tpot": "40 ms", "percentile": 90}, "TTFT 250 ms at p90, 200 ms is asked for"),
        ({"ttft": "1 s"}, "there is no room for its ranks beside what is reserved"),
    ],
    ids=["tpot", "ttft", "neither"],
)
def test_what_is_too_late_is_told_with_what_is_asked_for(slo: dict[str, object], said: str) -> None:
    assert candidates._too_late(point(), handmade.workload(slo=slo)) == said
