"""validate: errors per metric for people and programs, and every row kept in the written CSV."""

import csv
import json
from pathlib import Path

import pytest
from rich.console import Console

from optimizer.cli import run
from optimizer.errors import InputError
from optimizer.inputs.documents import parse_csv
from optimizer.report.measured import measured
from optimizer.report.records import predictions_text, validation_record
from optimizer.validation import Prediction, Validation

ROWS = Validation(
    (
        Prediction(0, "tpot", "org/a", "tp1", 0.010, 0.011, notes=("gpu a: host not measured",)),
        Prediction(1, "tpot", "org/b", "tp2", 0.020, 0.016),
        Prediction(2, "ttft", "org/b", "tp2", 0.5, None, "gpu: unknown"),
    )
)


def test_errors_are_fractions_and_unpriced_rows_have_a_reason() -> None:
    record = validation_record(ROWS)
    assert record["unpriced"] == [{"row": 2, "reason": "gpu: unknown"}]
    (name, errors), *others = record["metrics"].items()  # type: ignore[attr-defined]
    assert (name, others, errors["n"]) == ("tpot", [], 2)
    assert errors["mape"] == pytest.approx(0.15)
    assert errors["bias"] == pytest.approx(-0.05)
    assert list(record["models"]) == ["tpot, org/a", "tpot, org/b"]  # type: ignore[call-overload]
    assert list(record["layouts"]) == ["tpot, tp1", "tpot, tp2"]  # type: ignore[call-overload]
    assert [row["row"] for row in record["worst"]] == [1, 0]  # type: ignore[attr-defined]
    assert record["notes"] == ["gpu a: host not measured"]


def test_the_table_tells_errors_the_worst_rows_and_the_reasons() -> None:
    console = Console(width=80, markup=False, highlight=False, color_system=None)
    with console.capture() as capture:
        console.print(measured(ROWS))
    parts = (
        "tpot",
        "15 %",
        "-5 %",
        "tpot, b",
        "tpot, tp2",
        "Furthest off",
        "-20 %",
        "Not priced: 1 rows",
        "gpu: unknown",
    )
    for part in (*parts, "gpu a: host not measured"):
        assert part in capture.get()


def test_the_written_csv_keeps_every_column_and_row() -> None:
    rows = [{"run": f"r{i}", "note": "a, b", "error": "old"} for i in range(3)]
    text = predictions_text(("run", "note", "error"), rows, ROWS.predictions)
    assert list(csv.reader(text.splitlines())) == [
        ["run", "note", "predicted", "error", "reason"],
        ["r0", "a, b", "0.011", repr((0.011 - 0.010) / 0.010), ""],
        ["r1", "a, b", "0.016", repr((0.016 - 0.020) / 0.020), ""],
        ["r2", "a, b", "", "", "gpu: unknown"],
    ]


def test_validate_runs_on_a_file_and_writes_its_predictions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header = "model,gpu,tp,metric,value,isl,osl,concurrency"
    rows = ["llama-3.1-8b,h200-sxm,1,tpot,0.005,128,8,1", "nothing,h200-sxm,1,tpot,1,1,1,1"]
    (tmp_path / "m.csv").write_text("\n".join([header, *rows, ""]))
    out = tmp_path / "p.csv"
    assert run(["validate", str(tmp_path / "m.csv"), "--json", "-o", str(out)]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["metrics"]["tpot"]["n"] == 1
    assert [row["row"] for row in answer["unpriced"]] == [1]
    assert out.read_text().splitlines()[0].endswith("concurrency,predicted,error,reason")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "m.csv:1: no column c"),
        ("", "m.csv:1: no column"),
        ("a,b,c,a\n", "column 'a' twice"),
        ("a,b,c\n1,2,3,4\n", "m.csv:2: 4 cells for 3 columns"),
        ('a,b,c\n"1,2\n', "broken CSV"),
    ],
)
def test_a_wrong_csv_is_named(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_csv(text, "m.csv", ("a", "b", "c"))


def test_short_rows_are_filled_and_cells_may_hold_line_breaks() -> None:
    assert parse_csv('a,b\n"x\ny"\n\n1,2\n', "m.csv") == (("a", "b"), [{"a": "x\ny", "b": ""}, {"a": "1", "b": "2"}])
