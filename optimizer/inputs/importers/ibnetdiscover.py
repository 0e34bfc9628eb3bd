"""`ibnetdiscover`: the cabling of an InfiniBand fabric, port by port: leaves, uplinks, hosts and their adapters.

Node descriptions may be generic; adapters are counted by GUID. SHARP aggregation nodes are no hosts.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from optimizer.errors import InputError
from optimizer.inputs.importers.facts import FabricFacts, Facts, Finding, HostFacts, NicFacts, Pasted, listed
from optimizer.units import parse_bytes_per_s, show_bytes_per_s

KIND = "ibnetdiscover"
_BLOCK = re.compile(r'^(Switch|Ca|Rt)\s+\d+\s+"([SHR]-[0-9a-fA-F]+)"\s*(?:#\s*"([^"]*)")?')
_PORT = re.compile(
    r'^\[(\d+)\](?:\[[^\]]*\])?(?:\([0-9a-fA-F]+\))?\s+"([SHR]-[0-9a-fA-F]+)"\[(\d+)\](?:\([0-9a-fA-F]+\))?\s*(?:#\s*(.*))?$'
)
_RATE = re.compile(r"\b(\d{1,2})x(SDR|DDR|QDR|FDR10|FDR|EDR|HDR|NDR|XDR)\b")
_LANE = {
    "SDR": "2 Gb/s", "DDR": "4 Gb/s", "QDR": "8 Gb/s", "FDR10": "10 Gb/s", "FDR": "13.64 Gb/s",
    "EDR": "25 Gb/s", "HDR": "50 Gb/s", "NDR": "100 Gb/s", "XDR": "200 Gb/s",
}  # fmt: skip
"""One lane's payload (InfiniBand Trade Association roadmap)."""
_GENERIC = re.compile(r"Mellanox|ConnectX|MT\d{4}|NVIDIA|Technologies", re.IGNORECASE)
_NOT_HOSTS = re.compile(r"Aggregation Node|SHARP", re.IGNORECASE)


@dataclass
class _Fabric:
    switches: dict[str, str] = field(default_factory=dict)
    """Description by GUID."""
    adapters: dict[str, str] = field(default_factory=dict)
    ups: dict[str, Counter[str]] = field(default_factory=dict)
    """Cables of a switch to other switches."""
    downs: dict[str, dict[str, float | None]] = field(default_factory=dict)
    """Rate of each adapter of a switch."""
    rates: dict[str, list[float]] = field(default_factory=dict)
    """Of the cables between switches."""


def recognises(pasted: Pasted) -> bool:
    """Whether the text has a block of a switch or adapter."""
    return any(_BLOCK.match(line) for line in pasted.text.split("\n"))


def read(pasted: Pasted) -> Facts:
    """Return the hosts with their leaf and adapters, and leaves that miss uplinks."""
    fabric = _parse(pasted.text)
    leaves = {guid: members for guid, members in fabric.downs.items() if members}
    if not leaves:
        message = f"{pasted.where}: {KIND}: {len(fabric.adapters)} adapters and no switch with a host on it"
        raise InputError(f"{message}: the output breaks off; run ibnetdiscover again and give all of it")
    names = _leaf_names(fabric, leaves)
    hosts, findings = _hosts(fabric, leaves, pasted.where)
    is_rail = any(len(spots) > 1 for spots in hosts.values())
    units = _units(hosts, names) if is_rail else {h: names[next(iter(spots))] for h, spots in hosts.items()}
    if is_rail:
        names = _rail_names(hosts, units, names)
    weak, over, more = _uplinks(fabric, leaves, names, pasted.where)
    facts = tuple(HostFacts(host, leaf=units[host], nics=_nics(spots)) for host, spots in hosts.items())
    shape = "each host on several leaves: rails" if is_rail else "each host on one leaf"
    told = f"{pasted.where}: {KIND}: {len(hosts)} hosts, {len(leaves)} leaves, {len(fabric.switches)} switches; {shape}"
    described = FabricFacts("rail-clos" if is_rail else "fat-tree", over, weak, "infiniband")
    return Facts(hosts=facts, fabric=described, findings=(Finding("read", told), *findings, *more))


def _parse(text: str) -> _Fabric:
    fabric = _Fabric()
    current = ""
    for line in text.split("\n"):
        block = _BLOCK.match(line)
        port = _PORT.match(line)
        if block:
            current = block[2]
            (fabric.switches if block[1] == "Switch" else fabric.adapters)[current] = block[3] or ""
        elif port and current.startswith("S-"):
            _port(fabric, current, port[2], port[4] or "")
    return fabric


def _port(fabric: _Fabric, switch: str, peer: str, comment: str) -> None:
    rate = _rate(comment)
    if peer.startswith("S-"):
        fabric.ups.setdefault(switch, Counter())[peer] += 1
        fabric.rates.setdefault(switch, []).append(rate or 0.0)
        return
    described = re.match(r'"([^"]*)"', comment)
    name = described[1] if described else fabric.adapters.get(peer, "")
    if not _NOT_HOSTS.search(name):
        fabric.adapters.setdefault(peer, name)
        fabric.downs.setdefault(switch, {})[peer] = rate


def _rate(comment: str) -> float | None:
    match = _RATE.search(comment)
    return int(match[1]) * parse_bytes_per_s(_LANE[match[2]]) if match else None


def _leaf_names(fabric: _Fabric, leaves: Mapping[str, object]) -> dict[str, str]:
    """Return a leaf's description, with its GUID where two are called alike."""
    plain = {guid: _clean(fabric.switches.get(guid, "")) or guid for guid in leaves}
    uses = Counter(plain.values())
    return {guid: name if uses[name] == 1 else f"{name}-{guid[-8:]}" for guid, name in plain.items()}


def _clean(description: str) -> str:
    return re.sub(r"[^\w.:/-]+", "-", description.removeprefix("MF0;")).strip("-")


Spots = dict[str, tuple[tuple[str, float | None], ...]]
"""Adapters (name, rate) by leaf."""


def _hosts(
    fabric: _Fabric, leaves: Mapping[str, Mapping[str, float | None]], where: str
) -> tuple[dict[str, Spots], list[Finding]]:
    """Return the adapters of each host by leaf; adapters without a host's name are only reported."""
    hosts: dict[str, dict[str, list[tuple[str, float | None]]]] = {}
    nameless = 0
    for leaf, members in leaves.items():
        for guid, rate in members.items():
            words = fabric.adapters.get(guid, "").split()
            if not words or _GENERIC.search(fabric.adapters[guid]):
                nameless += 1
                continue
            device = words[1] if len(words) > 1 else "hca"
            hosts.setdefault(_clean(words[0]) or guid, {}).setdefault(leaf, []).append((device, rate))
    if not hosts:
        raise InputError(
            f"{where}: all {nameless} adapters have generic names; set node descriptions, or map GUIDs to hosts"
        )
    findings = []
    if nameless:
        message = (
            f"{where}: {nameless} adapters have a generic name: hosts may have more NICs than their own names show"
        )
        findings.append(Finding("missing", message))
    spots = {host: {leaf: tuple(found) for leaf, found in places.items()} for host, places in sorted(hosts.items())}
    return spots, [*findings, *_absent(spots, nameless, where)]


def _absent(hosts: Mapping[str, Spots], nameless: int, where: str) -> list[Finding]:
    """Report hosts with fewer adapters than most."""
    counts = {host: sum(map(len, spots.values())) for host, spots in hosts.items()}
    usual = Counter(counts.values()).most_common(1)[0][0]
    few = [f"{host} ({count})" for host, count in counts.items() if count < usual]
    if not few:
        return []
    proof = "their other adapters may be among the nameless" if nameless else "adapters or cables are missing"
    return [
        Finding("guessed" if nameless else "broken", f"{where}: fewer than {usual} adapters: {listed(few)}; {proof}")
    ]


def _nics(spots: Spots) -> tuple[NicFacts, ...]:
    return tuple(NicFacts(name, rate) for _, name, rate in _in_order(spots))


def _in_order(spots: Spots) -> list[tuple[str, str, float | None]]:
    """Return (leaf, adapter, rate) in the order of the adapters' numbers."""
    found = [(leaf, name, rate) for leaf, members in spots.items() for name, rate in members]
    return sorted(found, key=lambda nic: ([int(n) for n in re.findall(r"\d{1,9}", nic[1])], nic[1], nic[0]))


def _rail_names(hosts: Mapping[str, Spots], units: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    """Return "unit/rail" for each leaf: the place that most of its hosts' adapters on it have."""
    votes: dict[str, Counter[str]] = {}
    for host, spots in hosts.items():
        for rail, (leaf, _, _) in enumerate(_in_order(spots)):
            votes.setdefault(leaf, Counter())[f"{units[host]}/rail{rail}"] += 1
    return {leaf: votes[leaf].most_common(1)[0][0] if leaf in votes else name for leaf, name in names.items()}


def _units(hosts: Mapping[str, Spots], names: Mapping[str, str]) -> dict[str, str]:
    """Return the scalable unit of each host: hosts that share a leaf are in one."""
    unit_of_leaf: dict[str, str] = {leaf: leaf for leaf in names}

    def find(leaf: str) -> str:
        while unit_of_leaf[leaf] != leaf:
            leaf = unit_of_leaf[leaf]
        return leaf

    for spots in hosts.values():
        for a, b in pairwise(spots):
            first, second = sorted((find(a), find(b)))
            unit_of_leaf[second] = first
    order = {root: i for i, root in enumerate(sorted({find(leaf) for leaf in names}), start=1)}
    return {host: f"unit-{order[find(next(iter(spots)))]}" for host, spots in hosts.items()}


def _uplinks(
    fabric: _Fabric, leaves: Mapping[str, Mapping[str, float | None]], names: Mapping[str, str], where: str
) -> tuple[tuple[tuple[str, int, int], ...], float | None, list[Finding]]:
    """Return leaves with fewer uplinks than their best peer, the nominal oversubscription, and what to say."""
    ups = {leaf: sum(fabric.ups.get(leaf, Counter()).values()) for leaf in leaves}
    most = max(ups.values())
    if most == 0:
        said = Finding("missing", f"{where}: no cable between switches: one switch, or the rest is missing")
        return (), None, [said] if len(leaves) > 1 else []
    weak = tuple((names[leaf], count, most) for leaf, count in ups.items() if count < most)
    findings = [
        Finding(
            "broken", f"{where}: leaf {_clean(fabric.switches.get(leaf, leaf))}: {count} of {most} uplinks are there"
        )
        for leaf, count in ups.items()
        if count < most
    ]
    down = max(sum(rate or 0.0 for rate in members.values()) for members in leaves.values())
    up = max(sum(fabric.rates.get(leaf, [])) for leaf in leaves)
    if not up or not down:
        return weak, None, [*findings, Finding("missing", f"{where}: no rates in the output; oversubscription unknown")]
    over = max(1.0, down / up)
    told = f"{where}: a leaf has up to {show_bytes_per_s(down)} to hosts over {show_bytes_per_s(up)} up: {over:.2f}:1"
    return weak, over, [*findings, Finding("read", told)]
