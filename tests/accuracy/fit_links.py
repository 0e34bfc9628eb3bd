"""Links of every kind for a calibration: fitted where the tables have the GPU, taken from elsewhere where not."""

import fit_tables

from optimizer.inputs.gpu import GpuSpec
from optimizer.units import MIB

Tree = dict[str, object]
Rows = list[dict[str, str]]

OPERATIONS = {
    "all_reduce": "all_reduce",
    "all_gather": "all_gather",
    "reduce_scatter": "reduce_scatter",
    "all_to_all": "alltoall",
}
P2P: dict[str, Tree] = {
    "nvswitch": {"base": 30e-6, "hop": 0.0, "efficiency": 0.8, "ramp": 3e-6},
    "pcie": {"base": 30e-6, "hop": 0.0, "efficiency": 0.62, "ramp": 10e-6},
    "host": {"base": 30e-6, "hop": 0.0, "efficiency": 0.4, "ramp": 15e-6},
}
"""nvswitch: send/recv of H200 in eager mode, 32 to 45 us up to 4 MB, 356 GB/s at 268 MB (own microbenchmark). pcie and
host: guesses, the same start and the efficiency their collectives reach."""

RDMA_FIT: Tree = {"base": 20e-6, "hop": 5e-6, "efficiency": 0.92, "ramp": 10e-6}
RDMA_SOURCE = (
    "efficiency: 365 of 400 GB/s ring all-reduce on 4 nodes of 8 H200 (stas00/ml-engineering), 46 to 48 of 50 GB/s per "
    "NDR NIC (NVIDIA/nccl-tests issue 290); latency: NCCL's own planning values (tuning.cc), 5 us per hop"
)
MESH_FIT: Tree = {"base": 8e-6, "hop": 1e-6, "efficiency": 0.7, "ramp": 8e-6}
MESH_SOURCE = "8 MI300X: 313 of 448 GB/s all-reduce (stas00/ml-engineering); latency taken from NVSwitch"


def links(gpu: GpuSpec, published: str, rows: Rows) -> tuple[Tree, Tree]:
    """Return what the links of a GPU reach, and the errors; ``published`` is its name in the tables."""
    ours = [row for row in rows if row["gpu"] == published]
    if gpu.scale_up is not None:
        return _switched(gpu, ours, gpu.scale_up.bandwidth)
    tree, errors = _library(ours, "pcie", gpu.pcie_bandwidth, (2,))
    host, more = _library(ours, "host", gpu.pcie_bandwidth, (4,))
    tree |= host
    for kind, ranks in (("pcie", ("2",)), ("host", ("4", "8"))):
        own, slips = _own(ours, kind, gpu.pcie_bandwidth, dict.fromkeys(ranks, "256 KiB"))
        link = tree[kind]
        assert isinstance(link, dict)
        link["own"] = own
        more |= slips
    return tree, errors | more


def _library(rows: Rows, kind: str, rate: float, sizes: tuple[int, ...], *, summed: bool = False) -> tuple[Tree, Tree]:
    """Return what the library reaches; ``summed``: from five GPUs the switch sums, which is no ring."""
    operations: Tree = {"p2p": P2P[kind]}
    errors: Tree = {}
    for name, published in OPERATIONS.items():
        ring = sizes[:2] if summed and name == "all_reduce" else sizes
        chosen = [r for r in rows if r["library"] == "nccl" and r["op"] == published and int(r["num_gpus"]) in ring]
        fit = fit_tables.collective(chosen, published, rate)
        base, hop, efficiency, ramp, own_part = fit.values
        if kind == "host" and name == "all_to_all":
            efficiency *= PAIRS_CROSS
        fitted = {"base": base, "hop": hop, "efficiency": efficiency, "ramp": ramp}
        if name != "all_reduce" and len(sizes) > 1:
            fitted["own_part"] = own_part
        operations[name] = fitted
        errors[f"{kind} {name}"] = fit.error()
    return {kind: {"operations": operations}}, errors


def _switched(gpu: GpuSpec, rows: Rows, rate: float) -> tuple[Tree, Tree]:
    """Return NVSwitch links: the library's ring, the sum in the switch (from 5 GPUs, Hopper on), the engine's own."""
    tree, errors = _library(rows, "nvswitch", rate, (2, 4, 8), summed=gpu.architecture != "ampere")
    link = tree["nvswitch"]
    assert isinstance(link, dict)
    link["own"], more = _own(rows, "nvswitch", rate, OWN_LIMITS[gpu.architecture == "ampere"])
    errors |= more
    eight = [r for r in rows if r["library"] == "nccl" and r["op"] == "all_reduce" and r["num_gpus"] == "8"]
    if eight and gpu.architecture != "ampere":
        efficiency = IN_SWITCH[gpu.architecture]
        summed = fit_tables.in_switch(eight, rate, efficiency)
        base, ramp = summed.values
        link["in_switch"] = {"base": base, "efficiency": efficiency, "ramp": ramp, "min_ranks": 5}
        errors["nvswitch all-reduce in the switch"] = summed.error()
    return tree, errors


IN_SWITCH = {"hopper": 482 / 450 / 1.75, "blackwell": 838 / 900 / 1.75}
"""Share of a port's rate at 8 to 16 GiB on 8 H200 and 8 B200: bus bandwidth over 2(n-1)/n (stas00/ml-engineering)."""

PAIRS_CROSS = 4 / 3
"""Four GPUs in pairs: each pair sends all that one of them holds to the other pair, where one domain would send 3/4."""


def _own(rows: Rows, kind: str, rate: float, limits: dict[str, str]) -> tuple[Tree, Tree]:
    """Return all-reduces as the engine runs them in a graph, by ranks, up to their limits, and the errors."""
    most = 64 * MIB if kind == "nvswitch" else MIB
    graph = [r for r in rows if r["mode"] == "vllm_graph" and float(r["bytes"]) <= most]
    if kind != "nvswitch":  # before 0.24 two GPUs on PCIe went through NCCL
        graph = [r for r in graph if r["file_version"] == max(row["file_version"] for row in graph)]
    own: Tree = {}
    errors: Tree = {}
    for ranks, limit in limits.items():
        ours = [r for r in graph if r["num_gpus"] == ranks]
        if not ours:
            continue
        fit = fit_tables.own_all_reduce(ours, rate)
        own[ranks] = dict(zip(("base", "efficiency", "ramp"), fit.values, strict=True)) | {"limit": limit}
        errors[f"{kind} engine's own all-reduce of {ranks}"] = fit.error()
    return own, errors


def larger_groups(links: Tree, kin: Tree, name: str) -> Tree:
    """Complete the switched links of a GPU whose tables end at four ranks with those of its kin; return the source."""
    link, whole = links["nvswitch"], kin["nvswitch"]
    assert isinstance(link, dict)
    assert isinstance(whole, dict)
    link["own"] = whole["own"] | link["own"]
    link["in_switch"] = whole["in_switch"]
    return {"links nvswitch": f"{name} for groups of more than four"}


OWN_LIMITS = {
    True: {"2": "8 MiB", "4": "8 MiB", "8": "8 MiB"},
    False: {"2": "8 MiB", "4": "8 MiB", "8": "64 MiB"},
}
"""Longest messages vLLM 0.24 keeps from NCCL (custom_all_reduce.py, symm_mem.py); from Hopper on, what its own kernel
does not take goes to symmetric memory at 8 ranks, which the tables' graph rows include."""


def all_links(own: Tree, others: Tree) -> tuple[Tree, Tree]:
    """Return links of every kind, those that are not measured taken from elsewhere, and their sources."""
    borrowed: Tree = {}
    tree = dict(own)
    for kind, (link, source) in {
        "nvlink": (_without_switch(tree, others), "two GPUs behind an NVSwitch"),
        "nvswitch": (others["nvswitch"], "H100"),
        "pcie": (others["pcie"], "RTX PRO 6000"), "host": (others["host"], "L40S, four GPUs; depends on the box"),
        "mesh": (_same_for_all(MESH_FIT), MESH_SOURCE), "rdma": (_same_for_all(RDMA_FIT), RDMA_SOURCE),
    }.items():  # fmt: skip
        if kind not in tree:
            tree[kind] = link
            borrowed[f"links {kind}"] = source
    return tree, borrowed


def _without_switch(own: Tree, others: Tree) -> Tree:
    link = own.get("nvswitch") or others["nvswitch"]
    assert isinstance(link, dict)
    return {key: value for key, value in link.items() if key != "in_switch"}


def _same_for_all(fit: Tree) -> Tree:
    return {"operations": dict.fromkeys((*OPERATIONS, "p2p"), fit)}
