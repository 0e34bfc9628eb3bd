"""``import`` of a cluster.yaml: operators' files merged into one cluster, which the rest of the file changes."""

from collections.abc import Callable, Mapping, Sequence

from pydantic import Field

from optimizer.errors import InputError
from optimizer.inputs import presets
from optimizer.inputs.cluster import ImportedFile
from optimizer.inputs.complaints import did_you_mean, validated
from optimizer.inputs.importers import import_files, to_document
from optimizer.inputs.schema import Record


class Imports(Record):
    """The key ``import`` of a cluster.yaml."""

    files: tuple[ImportedFile, ...] = Field(alias="import", min_length=1)


def imports_of(document: Mapping[str, object], where: str) -> tuple[ImportedFile, ...]:
    """Return the files that a cluster.yaml imports; InputError names a wrong key."""
    files = validated(Imports, {"import": document["import"]}, where).files
    known = presets.names("gpus")
    for index, one in enumerate(files):
        if one.gpu is not None and one.gpu not in known:
            raise InputError(f"{where}: import[{index}].gpu: no GPU {one.gpu!r}; {did_you_mean(one.gpu, known)}")
    return files


def merged(
    document: Mapping[str, object],
    files: Sequence[ImportedFile],
    contents: Sequence[bytes],
    where: str,
    tell: Callable[[str], None],
) -> dict[str, object]:
    """Return the document of the files' cluster with all that the rest of ``document`` changes of it.

    Keys of mappings are merged, overrides are appended, everything else replaces. InputError: the files do not tell
    enough for a cluster.
    """
    known = presets.names("gpus")
    types = {one.gpu for one in files}
    try:
        found = import_files(
            [(one.file, content) for one, content in zip(files, contents, strict=True)],
            gpu=files[0].gpu if len(types) == 1 else None,
            load_gpu=presets.load_gpu,
            gpu_ids=known,
            gpu_of={one.file: one.gpu for one in files if one.gpu is not None} if len(types) > 1 else None,
        )
    except InputError as error:
        raise InputError(f"{where}: import: {error}") from error
    for finding in found.report:
        if finding.level != "read":
            tell(f"{where}: import: {finding.level}: {finding.message}")
    if found.cluster is None:
        missing = next((f.message for f in found.report if f.level == "missing"), "no file tells GPU type and count")
        raise InputError(f"{where}: import: {missing.replace('--gpu', 'gpu')}")
    base = to_document(found.cluster, catalogue=known)
    return _changed(base, {key: value for key, value in document.items() if key != "import"})


def _changed(base: Mapping[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    """Return a mapping with the changes in it, key by key."""
    merged = dict(base)
    for key, value in changes.items():
        old = base.get(key)
        if key == "overrides" and isinstance(old, list) and isinstance(value, list):
            merged[key] = [*old, *value]
        elif isinstance(old, Mapping) and isinstance(value, Mapping) and value.get("kind") in (None, old.get("kind")):
            merged[key] = _changed(old, value)
        else:
            merged[key] = value
    return merged
