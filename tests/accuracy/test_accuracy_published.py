"""The table of names and units by which others' measurements are read."""

import batches
import published
import pytest

from optimizer.inputs import presets

ROW = {
    "source": "Splitwise (ISCA24) perf_model.csv", "model": "Llama-2-70B", "gpu": "A100-SXM-80G", "tp": "2", "pp": "1",
    "precision_w": "fp16", "isl": "512", "osl": "128", "concurrency_or_batch": "1", "metric": "tpot", "value": "54.856",
    "unit": "ms", "quality": "A", "run_id": "one", "engine_version": "",
}  # fmt: skip

PLAIN = published.Set("Splitwise", {})


def mapped(**changes: str) -> dict[str, str]:
    found = published.mapped(ROW | changes, PLAIN)
    assert isinstance(found, dict)
    return found


def test_milliseconds_become_seconds_and_names_become_ours() -> None:
    row = mapped()
    assert float(row["value"]) == pytest.approx(0.054856)
    assert (row["model"], row["gpu"], row["weights"], row["metric"]) == ("llama-2-70b", "a100-80-sxm", "bf16", "tpot")


def test_the_first_token_of_a_batch_is_that_of_its_last_prompt() -> None:
    assert mapped(metric="ttft")["metric"] == "ttft"
    assert mapped(metric="ttft", concurrency_or_batch="8")["metric"] == "batch_prefill_time"


def test_inter_token_latency_at_a_context_is_a_decode_step() -> None:
    row = mapped(metric="itl", isl="ctx=16671", osl="", concurrency_or_batch="1.0")
    assert (row["metric"], row["isl"], row["osl"], row["concurrency"]) == ("tpot", "16671", "1", "1")


def test_context_in_the_middle_of_an_answer_is_prompt_and_half_of_it() -> None:
    middle = published.Set("NVIDIA Dynamo", {}, answer_tokens=500, cold=("Llama-2-70B",))
    row = published.mapped(ROW | {"metric": "itl", "isl": "ctx=350", "concurrency_or_batch": "3"}, middle)
    assert isinstance(row, dict)
    assert (row["metric"], row["isl"], row["osl"]) == ("burst_tpot", "100", "500")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"quality": "B"}, "quality B"), ({"metric": "e2e"}, "metric e2e"), ({"unit": "min"}, "unit 'min'"),
        ({"gpu": "TPU"}, "gpu 'TPU'"), ({"model": "GPT-5"}, "model 'GPT-5'"), ({"precision_w": "q4"}, "'q4'"),
        ({"concurrency_or_batch": "1.5"}, "no whole number"),
    ],
)  # fmt: skip
def test_a_row_that_is_not_mapped_has_a_reason(change: dict[str, str], reason: str) -> None:
    found = published.mapped(ROW | change, PLAIN)
    assert isinstance(found, str)
    assert reason in found


def test_every_name_in_the_tables_is_a_preset() -> None:
    assert set(published.MODELS.values()) <= set(presets.names("models"))
    assert set(published.GPUS.values()) <= set(presets.names("gpus"))


def test_a_front_end_that_gets_text_spends_more_on_a_prompt_and_nothing_else_of_the_host_changes() -> None:
    shipped = presets.load_calibration(presets.load_gpu("h100-sxm"))
    (dynamo,) = (name for name in published.SETS if "Dynamo" in name)
    host = published.host_of(dynamo, shipped).host
    assert host.prompt_token == published.TOKENIZED_S > shipped.host.prompt_token
    assert host.model_copy(update={"prompt_token": shipped.host.prompt_token}) == shipped.host
    assert published.host_of("another set", shipped) == shipped


def test_reasons_are_counted() -> None:
    assert published.counted(["a", "b", "a"]) == {"a": 2, "b": 1}


BATCH = {
    "source": "GPUStack performance-lab", "model": "Qwen3-8B", "gpu": "H100-SXM-80G", "tp": "1", "pp": "1", "dp": "1",
    "ep": "1", "precision_w": "bf16", "isl": "1996.3", "osl": "99.9", "kind": "serving_burst", "quality": "A",
    "concurrency_or_batch": "request burst, 500 prompts, rate=inf", "metric": "output_token_throughput",
    "value": "1000", "unit": "tok/s total", "notes": "", "run_id": "one", "engine": "vLLM", "engine_version": "",
}  # fmt: skip


def test_a_burst_of_requests_is_a_batch_and_a_rate_of_all_tokens_is_that_of_its_output() -> None:
    row = batches.mapped(BATCH)
    assert isinstance(row, dict)
    assert (row["metric"], row["concurrency"], row["isl"]) == ("batch_output_tokens_per_s", "500", "1996")
    total = BATCH | {"kind": "static_batch", "metric": "total_token_throughput", "isl": "300", "osl": "100"}
    row = batches.mapped(total | {"concurrency_or_batch": "4"})
    assert isinstance(row, dict)
    assert (row["value"], row["concurrency"]) == ("250.0", "4")


def test_lengths_that_vary_and_nodes_that_nobody_joins_are_not_priced() -> None:
    assert "vary" in batches.mapped(BATCH | {"isl": "217.4", "osl": "199.9"})
    assert "nodes" in batches.mapped(BATCH | {"notes": "nodes=2.0; offline"})
