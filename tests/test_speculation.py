"""Speculative decoding from the question to a verified plan, and to exporters, which refuse it."""

from functools import cache

import pytest
from mixed_clusters import LOAD, model, together

from optimizer.errors import InputError
from optimizer.export import EXPORTERS
from optimizer.inputs.workload import Speculative, WorkloadSpec
from optimizer.pipeline import Request, solve
from optimizer.plan import Plan
from optimizer.report.explained import explain
from optimizer.verify import check


@cache
def planned(acceptance: float | None) -> Plan:
    asked = LOAD
    if acceptance is not None:
        drafts = Speculative(method="draft", draft_tokens=3, acceptance=acceptance, draft_model=model(1))
        asked = LOAD.model_copy(update={"speculative": drafts})
    return solve(Request(together(), model(8), asked)).plan


def test_a_plan_with_drafts_keeps_every_rule_and_gains_by_them() -> None:
    assert check(planned(0.8)) == ()
    assert planned(0.8).totals.output_tokens_per_s > planned(None).totals.output_tokens_per_s


def test_drafts_said_to_be_kept_more_often_than_priced_are_found_out() -> None:
    plan = planned(0.8)
    said = plan.inputs.workload.model_dump(mode="json")
    said["speculative"]["acceptance"] = 0.3
    inputs = plan.inputs.model_copy(update={"workload": WorkloadSpec.model_validate(said)})
    assert check(plan.model_copy(update={"inputs": inputs})) != ()


def test_a_plan_with_drafts_can_be_read_back_and_explained() -> None:
    again = Plan.model_validate_json(planned(0.8).model_dump_json())
    assert again.inputs.workload.speculative == planned(0.8).inputs.workload.speculative
    assert explain(again)


@pytest.mark.parametrize("target", list(EXPORTERS))
def test_no_exporter_leaves_drafts_out_in_silence(target: str) -> None:
    with pytest.raises(InputError, match="speculative"):
        EXPORTERS[target](planned(0.8))
