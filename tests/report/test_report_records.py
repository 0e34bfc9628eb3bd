"""Records for programs: plan.json round-trips, byte for byte, and refuses what it does not know."""

import json
from pathlib import Path

import handmade
import pytest

from optimizer.errors import InputError
from optimizer.plan import Plan
from optimizer.report.records import estimate_record, json_text, plan_text, read_plan
from optimizer.report.schemas import SCHEMAS


def test_a_plan_reads_back_to_itself_and_to_the_same_bytes(tmp_path: Path) -> None:
    text = plan_text(handmade.plan())
    (tmp_path / "plan.json").write_text(text)
    plan = read_plan(str(tmp_path / "plan.json"))
    assert plan == handmade.plan()
    assert plan_text(plan) == text


def test_plan_json_holds_what_was_promised() -> None:
    record = json.loads(plan_text(handmade.plan()))
    assert set(record) >= {
        "schema_version",
        "status",
        "objective",
        "replicas",
        "totals",
        "inputs",
        "candidates",
        "provenance",
    }
    assert set(record["objective"]) >= {"name", "value", "bound", "gap"}
    assert set(record["replicas"][0]) >= {
        "model", "role", "tp", "pp", "ep", "dcp", "pcp", "attn_dp", "weights", "kv_cache", "layers_per_stage", "seats",
        "estimate", "engine",
    }  # fmt: skip
    assert set(record["replicas"][0]["seats"][0]) >= {"rank", "stage", "node", "gpu", "local_index"}
    assert "timing" not in record


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema_version": 2}, "schema_version: found 2"),
        ({"stauts": "optimal"}, "did you mean 'status'"),
        ({"status": "best"}, "status: 'best' is not known"),
        ({"replicas": 3}, "replicas: holds 3"),
    ],
)
def test_a_wrong_plan_is_named(tmp_path: Path, change: dict[str, object], said: str) -> None:
    record = json.loads(plan_text(handmade.plan())) | change
    (tmp_path / "plan.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=said):
        read_plan(str(tmp_path / "plan.json"))


def test_infinite_numbers_stay_json() -> None:
    assert json.loads(json_text({"a": [float("inf"), -float("inf")], "b": {"c": float("nan")}})) == {
        "a": ["Infinity", "-Infinity"],
        "b": {"c": "NaN"},
    }


def test_an_estimate_is_one_entry_per_rank() -> None:
    record = estimate_record(handmade.estimate(4, 2), {"name": "vllm"})
    assert [rank["rank"] for rank in json.loads(json_text(record))["memory"]] == [0, 1, 2, 3]


def test_schemas_take_the_short_forms() -> None:
    workload, cluster, model = (SCHEMAS[name]() for name in ("workload", "cluster", "model"))
    assert {"type": "integer", "minimum": 1} in workload["properties"]["isl"]["anyOf"]
    assert cluster["properties"]["prices"]["additionalProperties"]["type"] == "string"
    assert {"type": "string"} in cluster["properties"]["templates"]["additionalProperties"]["anyOf"]
    assert {"required": ["preset"]} in model["anyOf"]
    assert set(Plan.model_fields) == set(SCHEMAS["plan"]()["properties"])
