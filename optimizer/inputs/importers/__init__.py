"""Files that operators already have, to one cluster: recognised by content, merged, with a report in words."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from optimizer.errors import InputError
from optimizer.inputs.documents import parse_json
from optimizer.inputs.gpu import GpuSpec
from optimizer.inputs.importers import (
    amd_smi,
    astra_sim,
    aws_topology,
    graphml,
    hwloc,
    ibnetdiscover,
    kubernetes,
    kueue,
    nccl_graph,
    nccl_topology,
    node_link,
    nvidia_query,
    nvidia_topo,
    rocm_smi,
    simai,
    slurm_conf,
    slurm_node,
    slurm_topology,
    slurm_yaml,
)
from optimizer.inputs.importers.facts import Facts, Finding, Pasted, listed
from optimizer.inputs.importers.merge import Imported, merge
from optimizer.inputs.importers.text import decode
from optimizer.inputs.importers.yaml_text import to_document, to_yaml

__all__ = ["FORMATS", "Finding", "Imported", "import_files", "to_document", "to_yaml"]


@dataclass(frozen=True)
class Format:
    """One format of file."""

    recognises: Callable[[Pasted], bool]
    read: Callable[[Pasted], Facts]


FORMATS: dict[str, Format] = {
    nvidia_topo.KIND: Format(nvidia_topo.recognises, nvidia_topo.read),
    nvidia_query.KIND: Format(nvidia_query.recognises, nvidia_query.read),
    nccl_topology.KIND: Format(nccl_topology.recognises, nccl_topology.read),
    nccl_graph.KIND: Format(nccl_graph.recognises, nccl_graph.read),
    slurm_conf.KIND: Format(slurm_conf.recognises, slurm_conf.read),
    slurm_topology.KIND: Format(slurm_topology.recognises, slurm_topology.read),
    slurm_node.KIND: Format(slurm_node.recognises, slurm_node.read),
    slurm_yaml.KIND: Format(slurm_yaml.recognises, slurm_yaml.read),
    kubernetes.KIND: Format(kubernetes.recognises, kubernetes.read),
    kueue.KIND: Format(kueue.recognises, kueue.read),
    ibnetdiscover.KIND: Format(ibnetdiscover.recognises, ibnetdiscover.read),
    rocm_smi.KIND: Format(rocm_smi.recognises, rocm_smi.read),
    amd_smi.KIND: Format(amd_smi.recognises, amd_smi.read),
    aws_topology.KIND: Format(aws_topology.recognises, aws_topology.read),
    node_link.KIND: Format(node_link.recognises, node_link.read),
    graphml.KIND: Format(graphml.recognises, graphml.read),
    hwloc.KIND: Format(hwloc.recognises, hwloc.read),
    astra_sim.KIND: Format(astra_sim.recognises, astra_sim.read),
    simai.KIND: Format(simai.recognises, simai.read),
}
"""By name, as the report calls it."""


def import_files(
    files: Sequence[tuple[str, bytes]],
    *,
    gpu: str | None,
    load_gpu: Callable[[str], GpuSpec],
    gpu_ids: Sequence[str],
    gpu_of: Mapping[str, str] | None = None,
) -> Imported:
    """Return the cluster that (name, content) files describe together, and a report of what was read and guessed.

    ``gpu`` decides the GPU type of all nodes, ``gpu_of`` that of the nodes of some files, else the files do; ids are
    those of the catalogue (``gpu_ids``).
    InputError names a file that is of no known format, is no text, or holds nothing to plan with.
    """
    if not files:
        raise InputError("no file to import; give one or more")
    named = gpu_of or {}
    facts = [_of_type(found, named.get(where)) for where, content in files for found in _read(where, content)]
    if not any(found.nodes or found.hosts for found in facts):
        told = "; ".join(finding.message for found in facts for finding in found.findings)
        raise InputError(f"{told}; add a file with nodes in it, such as `kubectl get nodes -o json`")
    return merge(facts, _name(files[0][0]), gpu, load_gpu, gpu_ids)


def _of_type(facts: Facts, gpu: str | None) -> Facts:
    """Return the facts with all GPUs of one type, when it is given."""
    if gpu is None:
        return facts
    nodes = tuple(replace(n, gpus=tuple(replace(g, product=gpu) for g in n.gpus)) for n in facts.nodes)
    return replace(facts, nodes=nodes, hosts=tuple(replace(host, product=gpu) for host in facts.hosts))


def _read(where: str, content: bytes) -> list[Facts]:
    """Return what a file says: one pasted terminal session may hold several formats."""
    text, findings = decode(content, where)
    value, broken = _json(text, where)
    pasted = Pasted(where, text, value)
    found = [form for form in FORMATS.values() if form.recognises(pasted)]
    if not found:
        raise broken or InputError(f"{where}: of no format that is read here; known: {listed(list(FORMATS), 30)}")
    try:
        return [Facts(findings=findings), *(form.read(pasted) for form in found)]
    except RecursionError as error:
        raise InputError(f"{where}: nested too deep; flatten it") from error


def _json(text: str, where: str) -> tuple[object, InputError | None]:
    """Return the value of JSON text, None with the reason when it only looked like JSON."""
    if not re.match(r'\s*(?:\{|\[\s*[\[{"])', text):
        return None, None
    try:
        return parse_json(text, where), None
    except InputError as error:
        return None, error


def _name(file: str) -> str:
    stem = re.split(r"[\\/]", file)[-1].rsplit(".", 1)[0]
    return re.sub(r"[^\w.-]+", "-", stem).strip("-.") or "imported"
