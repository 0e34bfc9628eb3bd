"""topology show: tree on stdout, picture in a file."""

import json
from pathlib import Path

import handmade
import pytest

from optimizer.cli import run
from optimizer.report.records import plan_text


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """Return a cluster file and a plan for it."""
    (tmp_path / "cluster.json").write_text(handmade.cluster().model_dump_json())
    (tmp_path / "plan.json").write_text(plan_text(handmade.plan()))
    return str(tmp_path / "cluster.json"), str(tmp_path / "plan.json")


def test_show_prints_a_tree_and_writes_the_picture(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "picture.svg"
    assert run(["topology", "show", files[0], "--plan", files[1], "-o", str(picture)]) == 0
    assert "R3.0-3" in capsys.readouterr().out
    assert picture.read_text().startswith("<svg")


def test_show_as_json_lists_every_gpu(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["topology", "show", files[0], "--plan", files[1], "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["gpus"]) == 16
    assert told["gpus"][5]["placed"] == {"replica": 1, "rank": 1, "stage": 0}


def test_pictures_are_svg_only(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["topology", "show", files[0], "-o", "picture.png"]) == 2
    assert "ends in .svg" in capsys.readouterr().err
