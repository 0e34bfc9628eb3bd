"""A margin makes every rate lower and every latency higher, and nothing else."""

from dataclasses import fields

import pytest
from ideal import case

from optimizer.cost.estimate import estimate
from optimizer.cost.options import meets_slo
from optimizer.inputs.workload import Lengths, Slo, WorkloadSpec

TRAFFIC = WorkloadSpec(isl=Lengths(mean=1024), osl=Lengths(mean=256))


def test_rates_fall_and_latencies_rise_by_the_margin() -> None:
    sure, safe = (estimate(case(tp=2), TRAFFIC.model_copy(update={"margin": m}), 16) for m in (0.0, 0.1))
    factors = {"ttft_s": 1.1, "tpot_s": 1.1, "ttft_slo_s": 1.1, "tpot_slo_s": 1.1}
    factors |= {"requests_per_s": 0.9, "output_tokens_per_s": 0.9}
    for field in fields(sure):
        before, after = getattr(sure, field.name), getattr(safe, field.name)
        if field.name in factors:
            assert after == pytest.approx(before * factors[field.name])
        else:
            assert after == before


@pytest.mark.parametrize(("margin", "kept"), [(0.0999, True), (0.1001, False)], ids=["just-fits", "one-short"])
def test_a_bound_must_hold_with_the_margin_on_top(margin: float, kept: bool) -> None:
    sure = estimate(case(tp=2), TRAFFIC, 16)
    safe = TRAFFIC.model_copy(update={"margin": margin, "slo": Slo(tpot=f"{sure.tpot_s * 1.1} s")})
    assert meets_slo(estimate(case(tp=2), safe, 16), safe) is kept
