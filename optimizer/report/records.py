"""Records for programs: plan.json and back, and the JSON of the other commands. Same values, same bytes."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from optimizer.compare import Row
from optimizer.cost.quantities import Estimate
from optimizer.errors import InfeasibleError, InputError
from optimizer.host_fit import HostFit
from optimizer.inputs.complaints import validated
from optimizer.inputs.documents import read_document
from optimizer.plan import SCHEMA_VERSION, Candidate, Plan
from optimizer.relaxation import Kind, Relaxation
from optimizer.report.relaxed import remedies
from optimizer.routed_plan import KIND, RoutedPlan
from optimizer.validation import Errors, Prediction, Validation


def plan_text(plan: Plan | RoutedPlan) -> str:
    """Return plan.json: keys in the order of the schema, floats as the shortest text that reads to the same value."""
    return plan.model_dump_json(indent=2) + "\n"


def read_plan(path: str) -> Plan:
    """Return the plan of a file that ``solve -o`` wrote; InputError on another schema version or a wrong key.

    A routed pool is refused: neither engines nor the reports of replicas know what to do with it.
    """
    if not Path(path).exists():
        raise InputError(f"{path}: no such file; write one with {_WRITE}")
    document = read_document(Path(path))
    version = document.get("schema_version") if isinstance(document, Mapping) else None
    if version is None:
        raise InputError(f"{path}: is no plan: it has no schema_version; write one with {_WRITE}")
    if version != SCHEMA_VERSION:
        raise InputError(f"{path}: schema_version: found {version!r}, this tpopt reads {SCHEMA_VERSION}; solve again")
    if isinstance(document, Mapping) and document.get("kind") == KIND:
        raise InputError(
            f"{path}: kind: is a routed pool, which no export target runs: vLLM, SGLang and TensorRT-LLM have fixed "
            "pipelines; give its machines and flows to a router such as Helix's, or solve without --routed"
        )
    return validated(Plan, document, path)


_WRITE = "`tpopt solve CLUSTER MODEL -o plan.json`"


def solved_text(plan: Plan, seconds: Mapping[str, float]) -> str:
    """Return the plan as JSON with ``timing`` (seconds by step), which plan.json leaves out."""
    return json_text({**json.loads(plan.model_dump_json()), "timing": dict(seconds)})


def json_text(value: object) -> str:
    """Return JSON text that ends in a line break; infinities become strings as in plan.json."""
    return json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and value - value != 0:
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    return value


def estimate_record(estimate: Estimate, settings: Mapping[str, object]) -> dict[str, object]:
    """Return the JSON record of one priced layout: seconds, tokens per second, bytes per rank, and the settings."""
    record = asdict(estimate)
    first = ("ttft_s", "tpot_s", "output_tokens_per_s", "requests_per_s", "concurrency", "fits", "reasons")
    return {key: record[key] for key in first} | record | {"settings": dict(settings)}


def candidate_record(candidate: Candidate) -> dict[str, object]:
    """Return the JSON record of a candidate, with its memory as one object."""
    record = candidate.model_dump(mode="json")
    memory = {"used_bytes": candidate.memory_bytes, "capacity_bytes": candidate.capacity_bytes}
    breakdown = {"prefill": record.pop("prefill"), "decode": record.pop("decode")}
    breakdown["request"] = record.pop("request")
    return record | {"memory": memory | {"kv_tokens": candidate.kv_tokens}, "breakdown": breakdown}


def row_record(row: Row) -> dict[str, object]:
    """Return the JSON record of one compared property."""
    return {"key": row.key, "values": list(row.values), "differs": row.differs}


def infeasible_record(
    error: InfeasibleError, relaxations: Sequence[Relaxation] | None = None, skipped: Sequence[Kind] = ()
) -> dict[str, object]:
    """Return the JSON record of an infeasible answer: what would help in words, and change by change with its plan."""
    return {
        "status": "infeasible",
        "message": str(error),
        "nearest_miss": list(error.nearest_miss),
        "remedies": list(remedies(error, relaxations)),
        "relaxations": [_relaxation_record(one) for one in relaxations or ()],
        "not_looked_at": list(skipped),
    }


def _relaxation_record(one: Relaxation) -> dict[str, object]:
    """Return a relaxation with what was asked under "from" and what is enough under "to"; seconds, tokens, GPUs."""
    record = one.model_dump(mode="json", exclude={"asked", "enough"})
    first = {"kind": record.pop("kind"), "model": record.pop("model")}
    return first | {"from": one.asked, "to": one.enough} | record


def validation_record(validation: Validation) -> dict[str, object]:
    """Return the JSON record of a validation: errors are fractions.

    By metric, model and layout; the rows furthest off and those without a prediction, by their position from 0; what is
    not measured on the rows' GPUs.
    """
    return {
        "metrics": _named(validation.metrics),
        "models": _named(validation.by(lambda one: f"{one.metric}, {one.model}")),
        "layouts": _named(validation.by(lambda one: f"{one.metric}, {one.layout}")),
        "worst": [
            {"row": one.row, "metric": one.metric, "predicted": one.predicted, "error": one.error}
            for one in validation.worst(MAX_WORST)
        ],
        "unpriced": [{"row": one.row, "reason": one.reason} for one in validation.unpriced],
        "notes": list(validation.notes),
    }


MAX_WORST = 10
"""Of the rows furthest off so many are listed."""


def _named(errors: Mapping[str, Errors]) -> dict[str, object]:
    return {name: asdict(one) for name, one in errors.items()}


def host_record(found: HostFit) -> dict[str, object]:
    """Return the JSON record of a fitted host: its figures as a cluster file states them, and errors as fractions."""
    return {
        "host": found.figures.model_dump(mode="json", exclude_none=True),
        "shipped": asdict(found.shipped),
        "fitted": asdict(found.fitted),
        "left_out": None if found.left_out is None else asdict(found.left_out),
        "unpriced": [{"row": one.row, "reason": one.reason} for one in found.unpriced],
    }


def predictions_text(names: Sequence[str], rows: Sequence[Mapping[str, str]], predictions: Sequence[Prediction]) -> str:
    """Return the measurements as CSV with ``predicted``, ``error`` and ``reason`` appended to every row."""
    added = ("predicted", "error", "reason")
    kept = [name for name in names if name not in added]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*kept, *added])
    for row, one in zip(rows, predictions, strict=True):
        figures = ("" if value is None else repr(value) for value in (one.predicted, one.error))
        writer.writerow([*(row[name] for name in kept), *figures, one.reason])
    return text.getvalue()
