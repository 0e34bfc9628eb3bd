import csv
import time
from math import inf
from pathlib import Path

import pytest
from ideal import H100

from optimizer.inputs import presets
from optimizer.layout import Layout
from optimizer.topology.wiring import ALONE
from optimizer.validation import METRICS, Validation, one_node, summary, validate

MEASURED = Path(__file__).parent / "accuracy" / "data" / "h200_vllm.csv"

ROW = {
    "run": "one", "model": "meta-llama/Llama-3.1-8B", "gpu": "h200-sxm", "tp": "1", "pp": "1", "dp": "1", "ep": "1",
    "weights": "bf16", "kv_cache": "bf16", "engine": "vllm", "engine_version": "0.24.0", "metric": "tpot",
    "concurrency": "8", "isl": "1024", "osl": "96", "value": "0.00518041", "unit": "s", "source": "measured",
}  # fmt: skip


def checked(*rows: dict[str, str]) -> Validation:
    return validate(
        rows, load_model=presets.load_model, load_gpu=presets.load_gpu, load_calibration=presets.load_calibration,
        load_engine=presets.load_engine,
    )  # fmt: skip


def measured() -> list[dict[str, str]]:
    with MEASURED.open() as lines:
        return list(csv.DictReader(lines))


def test_the_error_is_relative_to_the_measurement() -> None:
    (prediction,) = checked(ROW).predictions
    assert prediction.predicted is not None
    assert prediction.error == pytest.approx(prediction.predicted / 0.00518041 - 1)
    assert prediction.predicted == pytest.approx(0.00518041, rel=0.05)


def test_a_summary_is_mean_median_and_bias() -> None:
    found = summary([0.1, -0.3, 0.2])
    assert found.n == 3
    assert (found.mape, found.median_ape, found.bias) == pytest.approx((0.2, 0.2, 0.0))


def test_every_row_of_our_own_measurement_is_priced_within_the_published_errors() -> None:
    found = checked(*measured())
    assert found.unpriced == ()
    assert set(found.metrics) == set(METRICS) - {"burst_tpot", "batch_output_tokens_per_s"}
    # what docs/accuracy.md says, with room for a refit
    assert found.metrics["kv_tokens"].mape < 0.003
    assert found.metrics["tpot"].mape < 0.025
    assert found.metrics["ttft"].mape < 0.07
    assert found.metrics["batch_prefill_time"].mape < 0.03
    assert found.metrics["closed_loop_output_tokens_per_s"].mape < 0.04


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"gpu": "h201-sxm"}, "h200-sxm"), ({"gpu": ""}, "gpu: empty"), ({"metric": "ttfft"}, "'ttfft' is not defined"),
        ({"tp": "3"}, "tp3"), ({"tp": "16"}, "more than one node"), ({"tp": "two"}, "'two' is no number"),
        ({"tp": "1.5"}, "no positive whole number"), ({"value": ""}, "value: empty"),
        ({"value": "0"}, "no positive measurement"), ({"isl": "long"}, "'long' is no number"),
        ({"model": "nobody/nothing"}, "nothing"), ({"weights": "q4_k_m"}, "'q4_k_m' is not modelled"),
        ({"engine_version": "99.0"}, "99.0"), ({"engine": "llama.cpp"}, "llama.cpp"),
        ({"value": "-1"}, "no positive measurement"), ({"value": "nan"}, "'nan' is no number"),
        ({"isl": "inf"}, "'inf' is no number"), ({"concurrency": "nan"}, "'nan' is no number"),
        ({"unit": "h"}, "unit: 'h' is none of tpot"), ({"unit": "tokens/s"}, "unit: 'tokens/s' is none of tpot"),
        ({"gpu_memory_utilization": "90"}, "gpu_memory_utilization: 90.0"),
        ({"cuda_graph_sizes": "1 two"}, "cuda_graph_sizes: 'two' is no number"),
        ({"isl": ""}, "isl: empty"), ({"osl": ""}, "osl: empty"), ({"concurrency": ""}, "concurrency: empty"),
        ({"pp": "1000000000"}, "more stages than the 32 layers"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_priced_is_listed_with_its_reason(change: dict[str, str], reason: str) -> None:
    found = checked(ROW, ROW | change)
    assert len(found.predictions) == 2
    (unpriced,) = found.unpriced
    assert unpriced.row == 1
    assert reason in unpriced.reason


def test_an_empty_setting_is_that_engine_versions_default() -> None:
    bare = {key: ROW[key] for key in ("model", "gpu", "engine", "engine_version", "source")}
    pool = bare | {"metric": "kv_tokens", "value": "1", "max_num_seqs": "", "gpu_memory_utilization": ""}
    said = pool | {"max_num_seqs": "1024", "max_num_batched_tokens": "8192", "gpu_memory_utilization": "0.9"}
    said |= {"tp": "1", "pp": "1", "weights": "bf16"}
    empty, written = checked(pool, said).predictions
    assert empty.predicted == written.predicted


@pytest.mark.parametrize(
    ("metric", "empty"),
    [("kv_tokens", ("isl", "osl", "concurrency")), ("ttft", ("osl", "concurrency")), ("batch_prefill_time", ("osl",))],
)
def test_a_metric_does_without_what_it_is_not_measured_with(metric: str, empty: tuple[str, ...]) -> None:
    row = ROW | dict.fromkeys(empty, "") | {"metric": metric, "unit": ""}
    assert checked(row).unpriced == ()


def test_a_row_is_priced_in_its_own_unit() -> None:
    seconds, milliseconds, blank = checked(
        ROW, ROW | {"unit": "ms", "value": "5.18041"}, ROW | {"unit": ""}
    ).predictions  # fmt: skip
    assert seconds.predicted == blank.predicted
    assert milliseconds.predicted == pytest.approx(1e3 * (seconds.predicted or 0.0))
    assert milliseconds.error == pytest.approx(seconds.error)


def test_collapsed_routing_is_applied_to_rows_that_say_so_and_nowhere_else() -> None:
    lite = ROW | {"model": "deepseek-ai/DeepSeek-V2-Lite", "concurrency": "64"}
    real, dummy = checked(lite, lite | {"source": "dummy weights"}).predictions
    assert real.predicted is not None
    assert dummy.predicted is not None
    assert dummy.predicted < real.predicted
    other = ROW | {"model": "Qwen/Qwen3-30B-A3B"}
    real, dummy = checked(other, other | {"source": "dummy weights"}).predictions
    assert real.predicted == dummy.predicted


def test_replicas_side_by_side_share_the_requests_and_add_their_rates() -> None:
    loop = ROW | {
        "metric": "closed_loop_output_tokens_per_s", "value": "1", "unit": "tokens/s", "requests": "192",
        "concurrency": "64",
    }  # fmt: skip
    one, two = checked(loop | {"concurrency": "32", "requests": "96"}, loop | {"dp": "2"}).predictions
    assert one.predicted is not None
    assert two.predicted == pytest.approx(2 * one.predicted)


def test_what_is_not_measured_on_a_rows_gpu_is_said() -> None:
    found = checked(ROW, ROW | {"gpu": "h20"}, ROW | {"gpu": "mi300x"}, ROW | {"gpu": "nothing"})
    assert any(note.startswith("h200-sxm: host not measured") for note in found.notes)
    assert any(note.startswith("h20 has no calibration") and "12 % off" in note for note in found.notes)
    assert any(note.startswith("mi300x has no calibration") and "not checked" in note for note in found.notes)


def test_groups_and_worst_rows_name_what_went_wrong() -> None:
    found = checked(ROW, ROW | {"value": "0.001"}, ROW | {"tp": "2", "value": "0.0037"})
    assert list(found.by(lambda p: p.layout)) == ["tp1 bf16", "tp2 bf16"]
    assert [p.row for p in found.worst(1)] == [1]


def test_one_node_has_the_gpus_own_links_else_pcie() -> None:
    l40s = presets.load_gpu("l40s")
    pair = Layout(2, 1, (32,))
    assert one_node(H100, pair).group.inner_bytes_per_s == 450e9
    assert one_node(l40s, pair).group.inner == ("pcie" if l40s.peer_to_peer else "host")
    assert one_node(H100, Layout(1, 1, (32,))).group == ALONE
    assert one_node(H100, Layout(1, 2, (16, 16))).hops[0].medium == "nvswitch"
    assert one_node(H100, Layout(1, 1, (32,))).group.inner_bytes_per_s == inf


def test_a_thousand_rows_take_less_than_twenty_seconds() -> None:
    rows = (measured() * 8)[:1000]
    start = time.perf_counter()
    assert len(checked(*rows).predictions) == 1000
    assert time.perf_counter() - start < 20
