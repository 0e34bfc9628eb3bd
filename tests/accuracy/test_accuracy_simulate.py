import pytest
import simulate

from optimizer.cost.serving import operate
from optimizer.inputs.workload import Lengths, Slo, WorkloadSpec


@pytest.mark.parametrize(
    ("loop", "isl", "osl", "cv", "limit"),
    [
        ("open", 1024, 256, 0.0, 48), ("open", 1024, 256, 0.8, 48), ("open", 2048, 512, 0.0, 64),
        ("closed", 1024, 256, 0.8, 32),
    ],
)  # fmt: skip
def test_the_closed_forms_stay_near_requests_played_one_by_one(
    loop: str, isl: int, osl: int, cv: float, limit: int
) -> None:
    load = WorkloadSpec(isl=Lengths(mean=isl, cv=cv), osl=Lengths(mean=osl, cv=cv))
    replica = simulate.replica("llama-3.1-8b", "h200-sxm", 1, load, limit)
    asked = load.model_copy(update={"request_rate": 1.0} if loop == "open" else {})
    found = operate(replica, asked, limit)
    arrivals = {"rate": found.requests_per_s} if loop == "open" else {"clients": limit}
    played = simulate.play(replica, load, 800, **arrivals)
    if loop == "closed":
        assert found.requests_per_s == pytest.approx(played.requests_per_s, rel=0.1)
    assert found.ttft_s == pytest.approx(played.at("ttft_s", None), rel=0.25)
    assert found.tpot_s == pytest.approx(played.at("tpot_s", None), rel=0.12)
    high = operate(replica, asked.model_copy(update={"slo": Slo(percentile=90)}), limit)
    assert high.ttft_slo_s == pytest.approx(played.at("ttft_s", 90), rel=0.35)
    assert high.tpot_slo_s == pytest.approx(played.at("tpot_s", 90), rel=0.25)


@pytest.mark.parametrize(("isl", "osl", "limit"), [(1024, 256, 64), (256, 512, 64)])
def test_experts_under_random_arrivals_carry_the_rate_and_keep_to_the_places_that_the_form_says(
    isl: int, osl: int, limit: int
) -> None:
    load = WorkloadSpec(isl=Lengths(mean=isl), osl=Lengths(mean=osl), request_rate="1 /s")
    replica = simulate.replica("qwen3-30b-a3b", "h200-sxm", 1, load, limit)
    found = operate(replica, load, limit)
    played = simulate.play(replica, load, 800, rate=found.requests_per_s)
    in_flight = found.requests_per_s * (played.at("ttft_s", None) + (osl - 1) * played.at("tpot_s", None))
    assert in_flight == pytest.approx(found.running, rel=0.15)
    assert found.tpot_s == pytest.approx(played.at("tpot_s", None), rel=0.12)
