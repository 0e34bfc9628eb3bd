"""A host in two figures: found again from first tokens that it made, left out where nothing waits for them."""

import json
from pathlib import Path

import pytest

from optimizer.cli import run
from optimizer.errors import InputError
from optimizer.host_fit import FACTORS, fit, priced, shipped_host
from optimizer.inputs import presets
from optimizer.inputs.calibration import HostFigures

ALIKE = {
    "model": "llama-3.1-8b", "gpu": "h200-sxm", "engine_version": "0.24.0", "metric": "ttft", "concurrency": "1",
    "osl": "1", "value": "1",
}  # fmt: skip
SHORT = {**ALIKE, "run": "one", "isl": "128"}
LAUNCHED = {**ALIKE, "run": "two", "isl": "1024", "tp": "4", "num_gpus": "4"}
LONG = {**ALIKE, "run": "three", "isl": "8192"}


def made(rows: list[dict[str, str]], launch: int, piece: int) -> list[dict[str, str]]:
    """Return the rows as a host would have made them that takes two of the factors."""
    ships = shipped_host(ALIKE)
    figures = {"launch": FACTORS[launch] * ships.launch, "piece": FACTORS[piece] * ships.piece}
    told = HostFigures.model_validate({name: f"{seconds!r} s" for name, seconds in figures.items()})
    return [
        row | {"value": repr(p.predicted)}
        for row, p in zip(rows, priced(rows, presets.load_model, told).predictions, strict=True)
    ]


def test_figures_are_found_again_from_the_first_tokens_they_made() -> None:
    found = fit(made([SHORT, LAUNCHED, LONG], 35, 45), presets.load_model)
    assert found.figures.launch == pytest.approx(FACTORS[35] * shipped_host(ALIKE).launch)
    assert found.figures.piece == pytest.approx(FACTORS[45] * shipped_host(ALIKE).piece)
    assert found.fitted.mape < 1e-9 < found.shipped.mape


def test_a_figure_that_no_first_token_waited_for_is_not_stated() -> None:
    found = fit(made([SHORT, LONG], 35, 45), presets.load_model)
    assert found.figures.launch is None
    assert found.figures.piece is not None


def test_a_run_left_out_is_met_by_the_figures_of_the_others_or_by_what_ships() -> None:
    found = fit(made([SHORT, SHORT | {"run": "again", "isl": "256"}], 30, 45), presets.load_model)
    assert found.left_out is not None
    assert found.left_out.mape < 1e-9
    assert fit(made([SHORT], 30, 45), presets.load_model).left_out is None


def test_rows_without_first_tokens_or_without_a_price_are_refused() -> None:
    with pytest.raises(InputError, match="no row is ttft"):
        fit([SHORT | {"metric": "tpot"}], presets.load_model)
    with pytest.raises(InputError, match="no first token can be priced"):
        fit([SHORT | {"weights": "fp3"}], presets.load_model)


def test_calibrate_prints_what_a_cluster_file_states(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row | {"tp": row.get("tp", "1")} for row in made([SHORT, LAUNCHED], 35, 45)]
    names = list(rows[0])
    lines = [",".join(names), *(",".join(row[name] for name in names) for row in rows)]
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    assert run(["calibrate", str(tmp_path / "m.csv"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    figures = HostFigures.model_validate(told["host"])
    assert figures.launch == pytest.approx(FACTORS[35] * shipped_host(ALIKE).launch)
    assert told["fitted"]["n"] == 2
    assert run(["calibrate", str(tmp_path / "m.csv")]) == 0
    assert capsys.readouterr().out.startswith("host:\n  launch: ")
