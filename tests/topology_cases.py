"""Clusters for the topology tests: round figures, or those of the machine named."""

from typing import Any

from optimizer.inputs.cluster import ClusterSpec
from optimizer.topology.graph import Topology, build

GB_PER_S = 10**9


def gpu(
    gpu_id: str, scale_up: dict[str, Any] | None = None, pcie: str = "64 GB/s", *, p2p: bool = True
) -> dict[str, Any]:
    return {
        "id": gpu_id, "name": gpu_id, "vendor": "nvidia", "architecture": "hopper", "memory": "80 GiB",
        "memory_bandwidth": "3 TB/s", "peak": {"bf16": "900 TFLOP/s"}, "scale_up": scale_up, "pcie_bandwidth": pcie,
        "peer_to_peer": p2p, "tdp": "700 W", "sources": {"*": "round figures"},
    }  # fmt: skip


GPUS = {
    "switched": gpu("switched", {"kind": "nvswitch", "bandwidth": "450 GB/s", "links": 18}),
    "other": gpu("other", {"kind": "nvswitch", "bandwidth": "300 GB/s", "links": 12}),
    "meshed": gpu("meshed", {"kind": "mesh", "bandwidth": "448 GB/s", "pair_bandwidth": "64 GB/s", "links": 7}),
    "plain": gpu("plain"),
    "host-only": gpu("host-only", pcie="32 GB/s", p2p=False),
}

HGX: dict[str, Any] = {"gpu": "switched", "gpus": 8, "nvswitch": {}, "nics": {"count": 8, "bandwidth": "400 Gb/s"}}
PCIE: dict[str, Any] = {
    "gpu": "plain", "gpus": 8, "nics": {"count": 2, "bandwidth": "200 Gb/s"},
    "pcie": {"gpus_per_switch": 4, "sockets": 2, "socket_bandwidth": "20 GB/s"},
}  # fmt: skip


def cluster(template: dict[str, Any], count: int = 1, /, **more: Any) -> ClusterSpec:
    nodes = [{"name": f"n[1-{count}]", "template": "t"}]
    given = {"name": "case", "nodes": nodes, "templates": {"t": template}, "gpus": GPUS}
    return ClusterSpec.model_validate(given | more)


def topology(template: dict[str, Any], count: int = 1, /, **more: Any) -> Topology:
    return build(cluster(template, count, **more))


def on(node: str, *indices: int) -> tuple[str, ...]:
    return tuple(f"{node}/{index}" for index in indices)


def fault(state: str | None = None, reason: str | None = None, **match_and_more: Any) -> dict[str, Any]:
    effects = ("bandwidth", "links_active", "uplinks", "speed_factor")
    more: dict[str, Any] = {key: match_and_more.pop(key) for key in effects if key in match_and_more}
    return {"match": match_and_more, "state": state, "reason": reason, **more}
