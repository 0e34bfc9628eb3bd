"""Which host each node file is about, and what stands for hosts without a file of their own."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from optimizer.inputs.importers.choose import Chooser
from optimizer.inputs.importers.combine import combine
from optimizer.inputs.importers.facts import Facts, Finding, GpuFacts, HostFacts, NicFacts, NodeFacts, counted


def insides_of(all_facts: Sequence[Facts], hosts: Mapping[str, HostFacts], chooser: Chooser) -> dict[str, NodeFacts]:
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
    if hosts and groups:
        return _for_all(_combined(_most_gpus(groups), chooser), hosts, insides, chooser)
    for position, group in enumerate(groups, start=1):
        stem = _stem(group[0].where) if len(groups) > 1 else ""
        insides[stem if stem and stem not in insides else f"node{position}"] = _combined(group, chooser)
    if hosts and insides:
        return _for_all(next(iter(insides.values())), hosts, insides, chooser)
    return insides


def _most_gpus(groups: Sequence[Sequence[NodeFacts]]) -> Sequence[NodeFacts]:
    return max(groups, key=lambda group: max(len(node.gpus) for node in group))


def _host_name(node: NodeFacts, hosts: Mapping[str, HostFacts]) -> str | None:
    """Return the host that a node's file is about: as told, or by the file's name when such a host is known."""
    told = [node.host, node.host.split(".")[0]] if node.host else []
    known = next((name for name in (*told, _stem(node.where), node.where) if name in hosts), None)
    return known or (None if hosts else node.host)


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


def _for_all(
    inside: NodeFacts, hosts: Mapping[str, HostFacts], known: Mapping[str, NodeFacts], chooser: Chooser
) -> dict[str, NodeFacts]:
    """Return one node's inside for all hosts like it; what is broken or unique in it stays with its own host."""
    owner = next((hosts[name] for name, node in known.items() if node is inside and name in hosts), None)
    others = [name for name in _alike(inside, owner, hosts) if name not in known]
    if not known and len(others) == len(hosts) == 1:
        return {others[0]: inside}
    if not others:
        return dict(known)
    message = f"{inside.where}: describes one node; {counted(len(others), 'other')} are taken to be built alike"
    chooser.say(Finding("guessed", message))
    return {**known, **dict.fromkeys(others, _healthy(inside, chooser, is_owned=bool(known)))}


def _alike(inside: NodeFacts, owner: HostFacts | None, hosts: Mapping[str, HostFacts]) -> list[str]:
    """Return hosts with as many GPUs and the product of the owner, else of most such hosts."""
    same = [host for host in hosts.values() if host.gpus in (None, len(inside.gpus))]
    kinds = Counter((host.product, host.machine) for host in same)
    main = (owner.product, owner.machine) if owner else kinds.most_common(1)[0][0] if kinds else None
    return [host.name for host in same if (host.product, host.machine) == main]


def _healthy(node: NodeFacts, chooser: Chooser, is_owned: bool) -> NodeFacts:
    """Return a node like this one with nothing broken and no identity."""
    most = max((g.switch_links or 0 for g in node.gpus), default=0)
    gpus = tuple(
        GpuFacts(g.index, g.product, memory_bytes=g.memory_bytes, switch_links=most or None) for g in node.gpus
    )
    pairs = node.pairs
    off = set(range(len(gpus))) - {gpu for pair in pairs for gpu in pair}
    counts, linked = set(pairs.values()), len(gpus) - len(off)
    if off and len(counts) == 1 and linked > 2 and len(pairs) == linked * (linked - 1) // 2:
        pairs = {(a, b): max(counts) for a in range(len(gpus)) for b in range(a + 1, len(gpus))}
    is_broken = any(g.state or g.pcie_share or (most and g.switch_links == 0) for g in node.gpus) or pairs != node.pairs
    if is_broken and not is_owned:
        message = f"{node.where}: is broken, and no file tells which host it is: name the file after its host"
        chooser.say(Finding("missing", message))
    nics = tuple(NicFacts(nic.name, nic.bytes_per_s) for nic in node.nics)
    return replace(node, host=None, gpus=gpus, pairs=pairs, nics=nics)
