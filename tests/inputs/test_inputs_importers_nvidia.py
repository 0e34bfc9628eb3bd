"""nvidia-smi text: the matrix in all the shapes terminals leave it in, and the query beside it."""

import pytest
from importing import cluster, imported, template, told
from operator_files import matrix, off_nvlink, query

from optimizer.units import parse_bytes_per_s


def test_equal_links_between_all_pairs_are_a_switch() -> None:
    node = template(matrix("NV18", 8, 8), gpu="h200-sxm")
    assert (node.gpus, node.gpu) == (8, "h200-sxm")
    assert node.nvswitch is not None
    assert node.nvswitch.bandwidth is None
    assert node.bridges == ()
    assert node.nics is not None
    assert node.nics.count == 8


def test_bonded_links_within_a_gpus_own_are_direct() -> None:
    text = matrix("SYS", 4).replace("GPU0\t X \tSYS", "GPU0\t X \tNV12").replace("GPU1\tSYS\t X ", "GPU1\tNV12\t X ")
    text = text.replace(" X \tSYS\t32", " X \tNV12\t32").replace("GPU3\tSYS\tSYS\tSYS", "GPU3\tSYS\tSYS\tNV12")
    node = template(text, gpu="a100-80-pcie")
    assert [(b.gpus, b.bandwidth) for b in node.bridges] == [
        ((0, 1), parse_bytes_per_s("300 GB/s")),
        ((2, 3), parse_bytes_per_s("300 GB/s")),
    ]
    assert node.nvswitch is None
    assert node.pcie is not None
    assert node.pcie.sockets == 2


def test_a_four_gpu_board_with_a_third_of_its_links_per_peer_is_direct() -> None:
    node = template(matrix("NV4", 4), gpu="a100-40-sxm")
    assert node.nvswitch is None
    assert {b.bandwidth for b in node.bridges} == {parse_bytes_per_s("100 GB/s")}
    assert len(node.bridges) == 6


def test_fewer_links_than_the_catalogue_scale_the_rate_and_are_told() -> None:
    found = imported(matrix("NV8", 8), gpu="h100-sxm")
    assert found.cluster is not None
    (node,) = found.cluster.templates.values()
    assert node.nvswitch is not None
    assert node.nvswitch.bandwidth == parse_bytes_per_s("200 GB/s")
    assert "8 NVLinks per GPU" in told(found, "guessed")


def test_a_gpu_off_nvlink_is_marked_and_not_averaged() -> None:
    found = imported(off_nvlink(matrix("NV18", 8, 8), 2), gpu="b200-sxm")
    assert "GPU2 is off NVLink" in told(found, "broken")
    assert found.cluster is not None
    (override,) = found.cluster.overrides
    assert (override.match.gpu, override.match.link, override.state) == (2, "nvlink", "down")


def test_a_gpu_with_missing_links_keeps_its_share() -> None:
    text = matrix("NV18", 4)
    text = "\n".join(line.replace("NV18", "NV12") if line.startswith("GPU1") else line for line in text.split("\n"))
    text = "\n".join(
        line if line.startswith(("GPU1", "\t")) or not line else _at(line, 2, "NV12") for line in text.split("\n")
    )
    (override,) = cluster(text, gpu="h100-sxm").overrides
    assert (override.match.gpu, override.links_active) == (1, "12/18")


def _at(line: str, column: int, cell: str) -> str:
    cells = line.split("\t")
    cells[column] = cell
    return "\t".join(cells)


def test_cells_whose_tabs_were_lost_are_told_apart() -> None:
    text = (
        matrix("NV18", 8, 8)
        .replace("NV18\tPIX", "NV18PIX")
        .replace("NIC6\tNIC7", "NIC6NIC7")
        .replace(" X \tNODE", " X NODE")
    )
    found = imported(text, gpu="h100-sxm")
    assert (found.gpus, found.nics) == (8, 8)
    assert "tabs were lost" in told(found, "read")


def test_links_fused_with_the_cpu_column_keep_their_count() -> None:
    text = matrix("NV4", 2).replace("NV4\t0-31", "NV40-31").replace("X \t32-63", "X32-63")
    node = template(text, gpu="a100-40-sxm")
    assert [b.bandwidth for b in node.bridges] == [parse_bytes_per_s("100 GB/s")]


def test_rows_that_a_terminal_wrapped_are_joined() -> None:
    lines = matrix("NV18", 8, 4, near="PXB").split("\n")
    wrapped = [line[:30] + "\n\t" + line[30:].lstrip() if line.startswith("GPU3") else line for line in lines]
    assert imported("\n".join(wrapped), gpu="h100-sxm").gpus == 8


def test_a_paste_without_header_and_last_rows_is_read_in_part() -> None:
    lines = matrix("NV18", 8, 8).split("\n")[1:7]
    found = imported("\n".join(lines), gpu="h200-sxm")
    assert found.gpus == 8
    assert "GPU6, GPU7" in told(found, "broken")
    assert "header" in told(found, "missing")
    assert found.cluster is not None
    assert found.cluster.overrides == ()


def test_rows_that_disagree_are_told_and_the_weaker_is_used() -> None:
    text = matrix("NV18", 8).replace("GPU5\tNV18", "GPU5\tSYS", 1)
    assert "GPU0 to GPU5 is NV18 in one row and SYS in the other" in told(imported(text, gpu="h100-sxm"), "broken")


CUBE = """\tGPU0\tGPU1\tGPU2\tGPU3\tmlx5_0\tmlx5_2\tmlx5_1\tCPU Affinity
GPU0\t X \tNV1\tNV2\tSYS\tPIX\tSYS\tPHB\t0-19
GPU1\tNV1\t X \tSYS\tNV2\tPIX\tSYS\tPHB\t0-19
GPU2\tNV2\tSYS\t X \tNV1\tPHB\tSYS\tPIX\t20-39
GPU3\tSYS\tNV2\tNV1\t X \tSYS\tPIX\tPHB\t20-39
"""


def test_nic_order_unlike_gpu_order_is_told_and_kept() -> None:
    found = imported(CUBE, gpu="v100-sxm2-32")
    assert "NIC order differs" in told(found, "read")
    assert found.cluster is not None
    (node,) = found.cluster.templates.values()
    assert node.nics is not None
    assert node.nics.names == ("mlx5_0", "mlx5_2", "mlx5_1")
    assert node.nics.nearest == (0, 0, 2, 1)
    assert node.pcie is not None
    assert node.pcie.sockets == 2


def test_spare_nics_are_left_out_and_told() -> None:
    text = matrix("NV18", 4, 6) + "\nNIC Legend:\n\n" + "\n".join(f"  NIC{i}: mlx5_{i + 1}" for i in range(6)) + "\n"
    found = imported(text, gpu="h100-sxm")
    assert found.nics == 4
    assert "NIC4 (mlx5_5)" in told(found, "read")


def test_the_prompt_gives_the_host() -> None:
    (entry,) = cluster("root@gpu-07:~# nvidia-smi topo -m\n" + matrix("NV18", 8), gpu="h100-sxm").nodes
    assert entry.name == "gpu-07"


def test_without_a_gpu_type_the_report_says_what_to_give() -> None:
    found = imported(matrix("NV18", 8))
    assert found.cluster is None
    assert (found.nodes, found.gpus) == (1, 8)
    assert "--gpu" in told(found, "missing")


def test_the_files_name_is_a_guess_that_is_told() -> None:
    found = imported(("h20-box.txt", matrix("NV18", 8)))
    assert found.cluster is not None
    assert "by the file's name: h20" in told(found, "guessed")


def test_the_query_names_the_gpus_and_their_ids() -> None:
    found = cluster(matrix("NV18", 8), query("NVIDIA H200", 8, 143771))
    assert found.templates["8x-h200-sxm"].nvswitch is not None
    assert found.nodes[0].gpu_ids[7] == "GPU-0000-0007"


def test_one_paste_may_hold_both_outputs() -> None:
    found = cluster(
        "$ nvidia-smi topo -m\n" + matrix("NV12", 8) + "$ nvidia-smi\n" + query("NVIDIA A100-SXM4-80GB", 8, 81920)
    )
    assert list(found.templates) == ["8x-a100-80-sxm"]


def test_a_narrow_pcie_link_is_an_override_and_an_idle_one_is_not() -> None:
    found = imported(query("NVIDIA L40S", 4, 46068, {2: 8}))
    assert "GPU2: PCIe runs at 50%" in told(found, "broken")
    assert "idle" in told(found, "read")
    assert found.cluster is not None
    (override,) = found.cluster.overrides
    assert (override.match.gpu, override.match.link) == ("GPU-0000-0002", "pcie")
    assert override.bandwidth == found.cluster.gpus["l40s"].pcie_bandwidth / 2


def test_a_gpu_that_the_query_does_not_list_is_told() -> None:
    found = imported(matrix("NV18", 8), query("NVIDIA H100 80GB HBM3", 7, 81559))
    assert "fallen off the bus" in told(found, "broken")


def test_a_lost_gpu_is_an_override() -> None:
    text = query("NVIDIA H200", 8, 143771).replace("\n7, NVIDIA H200", "\n7, [GPU is lost]")
    (override,) = cluster(text).overrides
    assert (override.match.gpu, override.state) == ("GPU-0000-0007", "lost")


def test_a_query_of_some_gpus_counts_from_zero() -> None:
    rows = query("NVIDIA L40S", 4, 46068, {3: 8}).split("\n")
    found = cluster("\n".join([rows[0], rows[2], rows[4]]))
    assert len(found.nodes[0].gpu_ids) == 2
    assert [o.match.gpu for o in found.overrides] == ["GPU-0000-0003"]


def test_a_product_outside_the_catalogue_is_told() -> None:
    found = imported(query("NVIDIA GeForce RTX 3090", 2, 24576))
    assert found.cluster is None
    assert "RTX 3090" in told(found, "missing")


def test_what_the_user_says_wins_over_the_file_and_is_told() -> None:
    found = imported(query("NVIDIA H200", 8, 143771), gpu="h100-sxm")
    assert found.cluster is not None
    assert list(found.cluster.gpus) == ["h100-sxm"]
    assert "--gpu says h100-sxm" in told(found, "broken")


@pytest.mark.parametrize("nics", [0, 4])
def test_pcie_boxes_have_sockets(nics: int) -> None:
    node = template(matrix("SYS", 4, nics), gpu="l40s")
    assert node.pcie is not None
    assert (node.pcie.sockets, node.nvswitch, node.bridges) == (2, None, ())
