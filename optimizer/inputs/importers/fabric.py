"""Hosts in fabric order to node entries, the fabric that joins them, and what of it is missing."""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from optimizer.inputs.cluster import (
    Fabric,
    FatTree,
    Match,
    NodeEntry,
    NodeTemplate,
    NvSwitch,
    OneSwitch,
    Override,
    RailClos,
    Torus,
)
from optimizer.inputs.importers.facts import FabricFacts, Finding, HostFacts

Say = Callable[[Finding], None]
RACK_SCALE = ("gb200", "gb300", "gh200-96", "gh200-144")
"""GPU types whose NVLink leaves the node."""


@dataclass(frozen=True)
class Placed:
    """A host with its template."""

    host: HostFacts
    template: str | None
    gpus: int
    nics: int
    overrides: tuple[Override, ...] = ()
    gpu_ids: tuple[str, ...] = ()

    def all_overrides(self) -> list[Override]:
        """Return what differs on this host: parts of the node, lost GPUs, its state."""
        name = node_name(self.host.name)
        found = [o.model_copy(update={"match": o.match.model_copy(update={"node": name})}) for o in self.overrides]
        reason = "cannot be allocated; which one is not told"
        for index in range(max(0, self.gpus - self.host.lost), self.gpus):
            mark = self.gpu_ids[index] if self.gpu_ids else index
            found.append(Override(match=Match(node=name, gpu=mark), state="lost", reason=reason))
        if self.host.state:
            found.append(Override(match=Match(node=name), state=self.host.state, reason=self.host.reason))
        return found


def node_name(name: str) -> str:
    """Return a name that a host list can hold."""
    return re.sub(r"[\[\],\s]+", "-", name).strip("-") or "node"


def in_order(placed: Sequence[Placed]) -> list[Placed]:
    """Return hosts of a pod, leaf and NVLink domain next to each other, else in file order."""
    ranks: tuple[dict[object, int], ...] = ({}, {}, {})
    for p in placed:
        for rank, key in zip(ranks, (p.host.pod, p.host.leaf, p.host.domain), strict=True):
            rank.setdefault(key, len(rank))
    return sorted(placed, key=lambda p: (ranks[0][p.host.pod], ranks[1][p.host.leaf], ranks[2][p.host.domain]))


def entries_of(
    placed: Sequence[Placed], templates: Mapping[str, NodeTemplate], say: Say
) -> tuple[tuple[NodeEntry, ...], dict[str, NodeTemplate]]:
    """Return node entries, consecutive equal hosts in one host list, and the templates with NVLink domains in them."""
    known = dict(templates)
    sizes: Counter[tuple[str | None, str | None]] = Counter(
        (p.host.domain, p.template) for p in placed if p.host.domain
    )
    runs: list[tuple[tuple[object, ...], list[Placed]]] = []
    for p in placed:
        template = _with_domain(str(p.template), sizes[p.host.domain, p.template], known, say)
        key = (template, p.host.leaf, p.gpu_ids or None, p.host.at)
        if runs and runs[-1][0] == key and not p.gpu_ids:
            runs[-1][1].append(p)
        else:
            runs.append((key, [p]))
    entries = tuple(
        NodeEntry(
            name=fold([node_name(p.host.name) for p in members]),
            template=str(key[0]),
            leaf=members[0].host.leaf,
            at=members[0].host.at,
            gpu_ids=members[0].gpu_ids,
        )
        for key, members in runs
    )
    return entries, known


def _with_domain(name: str, nodes: int, templates: dict[str, NodeTemplate], say: Say) -> str:
    """Return the template whose NVLink domain spans ``nodes`` nodes, made when it is not there."""
    template = templates[name]
    if template.gpu not in RACK_SCALE or template.nvswitch is None:
        return name
    if nodes < 2:
        message = f"{template.gpu}: no file tells which nodes share an NVLink domain (rack); each node is one"
        say(Finding("missing", f"{message} (labels nvidia.com/gpu.clique or Slurm blocks would)"))
        return name
    wide = f"{name}-nvl{nodes}"
    if wide not in templates:
        nvswitch = NvSwitch.model_validate(template.nvswitch.model_dump() | {"nodes": nodes, "bandwidth": None})
        nvswitch = nvswitch.model_copy(update={"bandwidth": template.nvswitch.bandwidth})
        templates[wide] = template.model_copy(update={"nvswitch": nvswitch})
        say(Finding("read", f"{template.gpu}: NVLink domains of {nodes} nodes"))
    return wide


def fold(names: Sequence[str]) -> str:
    """Return names as one host list, in their order: a run of numbers of one width becomes a range."""
    if len(names) == 1:
        return names[0]
    parts = [re.fullmatch(r"(.*?)(\d{1,9})(\D*)", name) for name in names]
    runs: list[tuple[str, str, list[str]]] = []
    for name, match in zip(names, parts, strict=True):
        head, digits, tail = match.groups() if match else (name, "", "")
        if runs and digits and runs[-1][:2] == (head, tail) and _follows(runs[-1][2][-1], digits):
            runs[-1][2].append(digits)
        else:
            runs.append((head, tail, [digits]))
    return ",".join(_run(head, tail, numbers) for head, tail, numbers in runs)


def _follows(before: str, after: str) -> bool:
    has_width = len(before) == len(after) or (before[0] != "0" and after[0] != "0")
    return bool(before) and has_width and int(after) == int(before) + 1


def _run(head: str, tail: str, numbers: Sequence[str]) -> str:
    return f"{head}[{numbers[0]}-{numbers[-1]}]{tail}" if len(numbers) > 1 else f"{head}{numbers[0]}{tail}"


def fabric_of(
    placed: Sequence[Placed], facts: FabricFacts | None, say: Say
) -> tuple[Fabric | None, tuple[Override, ...]]:
    """Return what joins the nodes, None for one node or when nothing tells, and overrides of weak leaves."""
    if len(placed) < 2:
        return None, ()
    if facts is None:
        say(Finding("missing", "no file tells how the nodes are joined: no replica will span two; add `fabric:`"))
        return None, ()
    if not any(p.nics for p in placed):
        say(Finding("missing", "no file tells the NICs of the nodes: nothing joins them; add `nics:` to the template"))
    if facts.kind == "torus":
        return _torus(placed, facts, say), ()
    if facts.oversubscription is None and facts.kind != "switch":
        say(Finding("missing", "no file tells the oversubscription of the fabric; 1.0 (none) is written"))
    leaves = Counter(p.host.leaf for p in placed)
    latency = None if facts.latency_s is None else f"{facts.latency_s!r} s"
    if facts.kind == "switch" and len(leaves) < 2:
        return OneSwitch(latency=latency), ()
    names = {leaf for p in placed for leaf in (p.host.leaf, *(f"{p.host.leaf}/rail{i}" for i in range(p.nics)))}
    weak = tuple(
        Override(match=Match(leaf=leaf), uplinks=f"{up}/{most}", reason="uplinks missing")
        for leaf, up, most in facts.weak_leaves
        if leaf in names
    )
    over = facts.oversubscription or 1.0
    size = max(leaves.values())
    if facts.kind == "rail-clos":
        return RailClos(nodes_per_leaf=size, oversubscription=over, latency=latency), weak
    pods = {p.host.leaf: p.host.pod for p in placed}
    per_pod = Counter(pods.values())
    three_tiers = len(per_pod) > 1 and None not in per_pod
    if three_tiers and len(set(per_pod.values())) > 1:
        say(
            Finding(
                "guessed", f"pods of unequal size are taken as pods of {max(per_pod.values())} leaves in file order"
            )
        )
    per = max(per_pod.values()) if three_tiers else None
    return FatTree(nodes_per_leaf=size, oversubscription=over, leaves_per_pod=per, latency=latency), weak


def _torus(placed: Sequence[Placed], facts: FabricFacts, say: Say) -> Torus | None:
    """Return the torus of the nodes; None where it has no room for them."""
    if len(placed) > math.prod(facts.shape):
        shape = " x ".join(map(str, facts.shape))
        say(Finding("broken", f"{len(placed)} nodes on a torus of {shape} places: nothing is joined; add `fabric:`"))
        return None
    say(Finding("missing", "no file tells what a link of the torus carries: no replica will span two nodes; "
                           "add `fabric: {link: ...}`"))  # fmt: skip
    return Torus(shape=facts.shape)


def on_torus(placed: Sequence[Placed], facts: FabricFacts | None) -> list[Placed]:
    """Return hosts in the order of their places, which are dropped where that order alone tells them."""
    if facts is None or facts.kind != "torus" or len(placed) < 2:
        return [replace(p, host=replace(p.host, at=None)) for p in placed]
    ordered = sorted(placed, key=lambda p: (p.host.at is None, p.host.at or ()))
    is_full = len(ordered) == math.prod(facts.shape)
    if is_full and [p.host.at for p in ordered] == list(product(*map(range, facts.shape))):
        return [replace(p, host=replace(p.host, at=None)) for p in ordered]
    return ordered
