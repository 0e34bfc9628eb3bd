"""Names to records: the node templates and GPUs that a cluster mentions, looked up in a catalogue."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from optimizer.errors import InputError
from optimizer.inputs.cluster import ClusterSpec, GpuGroup, NodeTemplate
from optimizer.inputs.complaints import did_you_mean
from optimizer.inputs.gpu import GpuSpec
from optimizer.inputs.hostlist import all_hosts, duplicates, hosts


@dataclass(frozen=True)
class Catalogue:
    """What may be named without being written out."""

    gpu_names: Callable[[], tuple[str, ...]]
    load_gpu: Callable[[str], GpuSpec]
    template_names: Callable[[], tuple[str, ...]]
    find_template: Callable[[str], NodeTemplate | None]

    def template(self, name: str, where: str, own: tuple[str, ...] = ()) -> NodeTemplate:
        """Return the template called ``name``; InputError names the nearest of the catalogue and of ``own``."""
        template = self.find_template(name)
        if template is None:
            known = {*self.template_names(), *own}
            raise InputError(f"{where}: {name!r} is no template; {did_you_mean(name, known)}")
        return template


def resolved(cluster: ClusterSpec, catalogue: Catalogue, where: str) -> ClusterSpec:
    """Return the cluster with every template and GPU it names filled in; InputError names key and nearest name.

    Afterwards each template names its GPUs by id and ``gpus`` holds a GpuSpec for every one of them.
    """
    _check_hosts(cluster, where)
    own = cluster.templates
    templates = dict(own)
    for index, entry in enumerate(cluster.nodes):
        if entry.template not in templates:
            key = f"{where}: nodes[{index}].template"
            templates[entry.template] = catalogue.template(entry.template, key, tuple(own))
    gpus = dict(cluster.gpus)
    named = {key: _named(template, gpus, catalogue, f"{where}: templates.{key}") for key, template in templates.items()}
    _check_prices(cluster, gpus, catalogue, where)
    return cluster.model_copy(update={"templates": named, "gpus": dict(sorted(gpus.items()))})


def _check_hosts(cluster: ClusterSpec, where: str) -> None:
    """Raise InputError when the node names cannot be read or one is given twice."""
    for index, entry in enumerate(cluster.nodes):
        try:
            hosts(entry)
        except ValueError as error:
            raise InputError(f"{where}: nodes[{index}].name: {error}") from error
    seen: set[str] = set()
    for index, names in enumerate(all_hosts(cluster.nodes)):
        twice = duplicates(names) or tuple(name for name in names if name in seen)
        if twice:
            raise InputError(f"{where}: nodes[{index}].name: {twice[0]!r} occurs twice; name each node once")
        seen.update(names)


def _named(template: NodeTemplate, gpus: dict[str, GpuSpec], catalogue: Catalogue, where: str) -> NodeTemplate:
    """Return the template with GPUs given by id, each of which is then in ``gpus``."""
    if isinstance(template.gpus, int):
        if template.gpu is None:
            raise InputError(f"{where}.gpu: is missing; name a GPU of the catalogue (`tpopt presets gpus`)")
        return template.model_copy(update={"gpu": _gpu_id(template.gpu, gpus, catalogue, f"{where}.gpu")})
    if template.gpu is not None:
        raise InputError(f"{where}.gpu: the list in gpus names the GPUs already; remove one of them")
    if not template.gpus:
        raise InputError(f"{where}.gpus: the list is empty; a node has at least one GPU")
    groups = tuple(
        GpuGroup(gpu=_gpu_id(group.gpu, gpus, catalogue, f"{where}.gpus[{i}].gpu"), count=group.count)
        for i, group in enumerate(template.gpus)
    )
    return template.model_copy(update={"gpus": groups})


def _gpu_id(gpu: str | GpuSpec, gpus: dict[str, GpuSpec], catalogue: Catalogue, where: str) -> str:
    if isinstance(gpu, GpuSpec):
        if gpus.setdefault(gpu.id, gpu) != gpu:
            raise InputError(f"{where}.id: {gpu.id!r} is another GPU already; choose another id")
        return gpu.id
    if gpu not in gpus:
        by_lower = {name.lower(): name for name in catalogue.gpu_names()}
        if gpu.lower() not in by_lower:
            raise InputError(
                f"{where}: {gpu!r} is no GPU of the catalogue; {did_you_mean(gpu, {*by_lower.values(), *gpus})} "
                "(`tpopt presets gpus` lists all; or give it in full under gpus)"
            )
        gpu = by_lower[gpu.lower()]
        gpus[gpu] = catalogue.load_gpu(gpu)
    return gpu


def _check_prices(cluster: ClusterSpec, gpus: Mapping[str, GpuSpec], catalogue: Catalogue, where: str) -> None:
    for name in cluster.prices:
        if name not in gpus and name not in catalogue.gpu_names():
            raise InputError(f"{where}: prices.{name}: no such GPU; {did_you_mean(name, gpus, what='in this cluster')}")
