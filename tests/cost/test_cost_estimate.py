from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ideal import IDEAL, SETTINGS, case, grouped, routed

from optimizer.cost.estimate import estimate
from optimizer.cost.notes import notes
from optimizer.inputs import presets
from optimizer.inputs.calibration import nearest_kin
from optimizer.inputs.workload import EngineChoice, Lengths, WorkloadSpec
from optimizer.topology.wiring import GroupPath, HopPath, Wiring

TRAFFIC = WorkloadSpec(isl=Lengths(mean=1024), osl=Lengths(mean=256))
CALIBRATED = tuple(map(presets.load_gpu, presets.names("calibrations")))


def test_an_estimate_is_consistent_with_itself() -> None:
    price = estimate(case(tp=4), TRAFFIC, 32)
    assert price.output_tokens_per_s == pytest.approx(price.requests_per_s * 256)
    assert price.concurrency == 32
    assert len(price.memory) == 4
    assert price.fits
    assert price.reasons == ()
    assert price.tpot_s >= price.breakdown.decode.total * (1 - 1e-9)


def test_what_does_not_fit_is_priced_and_says_why() -> None:
    price = estimate(case(), TRAFFIC, 32)
    assert not price.fits
    assert price.reasons
    assert price.tpot_s > 0


def test_a_gpu_with_a_calibration_of_its_own_needs_no_note_on_kin() -> None:
    h200 = presets.load_gpu("h200-sxm")
    own = case(gpu=h200, calibration=presets.load_calibration(h200), tp=2)
    assert not any("no calibration" in note for note in notes(own))


def test_a_gpu_without_calibration_is_priced_with_its_kins_shares_and_says_so() -> None:
    b300 = presets.load_gpu("b300-sxm")
    kin = presets.load_calibration(b300)
    assert kin.gpu != "b300-sxm"
    assert (
        f"b300-sxm has no calibration: priced from its datasheet with the shares of it measured on {kin.gpu}; "
        "A100 priced so was 12 % off in the mean of published runs" in notes(case(gpu=b300, calibration=kin))
    )


def test_notes_name_only_what_the_price_uses() -> None:
    h200 = presets.load_gpu("h200-sxm")
    alone = case(gpu=h200, calibration=presets.load_calibration(h200))
    assert [note.split(" not measured")[0] for note in notes(alone)] == ["h200-sxm: host"]
    far = replace(alone, wiring=Wiring(GroupPath(2, 2, "local", float("inf"), "rdma", 50e9), ()))
    assert [note.split(" not measured")[0] for note in notes(far)] == ["h200-sxm: host", "h200-sxm: links rdma"]


@pytest.mark.parametrize(
    ("gpu", "kin"),
    [
        ("h200-sxm", "h200-sxm"), ("h100-pcie", "h100-sxm"), ("b300-sxm", "b200-sxm"), ("gb200", "gb200"),
        ("a100-40-sxm", "a100-80-sxm"), ("v100-sxm2-32", "a100-80-sxm"), ("l4", "l40s"),
        ("rtx5090", "rtx-pro-6000-bw-server"), ("t4", "l40s"),
    ],
)  # fmt: skip
def test_the_nearest_kin_has_the_same_maker_architecture_and_links(gpu: str, kin: str) -> None:
    assert nearest_kin(presets.load_gpu(gpu), CALIBRATED) == kin


def test_every_gpu_of_the_catalogue_has_some_calibration() -> None:
    for name in presets.names("gpus"):
        assert presets.load_calibration(presets.load_gpu(name)).gpu in presets.names("calibrations")


def test_only_stages_on_other_nodes_send_over_the_nodes_boundary() -> None:
    inside = estimate(case(tp=2, pp=2), TRAFFIC, 16)
    assert inside.crossing_bytes_per_s == 0.0
    split = case(tp=2, pp=2)
    hop = HopPath("rdma", 50e9, 2)
    outside = estimate(replace(split, wiring=replace(split.wiring, hops=(hop,))), TRAFFIC, 16)
    # hidden state and residual of every token: 2 x 8192 x 2 B, 1280 tokens a request but its last
    assert outside.crossing_bytes_per_s == pytest.approx(outside.requests_per_s * 1279 * 32768)


def test_groups_over_two_nodes_send_every_all_reduce_over_the_boundary() -> None:
    path = GroupPath(2, 2, "local", float("inf"), "rdma", 50e9)
    price = estimate(replace(case(tp=2), wiring=Wiring(path, ())), TRAFFIC, 16)
    # 160 all-reduces a token, each 2 (k-1)/k = 1 times 16384 B out of a node
    assert price.crossing_bytes_per_s == pytest.approx(price.requests_per_s * 1279 * 160 * 16384)


RDMA_RATES = st.floats(1e4, 1e11)


@given(
    concurrency=st.integers(1, 300), isl=st.integers(1, 20000), osl=st.integers(1, 600), hop=RDMA_RATES, out=RDMA_RATES,
    cv=st.sampled_from([0.0, 0.7]), pp=st.sampled_from([1, 2, 3, 4]), tp=st.sampled_from([1, 2, 4]),
    domains=st.sampled_from([1, 2, 4]), attn_dp=st.sampled_from([1, 2]), kv=st.sampled_from([0.0, 0.5]),
    calibrated=st.booleans(),
)  # fmt: skip
def test_mean_traffic_stays_within_what_the_wiring_reserves(
    concurrency: int, isl: int, osl: int, hop: float, out: float, cv: float, pp: int, tp: int, domains: int,
    attn_dp: int, kv: float, calibrated: bool,
) -> None:  # fmt: skip
    shape = {"tp": tp, "pp": pp, "attn_dp": attn_dp, "ep": tp * attn_dp if attn_dp > 1 else 1}
    fits = presets.load_calibration(presets.load_gpu("h100-sxm")) if calibrated else IDEAL
    replica = case(routed() if attn_dp > 1 else grouped(), calibration=fits, **shape)  # type: ignore[arg-type]
    ranks, k = tp * attn_dp, min(domains, tp * attn_dp)
    # stages over k nodes hand over and reduce through the same NICs: one share of them serves both
    out = hop * ranks / k if pp > 1 else out
    group = GroupPath(ranks, k, "nvswitch" if ranks > k else "local", 450e9, "rdma", out) if k > 1 else None
    paths = Wiring(group or replica.wiring.group, (HopPath("rdma", hop, ranks),) * (pp - 1))
    traffic = WorkloadSpec(
        isl=Lengths(mean=isl, cv=cv), osl=Lengths(mean=osl, cv=cv), prefix_cache_hit=kv,
        engine=EngineChoice(max_num_batched_tokens=2048),
    )  # fmt: skip
    price = estimate(replace(replica, wiring=paths), traffic, concurrency)
    most = out if k > 1 else hop * ranks if pp > 1 else 0.0
    assert price.crossing_bytes_per_s <= most * (1 + 1e-9)


def test_a_prefix_cache_saves_prefill() -> None:
    cached = TRAFFIC.model_copy(update={"prefix_cache_hit": 0.9})
    full, saved = estimate(case(tp=4), TRAFFIC, 32), estimate(case(tp=4), cached, 32)
    assert saved.requests_per_s > full.requests_per_s
    assert saved.breakdown.prefill.total < full.breakdown.prefill.total / 2


def test_fewer_sequences_at_once_than_requests_is_a_matter_of_waiting() -> None:
    narrow = replace(SETTINGS, max_num_seqs=8)
    assert estimate(case(tp=4, settings=narrow), TRAFFIC, 32).ttft_s > estimate(case(tp=4), TRAFFIC, 8).ttft_s


def test_weights_that_nobody_measured_are_priced_as_16_bits_and_said_to_be() -> None:
    h200 = presets.load_gpu("h200-sxm")
    said, _ = notes(case(gpu=h200, calibration=presets.load_calibration(h200), weights="int4"))
    assert said == "h200-sxm: int4 matrix products not measured, priced with the shares of 16 bits"


def test_latent_attention_is_said_to_be_a_guess() -> None:
    h200 = presets.load_gpu("h200-sxm")
    said = notes(case(routed(latent=True), gpu=h200, calibration=presets.load_calibration(h200)))
    assert any("mla not measured" in note for note in said)
