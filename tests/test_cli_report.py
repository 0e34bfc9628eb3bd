"""report from the command line, with and without plotly."""

import json
import sys
from pathlib import Path

import handmade
import pytest

from optimizer.cli import reporting, run
from optimizer.report.records import plan_text

MOST_BYTES = 6_000_000


@pytest.fixture
def plan(tmp_path: Path) -> str:
    """Return a plan's file."""
    path = tmp_path / "plan.json"
    path.write_text(plan_text(handmade.plan()))
    return str(path)


def test_report_writes_one_file_with_plotly_in_it(
    plan: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("plotly")
    out = tmp_path / "report.html"
    assert run(["report", plan, "-o", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert 4_000_000 < out.stat().st_size < MOST_BYTES


def test_report_without_plotly_names_the_extra(
    plan: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    assert run(["report", plan, "-o", str(tmp_path / "report.html")]) == 2
    assert "pip install 'tpopt[report]'" in capsys.readouterr().err


def test_plotly_js_does_not_end_its_script() -> None:
    pytest.importorskip("plotly")
    assert "</script" not in reporting.plotly_js().lower()


@pytest.mark.parametrize("command", ["report", "explain"])
def test_a_plan_whose_ranks_are_amiss_is_wrong_input(
    command: str, plan: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = json.loads(Path(plan).read_text())
    changed["replicas"][0]["seats"][0]["rank"] = 99
    Path(plan).write_text(json.dumps(changed))
    written = ["-o", str(tmp_path / "report.html")] if command == "report" else []
    assert run([command, plan, *written]) == 2
    assert "ranks_are_complete" in capsys.readouterr().err
