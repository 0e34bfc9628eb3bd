"""Rules on bandwidth: what is set aside for each replica is stated, and no link is promised more than it carries."""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence

from optimizer.topology.bandwidth import capacity
from optimizer.topology.graph import Topology
from optimizer.topology.reach import leaf_switches
from optimizer.verify.evidence import TOLERANCE, Claim, Evidence, agree


def reservations_are_as_recomputed(evidence: Evidence) -> Iterator[str]:
    """A replica's reservations are those of its actual seats."""
    for claim in evidence.seated:
        stated = {r.domain: r.bytes_per_s for r in claim.replica.reservations}
        actual = dict(claim.reserved)
        if len(stated) < len(claim.replica.reservations):
            yield f"{claim.name}: some domain is reserved twice"
        for domain in sorted(set(stated) | set(actual)):
            if not agree(stated.get(domain, 0.0), actual.get(domain, 0.0)):
                yield (
                    f"{claim.name}: reserves {stated.get(domain, 0.0):.6g} B/s of {domain}, "
                    f"its seats take {actual.get(domain, 0.0):.6g}"
                )


def links_carry_what_is_promised(evidence: Evidence) -> Iterator[str]:
    """All reservations on a domain's boundary together stay within what it carries."""
    promised: dict[str, float] = defaultdict(float)
    for claim in evidence.seated:
        for domain, bytes_per_s in claim.reserved:
            promised[domain] += bytes_per_s
    for domain, total in promised.items():
        limit = capacity(evidence.topology, domain)
        if total > limit * (1 + TOLERANCE):
            yield f"{domain}: {total:.6g} B/s are promised, it carries {limit:.6g}"


def mean_traffic_is_reserved(evidence: Evidence) -> Iterator[str]:
    """What a replica sends on average over a node's NICs, or a leaf group's uplinks, is set aside for it there."""
    for claim in evidence.seated:
        sent = claim.replica.estimate.crossing_bytes_per_s
        for name, boundaries in _ways_out(claim).items():
            reserved = [rate for domain, rate in claim.reserved if domain in boundaries]
            if reserved and sent > sum(reserved) * (1 + TOLERANCE):
                yield f"{claim.name}: sends {sent:.6g} B/s out of {name}, where {sum(reserved):.6g} are set aside"


def _ways_out(claim: Claim) -> dict[str, tuple[str, ...]]:
    """Return the boundaries around each node and each leaf group of a replica: its NICs, its leaf switches."""
    nodes = {gpu.node: claim.topology.node(gpu.node) for gpu in claim.gpus or ()}
    ways = {name: tuple(node.nics) for name, node in nodes.items()}
    leaves = dict.fromkeys(node.leaf for node in nodes.values() if node.leaf is not None)
    return ways | {leaf: leaf_switches(claim.topology, leaf) for leaf in leaves}


def nics_and_uplinks_are_not_promised_twice(evidence: Evidence) -> Iterator[str]:
    """The shares of every NIC and of every leaf's uplinks, counted GPU by GPU from the graph, add up to one at most.

    This asks no bandwidth question: who sends over a NIC is read off the seats and the cables alone.
    """
    takers: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for claim in evidence.seated:
        for vertex, share in shares_of(claim).items():
            takers[vertex].append((claim.name, share))
    for vertex, shares in takers.items():
        if sum(share for _, share in shares) > 1 + TOLERANCE:
            told = ", ".join(f"{share:.0%} to {name}" for name, share in shares)
            yield f"{vertex} is promised beyond what it carries: {told}"


def shares_of(claim: Claim) -> dict[str, float]:
    """Return the share of each NIC and leaf switch that traffic between nodes takes: the replica's own, and its KV."""
    graph = claim.topology.graph
    shares: dict[str, float] = defaultdict(float)
    for gpu, far in _senders(claim).items():
        nics = graph.nodes[gpu]["nics"]
        leaves = [leaf for nic in nics for leaf, arc in graph.adj[nic].items() if arc["kind"] == "port"]
        for vertex in (*nics, *(leaf for leaf in leaves if far and _is_narrow(claim, leaf))):
            shares[vertex] += 1 / max(1, graph.nodes[vertex]["gpus"])
    return {vertex: 1.0 if claim.replica.share == "alone" else share for vertex, share in shares.items()}


def _senders(claim: Claim) -> dict[str, bool]:
    """Return the GPUs that send to another node over NICs, and whether to another leaf group."""
    stages = claim.stages
    pairs = [pair for here, there in itertools.pairwise(stages) for pair in zip(here, there, strict=True)]
    senders: dict[str, bool] = {}
    for group in (*stages, *pairs):
        nodes = {claim.topology.gpu(gpu).node for gpu in group}
        if len(nodes) > 1 and not _in_one_nvlink_domain(claim, group):
            far = len({claim.topology.node(node).leaf for node in nodes}) > 1
            senders |= {gpu: far or senders.get(gpu, False) for gpu in group}
    if claim.replica.role != "both" and not _in_one_domain(claim):
        senders |= dict.fromkeys((gpu for stage in stages for gpu in stage), _has_several_leaves(claim.topology))
    return senders


def _in_one_domain(claim: Claim) -> bool:
    """Whether no KV passes a NIC: all GPUs that can hold ranks are in one node, or in one NVLink domain."""
    key = ("verify", "one domain")
    if key not in claim.topology.memo:
        usable = [gpu for gpu in claim.topology.gpus if gpu.placeable]
        together = len({gpu.node for gpu in usable}) == 1
        claim.topology.memo[key] = together or _in_one_nvlink_domain(claim, [gpu.id for gpu in usable])
    return bool(claim.topology.memo[key])


def _has_several_leaves(topology: Topology) -> bool:
    key = ("verify", "several leaves")
    if key not in topology.memo:
        topology.memo[key] = len({node.leaf for node in topology.node_by_name.values()}) > 1
    return bool(topology.memo[key])


def _in_one_nvlink_domain(claim: Claim, group: Sequence[str]) -> bool:
    domains = {
        tuple(v for v, arc in claim.topology.graph.adj[gpu].items() if arc["kind"] == "nvlink" and arc["bytes_per_s"])
        for gpu in group
    }
    return len(domains) == 1 and () not in domains


def _is_narrow(claim: Claim, leaf: str) -> bool:
    """Whether a leaf's uplinks carry less than its ports; one that carries them all cannot be overloaded."""
    key = ("verify", "narrow", leaf)
    if key not in claim.topology.memo:
        arcs = claim.topology.graph.adj[leaf].items()
        up = [arc["bytes_per_s"] for _, arc in arcs if arc["kind"] == "leaf-uplink"]
        ports = sum(arc["bytes_per_s"] for _, arc in arcs if arc["kind"] == "port")
        claim.topology.memo[key] = bool(up) and sum(up) < ports * (1 - TOLERANCE)
    return bool(claim.topology.memo[key])
