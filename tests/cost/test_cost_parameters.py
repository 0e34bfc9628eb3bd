"""Counts of parameters and cache bytes, to the last one.

Totals are those of the published modelling code instantiated without weights, or of the hub's safetensors index.
"""

import pytest

from optimizer.cost.parameters import (
    active_parameters,
    layer_parameters,
    model_kv_bytes_per_token,
    model_window_bytes,
    total_parameters,
)
from optimizer.inputs.model import ModelSpec
from optimizer.inputs.presets import load_model

EXACT = {
    # preset: total, active, KV B/token bf16, fp8, B/sequence in windows bf16
    "llama-3.1-8b": (8030261248, 8030261248, 131072, 65536, 0),
    "llama-3.1-70b": (70553706496, 70553706496, 327680, 163840, 0),
    "llama-3.1-405b": (405853388800, 405853388800, 516096, 258048, 0),
    "llama-3.2-1b": (1235814400, 1235814400, 32768, 16384, 0),
    "llama-3.2-3b": (3212749824, 3212749824, 114688, 57344, 0),
    "llama-2-7b": (6738415616, 6738415616, 524288, 262144, 0),
    "llama-2-13b": (13015864320, 13015864320, 819200, 409600, 0),
    "llama-2-70b": (68976648192, 68976648192, 327680, 163840, 0),
    "qwen3-4b": (4022468096, 4022468096, 147456, 73728, 0),
    "qwen3-8b": (8190735360, 8190735360, 147456, 73728, 0),
    "qwen3-14b": (14768307200, 14768307200, 163840, 81920, 0),
    "qwen3-32b": (32762123264, 32762123264, 262144, 131072, 0),
    "qwen3-30b-a3b": (30532122624, 3353032704, 98304, 49152, 0),
    "qwen3-235b-a22b": (235093634560, 22190763520, 192512, 96256, 0),
    "qwen3-coder-480b-a35b": (480154875392, 35474765312, 253952, 126976, 0),
    "qwen2.5-7b": (7615616512, 7615616512, 57344, 28672, 0),
    "qwen2.5-32b": (32763876352, 32763876352, 262144, 131072, 0),
    "qwen2.5-72b": (72706203648, 72706203648, 327680, 163840, 0),
    "mixtral-8x7b": (46702792704, 12879925248, 131072, 65536, 0),
    "deepseek-v2-lite": (15706484224, 2661150208, 31104, 15552, 0),
    "deepseek-v3": (671026419200, 37552297472, 70272, 35136, 0),
    "deepseek-v3.2": (671877944064, 38403822336, 78324, 43188, 0),
    "kimi-k2": (1026408232448, 32861500928, 70272, 35136, 0),
    "glm-5": (743911218432, 41784728832, 100152, 55224, 0),
    "gpt-oss-20b": (20914757184, 4187440704, 24576, 12288, 3145728),
    "gpt-oss-120b": (116829156672, 5711982912, 36864, 18432, 4718592),
    "llama-4-scout": (107769861120, 17172894720, 196608, 98304, 0),
    "llama-4-maverick": (400711848960, 17184691200, 196608, 98304, 0),
    "minimax-m2.5": (228689764864, 11030553088, 253952, 126976, 0),
}


@pytest.mark.parametrize("preset", EXACT)
def test_counts_agree_to_the_last_parameter_and_byte(preset: str) -> None:
    model = load_model(preset)
    counted = (
        total_parameters(model),
        active_parameters(model),
        model_kv_bytes_per_token(model, "bf16"),
        model_kv_bytes_per_token(model, "fp8"),
        model_window_bytes(model, "bf16"),
    )
    assert counted == EXACT[preset]


@pytest.mark.parametrize(
    ("preset", "total"),
    [
        ("bloom-176b", 176247271424), ("bloom-7b1", 7069016064), ("opt-6.7b", 6658473984),
        ("gemma-2-9b", 9241705984), ("mistral-7b", 7248023552),
    ],
)  # fmt: skip
def test_totals_of_other_families_are_the_published_ones(preset: str, total: int) -> None:
    assert total_parameters(load_model(preset)) == total


def test_one_llama_layer_is_worked_by_hand() -> None:
    # q and o 4096x4096, k and v 4096x1024, gate, up and down 4096x14336, two norms of 4096
    run = load_model("llama-3.1-8b").runs[0]
    assert layer_parameters(4096, run) == 2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336 + 2 * 4096


def test_a_tied_embedding_counts_once() -> None:
    model = load_model("qwen3-8b")
    tied = model.model_copy(update={"tied_embeddings": True})
    assert total_parameters(model) - total_parameters(tied) == model.vocab * model.hidden


def test_a_mistral_of_the_first_release_keeps_windows_and_no_whole_past() -> None:
    attention = {"kind": "gqa", "heads": 32, "kv_heads": 8, "head_dim": 128, "window": 4096}
    feed_forward = {"kind": "dense", "intermediate": 14336}
    model = ModelSpec.model_validate(
        {
            "name": "m", "hidden": 4096, "vocab": 32000, "context": 32768,
            "runs": [{"count": 32, "attention": attention, "feed_forward": feed_forward}],
        }
    )  # fmt: skip
    assert total_parameters(model) == 7241732096
    assert (model_kv_bytes_per_token(model, "bf16"), model_window_bytes(model, "bf16")) == (0, 536870912)
