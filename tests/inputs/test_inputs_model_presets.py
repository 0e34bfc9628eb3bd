"""Shipped models: every file reads, names itself, says its sources, and counts what its source says."""

import re

import pytest
import yaml

from optimizer.cost.parameters import total_parameters
from optimizer.inputs.model import ModelSpec
from optimizer.inputs.presets import load_model, model_name, names, preset_root

WANTED = {
    "llama-3.1-8b", "llama-3.1-70b", "llama-3.1-405b", "llama-3.3-70b", "qwen3-8b", "qwen3-14b", "qwen3-32b",
    "qwen3-30b-a3b", "qwen3-235b-a22b", "mixtral-8x7b", "mixtral-8x22b", "deepseek-v3", "deepseek-r1", "kimi-k2",
    "gpt-oss-20b", "gpt-oss-120b", "qwen2.5-72b", "mistral-7b",
}  # fmt: skip


def test_the_models_people_ask_for_are_shipped() -> None:
    assert set(names("models")) >= WANTED


@pytest.mark.parametrize("preset", names("models"))
def test_a_preset_has_its_published_count_and_a_source(preset: str) -> None:
    model = load_model(preset)
    assert model.name.count("/") == 1
    assert "*" in model.sources
    published = re.match(r"[\d,]+", model.sources.get("parameters", ""))
    if published:
        assert total_parameters(model) == int(published[0].replace(",", ""))


@pytest.mark.parametrize("preset", names("models"))
def test_a_preset_survives_being_written_out(preset: str) -> None:
    model = load_model(preset)
    assert ModelSpec.model_validate(model.model_dump(mode="json")) == model


def test_a_repeated_pattern_is_written_out() -> None:
    file = yaml.safe_load((preset_root() / "models" / "gpt-oss-20b.yaml").read_text(encoding="utf-8"))
    assert [run["repeat"] for run in file["runs"]] == [12]
    runs = load_model("gpt-oss-20b").runs
    assert [run.attention.reach for run in runs] == [128, None] * 12


@pytest.mark.parametrize("name", ["meta-llama/Llama-3.1-8B", "Llama-3.1-8B", "llama-3.1-8b"])
def test_a_hub_name_finds_its_preset(name: str) -> None:
    assert load_model(name).name == "meta-llama/Llama-3.1-8B"


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        ("meta-llama/Meta-Llama-3.1-8B-Instruct", "llama-3.1-8b"), ("meta-llama/Llama-2-7b-chat-hf", "llama-2-7b"),
        ("mistralai/Mixtral-8x7B-v0.1", "mixtral-8x7b"), ("Qwen2.5-7B", "qwen2.5-7b"),
        ("mistralai/Mistral-7B-Instruct-v0.1", None), ("someone/Llama-3.1-8B-Instruct-FP8", None),
    ],
)  # fmt: skip
def test_a_model_tuned_for_something_is_the_preset_of_its_architecture(name: str, preset: str | None) -> None:
    assert model_name(name) == preset
