"""Every field of a plan that was solved, changed one at a time: what makes it wrong is refused, the rest is listed.

The plans come out of ``solve`` and go through JSON, as plan.json does.
"""

import copy
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path as Folder
from typing import Any

import pytest
from mixed_clusters import LOAD, apart, model
from pydantic import ValidationError
from test_oracle_itself import TWO_LAYERS, WORKLOAD
from test_oracle_services_itself import CHAT, behind_nics, service

from optimizer.cli import run
from optimizer.pipeline import Request, solve
from optimizer.plan import Plan
from optimizer.verify import check

Path = tuple[str | int, ...]

HISTORY = {"schema_version", "provenance.versions", "provenance.seed", "provenance.options.workers", "provenance.notes"}
"""What the plan says of how it came about; the reader of plan.json asks for the schema's version."""

WEAKER = {"status", "replicas.share"}
"""Optimal may be called feasible; who has no link may have it alone."""

OTHERS = {"candidates", "inputs"}
"""Rows beside the plan; the inputs, which have a digest and a test of their own."""

BY_RATE = WORKLOAD.model_copy(update={"request_rate": 2.0})


@cache
def solved(name: str) -> Plan:
    """Return a plan of one model, of one that survives, of two models with roles apart, over two GPU types, or of
    two objectives."""
    where, chat = behind_nics(2, 1), service(CHAT)
    mail = service(request_rate=1.0, weight=2.0)
    mail = mail.model_copy(update={"model": TWO_LAYERS.model_copy(update={"name": "mail"})})
    asked = {
        "one": Request(where, TWO_LAYERS, WORKLOAD),
        "survives": Request(where, TWO_LAYERS, BY_RATE, objective="gpus", survive="gpu"),
        "apart": Request(behind_nics(2, 2), chat.model, chat.workload, more=(mail,)),
        "types": Request(apart(), model(10), LOAD),
        "then": Request(where, TWO_LAYERS, BY_RATE, objective="cost", then=("latency",), max_gpus=3),
    }
    return solve(asked[name]).plan


NAMES = ("one", "survives", "apart", "types", "then")


def fields(record: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield every value of a JSON document, lists themselves too."""
    if isinstance(record, dict):
        for key, value in record.items():
            yield from fields(value, (*path, key))
        return
    yield path, record
    for number, value in enumerate(record if isinstance(record, list) else ()):
        yield from fields(value, (*path, number))


def others(value: Any) -> list[Any]:
    """Return values in place of one: a little more, a little less, another word, an item less or twice."""
    match value:
        case bool():
            return [not value]
        case int():
            return [2 * value + 1, value // 2 if value > 1 else 0 if value else -1]
        case float():
            return [value * 1.01 + 1e-3, value * 0.99 - 1e-3]
        case str():
            return [f"{value}x", *({"both", "prefill", "bf16", "fp8", "alone", "feasible", "node"} - {value})]
        case list():
            return [value[:-1], value + value[-1:]] if value else []
        case _:
            return [1, 1.5, "x"]


def changed(document: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    found = copy.deepcopy(document)
    place: Any = found
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return found


def kind(path: Path) -> str:
    return ".".join(key for key in path if isinstance(key, str))


def unnoticed(plan: Plan) -> Iterator[str]:
    """Yield the kinds of fields of which some change is read and breaks no rule."""
    document, seen = json.loads(plan.model_dump_json()), set()
    for path, value in fields(document):
        if path[0] in OTHERS or any(kind(path).startswith(n) for n in HISTORY) or (kind(path), len(path)) in seen:
            continue
        seen.add((kind(path), len(path)))
        for other in others(value):
            try:
                damaged = Plan.model_validate(changed(document, path, other))
            except ValidationError:
                continue
            if damaged != plan and check(damaged) == ():
                yield kind(path)


@pytest.mark.parametrize("name", NAMES)
def test_no_field_is_changed_unnoticed_but_those_that_make_nothing_wrong(name: str) -> None:
    plan = solved(name)
    assert check(plan) == ()
    assert set(unnoticed(plan)) <= WEAKER


def test_another_workload_model_or_cluster_is_not_the_one_that_was_solved() -> None:
    document = json.loads(solved("then").model_dump_json())
    looser: list[tuple[Path, Any]] = [
        (("inputs", "workload", "slo", "ttft"), "9 s"),
        (("inputs", "workload", "request_rate"), "1.9 /s"),
        (("inputs", "model", "context"), 8192),
        (("inputs", "cluster", "overrides"), [{"match": {"node": "n0", "gpu": 0}, "state": "reserved"}]),
    ]
    for path, value in looser:
        damaged = Plan.model_validate(changed(document, path, value))
        assert any("is another than was solved" in wrong for wrong in check(damaged)), path


def test_a_plan_that_was_changed_by_hand_is_not_exported(tmp_path: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    file, document = tmp_path / "plan.json", json.loads(solved("one").model_dump_json())
    export = ["export", str(file), "-o", str(tmp_path / "files")]
    file.write_text(json.dumps(document))
    assert run(export) == 0
    seats = document["replicas"][0]["seats"]
    seats[0]["local_index"] += 1
    file.write_text(json.dumps(document))
    assert run(export) == 2
    assert "plan.json: seats_exist: replica 0 rank 0" in capsys.readouterr().err
