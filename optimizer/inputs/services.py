"""models.yaml: several models that share a cluster, each with its own traffic; every file that it names is read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from optimizer.errors import InputError
from optimizer.inputs.complaints import validated
from optimizer.inputs.documents import read_document
from optimizer.inputs.model import ModelSpec
from optimizer.inputs.read import beside, check_lengths, existing, own_model, read_model, read_workload
from optimizer.inputs.schema import Record
from optimizer.inputs.service import Service
from optimizer.inputs.workload import WorkloadSpec

_SUFFIXES = (".yaml", ".yml", ".json")


class Entry(Record):
    """One of the models in models.yaml."""

    model: str | dict[str, object]
    """A preset, a file (seen from models.yaml), or what a model.yaml holds."""
    workload: str | WorkloadSpec = WorkloadSpec()
    """A file (seen from models.yaml), or the workload itself; left out: ISL 1024, OSL 256, a saturating load."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """What one of its output tokens is worth beside those of the other models, where throughput is summed."""


def read_services(source: str, workload_source: str | None = None) -> tuple[Service, ...]:
    """Return the models of a models.yaml in its order; of anything else that names a model, that one with its workload.

    ``workload_source`` goes with one model; InputError beside a models.yaml, which holds the workloads itself. That
    prompt and answer fit into the model's context is checked for the entries of a models.yaml only: options may still
    change the workload of one model.
    """
    path = existing(source)
    entries = _list(path)
    if path is None or entries is None:
        return (Service(model=read_model(source), workload=read_workload(workload_source)),)
    if workload_source is not None:
        raise InputError(f"-w {workload_source}: {source} says each model's workload itself; name the file there")
    if not entries:
        raise InputError(f"{source}: lists no model; add {{model: ..., workload: ...}}")
    return tuple(_service(entry, f"[{index}]", path) for index, entry in enumerate(entries))


def _list(path: Path | None) -> Sequence[object] | None:
    """Return the entries of a models.yaml; None when the file is none."""
    if path is None or not path.is_file() or path.suffix.lower() not in _SUFFIXES:
        return None
    document = read_document(path)
    return document if isinstance(document, list) else None


def _service(value: object, at: str, path: Path) -> Service:
    entry = validated(Entry, value, str(path), at)
    load = entry.workload
    if isinstance(load, str):
        load = _workload(path, load, f"{path}: {at}.workload")
    service = Service(model=_model(entry, path, f"{at}.model"), workload=load, weight=entry.weight)
    check_lengths(service.model, service.workload, where=str(path), at=f"{at}.workload")
    return service


def _model(entry: Entry, path: Path, at: str) -> ModelSpec:
    if not isinstance(entry.model, str):
        return own_model(entry.model, path.parent, str(path), at)
    try:
        return read_model(beside(path.parent, entry.model))
    except InputError as error:
        raise InputError(f"{path}: {at}: {error}") from error


def _workload(path: Path, name: str, where: str) -> WorkloadSpec:
    try:
        return read_workload(beside(path.parent, name))
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
