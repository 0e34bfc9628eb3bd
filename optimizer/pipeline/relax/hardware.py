"""More GPUs: further nodes of a kind that the cluster has, or a larger node where nodes are not joined."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from optimizer.errors import InputError
from optimizer.inputs.cluster import ClusterSpec, NodeEntry, NodeTemplate
from optimizer.inputs.hostlist import all_hosts
from optimizer.pipeline.relax.asking import Asker, Relaxed, first_true
from optimizer.pipeline.request import Request
from optimizer.pipeline.usable import classes_of
from optimizer.topology.graph import build

DOUBLINGS = 4
"""Up to sixteen times the nodes, or the GPUs of a node, are tried."""

LARGEST_NODE = 16
"""GPUs of a node up to which it is grown: servers of more than so many behind PCIe switches are not sold."""

MOST_KINDS = 8
"""Kinds of nodes, by hardware and place, up to which a larger cluster is asked about: placements multiply with them."""

Grown = Callable[[int], ClusterSpec]
"""The cluster with so many nodes (or GPUs in a node) more."""


def more_gpus(asker: Asker) -> Iterator[Relaxed]:
    """Yield the question with the fewest more nodes that give an answer, or in a cluster without fabric more GPUs."""
    if not asker.may_ask("gpus"):
        return
    cluster = asker.request.cluster
    name = _template(cluster)
    template, nodes = cluster.templates[name], sum(map(_nodes, cluster.nodes))
    own = sum(_nodes(entry) for entry in cluster.nodes if entry.template == name)
    ways: list[tuple[Grown, tuple[int, ...], int, str]] = [
        (_with_nodes(cluster, name), _steps(nodes), template.size, f"nodes {name}")
    ]
    if cluster.fabric is None and _may_grow(template):
        steps = tuple(more for more in _steps(template.size) if template.size + more <= LARGEST_NODE)
        ways.append((_with_gpus(cluster, name), steps, own, f"GPUs in each {name}"))
    for grown, steps, gpus, words in ways:
        more = _fewest(asker, grown, steps, gpus)
        if more is not None:
            request = replace(asker.request, cluster=grown(more))
            told = f"{more} more {words if more > 1 else words.replace('nodes', 'node', 1).replace('GPUs', 'GPU', 1)}"
            there = _gpus(cluster)
            plan = asker.plan(request, asker.prices)
            yield from asker.told("gpus", there, there + more * gpus, request, plan, detail=told)
            return


def _steps(there: int) -> tuple[int, ...]:
    """Return how many more make two, four, ... times as many."""
    return tuple(there * (2**doubling - 1) for doubling in range(1, DOUBLINGS + 1))


def _fewest(asker: Asker, grown: Grown, steps: Iterable[int], gpus: int) -> int | None:
    """Return how many more are enough: the first of ``steps`` that is, then guessed from the fewest GPUs of a plan.

    ``gpus``: what each adds.
    """

    def on(more: int) -> Request:
        return replace(asker.request, cluster=grown(more))

    def works(more: int) -> bool:
        return asker.may_ask("gpus") and asker.works(on(more), asker.prices)

    few = 0
    for enough in steps:
        if _kinds(grown(enough)) > MOST_KINDS:
            asker.skipped["gpus"] = None
            return None
        fewest = asker.fewest_gpus(on(enough), asker.prices) if asker.may_ask("gpus") else None
        if fewest is not None:
            guess = max(few + 1, -(-(fewest - _gpus(asker.request.cluster)) // gpus))
            return guess if guess >= enough or works(guess) else first_true(works, guess + 1, enough)
        few = enough
    return None


def _kinds(cluster: ClusterSpec) -> int:
    """Return how many nodes of a cluster can be told apart."""
    try:
        return len(classes_of(build(cluster)))
    except InputError:  # a cluster that cannot be grown so: the question is refused in turn
        return 0


def _template(cluster: ClusterSpec) -> str:
    """Return the template to take more of: the cheapest GPUs where all have prices, else what most nodes have."""
    names = list(dict.fromkeys(entry.template for entry in cluster.nodes))
    nodes = {name: sum(_nodes(entry) for entry in cluster.nodes if entry.template == name) for name in names}
    types = {name: _types(cluster.templates[name]) for name in names}
    if all(gpu in cluster.prices for own in types.values() for gpu in own):
        return min(names, key=lambda name: (max(cluster.prices[gpu][0] for gpu in types[name]), -nodes[name]))
    return max(names, key=lambda name: nodes[name])


def _types(template: NodeTemplate) -> set[str]:
    groups = template.gpus if not isinstance(template.gpus, int) else ()
    return {str(gpu) for gpu in (template.gpu, *(group.gpu for group in groups)) if gpu is not None}


def _nodes(entry: NodeEntry) -> int:
    return len(all_hosts((entry,))[0])


def _gpus(cluster: ClusterSpec) -> int:
    return sum(_nodes(entry) * cluster.templates[entry.template].size for entry in cluster.nodes)


def _with_nodes(cluster: ClusterSpec, template: str) -> Grown:
    """Return the cluster with more nodes of a template, under names that are free."""
    taken = {name for names in all_hosts(cluster.nodes) for name in names}
    stem = next(stem for stem in ("more", "further", "additional-node-") if not any(n.startswith(stem) for n in taken))

    def grown(more: int) -> ClusterSpec:
        entry = NodeEntry(name=f"{stem}[1-{more}]" if more > 1 else f"{stem}1", template=template)
        return cluster.model_copy(update={"nodes": (*cluster.nodes, entry)})

    return grown


def _may_grow(template: NodeTemplate) -> bool:
    """Whether a node could have more GPUs without saying how they are wired one by one."""
    one_by_one = template.bridges or (template.nics and (template.nics.names or template.nics.nearest))
    return isinstance(template.gpus, int) and not one_by_one


def _with_gpus(cluster: ClusterSpec, name: str) -> Grown:
    """Return the cluster with more GPUs in every node of a template."""
    template = cluster.templates[name]
    entries = tuple(entry.model_copy(update={"gpu_ids": ()}) for entry in cluster.nodes)

    def grown(more: int) -> ClusterSpec:
        larger = template.model_copy(update={"gpus": template.size + more})
        return cluster.model_copy(update={"nodes": entries, "templates": {**cluster.templates, name: larger}})

    return grown
