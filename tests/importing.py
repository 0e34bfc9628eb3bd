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


def matrix(links: str, gpus: int, nics: int = 0, near: str = "PIX", numa: bool = True) -> str:
    """Write `nvidia-smi topo -m` of GPUs that all see each other by ``links``, NIC i nearest to GPU i."""
    names = [f"GPU{i}" for i in range(gpus)] + [f"NIC{i}" for i in range(nics)]
    lines = ["\t" + "\t".join(names) + "\tCPU Affinity\tNUMA Affinity\tGPU NUMA ID"]
    for row, name in enumerate(names):
        cells = []
        for column in range(len(names)):
            if row == column:
                cells.append(" X ")
            elif row < gpus and column < gpus:
                cells.append(links)
            elif row >= gpus and column >= gpus:
                cells.append("NODE")
            else:
                cells.append(near if min(row, column) == max(row, column) - gpus else "NODE")
        half = int(row >= gpus / 2) if numa else 0
        lines.append(name + "\t" + "\t".join(cells) + (f"\t{half * 32}-{half * 32 + 31}\t{half}\t\tN/A" if row < gpus else ""))
    return "\n".join(lines) + "\n"
