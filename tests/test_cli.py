"""The face: exit code, stdout and stderr of every command and of every kind of error."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import handmade
import pytest
import typed_plans

from optimizer import __version__, pipeline
from optimizer.cli import edge, run
from optimizer.cli.deploy import write_all
from optimizer.cli.options import parse_engine, parse_fix, parse_layouts, parse_time_limit
from optimizer.cli.output import write
from optimizer.errors import InfeasibleError, InputError, NoAnswerError, VerificationError
from optimizer.export import EXPORTERS, Artifact
from optimizer.inputs.workload import EngineChoice
from optimizer.pipeline import relax
from optimizer.plan import Plan
from optimizer.report.records import plan_text


@pytest.fixture
def inputs(tmp_path: Path) -> list[str]:
    """Return a cluster file and a model file."""
    (tmp_path / "cluster.json").write_text(handmade.cluster().model_dump_json())
    (tmp_path / "model.json").write_text(handmade.model().model_dump_json())
    return [str(tmp_path / "cluster.json"), str(tmp_path / "model.json")]


@pytest.fixture
def solved(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let ``pipeline.solve`` return a plan written by hand; the list holds the requests it got."""
    requests: list[Any] = []

    def solve(request: object, progress: Any, _prices: object) -> pipeline.Solved:
        requests.append(request)
        progress("3 shapes priced")
        return pipeline.Solved(handmade.plan(), {"price": 0.5, "solve": 0.25})

    monkeypatch.setattr(pipeline, "solve", solve)
    return requests


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def solve(*_: object) -> None:
        raise error

    monkeypatch.setattr(pipeline, "solve", solve)


def test_solve_prints_the_answer_and_writes_the_plan(
    inputs: list[str], solved: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["solve", *inputs, "-o", str(tmp_path / "plan.json")]) == 0
    out, err = capsys.readouterr()
    for part in (
        "TP4 x PP1 x DP4",
        "optimal",
        "gap 0.00%",
        "node[01-02]",
        "4 5 6 7",
        "TTFT 250 ms",
        "assumed",
        "collectives",
    ):
        assert part in out
    assert err == "tpopt: 3 shapes priced\n"
    assert (tmp_path / "plan.json").read_text() == plan_text(handmade.plan())


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"tpopt {__version__}\n"


def test_a_reader_who_leaves_is_not_told_that_nothing_is_feasible() -> None:
    writer = subprocess.Popen([sys.executable, "-m", "optimizer", "schema", "plan"], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    writer.stdout.close()
    assert writer.wait() == edge.READER_LEFT


def test_solve_json_is_the_plan_with_its_timing(
    inputs: list[str], solved: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["solve", *inputs, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer.pop("timing") == {"price": 0.5, "solve": 0.25}
    assert Plan.model_validate(answer) == handmade.plan()


def test_the_options_reach_the_request(inputs: list[str], solved: list[Any], tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_text("isl: 100\nosl: 10\nengine: {name: vllm, max_num_seqs: 7}\n")
    options = ["-w", str(tmp_path / "w.yaml"), "--objective", "latency", "--engine", "vllm==0.24.0",
               "--fix", "tp=8,pp=2", "--max-gpus", "12", "--exclude", "node01/3", "--exclude", "node02",
               "--time-limit", "2 min", "--workers", "4", "--seed", "5"]  # fmt: skip
    assert run(["solve", *inputs, *options]) == 0
    (request,) = solved
    assert (request.objective, request.fix, request.max_gpus) == ("latency", {"tp": 8, "pp": 2}, 12)
    assert (request.exclude, request.time_limit_s, request.workers, request.seed) == (
        ("node01/3", "node02"),
        120.0,
        4,
        5,
    )
    assert request.workload.engine == EngineChoice(name="vllm", version="0.24.0", max_num_seqs=7)


def test_infeasible_exits_1_with_the_nearest_miss(
    inputs: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    failing(monkeypatch, InfeasibleError("nothing fits", nearest_miss=("tp8 misses 3 GiB",), remedies=("fp8 weights",)))
    monkeypatch.setattr(relax, "relaxations", lambda *_: relax.Relaxations((), ()))
    assert run(["solve", *inputs, "-o", str(tmp_path / "plan.json")]) == 1
    out, err = capsys.readouterr()
    for part in ("nothing fits", "tp8 misses 3 GiB", "fp8 weights"):
        assert part in out
    assert err == "tpopt: infeasible: nothing fits\n"
    assert not (tmp_path / "plan.json").exists()
    assert run(["solve", *inputs, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["nearest_miss"] == ["tp8 misses 3 GiB"]


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InputError("cluster two-hgx-h200: overrides[0]: wrong"), 2, "cluster.json: overrides[0]: wrong"),
        (NoAnswerError("the limit came first"), 3, "no answer: the limit came first"),
        (VerificationError("seat used twice"), 70, "this is a bug in tpopt"),
        (ZeroDivisionError("division by zero"), 70, "this is a bug in tpopt"),
    ],
    ids=["input", "no answer", "verification", "bug"],
)
def test_each_kind_of_error_has_its_exit_code_and_one_line(
    inputs: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    error: Exception, code: int, said: str,
) -> None:  # fmt: skip
    monkeypatch.delenv("TPOPT_DEBUG", raising=False)
    failing(monkeypatch, error)
    assert run(["solve", *inputs]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1
    assert run(["solve", *inputs, "--debug"]) == code
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--objective", "througput"], "did you mean 'throughput'"),
        (["--engine", "vlm"], "did you mean 'vllm'"),
        (["--fix", "tp8"], "write tp=8,pp=2"),
        (["--fix", "tq=8"], "tq"),
        (["--fix", "tp=8,tp=4"], "twice"),
        (["--exclude", "node3"], "node01"),
        (["--exclude", "node01/8"], "node01 has 8"),
        (["--time-limit", "0"], "no time"),
        (["--time-limit", "5 parsecs"], "--time-limit"),
        (["--gap", "1 GB"], "--gap"),
        (["--gap", "100%"], "no proof at all"),
        (["--roles", "prefil,decode"], "did you mean 'prefill'"),
        (["--roles", "prefill"], "decode needs prefill"),
        (["--roles", "both,both"], "twice"),
        (["--max-gpus", "0"], "--max-gpus"),
        (["--nonsense"], "--nonsense"),
        (["-o", "no/such/folder/plan.json"], "create it"),
    ],
)
def test_a_wrong_option_exits_2_and_is_named(
    inputs: list[str], solved: list[Any], capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert run(["solve", *inputs, *options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert "Traceback" not in err
    assert not solved


def test_compare_lists_candidates_as_given(
    inputs: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []

    def compare(_request: object, labels: object, _progress: object) -> object:
        asked.append(labels)
        return handmade.candidates()

    monkeypatch.setattr(pipeline, "compare", compare)
    assert run(["compare", *inputs, "--layouts", "tp8,TP4PP2,tp2pp1"]) == 0
    assert asked == [("tp8", "tp4pp2", "tp2")]
    assert "-15% tokens/s: collectives" in " ".join(capsys.readouterr().out.split())
    assert run(["compare", *inputs, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)["candidates"]
    assert [c["tp"] for c in answer] == [4, 8, 1]
    assert set(answer[0]) >= {"tp", "pp", "dp", "ep", "weights", "kv_cache", "fits", "ttft_s", "tpot_s", "memory",
                              "output_tokens_per_s"}  # fmt: skip


def test_compare_sets_two_plans_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = handmade.plan(handmade.replica([("node01", list(range(8)))], tp=8))
    paths = [str(tmp_path / name) for name in ("a.json", "b.json")]
    for path, plan in zip(paths, (handmade.plan(), other), strict=True):
        Path(path).write_text(plan_text(plan))
    assert run(["compare", *paths]) == 0
    assert "side by side" in capsys.readouterr().out
    assert run(["compare", *paths, "--json"]) == 0
    assert run(["compare", paths[0], str(tmp_path / "none.json")]) == 2
    told, missing = capsys.readouterr()
    assert "none.json: no such file" in missing
    rows = {row["key"]: row for row in json.loads(told)["properties"]}
    assert rows["layout"]["differs"]
    assert not rows["status"]["differs"]


def test_estimate_prints_the_promised_keys(
    inputs: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: dict[str, Any] = {}

    def estimate(_cluster: object, _model: object, workload: object, degrees: object, **options: object) -> object:
        asked.update(options, workload=workload, degrees=degrees)
        return handmade.estimate(2, 1), handmade.settings()

    monkeypatch.setattr(pipeline, "estimate", estimate)
    options = ["--tp", "2", "--pp", "1", "--batch", "64", "--isl", "1000", "--osl", "100", "--weights", "fp8"]
    assert run(["estimate", *inputs, *options, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert set(answer) >= {"ttft_s", "tpot_s", "output_tokens_per_s", "memory", "breakdown", "fits", "settings"}
    assert set(answer["memory"][0]) >= {"weights_bytes", "kv_bytes_per_token", "kv_tokens", "activation_bytes",
                                        "overhead_bytes", "capacity_bytes", "fits"}  # fmt: skip
    for phase in ("prefill", "decode"):
        assert set(answer["breakdown"][phase]) >= {"gemm", "attention", "collectives", "pipeline", "overhead"}
    assert (asked["degrees"]["tp"], asked["batch"], asked["weights"]) == (2, 64, "fp8")
    assert (asked["workload"].isl.mean, asked["workload"].osl.mean) == (1000, 100)
    assert run(["estimate", *inputs, *options]) == 0
    assert "Where the time goes" in capsys.readouterr().out


def test_estimate_names_an_option_that_is_wrong(inputs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["estimate", *inputs, "--tp", "2", "--batch", "1", "--weights", "fp9"]) == 2
    assert "did you mean 'fp8'" in capsys.readouterr().err
    assert run(["estimate", *inputs, "--tp", "2", "--batch", "1", "--isl", "200000"]) == 2
    assert "--isl" in capsys.readouterr().err


def test_export_writes_scripts_that_can_be_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = typed_plans.plan(typed_plans.cluster(), [typed_plans.Put((("n0/0", "n0/1"), ("n1/0", "n1/1")))])
    (tmp_path / "plan.json").write_text(plan_text(made))
    arguments = ["export", str(tmp_path / "plan.json"), "--target", "vllm", "-o", str(tmp_path / "out" / "deep")]
    artifacts = EXPORTERS["vllm"](made)
    for _ in range(2):
        assert run(arguments) == 0
        assert len(capsys.readouterr().out.splitlines()) == len(artifacts)
    script = tmp_path / "out" / "deep" / artifacts[0].path
    assert os.access(script, os.X_OK)
    assert script.read_text() == artifacts[0].text


def test_export_leaves_foreign_files_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "README.txt").write_text("mine")
    artifacts = EXPORTERS["vllm"](handmade.plan())
    with pytest.raises(InputError, match=r"README\.txt: not written by tpopt"):
        write_all(tmp_path, artifacts, force=False)
    assert [path.name for path in tmp_path.iterdir()] == ["README.txt"]
    write_all(tmp_path, artifacts, force=True)
    assert (tmp_path / "README.txt").read_text() == artifacts[-1].text
    write_all(tmp_path, artifacts[:1], force=False)
    assert "left from an earlier export" in capsys.readouterr().err


def test_export_names_an_unknown_target_and_a_plan_of_another_version(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(plan_text(handmade.plan()))
    assert run(["export", str(plan), "--target", "vlm", "-o", str(tmp_path / "o")]) == 2
    assert "did you mean 'vllm'" in capsys.readouterr().err
    plan.write_text('{"schema_version": 99}')
    assert run(["export", str(plan), "-o", str(tmp_path / "o")]) == 2
    assert "schema_version: found 99" in capsys.readouterr().err
    assert run(["export", str(tmp_path / "none.json"), "-o", str(tmp_path / "o")]) == 2
    assert "no such file" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_presets_lists_and_shows_with_sources(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["gpus"], ["clusters"], ["models"], ["engines"], ["calibrations"]):
        assert run(["presets", *arguments]) == 0
    assert "h200-sxm" in capsys.readouterr().out
    assert run(["presets", "show", "H200-SXM"]) == 0
    assert "sources:" in capsys.readouterr().out
    assert run(["presets", "--json"]) == 0
    assert "h200-sxm" in json.loads(capsys.readouterr().out)["gpus"]
    for wrong in (["show", "h200-smx"], ["gpu"], ["show"]):
        assert run(["presets", *wrong]) == 2
    assert "h200-sxm" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["cluster", "model", "models", "workload", "plan"])
def test_schema_prints_json_schema(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema", what]) == 0
    assert json.loads(capsys.readouterr().out)["type"] == ("array" if what == "models" else "object")


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom optimizer.cli import run\ncode = run(['--help'])\n"
        "heavy = {'ortools', 'networkx', 'pydantic', 'rich', 'yaml'} & set(sys.modules)\n"
        "sys.exit(f'{code} {heavy}' if code or heavy else 0)"
    )
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in ("solve", "compare", "estimate", "export", "presets", "schema"):
        assert command in done.stdout


def test_the_answer_is_plain_and_fits_80_columns_when_piped(inputs: list[str], tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(plan_text(handmade.plan()))
    root = Path(__file__).parent.parent
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "FORCE_COLOR")}
    done = subprocess.run(
        [sys.executable, "-m", "optimizer", "compare", str(tmp_path / "a.json"), str(tmp_path / "a.json")],
        cwd=root, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "plan.json"
    write(path, "old")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(InputError, match="No space left on device"):
        write(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_texts_of_options_are_understood() -> None:
    assert parse_fix("tp=8, pp=2") == {"tp": 8, "pp": 2}
    assert parse_fix("attn_dp=8,ep=8,dcp=2,pcp=1") == {"attn_dp": 8, "ep": 8, "dcp": 2, "pcp": 1}
    assert parse_fix(None) == {}
    assert parse_layouts("tp4pp2,tp4,tp4pp1ep1") == ("tp4pp2", "tp4")
    assert parse_layouts("ep8attndp8tp1,tp8dcp4, TP2PCP4") == ("tp1attndp8ep8", "tp8dcp4", "tp2pcp4")
    assert parse_layouts(None) is None
    assert parse_time_limit("1.5") == 1.5
    assert parse_engine("sglang", EngineChoice(version="0.1", max_num_seqs=3)) == EngineChoice(name="sglang")
    for wrong in ("", "tp", "tp0", "pp2", "tp4,"):
        with pytest.raises(InputError, match="--layouts"):
            parse_layouts(wrong)


def test_the_edge_passes_on_what_typer_exits_with() -> None:
    def leave() -> None:
        raise SystemExit(2)

    assert edge.exit_code_of(leave) == 2
    assert Artifact("a", "b") == Artifact("a", "b", executable=False)
