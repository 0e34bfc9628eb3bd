"""sweep: the whole grid, in order, resumable, the same bytes however it runs."""

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import handmade
import pytest
import yaml

from optimizer import pipeline
from optimizer.cli import run, workers
from optimizer.cli.parcels import packed, unpacked
from optimizer.errors import InfeasibleError, InputError
from optimizer.grid import COLUMNS, MOST_TOGETHER, cells, keys, together
from optimizer.inputs.sweep import read_sweep
from optimizer.pipeline.sweep import solve_cell, solve_group


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """Return sweep.yaml with two clusters, one model, two workloads and two objectives."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.json").write_text(handmade.cluster(name=name).model_dump_json())
    (tmp_path / "model.json").write_text(handmade.model().model_dump_json())
    (tmp_path / "long.yaml").write_text("isl: 8192\nosl: 512\n")
    told = {
        "clusters": ["a.json", "b.json"], "models": ["model.json"], "objectives": ["throughput", "gpus"],
        "workloads": {"short": {"isl": 512, "osl": 128}, "long": "long.yaml"}, "precisions": [{"weights": "bf16"}],
    }  # fmt: skip
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(told, sort_keys=False))
    return path


@pytest.fixture
def solves(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let ``pipeline.solve`` answer at once: nothing fits long prompts; the list holds what was asked."""
    asked: list[Any] = []

    def solve(request: Any, prices: Any = None) -> pipeline.Solved:
        asked.append(request)
        if request.workload.isl.mean > 4096:
            raise InfeasibleError("no layout is admissible")
        return pipeline.Solved(handmade.plan(), {})

    monkeypatch.setattr(pipeline, "solve", solve)
    return asked


def sweep(grid: Path, *more: str) -> int:
    return run(["sweep", str(grid), "-o", str(grid.parent / "out.csv"), "--jobs", "1", *more])


def test_neighbours_with_the_same_prices_are_solved_together_and_none_is_left_out(grid: Path) -> None:
    asked = cells(read_sweep(str(grid)))
    groups = list(together(asked))
    assert [number for group in groups for number, _ in group] == list(range(len(asked)))
    assert [len(group) for group in groups] == [2, 2, 2, 2]
    many = list(together([asked[0]] * (MOST_TOGETHER + 1)))
    assert [len(group) for group in many] == [MOST_TOGETHER, 1]


def test_a_result_is_the_same_alone_and_after_its_neighbours(tmp_path: Path) -> None:
    told = {
        "clusters": ["hgx-h200"], "models": ["qwen3-8b"], "objectives": ["throughput", "gpus"],
        "workloads": {"one": {"isl": 512, "osl": 128, "request_rate": "2 /s"}}, "max_gpus": [1, 2],
    }  # fmt: skip
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(told))
    asked = cells(read_sweep(str(path)))
    (group,) = together(asked)
    assert [result for _, result in solve_group(group)] == [solve_cell(cell) for cell in asked]


def test_every_combination_is_a_line_in_order(grid: Path, solves: list[Any]) -> None:
    assert sweep(grid) == 0
    rows = list(csv.DictReader((grid.parent / "out.csv").read_text().splitlines()))
    assert len(rows) == len(solves) == 8
    assert tuple(rows[0]) == COLUMNS
    assert [(row["cluster"], row["workload"], row["objective"]) for row in rows[:3]] == [
        ("a.json", "short", "throughput"), ("a.json", "short", "gpus"), ("a.json", "long", "throughput"),
    ]  # fmt: skip
    assert (rows[0]["status"], rows[0]["layout"], rows[0]["tpot_s"]) == (
        "optimal",
        "4 x tp4 bf16 on h200-sxm",
        "0.0301",
    )
    assert (rows[2]["status"], rows[2]["message"]) == ("infeasible", "no layout is admissible")
    assert {request.workload.weights for request in solves} == {("bf16",)}


def test_a_sweep_that_was_cut_goes_on_and_ends_with_the_same_bytes(
    grid: Path, solves: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep(grid) == 0
    whole = (grid.parent / "out.csv").read_bytes()
    kept = sorted((grid.parent / "out.csv.solves").iterdir())
    for lost in kept[::2]:
        lost.unlink()
    kept[1].write_text('{"cluster": "half a fi')
    (grid.parent / "out.csv").unlink()
    solves.clear()
    assert sweep(grid) == 0
    assert len(solves) == 5
    assert "3 of 8 solves are already in" in capsys.readouterr().err
    assert (grid.parent / "out.csv").read_bytes() == whole


def test_a_stopped_sweep_keeps_what_is_done(
    grid: Path, solves: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(asked: Any) -> Any:
        yield 0, solve_cell(asked[0])
        raise KeyboardInterrupt

    monkeypatch.setattr(workers, "backend", lambda *_: stopped)
    assert sweep(grid) == 3
    assert "1 of 8 solves are kept" in capsys.readouterr().err
    assert len(list((grid.parent / "out.csv.solves").iterdir())) == 1


def test_a_changed_input_is_solved_again(grid: Path, solves: list[Any]) -> None:
    assert sweep(grid) == 0
    (grid.parent / "long.yaml").write_text("isl: 6000\nosl: 512\n")
    solves.clear()
    assert sweep(grid) == 0
    assert {request.workload.isl.mean for request in solves} == {6000}


def test_json_and_page_hold_every_solve(
    grid: Path, solves: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("optimizer.cli.reporting.plotly_js", lambda: "/* plotly.js */")
    page = grid.parent / "sweep.html"
    assert sweep(grid, "--json", "--report", str(page)) == 0
    assert len(json.loads(capsys.readouterr().out)["solves"]) == 8
    text = page.read_text()
    assert "4 of 8 combinations have a plan" in text
    assert text.count('class="chart"') == 16
    assert "src=" not in text


def test_the_table_fits_80_columns(grid: Path, solves: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep(grid) == 0
    out = capsys.readouterr().out
    assert "cluster b.json" in out
    assert "8 solves: 4 optimal, 4 infeasible" in out
    assert max(map(len, out.splitlines())) <= 80


def test_local_processes_give_what_one_by_one_gives(tmp_path: Path) -> None:
    pytest.importorskip("joblib")
    told = {"clusters": ["ws-4x4090"], "models": ["llama-3.2-1b"], "objectives": ["throughput", "gpus"]}
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(told, sort_keys=False))
    asked = cells(read_sweep(str(path)))
    assert dict(workers.backend("local", 2)(asked)) == dict(workers.one_by_one(asked))


def test_whoever_hands_out_solves_does_not_load_the_solver(grid: Path) -> None:
    lines = (
        "import sys",
        "from optimizer.cli import sweeping, workers",
        "from optimizer.grid import cells, keys",
        "from optimizer.inputs.sweep import read_sweep",
        f"asked = cells(read_sweep({str(grid)!r}))",
        "assert keys(asked) and list(workers.packed(asked))",
        "assert not {'ortools', 'pandas', 'optimizer.pipeline'} & set(sys.modules)",
    )
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)


def test_an_input_that_arrives_twice_is_one_object(grid: Path) -> None:
    asked = cells(read_sweep(str(grid)))
    groups = list(together(asked))
    arrived = [unpacked(bytes(parcel)) for parcel in packed(asked)]
    assert arrived == groups
    (_, short), (_, other), (_, long), (_, elsewhere) = (group[0] for group in arrived)
    assert short.model is other.model is long.model is elsewhere.model
    assert short.cluster is other.cluster
    assert short.workload is long.workload is arrived[0][1][1].workload


def test_a_key_tells_inputs_and_options_apart(grid: Path) -> None:
    asked = cells(read_sweep(str(grid)))
    assert len(set(keys(asked))) == len(asked)
    assert keys(asked) == keys(cells(read_sweep(str(grid))))
    assert keys(asked[:1]) != keys([replace(asked[0], seed=1)])
    assert keys(asked[:1]) != keys([replace(asked[0], cluster=asked[-1].cluster)])


def test_results_may_be_parquet(grid: Path, solves: list[Any]) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for _ in range(2):
        assert run(["sweep", str(grid), "-o", str(grid.parent / "out.parquet"), "--jobs", "1"]) == 0
    table = parquet.read_table(grid.parent / "out.parquet")
    assert table.column_names == list(COLUMNS)
    assert table.column("gpus").to_pylist()[:3] == [16, 16, None]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"clusters": []}, "clusters"),
        ({"models": ["lama-3.1-70b"]}, "llama-3.1-70b"),
        ({"objective": ["gpus"]}, "objectives"),
        ({"workloads": {"x": {"isl": 200_000}}}, "models.model.json, workloads.x"),
    ],
    ids=["no-cluster", "unknown-model", "unknown-key", "too-long"],
)
def test_a_wrong_sweep_is_refused_before_any_solve(
    grid: Path, solves: list[Any], change: dict[str, object], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    grid.write_text(yaml.safe_dump(yaml.safe_load(grid.read_text()) | change, sort_keys=False))
    assert sweep(grid) == 2
    assert said in capsys.readouterr().err
    assert not solves


def test_a_missing_backend_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_missing", lambda module: module == "ray")
    with pytest.raises(InputError, match=r"tpopt\[ray\]"):
        workers.backend("ray", 2)
    with pytest.raises(InputError, match="dask"):
        workers.backend("dusk", 2)


@pytest.mark.parametrize(
    ("more", "said"),
    [(["-o", "out.parquet"], r"tpopt[parquet]"), (["--report", "page.html"], r"tpopt[report]")],
    ids=["parquet", "report"],
)
def test_a_library_that_writes_the_results_is_missed_before_any_solve(
    grid: Path, solves: list[Any], more: list[str], said: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(grid.parent)
    monkeypatch.setattr(workers, "_missing", lambda module: True)
    assert sweep(grid, *more) == 2
    assert said in capsys.readouterr().err
    assert not solves


def test_without_joblib_solves_run_one_by_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(workers, "_missing", lambda module: True)
    assert workers.backend("local", 2) is workers.one_by_one
    assert "tpopt[sweep]" in capsys.readouterr().err
