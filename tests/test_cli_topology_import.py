"""tpopt topology import: exit codes, the report, and a cluster that reads back."""

import json
from pathlib import Path

import pytest
from operator_files import matrix, off_nvlink

from optimizer.cli import run
from optimizer.inputs.read import read_cluster


def test_an_import_writes_a_cluster_and_answers_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given, out = tmp_path / "topo.txt", tmp_path / "cluster.yaml"
    given.write_text(off_nvlink(matrix("NV18", 8, 8), 2))
    assert run(["topology", "import", str(given), "--gpu", "b200-sxm", "-o", str(out), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["nodes"], answer["gpus"], answer["nics"]) == (1, 8, 8)
    assert any(f["level"] == "broken" and "GPU2 is off NVLink" in f["message"] for f in answer["report"])
    assert read_cluster(str(out)).overrides[0].match.gpu == 2


def test_without_an_output_the_cluster_is_the_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = tmp_path / "topo.txt"
    given.write_text(matrix("NV18", 8, 8))
    assert run(["topology", "import", str(given), "--gpu", "h200-sxm"]) == 0
    shown = capsys.readouterr()
    assert "gpu: h200-sxm" in shown.out
    assert "guessed:" in shown.err


def test_what_does_not_suffice_for_a_cluster_is_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given, out = tmp_path / "topo.txt", tmp_path / "cluster.yaml"
    given.write_text(matrix("NV18", 8, 8))
    assert run(["topology", "import", str(given), "-o", str(out)]) == 2
    assert "--gpu" in capsys.readouterr().err
    assert not out.exists()


def test_a_file_that_is_not_there_is_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["topology", "import", str(tmp_path / "none.txt")]) == 2
    assert "cannot be read" in capsys.readouterr().err
