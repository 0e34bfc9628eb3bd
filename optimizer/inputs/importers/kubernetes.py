"""`kubectl get nodes -o json`: GPU labels, place in the fabric, cordons, readiness and lost GPUs of each node.

Labels of the GPU feature discovery, topograph (all generations), GKE, AWS, OCI and whatever a Kueue Topology names.
"""

import re
from collections.abc import Mapping, Sequence

from optimizer.errors import InputError
from optimizer.inputs.importers.facts import MAX_GPUS, FabricFacts, Facts, Finding, HostFacts, Pasted, listed
from optimizer.inputs.importers.products import whole_gpu
from optimizer.units import parse_bytes

KIND = "Kubernetes nodes"
Labels = Mapping[str, object]

FABRIC_LABELS: tuple[tuple[str, ...], ...] = (
    ("fabric.topograph.run/tier-0", "fabric.topograph.run/tier-1"),
    ("network.topology.nvidia.com/tier-0", "network.topology.nvidia.com/tier-1"),
    ("network.topology.nvidia.com/block", "network.topology.nvidia.com/spine"),
    ("network.topology.nvidia.com/leaf", "network.topology.nvidia.com/spine"),
    ("cloud.google.com/gce-topology-subblock", "cloud.google.com/gce-topology-block"),
    ("topology.k8s.aws/network-node-layer-3", "topology.k8s.aws/network-node-layer-2"),
    ("oci.oraclecloud.com/host.rack_id", "oci.oraclecloud.com/host.network_block_id"),
)
"""(leaf, tier above) of each scheme, the most exact first."""
DOMAIN_LABELS = (
    "nvidia.com/gpu.clique",
    "accelerator.topograph.run/sub-domain",
    "accelerator.topograph.run/domain",
    "network.topology.nvidia.com/accelerator",
    "topology.k8s.aws/ultraserver-id",
)
RESOURCES = ("nvidia.com/gpu", "amd.com/gpu", "habana.ai/gaudi", "gpu.intel.com/i915")
PRODUCT_LABELS = (
    "nvidia.com/gpu.product",
    "amd.com/gpu.product-name",
    "beta.amd.com/gpu.product-name",
    "cloud.google.com/gke-accelerator",
)
_COUNT_LABELS = ("nvidia.com/gpu.count", "cloud.google.com/gke-accelerator-count", "amd.com/gpu.count")
_MACHINE_LABELS = ("node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type")
_HARMLESS = re.compile(r"^(nvidia\.com/gpu|amd\.com/gpu|habana\.ai/gaudi|sku|node-role\.kubernetes\.io/.*)$")
_UNHEALTHY = re.compile(
    r"unhealth|unreachable|not-ready|notready|drain|maintenance|remediat|xid|pressure|unavailable|fault|repair|unschedulable",
    re.I,
)


def recognises(pasted: Pasted) -> bool:
    """Whether the JSON is a list of nodes, one node, or the labels of one."""
    return bool(_nodes(pasted.value))


def read(pasted: Pasted) -> Facts:
    """Return the nodes that have GPUs."""
    hosts: list[HostFacts] = []
    findings: list[Finding] = []
    without: list[str] = []
    for position, node in enumerate(_nodes(pasted.value), start=1):
        host = _host(node, position, pasted.where, findings)
        hosts += [host] if host else []
        without += [] if host else [_name(node, position)]
    if not hosts:
        raise InputError(f"{pasted.where}: no node with a GPU label or resource among {listed(without)}")
    if without:
        findings.append(Finding("read", f"{pasted.where}: no GPUs, left out: {listed(without)}"))
    if not any(host.leaf for host in hosts):
        findings.append(
            Finding(
                "missing", f"{pasted.where}: no label names a leaf, block or rack; all nodes are taken as one group"
            )
        )
    said = Finding("read", f"{pasted.where}: {KIND}: {len(hosts)} with GPUs")
    return Facts(hosts=tuple(hosts), fabric=FabricFacts("fat-tree"), findings=(said, *findings))


def _mapping(value: object) -> Labels:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()


def _nodes(value: object) -> list[Labels]:
    """Return node objects; bare labels are wrapped into one."""
    top = _mapping(value)
    if top.get("kind") == "Node":
        return [top]
    items = [_mapping(item) for item in _list(top.get("items"))]
    if items:
        return [item for item in items if item.get("kind", "Node") == "Node" and "metadata" in item]
    if any("nvidia.com/gpu" in key or "amd.com/gpu" in key for key in map(str, top)):
        return [{"metadata": {"labels": top}}]
    return []


def _labels(node: Labels) -> Labels:
    return _mapping(_mapping(node.get("metadata")).get("labels"))


def _name(node: Labels, position: int) -> str:
    metadata = _mapping(node.get("metadata"))
    return str(metadata.get("name") or _labels(node).get("kubernetes.io/hostname") or f"node{position}")


def _first(labels: Labels, keys: Sequence[str]) -> str | None:
    return next((str(labels[key]) for key in keys if labels.get(key)), None)


def _host(node: Labels, position: int, where: str, findings: list[Finding]) -> HostFacts | None:
    labels, name = _labels(node), _name(node, position)
    product = _first(labels, PRODUCT_LABELS)
    capacity, usable = (_resource(_mapping(node.get("status")).get(key)) for key in ("capacity", "allocatable"))
    named = _number(_first(labels, _COUNT_LABELS))
    gpus = max(capacity or 0, named or 0)
    is_sliced = product is not None and _say_sliced(product, labels, f"{where}: {name}", findings)
    if not gpus:
        return None
    if is_sliced and named:
        gpus = named
    lost = 0 if is_sliced or usable is None else max(0, gpus - usable)
    if lost:
        message = (
            f"{where}: {name}: {usable} of {gpus} GPUs can be allocated; which are lost is not said, the last are taken"
        )
        findings.append(Finding("broken", message))
    state, reason = _state(node, f"{where}: {name}", findings)
    leaf, pod = next(((labels[a], labels.get(b)) for a, b in FABRIC_LABELS if labels.get(a)), (None, None))
    return HostFacts(
        name=name,
        product=whole_gpu(product)[0] if product else None,
        memory_bytes=None if is_sliced else _memory(labels.get("nvidia.com/gpu.memory")),
        gpus=min(gpus, MAX_GPUS),
        lost=min(lost, MAX_GPUS),
        machine=_first(labels, _MACHINE_LABELS),
        state=state,  # type: ignore[arg-type]
        reason=reason,
        leaf=str(leaf) if leaf else None,
        pod=str(pod) if pod else None,
        domain=_first(labels, DOMAIN_LABELS),
        labels={str(key): str(value) for key, value in labels.items()},
    )


def _number(value: object) -> int | None:
    return int(str(value)) if re.fullmatch(r"\d{1,5}", str(value)) else None


def _resource(amounts: object) -> int | None:
    found = [_number(_mapping(amounts).get(key)) for key in RESOURCES]
    return next((n for n in found if n is not None), None)


def _memory(value: object) -> int | None:
    """Return bytes of a label in MiB; hand-made labels have a unit."""
    text = str(value or "")
    match = re.fullmatch(r"(\d{4,7})(?:\s*MiB?)?|(\d{1,4})\s*(GB?|GiB?)", text)
    if match is None:
        return None
    return parse_bytes(f"{match[1]} MiB" if match[1] else f"{match[2]} {'GiB' if 'i' in match[3] else 'GB'}")


def _say_sliced(product: str, labels: Labels, where: str, findings: list[Finding]) -> bool:
    if not whole_gpu(product)[1]:
        return False
    strategy = labels.get("nvidia.com/mig.strategy")
    message = f"{where}: product {product!r} names a slice" + (f" (MIG strategy {strategy})" if strategy else "")
    findings.append(
        Finding("guessed", f"{message}; whole GPUs are planned, memory and count labels may describe slices")
    )
    return True


def _state(node: Labels, where: str, findings: list[Finding]) -> tuple[str | None, str | None]:
    spec, status = _mapping(node.get("spec")), _mapping(node.get("status"))
    conditions = {str(_mapping(c).get("type")): c for c in _list(status.get("conditions"))}
    ready = _mapping(conditions.get("Ready"))
    if ready and ready.get("status") != "True":
        reason = str(ready.get("reason") or "NotReady")
        findings.append(Finding("broken", f"{where}: not ready ({reason}): down"))
        return "down", reason
    taints = [
        str(_mapping(t).get("key"))
        for t in _list(spec.get("taints"))
        if _mapping(t).get("effect") != "PreferNoSchedule"
    ]
    bad = [key for key in taints if _UNHEALTHY.search(key)]
    if spec.get("unschedulable") is True:
        findings.append(Finding("broken", f"{where}: cordoned (spec.unschedulable)"))
        return "cordoned", "spec.unschedulable"
    if bad:
        findings.append(Finding("broken", f"{where}: tainted {listed(bad)}: cordoned"))
        return "cordoned", f"taint {bad[0]}"
    other = [key for key in taints if not _HARMLESS.match(key)]
    if other:
        findings.append(Finding("read", f"{where}: taint {listed(other)} keeps pods without a toleration away"))
    return None, None
