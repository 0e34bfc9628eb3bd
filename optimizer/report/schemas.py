"""JSON Schemas of the input files and of plan.json, for editors: short forms that the readers take included."""

from collections.abc import Callable
from typing import Any

from optimizer.inputs.cluster import ClusterSpec, ImportedFile
from optimizer.inputs.model import ModelSpec
from optimizer.inputs.services import Entry
from optimizer.inputs.workload import WorkloadSpec
from optimizer.plan import Plan
from optimizer.routed_plan import RoutedPlan

Schema = dict[str, Any]

_PRICE: Schema = {"type": "string", "examples": ["3.50 USD/h"]}
_IMPORT: Schema = {
    "type": "array",
    "items": ImportedFile.model_json_schema(),
    "minItems": 1,
    "description": "operators' files, merged; the other keys change what they say",
}


def _cluster() -> Schema:
    """Return the schema of cluster.yaml: a template may be the name of a shipped one."""
    schema = ClusterSpec.model_json_schema()
    templates = schema["properties"]["templates"]
    templates["additionalProperties"] = _or(templates["additionalProperties"], {"type": "string"})
    schema["properties"]["prices"]["additionalProperties"] = _PRICE
    schema["properties"]["import"] = _IMPORT
    full = schema.pop("required")
    return schema | {"anyOf": [{"required": ["import"]}, {"required": full}]}


def _model() -> Schema:
    """Return the schema of model.yaml: a preset, a Hugging Face configuration, or the architecture in full."""
    schema = ModelSpec.model_json_schema()
    bases = {
        "preset": {"type": "string", "examples": ["llama-3.1-70b"]},
        "hf": {"type": "string", "description": "path of a config.json", "examples": ["path/config.json"]},
    }
    schema["properties"] = bases | schema["properties"]
    full = schema.pop("required")
    return schema | {"anyOf": [{"required": required} for required in (["preset"], ["hf"], full)]}


def _workload() -> Schema:
    """Return the schema of workload.yaml: lengths may be a number of tokens, the engine its name."""
    schema = WorkloadSpec.model_json_schema()
    properties = schema["properties"]
    for name in ("isl", "osl"):
        properties[name] = _or(properties[name], {"type": "integer", "minimum": 1})
    names = schema["$defs"]["EngineChoice"]["properties"]["name"]["enum"]
    properties["engine"] = _or(properties["engine"], {"type": "string", "enum": names})
    return schema


def _models() -> Schema:
    """Return the schema of models.yaml: a list; model and workload are names of files or presets, or written out."""
    entry, parts = Entry.model_json_schema(), {"model": _model(), "workload": _workload()}
    shared: Schema = {}
    for name, part in parts.items():
        shared |= part.pop("$defs")
        entry["properties"][name] = _or(part, {"type": "string"})
    entry.pop("$defs")
    return {"$defs": shared, "title": "Models", "type": "array", "items": entry, "minItems": 1}


def _plan() -> Schema:
    return Plan.model_json_schema(mode="serialization")


def _routed_plan() -> Schema:
    return RoutedPlan.model_json_schema(mode="serialization")


def _or(schema: Schema, short: Schema) -> Schema:
    return {"anyOf": [short, schema]}


SCHEMAS: dict[str, Callable[[], Schema]] = {
    "cluster": _cluster,
    "model": _model,
    "models": _models,
    "workload": _workload,
    "plan": _plan,
    "routed-plan": _routed_plan,
}
"""A schema for each kind of file."""
