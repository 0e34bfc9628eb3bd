"""How far it is: told now and then where that takes long, never with --quiet."""

from collections.abc import Callable, Iterator

import pytest

from optimizer.cli import output
from optimizer.pipeline.request import in_steps


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return what lets time pass."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    def passes(seconds: float) -> None:
        now[0] += seconds

    return passes


@pytest.fixture
def quiet() -> Iterator[Callable[[bool], None]]:
    yield lambda asked: output.be_quiet(quiet=asked)
    output.be_quiet(quiet=False)


@pytest.mark.parametrize(
    ("each_s", "said"), [(0.1, []), (0.6, ["2 of 4 rates"])], ids=["at-once", "longer-than-a-second"]
)
def test_a_question_of_many_parts_tells_how_many_are_done(
    each_s: float, said: list[str], clock: Callable[[float], None]
) -> None:
    told: list[str] = []
    for _ in in_steps("abcd", told.append, "rates"):
        clock(each_s)
    assert told == said


@pytest.mark.parametrize("silent", [False, True], ids=["told", "quiet"])
def test_a_sweep_without_a_terminal_tells_a_line_now_and_then(
    silent: bool, clock: Callable[[float], None], quiet: Callable[[bool], None], capsys: pytest.CaptureFixture[str]
) -> None:
    quiet(silent)
    with output.bar("solving", total=9, done=2) as step:
        for _ in range(3):
            clock(6.0)
            step()
    assert capsys.readouterr().err == ("" if silent else "tpopt: solving: 4 of 9\n")
