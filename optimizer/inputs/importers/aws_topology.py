"""`aws ec2 describe-instance-topology`: the network nodes above each instance, root first."""

from collections.abc import Mapping

from optimizer.errors import InputError
from optimizer.inputs.importers.facts import FabricFacts, Facts, Finding, HostFacts, Pasted, listed
from optimizer.inputs.importers.machines import machine

KIND = "AWS DescribeInstanceTopology"
_GPU_FAMILIES = ("p", "g")


def recognises(pasted: Pasted) -> bool:
    """Whether the JSON is the answer of that call."""
    instances = _instances(pasted.value)
    return bool(instances) and "NetworkNodes" in instances[0]


def read(pasted: Pasted) -> Facts:
    """Return the instances with GPUs, their leaf and its parent."""
    hosts, others = [], []
    for item in _instances(pasted.value):
        kind = str(item.get("InstanceType") or "")
        name = str(item.get("InstanceId") or "")
        if not name or not kind.startswith(_GPU_FAMILIES):
            others.append(f"{name or '?'} ({kind or 'no type'})")
            continue
        above = [str(n) for n in _list(item.get("NetworkNodes"))]
        hosts.append(
            HostFacts(name, machine=kind, leaf=above[-1] if above else None, pod=above[-2] if above[1:] else None)
        )
    if not hosts:
        raise InputError(f"{pasted.where}: {KIND}: no instance with GPUs among {listed(others)}")
    findings = [Finding("read", f"{pasted.where}: {KIND}: {len(hosts)} instances with GPUs")]
    if others:
        findings.append(Finding("read", f"{pasted.where}: no GPUs, left out: {listed(others)}"))
    strange = sorted({h.machine or "" for h in hosts if machine(h.machine) is None})
    if strange:
        findings.append(Finding("missing", f"{pasted.where}: GPUs and NICs of {listed(strange)} are not known here"))
    return Facts(hosts=tuple(hosts), fabric=FabricFacts("fat-tree", transport="efa"), findings=tuple(findings))


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _instances(value: object) -> list[Mapping[str, object]]:
    found = value.get("Instances") if isinstance(value, Mapping) else None
    return [item for item in _list(found) if isinstance(item, Mapping)]
