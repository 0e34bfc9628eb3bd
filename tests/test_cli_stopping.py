"""Ctrl-C during the solve: the best plan known with its bound, or no answer when none is known yet."""

import pytest
from formulation.instances import column, instance, nodes, point

from optimizer.errors import NoAnswerError
from optimizer.formulation import search
from optimizer.formulation.solve import Limits, choose

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
