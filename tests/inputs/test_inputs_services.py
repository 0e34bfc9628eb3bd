"""models.yaml: several models with their traffic; what is wrong is named by file, entry and key."""

import json
import re
from pathlib import Path

import pytest

from optimizer.errors import InputError
from optimizer.inputs.read import read_model
from optimizer.inputs.services import read_services
from optimizer.report.schemas import SCHEMAS

MODELS = """\
- model: llama-3.1-8b
  workload: {isl: 1024, osl: 256, request_rate: 20 /s}
- {model: {preset: qwen3-14b, max_model_len: 8192}, workload: chat.yaml, weight: 2}
- {model: own.yaml}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a models.yaml and the files it names, seen from elsewhere."""
    for name, text in (("models.yaml", MODELS), ("chat.yaml", "isl: 100\nosl: 20\n"), ("own.yaml", "preset: qwen3-8b")):
        (tmp_path / name).write_text(text)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path


def test_each_model_has_its_traffic_and_files_are_seen_from_models_yaml(folder: Path) -> None:
    first, second, third = read_services(str(folder / "models.yaml"))
    assert (first.model.name, first.workload.request_rate, first.weight) == ("meta-llama/Llama-3.1-8B", 20.0, 1.0)
    assert (second.model.max_model_len, second.workload.isl.mean, second.weight) == (8192, 100, 2.0)
    assert (third.model.name, third.workload.isl.mean, third.workload.request_rate) == ("Qwen/Qwen3-8B", 1024, None)


def test_one_model_is_a_list_of_one_with_its_workload(folder: Path) -> None:
    (only,) = read_services(str(folder / "own.yaml"), str(folder / "chat.yaml"))
    assert (only.model.name, only.workload.osl.mean) == ("Qwen/Qwen3-8B", 20)
    assert read_services("llama-3.1-8b")[0].workload.osl.mean == 256


def test_the_same_model_may_serve_two_kinds_of_traffic(folder: Path) -> None:
    (folder / "models.yaml").write_text("- {model: own.yaml}\n- {model: own.yaml, workload: chat.yaml}\n")
    assert len({service.model.name for service in read_services(str(folder / "models.yaml"))}) == 1


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("isl: 1024", "isl: 1k", r"\[0\].workload.isl: '1k' is no number of tokens"),
        ("isl: 1024", "isl: 200000", r"\[0\].workload.isl: 200000 prompt .* exceed the context"),
        ("20 /s", "20", r"\[0\].workload.request_rate: .*20 /s"),
        ("weight: 2", "weight: 0", r"\[1\].weight: 0 is too small"),
        ("weight: 2", "weigth: 2", r"\[1\].weigth: unknown key; did you mean 'weight'"),
        ("chat.yaml", "chta.yaml", r"\[1\].workload: chta.yaml: no such file"),
        ("preset: qwen3-14b", "preset: qwen3-14", r"\[1\].model.preset: 'qwen3-14' does not ship; did you mean"),
        ("max_model_len", "max_model_ln", r"\[1\].model.max_model_ln: unknown key; did you mean 'max_model_len'"),
        ("own.yaml", "owm.yaml", r"\[2\].model: owm.yaml: no such file"),
        ("{model: own.yaml}", "own.yaml", r"\[2\]: holds 'own.yaml'; expected keys such as model, workload"),
        ("{model: own.yaml}", "{workload: chat.yaml}", r"\[2\].model: is missing"),
        (MODELS, "[]", "lists no model"),
    ],
)
def test_what_is_wrong_is_named_by_entry_and_key(folder: Path, old: str, new: str, said: str) -> None:
    assert old in MODELS
    (folder / "models.yaml").write_text(MODELS.replace(old, new))
    with pytest.raises(InputError, match=rf"models\.yaml: {said}"):
        read_services(str(folder / "models.yaml"))


def test_a_workload_beside_a_list_of_models_is_refused_with_the_remedy(folder: Path) -> None:
    with pytest.raises(InputError, match=r"-w chat\.yaml: .* says each model's workload itself; name the file there"):
        read_services(str(folder / "models.yaml"), "chat.yaml")


def test_where_one_model_is_asked_for_a_list_is_refused_with_the_remedy(folder: Path) -> None:
    with pytest.raises(InputError, match="lists 3 models, and one is asked for here; give one of them"):
        read_model(str(folder / "models.yaml"))


def test_the_schema_names_every_key_and_holds_what_it_refers_to() -> None:
    schema = SCHEMAS["models"]()
    assert set(schema["items"]["properties"]) == {"model", "workload", "weight"}
    assert schema["items"]["required"] == ["model"]
    assert {"type": "string"} in schema["items"]["properties"]["workload"]["anyOf"]
    referred = set(re.findall(r"#/\$defs/(\w+)", json.dumps(schema)))
    assert referred <= set(schema["$defs"])
