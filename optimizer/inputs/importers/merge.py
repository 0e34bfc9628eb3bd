"""Facts of several files to one cluster: node files, fabric files and labels, matched by host name."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

from optimizer.inputs.cluster import ClusterSpec, NodeTemplate, Override
from optimizer.inputs.gpu import GpuSpec
from optimizer.inputs.importers.choose import Chooser
from optimizer.inputs.importers.combine import combine
from optimizer.inputs.importers.fabric import Placed, fabric_of, entries_of, in_order
from optimizer.inputs.importers.facts import (
    FabricFacts,
    Facts,
    Finding,
    GpuFacts,
    HostFacts,
    NicFacts,
    NodeFacts,
    counted,
    listed,
)
from optimizer.inputs.importers.machines import machine
from optimizer.inputs.importers.shape import Shaped, guessed_nic_rate, shape


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
    hosts = _hosts(all_facts, chooser)
    insides = _insides(all_facts, hosts, chooser)
    joined = [(hosts.get(n) or HostFacts(n), insides.get(n)) for n in (*hosts, *(n for n in insides if n not in hosts))]
    fabric = _one_fabric(all_facts, chooser)
    builder = _Builder(chooser, is_joined=fabric is not None and len(joined) > 1)
    placed = [builder.place(host, inside) for host, inside in joined]
    counts = (len(joined), sum(p.gpus for p in placed), sum(p.nics for p in placed))
    cluster = _cluster(placed, builder, fabric, name)
    return Imported(cluster, tuple(chooser.findings), *counts)


def _one_fabric(all_facts: Sequence[Facts], chooser: Chooser) -> FabricFacts | None:
    """Return the fabric of the file that measured it (cabling), else the first."""
    found = [facts.fabric for facts in all_facts if facts.fabric is not None]
    return max(found, key=lambda f: (bool(f.weak_leaves), f.oversubscription is not None), default=None)


def _hosts(all_facts: Sequence[Facts], chooser: Chooser) -> dict[str, HostFacts]:
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


def _insides(all_facts: Sequence[Facts], hosts: Mapping[str, HostFacts], chooser: Chooser) -> dict[str, NodeFacts]:
    """Return the inside of each node by host name; files without a host's name are matched or applied to all."""
    named: dict[str, list[NodeFacts]] = {}
    nameless: list[NodeFacts] = []
    for node in (node for facts in all_facts for node in facts.nodes):
        name = _host_name(node, hosts)
        if name:
            named.setdefault(name, []).append(node)
        else:
            nameless.append(node)
    groups = _groups(nameless)
    if len(groups) == 1 and len(named) == 1:
        named[next(iter(named))] += groups.pop()
    insides = {name: _combined(nodes, chooser) for name, nodes in named.items()}
    for position, group in enumerate(groups, start=1):
        inside = _combined(group, chooser)
        if hosts and len(groups) == 1:
            insides = _applied(inside, hosts, insides, chooser)
        else:
            stem = _stem(group[0].where) if len(groups) > 1 else ""
            insides[stem if stem and stem not in insides else f"node{position}"] = inside
    if len(hosts) > 1 and len(insides) == 1 and set(insides) <= set(hosts):
        insides = _applied(next(iter(insides.values())), hosts, insides, chooser)
    return insides


def _host_name(node: NodeFacts, hosts: Mapping[str, HostFacts]) -> str | None:
    """Return the host that a node's file is about: as told, or by the file's name when such a host is known."""
    if node.host:
        short = node.host.split(".")[0]
        return short if short in hosts and node.host not in hosts else node.host
    return next((stem for stem in (_stem(node.where), node.where) if stem in hosts), None)


def _stem(where: str) -> str:
    return re.sub(r"[^\w.-]+", "-", re.split(r"[\\/]", where)[-1]).split(".")[0].strip("-")


def _groups(nodes: Sequence[NodeFacts]) -> list[list[NodeFacts]]:
    """Return files about one node together: all, when no two are of one kind; else those with one name."""
    if not nodes:
        return []
    if len({node.kind for node in nodes}) == len(nodes):
        return [list(nodes)]
    by_stem: dict[str, list[NodeFacts]] = {}
    for node in nodes:
        stem = _stem(node.where)
        while any(other.kind == node.kind for other in by_stem.get(stem, [])):
            stem += "-2"
        by_stem.setdefault(stem, []).append(node)
    return list(by_stem.values())


def _combined(nodes: Sequence[NodeFacts], chooser: Chooser) -> NodeFacts:
    node, findings = combine(nodes)
    for finding in findings:
        chooser.say(finding)
    return node


def _applied(
    inside: NodeFacts, hosts: Mapping[str, HostFacts], known: Mapping[str, NodeFacts], chooser: Chooser
) -> dict[str, NodeFacts]:
    """Return one node's inside for all hosts; what is broken or unique in it stays with its own host."""
    others = [name for name in hosts if name not in known]
    if len(hosts) > 1:
        message = f"{inside.where}: describes one node; its {counted(len(others), 'peer')} are taken to be built alike"
        chooser.say(Finding("guessed", message))
    if len(hosts) == 1 or not others:
        return dict(known) or {next(iter(hosts)): inside}
    return {**known, **dict.fromkeys(others, _healthy(inside, chooser, is_owned=bool(known)))}


def _healthy(node: NodeFacts, chooser: Chooser, is_owned: bool) -> NodeFacts:
    """Return a node like this one with nothing broken and no identity."""
    most = max((g.switch_links or 0 for g in node.gpus), default=0)
    gpus = tuple(
        GpuFacts(g.index, g.product, memory_bytes=g.memory_bytes, switch_links=most or None) for g in node.gpus
    )
    pairs = node.pairs
    off = set(range(len(gpus))) - {gpu for pair in pairs for gpu in pair}
    counts = set(pairs.values())
    if pairs and off and len(gpus) > 2 and len(counts) == 1 and not most:
        pairs = {(a, b): max(counts) for a in range(len(gpus)) for b in range(a + 1, len(gpus))}
    is_broken = any(g.state or g.pcie_share or (most and g.switch_links == 0) for g in node.gpus) or pairs != node.pairs
    if is_broken and not is_owned:
        chooser.say(
            Finding(
                "missing", f"{node.where}: is broken, but which host it is of is not told: name the file after its host"
            )
        )
    nics = tuple(NicFacts(nic.name, nic.bytes_per_s) for nic in node.nics)
    return replace(node, host=None, gpus=gpus, pairs=pairs, nics=nics)


class _Builder:
    """Templates by what is in them, so that equal nodes share one."""

    def __init__(self, chooser: Chooser, is_joined: bool) -> None:
        self.chooser = chooser
        self.is_joined = is_joined
        self.templates: dict[str, NodeTemplate] = {}
        self.specs: dict[str, GpuSpec] = {}
        self._shaped: dict[object, tuple[Shaped, tuple[str, ...]] | None] = {}
        self._bare: dict[object, NodeFacts | None] = {}

    def place(self, host: HostFacts, inside: NodeFacts | None) -> Placed:
        """Return a host with its template, or without one when its GPUs are not known."""
        node = self._with_host(inside, host) if inside is not None else self._from_host(host)
        if node is None:
            return Placed(host, None, host.gpus or 0, len(host.nics))
        key = (id(node), host.product, host.memory_bytes, host.machine)
        if key not in self._shaped:
            self._shaped[key] = self._shape(node, host)
        shaped = self._shaped[key]
        if shaped is None or shaped[0].template is None:
            return Placed(host, None, len(node.gpus), len(node.nics))
        name = self._template_name(shaped[0].template)
        return Placed(host, name, len(node.gpus), len(node.nics), tuple(shaped[0].overrides), shaped[1])

    def _shape(self, node: NodeFacts, host: HostFacts) -> tuple[Shaped, tuple[str, ...]] | None:
        ids = self.chooser.of_node(node, host)
        if not ids or None in ids:
            return None
        specs = tuple(self._spec(i) for i in ids if i is not None)
        gpu_ids = tuple(g.uuid or g.bus_id or "" for g in node.gpus)
        unique = gpu_ids if all(gpu_ids) and len(set(gpu_ids)) == len(gpu_ids) else ()
        shaped = shape(node, specs, unique)
        for finding in shaped.findings:
            self.chooser.say(finding)
        return shaped, unique

    def _spec(self, gpu: str) -> GpuSpec:
        if gpu not in self.specs:
            self.specs[gpu] = self.chooser.load_gpu(gpu)
        return self.specs[gpu]

    def _template_name(self, template: NodeTemplate) -> str:
        for name, known in self.templates.items():
            if known == template:
                return name
        kind = template.gpu if isinstance(template.gpu, str) else "mixed"
        count = template.gpus if isinstance(template.gpus, int) else sum(group.count for group in template.gpus)
        plain = f"{count}x-{kind}"
        name = plain if plain not in self.templates else f"{plain}-{len(self.templates) + 1}"
        self.templates[name] = template
        return name

    def _with_host(self, inside: NodeFacts, host: HostFacts) -> NodeFacts:
        """Add the NICs that the fabric's file knows, when the node's own file knows none or no rate."""
        key = (id(inside), host.nics, host.machine)
        if key not in self._bare:
            self._bare[key] = self._joined(inside, host)
        found = self._bare[key]
        assert found is not None
        return found

    def _joined(self, inside: NodeFacts, host: HostFacts) -> NodeFacts:
        if host.nics and not inside.nics:
            return replace(inside, nics=host.nics, nearest=_spread(len(inside.gpus), len(host.nics)))
        rates = {nic.name: nic.bytes_per_s for nic in host.nics}
        usual = max((rate for rate in rates.values() if rate), default=None)
        nics = tuple(
            replace(
                n,
                bytes_per_s=n.bytes_per_s or rates.get(n.name) or usual,
                is_down=bool(rates) and self._is_absent(n, rates, host),
            )
            for n in inside.nics
        )
        return replace(inside, nics=nics)

    def _is_absent(self, nic: NicFacts, rates: Mapping[str, float | None], host: HostFacts) -> bool:
        """Whether a NIC that the node has is not on the fabric, though the others are there by the same names."""
        if nic.name in rates or not any(re.match(r"mlx|ib", name) for name in rates):
            return False
        if re.sub(r"\d+", "", nic.name) not in {re.sub(r"\d+", "", name) for name in rates}:
            return False
        self.chooser.say(Finding("broken", f"{host.name}: NIC {nic.name} of the node is not seen on the fabric: down"))
        return True

    def _from_host(self, host: HostFacts) -> NodeFacts | None:
        """Return a node made of what labels, machine type and GPU type tell, for a host without a file of its own."""
        gpu = self.chooser.of_host(host)
        kind = machine(host.machine)
        key = (gpu, host.gpus, host.nics, host.machine, host.product)
        if key not in self._bare:
            self._bare[key] = None
            count = host.gpus or (kind.gpus if kind else None) or self._usual_count(gpu)
            if gpu is not None and count is not None:
                self._bare[key] = self._bare_node(host, gpu, count)
        return self._bare[key]

    def _usual_count(self, gpu: str | None) -> int | None:
        """Return the GPUs of a board of this type, as a guess that is told."""
        spec = self._spec(gpu) if gpu is not None else None
        if spec is None or spec.scale_up is None or spec.scale_up.kind == "bridge":
            self.chooser.say(
                Finding("missing", "no file tells how many GPUs a node has; import a node's own file as well")
            )
            return None
        count = 1 if spec.id.startswith("gh200") else 4 if spec.id.startswith("gb") else 8
        self.chooser.say(Finding("guessed", f"{count} GPUs per node, as {spec.id} boards have; no file tells"))
        return count

    def _bare_node(self, host: HostFacts, gpu: str, count: int) -> NodeFacts:
        kind = machine(host.machine)
        nics, transport = host.nics, None
        if not nics and kind is not None:
            nics, transport = tuple(NicFacts(f"nic{i}", kind.nic_bytes_per_s) for i in range(kind.nics)), kind.transport
        up = self._spec(gpu).scale_up
        if not nics and self.is_joined and up is not None and up.kind != "bridge":
            rate = guessed_nic_rate(self._spec(gpu))
            nics = tuple(NicFacts(f"nic{i}", rate) for i in range(count))
            self.chooser.say(
                Finding(
                    "guessed", f"one NIC per GPU at the rate of its PCIe link, as boards of {gpu} have; no file tells"
                )
            )
        gpus = tuple(GpuFacts(i, gpu) for i in range(count))
        where = host.machine or "nodes without a file of their own"
        return NodeFacts(where, "labels", gpus=gpus, nics=nics, nearest=_spread(count, len(nics)), transport=transport)


def _spread(gpus: int, nics: int) -> tuple[int, ...]:
    return tuple(gpu * nics // gpus for gpu in range(gpus)) if nics else ()


def _cluster(placed: Sequence[Placed], builder: _Builder, fabric: FabricFacts | None, name: str) -> ClusterSpec | None:
    """Return the cluster of all hosts whose GPUs are known."""
    usable = [p for p in placed if p.template is not None]
    unknown = [p.host.name for p in placed if p.template is None]
    if unknown and usable:
        builder.chooser.say(Finding("missing", f"GPUs of {listed(unknown)} are not known; left out"))
    if not usable:
        return None
    ordered = in_order(usable)
    entries, templates = entries_of(ordered, builder.templates, builder.specs, builder.chooser.say)
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
