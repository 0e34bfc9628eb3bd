"""explain and diff from the command line."""

import json
from pathlib import Path

import handmade
import pytest

from optimizer.cli import run
from optimizer.report.records import plan_text


@pytest.fixture
def plan(tmp_path: Path) -> str:
    """Return a plan's file."""
    path = tmp_path / "plan.json"
    path.write_text(plan_text(handmade.plan()))
    return str(path)


def test_explain_goes_one_level_deeper_on_request(plan: str, capsys: pytest.CaptureFixture[str]) -> None:
    lengths = []
    for level in ("1", "2", "3"):
        assert run(["explain", plan, "--level", level]) == 0
        lengths.append(len(capsys.readouterr().out))
    assert lengths == sorted(set(lengths))


def test_explain_json_nests_inputs(plan: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", plan, "--of", "TPOT of", "--level", "2", "--json"]) == 0
    (tpot,) = json.loads(capsys.readouterr().out)["facts"]
    assert tpot["formula"].startswith("max(decode step")
    assert tpot["inputs"][0]["name"] == "decode step"


def test_diff_tells_why(plan: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.json"
    other.write_text(plan_text(handmade.plan(handmade.replica([("node01", [0, 1, 2, 3])], tp=4))))
    assert run(["diff", plan, str(other)]) == 0
    out = capsys.readouterr().out
    assert "-75.0%" in out
    assert "equally good plans, or a file that was edited" in " ".join(out.split())
    assert run(["diff", plan, str(other), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["reasons"]
