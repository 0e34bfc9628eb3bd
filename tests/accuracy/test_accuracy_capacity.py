"""Start-up logs by the names and units of their table."""

from dataclasses import replace

import capacity
import pytest

from optimizer.errors import InputError

LOG = {
    "model": "codellama/CodeLlama-7b-hf", "precision_w": "bf16", "precision_kv": "auto", "gpu": "H100-SXM-80G",
    "gpu_total_gib": "79.19", "tp": "1", "pp": "1", "dp": "1", "engine": "vLLM", "engine_version": "0.19.0",
    "gpu_memory_utilization": "0.95", "max_model_len": "8192", "max_num_batched_tokens": "8192", "max_num_seqs": "",
    "weights_gib_per_gpu": "12.56", "kv_cache_tokens": "126256", "status": "ok", "quality": "A",
}  # fmt: skip


def mapped(**changes: str) -> dict[str, str]:
    found = capacity.mapped(LOG | changes)
    assert isinstance(found, dict)
    return found


def test_a_log_is_met_in_weights_and_pool() -> None:
    found = capacity.start(mapped())
    assert found.ran
    assert found.starts
    assert found.weights == pytest.approx(0.0, abs=0.01)
    assert found.pool == pytest.approx(0.0, abs=0.01)


def test_the_scheme_of_a_quantized_checkpoint_is_in_its_name() -> None:
    assert mapped(model="RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w4a16")["weights"] == "int4"
    assert mapped(model="RedHatAI/Qwen2.5-7B-Instruct-fp8-dynamic")["weights"] == "fp8"


def test_what_failed_for_memory_is_called_infeasible() -> None:
    row = mapped(model="deepseek-ai/DeepSeek-R1", status="FAILED_MEMORY", weights_gib_per_gpu="", kv_cache_tokens="")
    found = capacity.start(row)
    assert (found.ran, found.starts, found.pool) == (False, False, None)


@pytest.mark.parametrize(
    "change",
    [{"engine": "SGLang"}, {"quality": "B"}, {"gpu": "RTX-5090-32G"}, {"model": "ibm-granite/granite-vision-3.3-2b"}],
)
def test_a_log_that_is_left_out_has_a_reason(change: dict[str, str]) -> None:
    assert isinstance(capacity.mapped(LOG | change), str)


def test_a_model_that_is_not_typed_is_named() -> None:
    with pytest.raises(InputError, match="nobody/nothing"):
        capacity.start(mapped(model="nobody/nothing"))


def test_the_table_counts_what_ran_and_is_called_infeasible() -> None:
    found = capacity.start(mapped())
    lines = capacity.table({"logs": [found, replace(found, starts=False), replace(found, ran=False, starts=False)]})
    assert lines[2].endswith("| 1 of 2 | 1 of 1 |")
    assert lines[-1] == f"| codellama/CodeLlama-7b-hf tp1 | {100 * (found.weights or 0.0):+.2f} % | did not start |"
