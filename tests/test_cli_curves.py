"""capacity and solve --pareto: what is asked, what is refused, and one shape of answer for programs."""

import json

import pytest

from optimizer.cli import run
from optimizer.cli.curves import parse_rates
from optimizer.errors import InputError

WHERE = ["hgx-h200", "llama-3.1-8b"]


def test_a_range_of_rates_is_a_log_grid_and_a_list_is_itself() -> None:
    assert parse_rates("1:1000:4") == (1.0, 10.0, 100.0, 1000.0)
    assert len(parse_rates("1:1000")) == 20
    assert parse_rates("20,1,5") == (1.0, 5.0, 20.0)


@pytest.mark.parametrize("text", ["10:1", "1:1000:1", "0,1", "fast", "1:", "-1:5"])
def test_rates_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="--rates"):
        parse_rates(text)


def test_a_curve_never_falls_and_ends_at_the_largest_rate(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["capacity", *WHERE, "--rates", "50:100000:6", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    gpus = [point["gpus"] for point in told["points"] if point["status"] == "optimal"]
    assert gpus == sorted(gpus)
    for point in told["points"]:
        assert (point["status"] == "beyond") == (point["requests_per_s"] > told["largest"]["requests_per_s"])


def test_a_front_trades_throughput_for_tpot_the_same_way_every_time(capsys: pytest.CaptureFixture[str]) -> None:
    answers = []
    for _ in range(2):
        assert run(["solve", *WHERE, "--pareto", "--json"]) == 0
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1]
    points = json.loads(answers[0])["points"]
    assert [p["tpot_s"] for p in points] == sorted((p["tpot_s"] for p in points), reverse=True)
    assert {p["status"] for p in points} == {"optimal"}


@pytest.mark.parametrize(
    "asked",
    [
        ["solve", *WHERE, "--pareto", "--against", "price"],
        ["solve", *WHERE, "--pareto", "--objective", "gpus"],
        ["solve", *WHERE, "--objective", "gpus,gpus"],
        ["capacity", *WHERE, "--objective", "latency"],
    ],
)
def test_what_cannot_be_asked_is_refused(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(asked) == 2
    assert "--" in capsys.readouterr().err
