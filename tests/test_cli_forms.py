"""Forms of an answer, quiet runs, and completion in the shell."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import handmade
import pytest

from optimizer import pipeline
from optimizer.cli import output, run
from optimizer.report.records import plan_text


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Let ``pipeline.compare`` return candidates written by hand; return its inputs."""

    def compare(_request: object, _labels: object, progress: Any) -> object:
        progress("priced")
        return handmade.candidates()

    monkeypatch.setattr(pipeline, "compare", compare)
    (tmp_path / "cluster.json").write_text(handmade.cluster().model_dump_json())
    (tmp_path / "model.json").write_text(handmade.model().model_dump_json())
    return [str(tmp_path / "cluster.json"), str(tmp_path / "model.json")]


def test_compare_answers_in_the_form_asked_for(compared: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for form, start in (("--csv", "layout,tp,pp"), ("--markdown", "**meta-llama"), ("--json", "{")):
        assert run(["compare", *compared, form]) == 0
        assert capsys.readouterr().out.startswith(start)


def test_two_forms_at_once_are_refused(compared: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", *compared, "--csv", "--json"]) == 2
    assert "exclude each other" in capsys.readouterr().err


def test_plans_are_compared_as_csv_and_markdown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(plan_text(handmade.plan()))
    for form in ("--csv", "--markdown"):
        assert run(["compare", str(plan), str(plan), form]) == 0
        assert "output tokens/s" in capsys.readouterr().out


@pytest.mark.parametrize("place", [0, 1, 3])
def test_quiet_leaves_progress_out_wherever_it_stands(
    compared: list[str], place: int, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["compare", *compared]
    assert run(arguments) == 0
    assert capsys.readouterr().err == "tpopt: priced\n"
    arguments.insert(place, "--quiet")
    assert run(arguments) == 0
    assert capsys.readouterr().err == ""


def test_the_shell_completes_commands_presets_and_objectives() -> None:
    for words, wanted in (
        ("tpopt so", "solve"),
        ("tpopt solve hgx-h200-", "hgx-h200-x2"),
        ("tpopt solve --objective la", "latency"),
    ):
        told = {"_TPOPT_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
        code = "import sys; sys.argv = ['tpopt']; from optimizer.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, **told}, capture_output=True, text=True, check=False
        )
        assert wanted in done.stdout.split()


def test_an_engine_that_does_not_run_on_the_gpus_is_no_answer_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["solve", "mi355x-8", "llama-3.1-8b", "--engine", "trtllm"]) == 1
    assert "trtllm 1.2.0 does not run on mi355x (cdna4)" in " ".join(capsys.readouterr().out.split())
    degrees = ["--tp", "1", "--pp", "1", "--batch", "4", "--isl", "100", "--osl", "10"]
    assert run(["estimate", "mi355x-8", "llama-3.1-8b", "--engine", "trtllm", *degrees]) == 2
    assert "trtllm 1.2.0 does not run on mi355x (cdna4)" in capsys.readouterr().err


def test_gpus_that_the_engine_does_not_run_on_stay_idle_and_the_plan_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = tmp_path / "c.yaml"
    cluster.write_text("name: two\nnodes: [{name: a, template: hgx-h200}, {name: b, template: mi300x-8}]\n")
    assert run(["--quiet", "solve", str(cluster), "llama-3.2-1b", "--engine", "trtllm", "--max-gpus", "1"]) == 0
    assert "trtllm 1.2.0 does not run on mi300x (cdna3)" in " ".join(capsys.readouterr().out.split())


def test_a_quiet_command_does_not_silence_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-q", "presets", "gpus"]) == 0
    output.progress("told")
    assert capsys.readouterr().err == "tpopt: told\n"
