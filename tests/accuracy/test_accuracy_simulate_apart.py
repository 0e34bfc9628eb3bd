import pytest
import simulate_apart


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
