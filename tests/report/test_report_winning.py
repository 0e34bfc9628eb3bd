"""Why the choice won and what would change it: only what the plan's own figures say."""

from typing import Any

import handmade
import pytest

from optimizer.plan import Candidate, Objective, Plan
from optimizer.report.winning import winning


def told(plan: Plan) -> dict[str, str]:
    return dict(winning(plan))


def rows(*changes: dict[str, Any]) -> tuple[Candidate, ...]:
    return tuple(row.model_copy(update=new) for row, new in zip(handmade.candidates(), changes, strict=False))


def test_the_winner_is_told_with_the_next_and_what_that_loses() -> None:
    assert told(handmade.plan())["why"] == "tp4 before the next of 3 layouts, tp8: -15% tokens/s: collectives"


def test_the_error_that_would_swap_the_two_is_told() -> None:
    assert "an error of 18.2% between the estimates of these two" in told(handmade.plan())["changes"]  # 30720 / 26000
    same = rows({}, {"output_tokens_per_s": 30720.0})
    assert "error" not in told(handmade.plan(candidates=same)).get("changes", "")


def test_a_layout_that_answers_sooner_for_few_tokens_is_told() -> None:
    near = rows({}, {"output_tokens_per_s": 29000.0, "ttft_s": 0.1})
    assert "a tighter TTFT (tp8 has 100 ms for 5.6% fewer tokens/s)" in told(handmade.plan(candidates=near))["changes"]
    far = rows({}, {"output_tokens_per_s": 20000.0, "ttft_s": 0.1})
    assert "tighter" not in told(handmade.plan(candidates=far))["changes"]


def test_the_only_layout_that_fits_is_told_as_such() -> None:
    alone = (handmade.candidates()[0], handmade.candidates()[2])
    assert told(handmade.plan(candidates=alone)) == {"why": "tp4 is the only one of 2 layouts that fits"}


def test_replicas_of_several_layouts_are_held_against_the_best_alone() -> None:
    both = rows({}, {"chosen": True})
    why = told(handmade.plan(candidates=both))["why"]
    assert why.endswith("on 16 GPUs together; the best layout alone, tp4, has 30,720 output tokens/s on 16")
    short = tuple(row.model_copy(update={"meets": False}) for row in both)
    assert told(handmade.plan(candidates=short))["why"] == "no layout alone serves what is asked"


@pytest.mark.parametrize(
    ("name", "unit", "said"),
    [
        ("gpus", "GPUs", "1 GPUs together; the best layout alone, tp4, has 16 GPUs"),
        ("energy", "W (TDP)", "11,200 W (TDP) on 16"),
        ("cost", "per hour", "less on"),
    ],
    ids=["gpus", "energy", "no-price"],
)
def test_several_layouts_are_held_against_the_best_alone_in_the_objectives_unit(
    name: Any, unit: str, said: str
) -> None:
    objective = Objective(name=name, value=1.0, bound=1.0, gap=0.0, unit=unit)
    assert said in told(handmade.plan(objective=objective, candidates=rows({}, {"chosen": True})))["why"]


def test_a_layout_that_is_as_good_as_the_first_is_told_as_such() -> None:
    tied = rows({"chosen": False}, {"chosen": True, "output_tokens_per_s": 30720.0})
    assert told(handmade.plan(candidates=tied))["why"] == "tp8 is as good as tp4 alone: 30,720 output tokens/s"


@pytest.mark.parametrize(("rate", "said"), [("10 /s", True), ("1000 /s", False)], ids=["less-than-able", "all"])
def test_the_rate_up_to_which_the_replicas_serve_is_told_where_that_is_more(rate: str, said: bool) -> None:
    plan = handmade.plan(objective=Objective(name="gpus", value=16, bound=16, gap=0.0, unit="GPUs"))
    asked = plan.inputs.model_copy(update={"workload": handmade.workload(request_rate=rate)})
    changes = told(plan.model_copy(update={"inputs": asked})).get("changes", "")
    assert ("requests/s: so many these replicas serve" in changes) is said
