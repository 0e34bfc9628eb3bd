"""``import`` of a cluster.yaml: files merged, every value changed by the rest of the file, errors that name the key."""

from pathlib import Path

import pytest
from operator_files import matrix, node, nodes, off_nvlink

from optimizer.errors import InputError
from optimizer.inputs.read import read_cluster
from optimizer.topology.faults import faults
from optimizer.topology.graph import build


def written(folder: Path, cluster: str, **files: str) -> str:
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text)
    (folder / "cluster.yaml").write_text(cluster)
    return str(folder / "cluster.yaml")


def test_a_file_becomes_the_cluster_and_its_doubts_are_told(tmp_path: Path) -> None:
    told: list[str] = []
    text = "name: mine\nimport: [{file: topo.txt, gpu: b200-sxm}]\n"
    cluster = read_cluster(written(tmp_path, text, topo=off_nvlink(matrix("NV18", 8, 8), 2)), told.append)
    assert cluster.name == "mine"
    assert len(build(cluster).gpus) == 8
    assert faults(cluster)[0].words.startswith("NVLink of GPU 2")
    assert any("import: broken: " in line and "GPU2" in line for line in told)
    assert not any("read:" in line for line in told)


def test_every_value_of_an_import_can_be_changed(tmp_path: Path) -> None:
    plain = "import: [{file: topo.txt, gpu: h200-sxm}]\n"
    path = written(tmp_path, plain, topo=off_nvlink(matrix("NV18", 8, 8), 2))
    before = read_cluster(path)
    (name,) = before.templates
    host = before.nodes[0].name
    changes = (
        f"templates: {{{name}: {{nvswitch: {{bandwidth: 300 GB/s}}, nics: {{bandwidth: 200 Gb/s}}}}}}\n"
        f"overrides: [{{match: {{node: {host}, gpu: 2, link: nvlink}}, state: up}}]\n"
        "prices: {h200-sxm: 3 USD/h}\n"
    )
    after = read_cluster(written(tmp_path, plain + changes))
    template, old = after.templates[name], before.templates[name]
    assert template.nvswitch is not None and template.nvswitch.bandwidth == 300e9  # noqa: PT018
    assert template.nics is not None and old.nics is not None  # noqa: PT018
    assert template.nics == old.nics.model_copy(update={"bandwidth": 25e9})
    assert template.pcie == old.pcie
    assert len(after.overrides) == len(before.overrides) + 1
    assert build(after).graph.adj[f"{host}/2"][f"{host}/nvswitch"]["bytes_per_s"] == 300e9


def test_nodes_of_one_file_and_the_inside_of_another_are_one_cluster(tmp_path: Path) -> None:
    text = "import:\n- {file: nodes.txt}\n- {file: topo.txt}\nfabric: {kind: rail-clos, oversubscription: 2.0}\n"
    labels = nodes(node("a"), node("b"))
    cluster = read_cluster(written(tmp_path, text, nodes=labels, topo=matrix("NV18", 8, 8)))
    topology = build(cluster)
    assert topology.nodes == ("a", "b")
    assert cluster.fabric is not None and cluster.fabric.kind == "rail-clos"  # noqa: PT018
    assert any(template.nics for template in cluster.templates.values())


def test_files_of_different_gpu_types_each_name_theirs(tmp_path: Path) -> None:
    text = "import: [{file: a.txt, gpu: h200-sxm}, {file: b.txt, gpu: h100-sxm}]\n"
    cluster = read_cluster(written(tmp_path, text, a=matrix("NV18", 8), b=matrix("NV18", 8)))
    assert sorted(cluster.gpus) == ["h100-sxm", "h200-sxm"]
    assert len(build(cluster).gpus) == 16


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("import: [{file: none.txt}]", "import[0].file: "),
        ("import: [{path: topo.txt}]", "import[0]"),
        ("import: []", "import"),
        ("import: [{file: topo.txt, gpu: h999}]", "import[0].gpu: no GPU 'h999'"),
        ("import: [{file: topo.txt}]", "import: "),
        ("import: [{file: topo.txt, gpu: h200-sxm}]\ntemplate: {}", "template"),
    ],
)
def test_errors_name_file_and_key(line: str, says: str, tmp_path: Path) -> None:
    path = written(tmp_path, line + "\n", topo=matrix("NV18", 8))
    with pytest.raises(InputError) as raised:
        read_cluster(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert says in str(raised.value)


def test_a_file_of_no_known_format_is_named_with_the_cluster(tmp_path: Path) -> None:
    path = written(tmp_path, "import: [{file: odd.txt}]\n", odd="hello\n")
    with pytest.raises(InputError, match=r"cluster\.yaml: import: odd\.txt: of no format"):
        read_cluster(path)
