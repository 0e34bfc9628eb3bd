"""Facts of several files to one cluster: node files, fabric files and labels, matched by host name."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

from optimizer.inputs.cluster import ClusterSpec, NodeTemplate, Override
from optimizer.inputs.gpu import GpuSpec
from optimizer.inputs.importers.builder import Builder
from optimizer.inputs.importers.choose import Chooser
from optimizer.inputs.importers.fabric import Placed, entries_of, fabric_of, in_order, on_torus
from optimizer.inputs.importers.facts import (
    FabricFacts,
    Facts,
    Finding,
    HostFacts,
    listed,
)
from optimizer.inputs.importers.match import insides_of


@dataclass(frozen=True)
class Imported:
    """What operators' files became."""

    cluster: ClusterSpec | None
    """None when GPU type or count is known from nowhere; the report says what to give."""
    report: tuple[Finding, ...]
    nodes: int
    gpus: int
    nics: int
    """NICs that serve GPUs."""


def merge(
    all_facts: Sequence[Facts], name: str, gpu: str | None, load_gpu: Callable[[str], GpuSpec], known: Sequence[str]
) -> Imported:
    """Return the cluster that all files together describe."""
    chooser = Chooser(gpu, load_gpu, known)
    for facts in all_facts:
        for finding in facts.findings:
            chooser.say(finding)
    hosts = _hosts(all_facts)
    insides = insides_of(all_facts, hosts, chooser)
    joined = [(hosts.get(n) or HostFacts(n), insides.get(n)) for n in (*hosts, *(n for n in insides if n not in hosts))]
    fabric = _one_fabric(all_facts)
    ids = Counter(gpu.uuid or gpu.bus_id or "" for inside in insides.values() for gpu in inside.gpus)
    shared = frozenset(i for i, count in ids.items() if count > 1)  # bus ids repeat from node to node
    builder = Builder(chooser, is_joined=fabric is not None and len(joined) > 1, shared_ids=shared)
    placed = [builder.place(host, inside) for host, inside in joined]
    counts = (len(joined), sum(p.gpus for p in placed), sum(p.nics for p in placed))
    cluster = _cluster(placed, builder, fabric, name)
    return Imported(cluster, chooser.findings, *counts)


def _one_fabric(all_facts: Sequence[Facts]) -> FabricFacts | None:
    """Return the fabric of the file that measured it (cabling), else the first."""
    found = [facts.fabric for facts in all_facts if facts.fabric is not None]
    return max(found, key=lambda f: (bool(f.weak_leaves), f.oversubscription is not None), default=None)


def _hosts(all_facts: Sequence[Facts]) -> dict[str, HostFacts]:
    """Return hosts by name, each value from the first file that knows it."""
    hosts: dict[str, HostFacts] = {}
    for facts in all_facts:
        for host in facts.hosts:
            same = hosts.get(host.name)
            hosts[host.name] = host if same is None else _both(same, host)
    levels = [level for facts in all_facts for level in facts.levels if level != "kubernetes.io/hostname"]
    return {name: _by_levels(host, levels) for name, host in hosts.items()}


def _both(first: HostFacts, second: HostFacts) -> HostFacts:
    known = {f.name: getattr(second, f.name) for f in fields(HostFacts) if not getattr(first, f.name)}
    return replace(first, **known)


def _by_levels(host: HostFacts, levels: Sequence[str]) -> HostFacts:
    """Place a host by the labels that a Kueue Topology names; its own scheme wins over those known here."""
    found = [host.labels[level] for level in levels if level in host.labels]
    return replace(host, leaf=found[-1], pod=found[-2] if found[1:] else None) if found else host


def _cluster(placed: Sequence[Placed], builder: Builder, fabric: FabricFacts | None, name: str) -> ClusterSpec | None:
    """Return the cluster of all hosts whose GPUs are known."""
    usable = [p for p in placed if p.template is not None]
    unknown = [p.host.name for p in placed if p.template is None]
    if unknown and usable:
        builder.chooser.say(Finding("missing", f"GPUs of {listed(unknown)} are not known; left out"))
    if not usable:
        return None
    ordered = on_torus(in_order(usable), fabric)
    entries, templates = entries_of(ordered, builder.templates, builder.chooser.say)
    used = {entry.template for entry in entries}
    gpus = {i: builder.specs[i] for i in sorted(builder.specs) if any(_names(templates[t], i) for t in used)}
    described, leaves = fabric_of(ordered, fabric, builder.chooser.say)
    overrides: list[Override] = [o for p in ordered for o in p.all_overrides()]
    return ClusterSpec(
        name=name,
        nodes=entries,
        templates={t: templates[t] for t in sorted(used)},
        gpus=gpus,
        fabric=described,
        overrides=(*overrides, *leaves),
    )


def _names(template: NodeTemplate, gpu: str) -> bool:
    return template.gpu == gpu if isinstance(template.gpus, int) else any(group.gpu == gpu for group in template.gpus)
