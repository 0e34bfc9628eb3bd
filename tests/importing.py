"""What the importer tests share: files as strings, imported with the shipped catalogue."""

from optimizer.inputs import presets
from optimizer.inputs.cluster import ClusterSpec, NodeTemplate
from optimizer.inputs.importers import Imported, import_files


def imported(*files: "str | bytes | tuple[str, str]", gpu: str | None = None) -> Imported:
    """Import texts, named or numbered."""
    named: list[tuple[str, bytes]] = []
    for position, file in enumerate(files, start=1):
        name, content = file if isinstance(file, tuple) else (f"file{position}", file)
        named.append((name, content if isinstance(content, bytes) else content.encode()))
    return import_files(named, gpu=gpu, load_gpu=presets.load_gpu, gpu_ids=presets.names("gpus"))


def cluster(*files: "str | bytes | tuple[str, str]", gpu: str | None = None) -> ClusterSpec:
    """Import texts that give a cluster."""
    found = imported(*files, gpu=gpu).cluster
    assert found is not None
    return found


def template(*files: "str | bytes | tuple[str, str]", gpu: str | None = None) -> NodeTemplate:
    """Import texts that give one kind of node."""
    (only,) = cluster(*files, gpu=gpu).templates.values()
    return only


def told(found: Imported, level: str) -> str:
    """All sentences of one level."""
    return "\n".join(finding.message for finding in found.report if finding.level == level)
