"""What ships: GPUs, clusters, models, calibrations and engines, found by name.

A preset's name is its file's name. Every record is read once per process.
"""

import re
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel

from optimizer.errors import InputError
from optimizer.inputs.calibration import Calibration, HostFigures, nearest_kin, on_host
from optimizer.inputs.cluster import ClusterSpec, NodeTemplate
from optimizer.inputs.complaints import did_you_mean, validated
from optimizer.inputs.documents import read_document, read_text
from optimizer.inputs.engine import EngineSpec
from optimizer.inputs.flags import EngineFlags
from optimizer.inputs.gpu import GpuSpec
from optimizer.inputs.model import ModelSpec
from optimizer.inputs.resolve import Catalogue, resolved

Kind = Literal["gpus", "clusters", "models", "calibrations", "engines"]
KINDS: tuple[Kind, ...] = ("gpus", "clusters", "models", "calibrations", "engines")

_PACKAGE = Path(__file__).parent.parent

Spec = TypeVar("Spec", bound=BaseModel)


def preset_root() -> Path:
    """Return the folder of shipped presets: inside an installed package, or beside it in a checkout."""
    packaged = _PACKAGE / "topologies"
    return packaged if packaged.is_dir() else _PACKAGE.parent / "topologies"


@lru_cache
def names(kind: Kind) -> tuple[str, ...]:
    """Return the names of all presets of a kind, sorted."""
    return tuple(sorted(path.stem for path in (preset_root() / kind).glob("*.yaml")))


def find(name: str) -> tuple[tuple[Kind, str], ...]:
    """Return (kind, preset name) of every preset called ``name``, case ignored; a model answers to its hub name too."""
    same = [(kind, known) for kind in KINDS for known in names(kind) if known.lower() == name.lower()]
    model = model_name(name)
    return tuple(same) if model is None or ("models", model) in same else (*same, ("models", model))


def text(kind: Kind, name: str) -> str:
    """Return a preset as it ships, comments and sources included."""
    return read_text(_path(kind, name))


def load_gpu(name: str) -> GpuSpec:
    """Return a GPU of the catalogue; InputError names the nearest ones."""
    return _load("gpus", name, GpuSpec)


def load_cluster(name: str) -> ClusterSpec:
    """Return a cluster preset with its templates and GPUs filled in."""
    return resolved(_load("clusters", name, ClusterSpec), CATALOGUE, str(_path("clusters", name)))


def load_model(name: str) -> ModelSpec:
    """Return a model preset by its file's name or its hub name, with or without the organisation, case ignored."""
    return _load("models", model_name(name) or name, ModelSpec)


def load_engine(name: str) -> EngineSpec:
    """Return the facts of an engine."""
    return _load("engines", name, EngineSpec)


def load_flags(engine: str, version: str) -> EngineFlags:
    """Return the flags of an engine's release; InputError names the nearest release whose flags are known."""
    folder = preset_root() / "engines" / "flags"
    known = {path.stem.removeprefix(f"{engine}-"): path for path in sorted(folder.glob(f"{engine}-*.yaml"))}
    for release, path in known.items():
        if version == release or re.match(rf"v?{re.escape(release)}(?!\d)", version):
            return _load_file(path, EngineFlags)
    if not known:
        raise InputError(f"{engine}: the flags of no release are known")
    wanted = [int(number) for number in re.findall(r"\d+", version)]
    nearest = min(
        known, key=lambda release: [abs(a - b) for a, b in zip(map(int, release.split(".")), wanted, strict=False)]
    )
    raise InputError(f"{engine} {version}: the flags of this release are not known; the nearest known: {nearest}")


def load_calibration(gpu: GpuSpec) -> Calibration:
    """Return the measured constants of a GPU, or those of its nearest kin: then ``Calibration.gpu`` names the kin."""
    calibrated = names("calibrations")
    kin = gpu.id if gpu.id in calibrated else nearest_kin(gpu, map(load_gpu, calibrated))
    return _load("calibrations", kin, Calibration)


def calibration_of(cluster: ClusterSpec, gpu_type: str) -> Calibration:
    """Return the constants that price a GPU type of a cluster: those that ship, with the host's that it states."""
    fits = load_calibration(cluster.gpus[gpu_type])
    return fits if cluster.host is None else _hosted(fits.gpu, cluster.host)


@lru_cache
def _hosted(gpu: str, timed: HostFigures) -> Calibration:
    return on_host(_load("calibrations", gpu, Calibration), timed)


@lru_cache
def model_name(name: str) -> str | None:
    """Return the preset that ``name`` (a preset's or a model hub's name) stands for, None when there is none.

    What a model was tuned for is not in its architecture: Llama-3.1-8B-Instruct is Llama-3.1-8B.
    """
    wanted = name.lower()
    by_file = {known.lower(): known for known in names("models")}
    if wanted in by_file:
        return by_file[wanted]
    hub_names = {_load("models", known, ModelSpec).name.lower(): known for known in names("models")}
    short = {hub.rsplit("/", 1)[-1]: known for hub, known in reversed(hub_names.items())}
    untuned = {_untuned(hub): known for hub, known in reversed(hub_names.items())}
    exact = hub_names.get(wanted) or short.get(wanted) or by_file.get(wanted.rsplit("/", 1)[-1])
    return exact or untuned.get(_untuned(wanted))


def _untuned(hub_name: str) -> str:
    """Return a model hub's name in lower case without organisation, maker and what the model was tuned for."""
    short = hub_name.rsplit("/", 1)[-1].removeprefix("meta-")
    return re.sub(r"-(instruct|chat|it|base|hf)(?=-|$)", "", short)


def find_template(name: str) -> NodeTemplate | None:
    """Return a shipped node template by name: "hgx-h200", "cluster/template", or a cluster that has only one."""
    cluster, _, key = name.rpartition("/")
    if cluster:
        return _templates(cluster).get(key) if cluster in names("clusters") else None
    if name in names("clusters") and len(_templates(name)) == 1:
        return next(iter(_templates(name).values()))
    return next((t[name] for t in map(_templates, names("clusters")) if name in t), None)


def template_names() -> tuple[str, ...]:
    """Return the names of all shipped node templates, sorted."""
    return tuple(sorted({name for cluster in names("clusters") for name in _templates(cluster)}))


def _templates(cluster: str) -> dict[str, NodeTemplate]:
    return _load("clusters", cluster, ClusterSpec).templates


def _path(kind: Kind, name: str) -> Path:
    by_lower = {known.lower(): known for known in names(kind)}
    if name.lower() not in by_lower:
        raise InputError(f"{name}: no such {kind.rstrip('s')} preset; {did_you_mean(name, names(kind))}")
    return preset_root() / kind / f"{by_lower[name.lower()]}.yaml"


@lru_cache
def _load_once(path: Path, spec: type[BaseModel]) -> BaseModel:
    return validated(spec, read_document(path), str(path))


def _load(kind: Kind, name: str, spec: type[Spec]) -> Spec:
    return _load_file(_path(kind, name), spec)


def _load_file(path: Path, spec: type[Spec]) -> Spec:
    record = _load_once(path, spec)
    assert isinstance(record, spec)
    return record


CATALOGUE = Catalogue(lambda: names("gpus"), load_gpu, template_names, find_template)
"""The shipped GPUs and node templates."""
