"""Where a plan came from, so that the same can be asked again."""

import hashlib
from collections.abc import Iterator, Sequence, Set
from importlib.metadata import version

from pydantic import BaseModel

from optimizer import __version__
from optimizer.inputs import presets
from optimizer.inputs.service import Service
from optimizer.inputs.workload import WorkloadSpec
from optimizer.pipeline.request import Request
from optimizer.plan import NO_WORKLOAD, Provenance, Replica

STOPPED = "stopped by the user: another run may find another plan"
"""The note of a plan whose search was stopped."""


def provenance(request: Request, replicas: Sequence[Replica], scope: Sequence[str] = ()) -> Provenance:
    """Return digests of the inputs, versions, options, and what the answer rests on beyond them."""
    used = {gpu_type for replica in replicas for gpu_type in replica.gpus_of_type}
    return record_of(request, used, (*_notes(request, replicas), *scope))


def record_of(request: Request, gpu_types: Set[str], notes: Sequence[str]) -> Provenance:
    """Return where a plan on GPUs of these types came from, with what is to be noted."""
    inputs: dict[str, BaseModel] = {
        "cluster": request.cluster, "model": request.model, "workload": request.workload,
    }  # fmt: skip
    inputs |= {f"service {number}": service for number, service in enumerate(request.more, start=1)}
    return Provenance(
        inputs_sha256={name: _sha256(record) for name, record in inputs.items()},
        versions={"tpopt": __version__, "ortools": version("ortools"), **_calibrations(request, gpu_types)},
        seed=request.seed,
        options=_options(request),
        notes=tuple(notes),
    )


def _sha256(record: BaseModel) -> str:
    return hashlib.sha256(record.model_dump_json().encode()).hexdigest()


def _calibrations(request: Request, gpu_types: Set[str]) -> dict[str, str]:
    """Return what the prices of each GPU type rest on: whose constants, when measured, start of their digest."""
    told = {}
    for gpu_type in sorted(gpu_types):
        fits = presets.calibration_of(request.cluster, gpu_type)
        told[f"calibration {gpu_type}"] = f"{fits.gpu}, {fits.engine}, {fits.date}, {_sha256(fits)[:12]}"
    return told


def _options(request: Request) -> dict[str, str]:
    """Return the options that differ from none given."""
    given = {
        "objective": ",".join((request.objective, *request.then)),
        "fix": ",".join(f"{key}={n}" for key, n in sorted(request.fix.items())),
        "survive": request.survive or "",
        "max_gpus": str(request.max_gpus or ""),
        "exclude": " ".join(request.exclude),
        "time_limit_s": str(request.time_limit_s or ""),
        "gap": str(request.gap or ""),
        "workers": str(request.workers),
    }
    return {name: text for name, text in given.items() if text}


def _notes(request: Request, replicas: Sequence[Replica]) -> tuple[str, ...]:
    """Return what was assumed and what is not measured, each once."""
    said = [note for service in request.services for note in _assumed(service, replicas, many=bool(request.more))]
    if request.time_limit_s is not None:
        said.append("time-limited: another run may find another plan")
    said += [note for replica in replicas for note in replica.estimate.notes]
    return tuple(dict.fromkeys(said))


def _assumed(service: Service, replicas: Sequence[Replica], *, many: bool) -> Iterator[str]:
    """Yield what was assumed of one model and its traffic."""
    workload, whose = service.workload, f"{service.model.name}: " if many else ""
    if workload == WorkloadSpec():
        yield f"{whose}{NO_WORKLOAD}: ISL 1024, OSL 256, saturating load"
    if service.model.max_model_len is None:
        longest = max(replica.engine.max_model_len for replica in replicas if replica.model == service.model.name)
        yield f"{whose}max_model_len {longest} follows from the workload; set max_model_len in model.yaml for more"
    if workload.margin:
        by = f"{100 * workload.margin:g} %"
        yield f"{whose}margin {by}: all rates are stated {by} lower, TTFT and TPOT {by} higher, than predicted"
