"""Ctrl-C during the solve: the best plan known with its bound, or no answer when none is known yet."""

from types import ModuleType

import pytest
from formulation.instances import column, instance, nodes, point
from test_oracle_itself import TWO_LAYERS, WORKLOAD, one_node

from optimizer import pipeline
from optimizer.cli import run
from optimizer.errors import NoAnswerError, Stopped
from optimizer.formulation import search
from optimizer.formulation.solve import Limits, choose
from optimizer.inputs.cluster import Match, Override
from optimizer.pipeline import Request, faults, planned, solve

SLOW = instance(
    nodes(400, 8),
    *(
        column(*[(n,)] * span, gives=point(n * span - 0.01 * (n + span) ** 1.5))
        for n in range(1, 8) for span in range(1, 6)
    ),
    max_gpus=3001,
)  # fmt: skip
"""Takes a tenth of a second or more: the first plan is known long before the proof."""


@pytest.fixture(autouse=True)
def _told_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "TELL_EVERY_S", 0.001)


def stop_when(word: str) -> list[str]:
    """Return a list that stands for stderr; the user stops as soon as a line of progress begins so."""

    class Screen(list[str]):
        def append(self, line: str) -> None:
            super().append(line)
            if line.startswith(word):
                raise KeyboardInterrupt

    return Screen()


def test_a_search_stopped_with_a_plan_in_hand_returns_it_with_its_bound() -> None:
    told = stop_when("best")
    choice = choose(SLOW, Limits(anytime=True), told.append)
    assert choice is not None
    assert choice.interrupted
    assert sum(choice.replicas) > 0
    assert choice.bound >= choice.value
    assert any("bound" in line and "gap" in line for line in told)


def test_a_search_stopped_before_any_plan_has_no_answer_or_one_found_meanwhile() -> None:
    try:
        choice = choose(SLOW, Limits(anytime=True), stop_when("no plan").append)
    except NoAnswerError:
        return
    assert choice is not None


def test_what_is_no_anytime_question_is_given_up() -> None:
    with pytest.raises(KeyboardInterrupt):
        choose(SLOW, Limits(), stop_when("best").append)


def damaged() -> Request:
    """Return a question on four GPUs of which one is lost."""
    lost = Override(match=Match(node="n0", gpu=3), state="lost")
    where = one_node(4, "8 GB").model_copy(update={"overrides": (lost,)})
    return Request(where, TWO_LAYERS, WORKLOAD)


def stop(*_args: object, **_options: object) -> None:
    raise Stopped


@pytest.mark.parametrize("where", [planned, faults])
def test_what_is_asked_beside_a_known_plan_is_given_up_and_the_plan_kept(
    where: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = solve(damaged()).plan
    monkeypatch.setattr(where, {planned: "candidates", faults: "choose"}[where], stop)
    left = solve(damaged()).plan
    assert left.replicas == whole.replicas
    assert left.objective == whole.objective
    assert any("stopped by the user" in note for note in left.provenance.notes)
    assert not left.candidates if where is planned else not left.faults


def test_ctrl_c_before_any_answer_is_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pipeline, "prepare", stop)
    assert run(["solve", "hgx-h200", "llama-3.1-8b"]) == 3
    assert "stopped by the user before an answer was known" in capsys.readouterr().err
