"""Comparisons as CSV and Markdown."""

import csv
import io

import handmade

from optimizer.compare import plan_rows
from optimizer.report.pasted import candidates_csv, candidates_markdown, rows_csv, rows_markdown


def test_csv_has_one_line_for_each_candidate_in_base_units() -> None:
    rows = list(csv.DictReader(io.StringIO(candidates_csv(handmade.candidates()))))
    assert [row["layout"] for row in rows] == ["tp4", "tp8", "tp1"]
    assert (rows[0]["chosen"], rows[0]["ttft_s"], rows[0]["decode_collectives_s"]) == ("true", "0.25", "0.003")
    assert rows[2]["tpot_s"] == ""


def test_markdown_marks_the_chosen_layout() -> None:
    lines = candidates_markdown("on two nodes", handmade.candidates()).splitlines()
    assert lines[0] == "**on two nodes**"
    assert lines[4].startswith("| **tp4** | 4 | 16 | bf16 | bf16 | 30,720 | 250 ms | 30.1 ms |")
    assert {line.count("|") for line in lines[2:]} == {12}


def test_plans_are_pasted_side_by_side() -> None:
    rows = plan_rows((handmade.plan(), handmade.plan(handmade.replica([("node01", [0, 1, 2, 3])], tp=4))))
    assert "GPUs,16,4,true" in rows_csv(("a", "b"), rows).splitlines()
    assert "| **GPUs** | 16 | 4 |" in rows_markdown(("a", "b"), rows).splitlines()
