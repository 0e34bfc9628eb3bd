from dataclasses import replace

import pytest
import simulate
import simulate_apart

from optimizer.cost.apart import prefill_only
from optimizer.inputs.workload import Lengths, Slo, WorkloadSpec
from optimizer.topology.wiring import HopPath


@pytest.mark.parametrize(
    ("isl", "osl", "cv", "prompts", "stages"),
    [
        (1024, 256, 0.0, 4, 1),
        (1024, 256, 0.5, 8, 1),
        (8192, 128, 0.0, 6, 1),
        (8192, 128, 0.0, 6, 2),
        (256, 32, 0.5, 8, 1),
    ],
)
def test_closed_forms_of_a_pair_stay_near_requests_played_one_by_one(
    isl: int, osl: int, cv: float, prompts: int, stages: int
) -> None:
    found = simulate_apart.pair(isl, osl, cv, prompts, pp=stages)
    played = simulate_apart.play(
        found.prefill, found.decode, found.traffic, 1000, found.rate, found.transfer_s, seed=prompts
    )
    assert found.form("prompt_s", None) == pytest.approx(played.at("prompt_s", None), rel=0.2)
    assert found.form("ttft_s", None) == pytest.approx(played.at("ttft_s", None), rel=0.2)
    assert found.form("ttft_s", 90) == pytest.approx(played.at("ttft_s", 90), rel=0.3)
    assert found.form("tpot_s", None) == pytest.approx(played.at("tpot_s", None), rel=0.1)
    assert found.form("tpot_s", 90) == pytest.approx(played.at("tpot_s", 90), rel=0.15)
    if found.traffic.isl.mean == found.prefill.engine.max_num_batched_tokens:
        assert played.at("handed_s", None) == pytest.approx(found.transfer_s, rel=0.1), "one prompt a step"


@pytest.mark.parametrize(
    ("isl", "cv", "clients", "stages"),
    [
        (8192, 0.0, 1, 1), (8192, 0.0, 5, 1), (8192, 0.0, 6, 2), (1024, 0.0, 8, 1), (1024, 0.0, 24, 1),
        (4096, 0.5, 16, 1),
    ],
)  # fmt: skip
def test_prompts_of_clients_that_never_pause_take_what_the_closed_form_says(
    isl: int, cv: float, clients: int, stages: int
) -> None:
    load = WorkloadSpec(isl=Lengths(mean=isl, cv=cv))
    replica = simulate.replica("llama-3.1-8b", "h200-sxm", 1, load, clients, pp=stages)
    replica = replace(replica, wiring=replace(replica.wiring, exit=HopPath("rdma", 50e9, stages)))
    rate, seen = simulate_apart.played_by_clients(replica, load, clients, 600)
    found = prefill_only(replica, load, clients)
    assert found.requests_per_s == pytest.approx(rate, rel=0.06)
    assert found.ttft_s == pytest.approx(seen.at("prompt_s", None), rel=0.06)
    high = prefill_only(replica, load.model_copy(update={"slo": Slo(percentile=90)}), clients)
    assert high.ttft_slo_s == pytest.approx(seen.at("prompt_s", 90), rel=0.25)
