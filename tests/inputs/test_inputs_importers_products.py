"""Names of GPUs to catalogue ids, clusters to YAML, host lists."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from importing import cluster
from operator_files import hgx, ibnet, matrix

from optimizer.inputs import presets
from optimizer.inputs.cluster import ClusterSpec, NodeEntry
from optimizer.inputs.hostlist import expand
from optimizer.inputs.importers import to_yaml
from optimizer.inputs.importers.fabric import fold
from optimizer.inputs.importers.machines import MACHINES
from optimizer.inputs.importers.products import DEVICES, FAMILIES, candidates
from optimizer.inputs.read import read_cluster
from optimizer.topology.graph import build

NAMES = {
    "NVIDIA H100 80GB HBM3": "h100-sxm",
    "NVIDIA-H100-80GB-HBM3": "h100-sxm",
    "NVIDIA H100 PCIe": "h100-pcie",
    "NVIDIA H100 NVL": "h100-nvl",
    "NVIDIA H200": "h200-sxm",
    "NVIDIA H200 NVL": "h200-nvl",
    "NVIDIA H20": "h20",
    "NVIDIA H800": "h800-sxm",
    "NVIDIA A100-SXM4-40GB": "a100-40-sxm",
    "NVIDIA A100-SXM4-80GB": "a100-80-sxm",
    "NVIDIA A100-PCIE-40GB": "a100-40-pcie",
    "NVIDIA A100 80GB PCIe": "a100-80-pcie",
    "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb": "a100-80-sxm",
    "NVIDIA-L40S-SHARED": "l40s",
    "NVIDIA A800-SXM4-80GB": "a800-80-sxm",
    "Tesla V100-SXM2-32GB": "v100-sxm2-32",
    "Tesla T4": "t4",
    "NVIDIA A10": "a10",
    "NVIDIA A30": "a30",
    "NVIDIA L4": "l4",
    "NVIDIA L40S": "l40s",
    "NVIDIA B200": "b200-sxm",
    "NVIDIA B300 SXM6 AC": "b300-sxm",
    "NVIDIA GB200": "gb200",
    "NVIDIA GB300": "gb300",
    "NVIDIA GH200 480GB": "gh200-96",
    "NVIDIA GH200 144G HBM3e": "gh200-144",
    "NVIDIA-GeForce-RTX-4090": "rtx4090",
    "NVIDIA GeForce RTX 5090": "rtx5090",
    "NVIDIA RTX PRO 6000 Blackwell Server Edition": "rtx-pro-6000-bw-server",
    "AMD Instinct MI300X OAM": "mi300x",
    "AMD_Instinct_MI325X": "mi325x",
    "10de:2335": "h200-sxm",
    "1002:74a1": "mi300x",
    "h100-sxm": "h100-sxm",
}
MEMORY = {"NVIDIA GH200 480GB": 97871 * 2**20}

STRANGERS = (
    "NVIDIA A10G", "NVIDIA L40", "Tesla V100-SXM2-16GB", "Tesla V100-PCIE-32GB", "NVIDIA A100-SXM-64GB",
    "NVIDIA GeForce RTX 3090", "NVIDIA RTX 6000 Ada Generation", "NVIDIA GeForce RTX 4090 Laptop GPU",
    "NVIDIA GeForce RTX 4090 D", "AMD Instinct MI300A", "NVIDIA H800 PCIe", "10de:ffff", "",
)  # fmt: skip


@pytest.mark.parametrize(("name", "gpu"), NAMES.items())
def test_names_map_to_catalogue_ids(name: str, gpu: str) -> None:
    assert candidates(name, MEMORY.get(name), presets.load_gpu, presets.names("gpus")) == (gpu,)


@pytest.mark.parametrize("name", STRANGERS)
def test_names_of_other_products_map_to_nothing(name: str) -> None:
    assert candidates(name, None, presets.load_gpu, presets.names("gpus")) == ()


def test_every_id_of_the_tables_is_in_the_catalogue() -> None:
    named = {i for ids in FAMILIES.values() for i in ids} | set(DEVICES.values()) | {m.gpu for m in MACHINES.values()}
    assert named <= set(presets.names("gpus"))


def test_memory_tells_variants_apart() -> None:
    known = presets.names("gpus")
    assert candidates("A100-SXM4", 81920 * 2**20, presets.load_gpu, known) == ("a100-80-sxm",)
    assert candidates("A100-SXM4", 40536 * 2**20, presets.load_gpu, known) == ("a100-40-sxm",)


@pytest.mark.parametrize("own", [True, False], ids=["gpus-named", "gpus-written-out"])
@pytest.mark.parametrize(
    "files",
    [
        (matrix("NV18", 8, 8),),
        (hgx({5: ""}, {3: 200000}),),
        (ibnet({0: 4, 1: 3}), matrix("NV18", 2, 2)),
        (matrix("NV4", 4),),
    ],
    ids=["switch", "faults", "fabric", "bridges"],
)
def test_a_cluster_reads_back_from_its_yaml(files: "tuple[str, ...]", own: bool, tmp_path: Path) -> None:
    spec = cluster(*files, gpu="h100-sxm")
    path = tmp_path / "cluster.yaml"
    path.write_text(to_yaml(spec, catalogue=presets.names("gpus") if own else ()))
    assert read_cluster(str(path)) == spec
    assert build(spec).gpus


def test_yaml_is_written_for_people() -> None:
    text = to_yaml(cluster(matrix("NV18", 8, 8), gpu="h100-sxm"), catalogue=presets.names("gpus"))
    assert "bandwidth: 50 GB/s" in text
    assert "gpus: 8" in text
    assert "memory" not in text


def test_a_fabrics_kind_is_written_though_it_is_the_default() -> None:
    spec = cluster(ibnet({0: 4, 1: 4}), gpu="h100-sxm")
    assert "kind: rail-clos" in to_yaml(spec)


@settings(derandomize=True, deadline=None)
@given(
    st.lists(
        st.from_regex(r"[a-c]{0,2}0{0,2}[0-9]{0,3}[a-b]{0,1}", fullmatch=True).filter(bool), min_size=1, unique=True
    )
)
def test_folded_names_expand_to_the_same_names(names: "list[str]") -> None:
    assert list(expand(fold(names))) == names


def test_consecutive_hosts_fold() -> None:
    assert fold([f"n{i:03d}" for i in range(1, 17)]) == "n[001-016]"
    assert fold(["a9", "a10", "a011"]) == "a[9-10],a011"


def test_cluster_of_ten_thousand_hosts_is_short() -> None:
    leaves = "".join(f"SwitchName=l{i} Nodes=n[{i * 20:05d}-{i * 20 + 19:05d}]\n" for i in range(500))
    spec: ClusterSpec = cluster(leaves, gpu="h100-sxm")
    assert len(spec.nodes) == 500
    assert spec.nodes[0] == NodeEntry(name="n[00000-00019]", template="8x-h100-sxm", leaf="l0")
