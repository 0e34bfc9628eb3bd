"""Speculative decoding: what drafts cost, what they gain, and that they never come for nothing."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ideal import SETTINGS, case, grouped, routed
from pydantic import ValidationError

from optimizer.cost.case import Case
from optimizer.cost.estimate import estimate
from optimizer.cost.memory import ledger
from optimizer.cost.settings import resolve
from optimizer.cost.speculation import tokens_per_step
from optimizer.cost.step import decode
from optimizer.inputs import presets
from optimizer.inputs.workload import EngineChoice, Lengths, Speculative, WorkloadSpec

H200 = presets.load_gpu("h200-sxm")
MEASURED = presets.load_calibration(H200)
TRAFFIC = WorkloadSpec(isl=Lengths(mean=1024), osl=Lengths(mean=256))
GRAPHS = replace(SETTINGS, cuda_graph_sizes=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512))


def drafts(method: str, tokens: int, acceptance: float) -> Speculative:
    more = {"draft_model": grouped(heads=8, kv_heads=8)} if method == "draft" else {}
    return Speculative.model_validate({"method": method, "draft_tokens": tokens, "acceptance": acceptance} | more)


def drafting(replica: Case, method: str = "draft", tokens: int = 3, acceptance: float = 0.8) -> Case:
    return replace(replica, speculative=drafts(method, tokens, acceptance))


def test_a_step_gains_each_draft_as_often_as_all_before_it_are_kept() -> None:
    assert tokens_per_step(case()) == 1.0
    assert tokens_per_step(drafting(case(), tokens=4)) == pytest.approx((1 - 0.8**5) / (1 - 0.8))
    assert tokens_per_step(drafting(case(), tokens=4, acceptance=1.0)) == 5.0
    assert tokens_per_step(drafting(case(), tokens=4, acceptance=0.0)) == 1.0


def test_checking_drafts_reads_weights_and_cache_once() -> None:
    plain = decode(case(), 4, 2048)
    checked = decode(drafting(case(), "ngram"), 4, 2048)
    assert plain.attention <= checked.attention < 1.01 * plain.attention
    assert plain.gemm <= checked.gemm < 1.01 * plain.gemm


def test_a_model_that_drafts_takes_its_own_steps() -> None:
    small = grouped(heads=8, kv_heads=8)
    looked_up = decode(drafting(case(), "ngram"), 4, 2048).total
    drafted = decode(drafting(case(), "draft"), 4, 2048).total
    assert drafted - looked_up == pytest.approx(3 * decode(case(small), 4, 2048).total, rel=0.01)


def test_one_more_layer_drafts_with_the_head_of_the_model() -> None:
    model = grouped()
    single = model.model_copy(update={"runs": (model.runs[0].model_copy(update={"count": 1}),)})
    drafted = decode(drafting(case(model), "eagle", tokens=1), 4, 2048).total
    looked_up = decode(drafting(case(model), "ngram", tokens=1), 4, 2048).total
    fusion_s = 2 * 2 * 2048 * 2048 / 3.35e12
    assert drafted - looked_up == pytest.approx(decode(case(single), 4, 2048).total + fusion_s, rel=0.02)


def test_what_drafts_is_held_by_the_last_stage() -> None:
    small = grouped(heads=8, kv_heads=8)
    (alone,), _ = ledger(case(small), 1, 64)
    plain, _ = ledger(case(tp=2, pp=2), 1, 64)
    held, _ = ledger(drafting(case(tp=2, pp=2)), 1, 64)
    assert [rank.weights_bytes for rank in held[:2]] == [rank.weights_bytes for rank in plain[:2]]
    for after, before in zip(held[2:], plain[2:], strict=True):
        assert after.weights_bytes - before.weights_bytes == pytest.approx(alone.weights_bytes / 2, rel=0.01)
        assert after.kv_bytes_per_token - before.kv_bytes_per_token == alone.kv_bytes_per_token / 2


def test_one_more_layer_holds_neither_embedding_nor_head() -> None:
    model = grouped()
    (plain,), _ = ledger(case(model), 1, 64)
    (held,), _ = ledger(drafting(case(model), "mtp"), 1, 64)
    layer = 2048 * (16 + 2 * 4) * 128 + 16 * 128 * 2048 + 3 * 2048 * 8192
    assert held.weights_bytes - plain.weights_bytes == pytest.approx(2 * (layer + 2 * 2048 * 2048), rel=0.001)


def test_graphs_are_captured_for_all_rows_of_a_full_step() -> None:
    asked = TRAFFIC.model_copy(update={"speculative": drafts("ngram", 3, 0.5)})
    engine, model = presets.load_engine("vllm"), grouped()
    sizes = [resolve(EngineChoice(), engine, H200, model, load, 16).cuda_graph_sizes[-1] for load in (TRAFFIC, asked)]
    assert sizes == [32, 128]


SHAPES = st.sampled_from([
    (grouped(), {}), (grouped(), {"tp": 2}), (grouped(), {"tp": 2, "pp": 2}), (routed(), {"tp": 4, "ep": 4}),
    (routed(), {"attn_dp": 2, "ep": 2}), (routed(latent=True), {"tp": 2}),
])  # fmt: skip
METHODS = st.sampled_from(["draft", "eagle", "mtp", "ngram"])


@given(shape=SHAPES, method=METHODS, tokens=st.integers(1, 8), n=st.integers(1, 200), cv=st.sampled_from([0.0, 0.6]),
       rate=st.sampled_from([None, "1 /s"]))  # fmt: skip
def test_drafts_that_are_never_kept_are_never_faster(
    shape: tuple[object, dict[str, int]], method: str, tokens: int, n: int, cv: float, rate: str | None
) -> None:
    model, degrees = shape
    plain = case(model, calibration=MEASURED, gpu=H200, settings=GRAPHS, **degrees)  # type: ignore[arg-type]
    lengths = {name: {"mean": mean, "cv": cv} for name, mean in (("isl", 1024), ("osl", 256))}
    traffic = WorkloadSpec.model_validate(lengths | {"request_rate": rate})
    before, after = estimate(plain, traffic, n), estimate(drafting(plain, method, tokens, 0.0), traffic, n)
    assert after.requests_per_s <= before.requests_per_s * (1 + 1e-9)
    assert after.breakdown.decode.total >= before.breakdown.decode.total * (1 - 1e-9)
    if rate is None:  # under random arrivals a slower replica also takes fewer requests
        assert after.tpot_s >= before.tpot_s * (1 - 1e-9)


@given(shape=SHAPES, method=METHODS, tokens=st.integers(1, 8), n=st.integers(1, 200),
       kept=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted))  # fmt: skip
def test_drafts_kept_more_often_never_slow_a_replica(
    shape: tuple[object, dict[str, int]], method: str, tokens: int, n: int, kept: list[float]
) -> None:
    model, degrees = shape
    plain = case(model, calibration=MEASURED, gpu=H200, settings=GRAPHS, **degrees)  # type: ignore[arg-type]
    rarely, often = (estimate(drafting(plain, method, tokens, share), TRAFFIC, n) for share in kept)
    assert often.requests_per_s >= rarely.requests_per_s * (1 - 1e-9)
    assert often.tpot_s <= rarely.tpot_s * (1 + 1e-9)


@pytest.mark.parametrize(
    ("given_", "told"),
    [({"method": "draft"}, "draft_model: is missing"),
     ({"method": "mtp", "draft_model": "llama-3.2-1b"}, "without one"),
     ({"method": "draft", "draft_model": "llama-3.2-2b"}, "llama-3.2-1b")],
)  # fmt: skip
def test_a_model_drafts_where_the_method_is_one_and_only_there(given_: dict[str, str], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Speculative.model_validate({"draft_tokens": 2, "acceptance": 0.5} | given_)


def test_drafts_are_not_priced_with_prefill_and_decode_apart() -> None:
    with pytest.raises(ValidationError, match="write roles: \\[both\\]"):
        WorkloadSpec(speculative=drafts("ngram", 2, 0.5), roles=("prefill", "decode"))
