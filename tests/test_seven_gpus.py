"""Seven GPUs of one node: the plan is the best of all mixtures of shapes, and no worse than equal replicas."""

import pytest
from benchmarks.seven_gpus import MODELS, compared

NAMED = {
    "qwen3-32b": [("tp1",) * 7, ("tp1pp7",), ("tp4", "tp2", "tp1")],
    "llama-3.1-70b": [("tp1pp7",), ("tp1pp3", "tp2", "tp2"), ("tp4", "tp1pp3")],
}


@pytest.mark.parametrize("model", MODELS)
def test_the_plan_is_the_best_of_all_mixtures(model: str) -> None:
    found = compared(model)
    listed = {tuple(sorted(one)) for one in found.mixtures}
    assert {tuple(sorted(one)) for one in NAMED[model]} <= listed
    assert ("tp1",) not in listed or model != "llama-3.1-70b"  # its weights do not fit on one
    assert found.status == "optimal"
    assert sum(found.gpus[label] for label in found.plan) == 7
    assert tuple(sorted(found.plan)) == tuple(sorted(found.best))
    assert found.plan_tokens_per_s == pytest.approx(found.mixtures[found.best], rel=1e-9)
    assert found.plan_tokens_per_s >= found.mixtures[found.equal]
