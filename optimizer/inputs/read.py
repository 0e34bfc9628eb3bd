"""Files and preset names to cluster, model and workload records; no other module opens what the user gives."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from optimizer.errors import InputError
from optimizer.inputs import presets
from optimizer.inputs.cluster import ClusterSpec
from optimizer.inputs.complaints import did_you_mean, validated
from optimizer.inputs.documents import parse_csv, read_bytes, read_document, read_text
from optimizer.inputs.huggingface import from_config
from optimizer.inputs.model import ModelSpec
from optimizer.inputs.resolve import resolved
from optimizer.inputs.workload import WorkloadSpec

_SUFFIXES = (".yaml", ".yml", ".json")


def read_cluster(source: str, tell: Callable[[str], None] = lambda _: None) -> ClusterSpec:
    """Return the cluster of a file or preset: templates and GPU ids of the catalogue are filled in.

    Afterwards each template names its GPUs by id and ``gpus`` holds a GpuSpec for every one of them. What is guessed,
    missing or broken in the files of the key ``import`` goes to ``tell``.
    """
    path = existing(source)
    if path is None:
        _refuse_unknown(source, "clusters", "cluster")
        return presets.load_cluster(source)
    document = _with_imports(read_document(path), path, tell)
    return resolved(
        validated(ClusterSpec, _with_templates(document, str(path)), str(path)), presets.CATALOGUE, str(path)
    )


def read_model(source: str) -> ModelSpec:
    """Return the model of model.yaml, of a Hugging Face config.json or its folder, or of a preset or hub name."""
    path = existing(source)
    if path is not None and path.is_dir() and not (path / "config.json").is_file() and presets.model_name(source):
        path = None
    if path is not None:
        return _model_file(path)
    if presets.model_name(source) is None:
        _refuse_unknown(source, "models", "model")
    return presets.load_model(source)


def read_workload(source: str | None) -> WorkloadSpec:
    """Return the workload of a file; without one ISL 1024, OSL 256 and a saturating load."""
    if source is None:
        return WorkloadSpec()
    path = existing(source)
    if path is None:
        raise InputError(f"{source}: no such file; write one with isl and osl (see `tpopt schema workload`)")
    return validated(WorkloadSpec, read_document(path) or {}, str(path))


def read_measurements(source: str, needed: tuple[str, ...]) -> tuple[tuple[str, ...], list[dict[str, str]]]:
    """Return the column names and rows of a measurements.csv that has at least the columns ``needed``."""
    path = existing(source)
    if path is None:
        raise InputError(f"{source}: no such file; give a CSV with columns {', '.join(needed)}")
    return parse_csv(read_text(path), str(path), needed)


def check_lengths(model: ModelSpec, workload: WorkloadSpec, *, where: str, at: str = "") -> None:
    """Raise InputError when mean prompt and answer do not fit into the longest sequence of the model.

    It begins with the file's name ``where``; ``at`` is the workload's place in it.
    """
    longest = model.max_model_len or model.context
    asked = workload.isl.mean + workload.osl.mean
    if asked > longest:
        limit = "max_model_len" if model.max_model_len else "context"
        raise InputError(
            f"{where}: {at + '.' if at else ''}isl: {workload.isl.mean} prompt and {workload.osl.mean} output tokens "
            f"exceed the {limit} of {longest} tokens of {model.name}; lower isl or osl, or choose a model with a "
            "longer context"
        )


def beside(folder: Path, name: str) -> str:
    """Return the path of a file beside another one, else the name itself: a preset's, or a path from here."""
    return str(folder / name) if (folder / name).exists() else name


def existing(source: str) -> Path | None:
    """Return the path when there is something at it; else ``source`` may still be a preset's name."""
    path = Path(source)
    try:
        return path if path.exists() else None
    except (OSError, ValueError) as error:
        raise InputError(f"{source[:80]!r}: is no path; give a file or a preset's name") from error


def _refuse_unknown(source: str, kind: presets.Kind, what: str) -> None:
    """Raise InputError when ``source`` is neither a file nor a preset, naming what is near to either."""
    known = presets.names(kind)
    if source.lower() in {name.lower() for name in known}:
        return
    path = Path(source)
    if path.suffix.lower() in _SUFFIXES:
        beside = (
            sorted(p.name for p in path.parent.glob("*") if p.suffix.lower() in _SUFFIXES)
            if path.parent.is_dir()
            else []
        )
        hint = (
            did_you_mean(path.name, beside, what="there")
            if beside
            else f"or {did_you_mean(path.stem, known, what='use a preset')}"
        )
        raise InputError(f"{source}: no such file; check the path; {hint}")
    raise InputError(
        f"{source}: neither a file nor a {what} preset; {did_you_mean(source, known)} "
        f"(`tpopt presets {kind}` lists all)"
    )


# models


def _model_file(path: Path) -> ModelSpec:
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise InputError(f"{path}: the folder holds no config.json; give the model's folder or a model.yaml")
        path = path / "config.json"
    document = read_document(path)
    where = str(path)
    if isinstance(document, list):
        raise InputError(
            f"{where}: lists {len(document)} models, and one is asked for here; give one of them as model.yaml "
            "(`tpopt solve` and `tpopt compare` take the list)"
        )
    if not isinstance(document, Mapping):
        return validated(ModelSpec, document, where)
    if "model_type" in document or "architectures" in document:
        return from_config(_with_quantization(document, path), name=_hub_name(document, path), where=where)
    return own_model(document, path.parent, where)


def _with_quantization(config: Mapping[str, object], path: Path) -> Mapping[str, object]:
    """Return the configuration with what ModelOpt writes beside it, hf_quant_config.json, unless it has its own."""
    beside = path.with_name("hf_quant_config.json")
    if "quantization_config" in config or path.name != "config.json" or not beside.is_file():
        return config
    document = read_document(beside)
    stored = document.get("quantization") if isinstance(document, Mapping) else None
    if not isinstance(stored, Mapping):
        raise InputError(f"{beside}: quantization: is missing; give the file that ModelOpt wrote, or remove it")
    return {**config, "quantization_config": {"quant_method": "modelopt", **stored}}


def own_model(document: Mapping[str, object], folder: Path, where: str, at: str = "") -> ModelSpec:
    """Return a model.yaml: ``preset`` or ``hf`` with keys that replace theirs, or the architecture in full.

    ``hf`` is seen from ``folder``; InputError begins with the file's name ``where`` and the place ``at`` in it.
    """
    here = f"{where}: {at + '.' if at else ''}"
    bases: dict[str, Callable[[str], ModelSpec]] = {
        "preset": lambda name: _base_preset(name, here),
        "hf": lambda name: _base_config(folder / name, here),
    }
    given = [key for key in bases if key in document]
    if not given:
        _refuse_near_base(document, here)
        return validated(ModelSpec, document, where, at)
    if len(given) > 1:
        raise InputError(f"{here}preset, hf: exclude each other; keep one of them")
    key, name = given[0], document[given[0]]
    if not isinstance(name, str):
        raise InputError(f"{here}{key}: {name!r} is no {'preset' if key == 'preset' else 'path'}; write it as text")
    base = bases[key](name)
    rest = {k: v for k, v in document.items() if k != key}
    return validated(ModelSpec, base.model_dump(mode="json") | rest, where, at) if rest else base


def _refuse_near_base(document: Mapping[str, object], here: str) -> None:
    """Raise InputError when a mapping lacks an architecture altogether: it needs a preset, a config or all of it."""
    if not {"runs", "hidden", "vocab"} & set(document):
        unknown = [key for key in document if key not in ModelSpec.model_fields]
        near = (
            f" (unknown key {unknown[0]!r}: {did_you_mean(unknown[0], ['preset', 'hf', *ModelSpec.model_fields])})"
            if unknown
            else ""
        )
        raise InputError(f"{here}preset: is missing; name a preset, `hf: config.json`, or give the architecture{near}")


def _base_preset(name: str, here: str) -> ModelSpec:
    if presets.model_name(name) is None:
        raise InputError(
            f"{here}preset: {name!r} does not ship; {did_you_mean(name, presets.names('models'))} "
            "(`tpopt presets models` lists all)"
        )
    return presets.load_model(name)


def _base_config(path: Path, here: str) -> ModelSpec:
    config = path / "config.json" if path.is_dir() else path
    if not config.is_file():
        raise InputError(f"{here}hf: {path}: no such file; give the path of a config.json, seen from this file")
    return _model_file(config)


def _hub_name(config: Mapping[str, object], path: Path) -> str:
    """Return the model's name: what the config says, else that of the folder or file ("org--name" is org/name)."""
    told = config.get("_name_or_path")
    if isinstance(told, str) and told and not told.startswith((".", "/", "~")):
        return told
    name = path.resolve().parent.name if path.name == "config.json" else re.sub(r"[._-]?config$", "", path.stem)
    return name.removeprefix("models--").replace("--", "/", 1) or "model"


# clusters


def _with_imports(document: object, path: Path, tell: Callable[[str], None]) -> object:
    """Return the document with the cluster of the files that it imports in place of ``import``."""
    if not isinstance(document, Mapping) or "import" not in document:
        return document
    from optimizer.inputs.imports import imports_of, merged  # its readers take a tenth of a second to load

    files = imports_of(document, str(path))
    contents = [read_bytes(path.parent / one.file, f"{path}: import[{index}].file") for index, one in enumerate(files)]
    return merged(document, files, contents, str(path), tell)


def _with_templates(document: object, where: str) -> object:
    """Return the document with template names in ``templates`` replaced by the shipped templates."""
    if not isinstance(document, Mapping) or not isinstance(document.get("templates"), Mapping):
        return document
    templates = {
        key: presets.CATALOGUE.template(value, f"{where}: templates.{key}").model_dump(mode="json")
        if isinstance(value, str)
        else value
        for key, value in document["templates"].items()
    }
    return {**document, "templates": templates}
