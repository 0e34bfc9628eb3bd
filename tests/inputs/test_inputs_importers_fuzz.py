"""Whatever bytes come: a cluster with a report, or an InputError that names the file; never anything else."""

import gzip
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from importing import imported, told
from operator_files import (
    GRAPH,
    SHOWN_TREE,
    TORUS,
    TREE,
    YAML,
    amd,
    amd_json,
    hgx,
    hwloc,
    ibnet,
    matrix,
    node,
    node_link,
    nodes,
    query,
    rails,
    rocm,
    shown_node,
    simai,
)

from optimizer.errors import InputError
from optimizer.inputs.importers import FORMATS, Imported

SAMPLES = {
    "nvidia-smi topo -m": matrix("NV18", 8, 8),
    "nvidia-smi --query-gpu": query("NVIDIA H200", 4, 143771),
    "NCCL topology XML": hgx({1: ""}),
    "NCCL graph XML": GRAPH.format(n=2, speed=12, kind="PHB"),
    "Slurm topology.conf": TREE,
    "Slurm topology.yaml": YAML,
    "scontrol show topology": SHOWN_TREE,
    "scontrol show node": shown_node("a") + shown_node("b", state="IDLE+DRAIN", reason="fan"),
    "Kubernetes nodes": nodes(node("a"), node("b", unschedulable=True)),
    "Kueue Topology": "apiVersion: kueue.x-k8s.io/v1beta1\nkind: Topology\nspec:\n  levels:\n  - nodeLabel: dc/rack\n",
    "ibnetdiscover": ibnet({0: 2, 1: 1}),
    "rocm-smi --showtopo": rocm(4),
    "amd-smi topology": amd(4),
    "AWS DescribeInstanceTopology": json.dumps(
        {"Instances": [{"InstanceId": "i-1", "InstanceType": "p5.48xlarge", "NetworkNodes": ["a", "b", "c"]}]}
    ),
    "node-link JSON": node_link(rails()),
    "GraphML": '<graphml><key id="k" attr.name="kind"/><graph edgedefault="undirected">'
    '<node id="g"><data key="k">gpu</data></node></graph></graphml>',
    "hwloc XML": hwloc(),
    "ASTRA-sim network": "topology: [Switch]\nnpus_count: [8]\nbandwidth: [400.0]\nlatency: [936.25]\n",
    "SimAI topology": simai(),
}
MORE = SAMPLES | {"Slurm torus": TORUS, "Slurm ring": "RingName=loop Nodes=n[1-5]\n", "amd-smi --json": amd_json(4)}
"""Further files of these formats."""

fuzz = settings(derandomize=True, deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))


def outcome(*files: "bytes | str") -> "Imported | None":
    try:
        return imported(*files, gpu="h100-sxm")
    except InputError as error:
        if "file1" in str(error) or "file2" in str(error):
            return None
        raise


def test_every_format_has_a_sample() -> None:
    assert set(SAMPLES) == set(FORMATS)


@pytest.mark.parametrize("name", SAMPLES)
def test_every_sample_is_recognised_as_its_format_alone(name: str) -> None:
    found = [form for form in FORMATS if f"{form}" in told_formats(SAMPLES[name])]
    assert found == [name]


def told_formats(text: str) -> "list[str]":
    from optimizer.inputs.importers import _json
    from optimizer.inputs.importers.facts import Pasted

    pasted = Pasted("x", text, _json(text, "x")[0])
    return [name for name, form in FORMATS.items() if form.recognises(pasted)]


@fuzz
@given(st.binary(max_size=300))
def test_any_bytes_are_an_import_or_a_named_error(content: bytes) -> None:
    outcome(content)


@pytest.mark.parametrize("name", MORE)
@fuzz
@given(data=st.data())
def test_damaged_samples_are_an_import_or_a_named_error(name: str, data: st.DataObject) -> None:
    content = bytearray(MORE[name].encode())
    match data.draw(st.sampled_from(["cut", "drop", "flip", "double", "swap"])):
        case "cut":
            del content[data.draw(st.integers(0, len(content))) :]
        case "drop":
            start = data.draw(st.integers(0, len(content)))
            del content[start : start + data.draw(st.integers(1, 200))]
        case "flip":
            for _ in range(data.draw(st.integers(1, 8))):
                content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        case "double":
            start = data.draw(st.integers(0, len(content)))
            content[start:start] = content[start : start + data.draw(st.integers(1, 400))]
        case _:
            other = SAMPLES[data.draw(st.sampled_from(sorted(SAMPLES)))].encode()
            content[data.draw(st.integers(0, len(content))) :] = other[data.draw(st.integers(0, len(other))) :]
    outcome(bytes(content))


@fuzz
@given(first=st.sampled_from(sorted(MORE)), second=st.sampled_from(sorted(MORE)))
def test_any_two_samples_merge(first: str, second: str) -> None:
    outcome(MORE[first], MORE[second])


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


@fuzz
@given(
    st.sampled_from(["Kubernetes nodes", "AWS DescribeInstanceTopology", "node-link JSON"]),
    st.lists(st.tuples(st.integers(0, 200), junk), min_size=1, max_size=4),
)
def test_json_of_other_shapes_is_an_import_or_a_named_error(name: str, changes: "list[tuple[int, object]]") -> None:
    value = json.loads(SAMPLES[name])
    for position, replacement in changes:
        places: list[tuple[object, object]] = []
        stack: list[object] = [value]
        while stack:
            item = stack.pop()
            for key in list(item) if isinstance(item, dict) else range(len(item)) if isinstance(item, list) else ():
                places.append((item, key))
                stack.append(item[key])  # type: ignore[index]
        if places:
            owner, key = places[position % len(places)]
            owner[key] = replacement  # type: ignore[index]
    outcome(json.dumps(value))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings_are_read(encoding: str) -> None:
    found = imported(matrix("NV18", 8, 8).encode(encoding), gpu="h100-sxm")
    assert (found.gpus, found.nics) == (8, 8)


def test_latin_1_is_read_and_told() -> None:
    found = imported("# Gerät\n".encode("latin-1") + TREE.encode(), gpu="h100-sxm")
    assert "Latin-1" in told(found, "guessed")


def test_windows_line_ends_and_colours_are_read() -> None:
    coloured = matrix("NV18", 4).replace("GPU0\tGPU1", "\x1b[4mGPU0\x1b[0m\tGPU1", 1).replace("\n", "\r\n")
    assert imported(coloured, gpu="h100-sxm").gpus == 4


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"  \n ", "empty"),
        (bytes(range(256)) * 4, "binary"),
        (gzip.compress(b"x"), "gzip"),
        (b"hello world", "no format"),
        (b'{"items": [', "broken JSON"),
        (b"[" * 50_000, "nested|no format|broken"),
        (b"<system version='1'><cpu numaid='0'/></system>", "without a GPU"),
        (b"<system><cpu>" + b"<pci>" * 500, "levels"),
        (b"topology: [Switch]\nnpus_count: [8]\nbandwidth: " + b"[" * 3000, "nested|broken"),
        (b"SwitchName=a Nodes=n[1-999999999]", "names no node"),
    ],
)
def test_bad_files_are_refused_by_name_and_reason(content: bytes, reason: str) -> None:
    with pytest.raises(InputError, match=rf"(?s)file1.*(?:{reason})"):
        imported(content, gpu="h100-sxm")


def test_a_file_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from optimizer.inputs.importers import text

    monkeypatch.setattr(text, "MAX_FILE_BYTES", 100)
    with pytest.raises(InputError, match="larger"):
        imported(matrix("NV18", 8), gpu="h100-sxm")


def test_an_unknown_gpu_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="h100-sxm"):
        imported(matrix("NV18", 8), gpu="h100-sxn")


def test_no_file_is_refused() -> None:
    with pytest.raises(InputError, match="no file"):
        imported()
