"""Several models on the command line, roles and the gap: what reaches the question, what is refused with the remedy."""

from pathlib import Path
from typing import Any

import handmade
import pytest
import served_plans

from optimizer import pipeline
from optimizer.cli import run

MODELS = """\
- {model: llama-3.1-8b, workload: {isl: 1024, osl: 256, request_rate: 20 /s}}
- {model: qwen3-8b, weight: 2}
"""


@pytest.fixture
def models(tmp_path: Path) -> str:
    """Return the path of a models.yaml of two."""
    path = tmp_path / "models.yaml"
    path.write_text(MODELS)
    return str(path)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let solve and compare answer with what was written by hand; the list holds the requests they got."""
    requests: list[Any] = []

    def solve(request: object, _progress: object, _prices: object) -> pipeline.Solved:
        requests.append(request)
        return pipeline.Solved(served_plans.two_models(), {"solve": 0.25})

    def compare(request: object, _labels: object, _progress: object) -> object:
        requests.append(request)
        first, second, third = handmade.candidates()
        return first, third, second.model_copy(update={"service": 1})

    monkeypatch.setattr(pipeline, "solve", solve)
    monkeypatch.setattr(pipeline, "compare", compare)
    return requests


def test_all_models_reach_the_question_with_the_options_that_hold_for_each(models: str, asked: list[Any]) -> None:
    options = ["--roles", "prefill,decode", "--gap", "0.1%", "--margin", "10%", "--engine", "sglang"]
    assert run(["solve", "hgx-h200", models, *options]) == 0
    (request,) = asked
    assert [service.model.name for service in request.services] == ["meta-llama/Llama-3.1-8B", "Qwen/Qwen3-8B"]
    assert [service.weight for service in request.services] == [1.0, 2.0]
    assert request.gap == 0.001
    for service in request.services:
        assert service.workload.roles == ("prefill", "decode")
        assert (service.workload.margin, service.workload.engine.name) == (0.1, "sglang")


def test_roles_of_the_workload_hold_unless_said_otherwise(tmp_path: Path, asked: list[Any]) -> None:
    (tmp_path / "w.yaml").write_text("roles: [prefill, decode]\n")
    assert run(["solve", "hgx-h200", "llama-3.1-8b", "-w", str(tmp_path / "w.yaml")]) == 0
    assert run(["solve", "hgx-h200", "llama-3.1-8b", "-w", str(tmp_path / "w.yaml"), "--roles", "both"]) == 0
    assert [request.workload.roles for request in asked] == [("prefill", "decode"), ("both",)]
    assert asked[0].gap is None


def test_the_answer_names_every_model(models: str, asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["solve", "hgx-h200", models]) == 0
    assert capsys.readouterr().out.startswith("2 models on 5 of 8 GPUs of by-hand: tiny ")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["solve", "hgx-h200", "MODELS", "-w", "x.yaml"], "says each model's workload itself"),
        (["solve", "hgx-h200", "MODELS", "--pareto"], "--pareto is a question about one model"),
        (["capacity", "hgx-h200", "MODELS"], "capacity is a question about one model"),
        (["estimate", "hgx-h200", "MODELS", "--tp", "1", "--batch", "1"], "lists 2 models, and one is asked for here"),
    ],
)
def test_what_is_asked_of_one_model_is_refused_for_several(
    models: str, asked: list[Any], capsys: pytest.CaptureFixture[str], command: list[str], said: str
) -> None:
    assert run([models if word == "MODELS" else word for word in command]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert not asked


def test_compare_tells_each_model_by_itself(models: str, asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", "hgx-h200", models]) == 0
    told = capsys.readouterr().out
    assert "meta-llama/Llama-3.1-8B on hgx-h200: 2 layouts for throughput, best first" in told
    assert "Qwen/Qwen3-8B on hgx-h200: 1 layouts for throughput, best first" in told
    assert run(["compare", "hgx-h200", models, "--markdown"]) == 0
    assert capsys.readouterr().out.count("| layout |") == 2


def test_a_plan_is_within_the_gap_that_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["solve", "hgx-h200", "llama-3.1-8b", "--gap", "1%"]) == 0
    assert "gap 0." in capsys.readouterr().out
