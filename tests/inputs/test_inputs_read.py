"""Reading inputs: what is right becomes a record, what is wrong one message with file, key and remedy."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from optimizer.cli import run
from optimizer.errors import InputError
from optimizer.inputs import presets, read
from optimizer.inputs.cluster import ClusterSpec
from optimizer.inputs.complaints import nearest, validated
from optimizer.inputs.documents import MAX_FILE_BYTES, parse_json, parse_yaml, read_document
from optimizer.inputs.model import ModelSpec
from optimizer.inputs.workload import WorkloadSpec

CLUSTER = """\
name: two
nodes: [{name: "node[01-02]", template: hgx}]
templates:
  hgx: {gpu: h200-sxm, gpus: 8, nvswitch: {bandwidth: "450 GB/s"}, nics: {count: 8, bandwidth: "400 Gb/s"}}
fabric: {kind: rail-clos}
"""
LLAMA_70B = {  # the fields published with the model, arXiv 2407.21783
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 8192, "intermediate_size": 28672,
    "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8, "vocab_size": 128256,
    "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}  # fmt: skip
MODEL = """\
name: tiny
hidden: 1024
vocab: 32000
context: 4096
runs: [{count: 4, attention: {kind: gqa, heads: 8, kv_heads: 8, head_dim: 128}, feed_forward: {kind: dense, intermediate: 4096}}]
"""  # noqa: E501
WORKLOAD = "isl: 1024\nosl: 256\n"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Return a folder with one right file of each kind."""
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    (tmp_path / "model.yaml").write_text(MODEL)
    (tmp_path / "workload.yaml").write_text(WORKLOAD)
    return tmp_path


BAD: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    # what: (file, text to replace, replacement, what the message must name)
    "wrong unit": ("cluster.yaml", "450 GB/s", "450 GB", ("templates.hgx.nvswitch.bandwidth", "'GB'", "450 GB/s")),
    "bare number": ("cluster.yaml", '"400 Gb/s"', "400", ("templates.hgx.nics.bandwidth", "no unit", "400 Gb/s")),
    "unknown GPU": ("cluster.yaml", "h200-sxm", "h200-smx", ("templates.hgx.gpu", "did you mean 'h200-sxm'")),
    "unknown key": ("cluster.yaml", "nvswitch", "nvswich", ("templates.hgx.nvswich", "did you mean 'nvswitch'?")),
    "unknown template": ("cluster.yaml", "template: hgx", "template: hgxx", ("nodes[0].template", "'hgx'")),
    "unknown fabric": ("cluster.yaml", "rail-clos", "rail-close", ("fabric", "did you mean 'rail-clos'?")),
    "missing key": ("cluster.yaml", "name: two", "", ("name: is missing",)),
    "0 GPUs": ("cluster.yaml", "gpus: 8", "gpus: 0", ("templates.hgx.gpus", "at least 1")),
    "no nodes": ("cluster.yaml", '[{name: "node[01-02]", template: hgx}]', "[]", ("nodes", "at least 1")),
    "same node twice": ("cluster.yaml", "node[01-02]", "a,a", ("nodes[0].name", "'a'", "twice", "once")),
    "broken host list": ("cluster.yaml", "node[01-02]", "node[2-1]", ("nodes[0].name", "range")),
    "broken YAML": ("cluster.yaml", "templates:", "templates: [", (":5", "broken YAML", "brackets")),
    "duplicate key": ("cluster.yaml", "fabric:", "name: x\nfabric:", (":5", "'name'", "line 1", "keep one")),
    "unknown price": ("cluster.yaml", "fabric:", "prices: {h100: 1 USD/h}\nfabric:", ("prices.h100", "h200-sxm")),
    "tag": ("cluster.yaml", "name: two", "name: !!python/name:os.system x", (":1", "tag", "remove")),
    "tab": ("cluster.yaml", "  hgx:", "\thgx:", (":4", "broken YAML", "spaces")),
    "empty file": ("workload.yaml", WORKLOAD, "- 1", ("holds a list", "isl")),
    "unknown workload key": ("workload.yaml", "isl", "ils", ("ils", "did you mean 'isl'?")),
    "length as text": ("workload.yaml", "1024", "1k", ("isl", "'1k'", "2048")),
    "bare rate": ("workload.yaml", "osl: 256", "request_rate: 20", ("request_rate", "no unit", "20 /s")),
    "two loads": ("workload.yaml", "osl: 256", "concurrency: 1\nrequest_rate: 2 /s", ("request_rate", "concurrency")),
    "unknown weights": ("workload.yaml", "osl: 256", "weights: [fp9]", ("weights[0]", "did you mean 'fp8'?")),
    "ISL beyond the context": ("workload.yaml", "1024", "4000", ("isl", "4096", "lower")),
    "served beyond the context": ("model.yaml", "name: tiny", "name: t\nmax_model_len: 9999", ("max_model_len",)),
    "unknown model key": ("model.yaml", "vocab", "vocabulary", ("vocabulary", "did you mean 'vocab'?")),
    "heads in no groups": ("model.yaml", "kv_heads: 8", "kv_heads: 3", ("runs[0].attention", "heads")),
    "unknown attention": ("model.yaml", "kind: gqa", "kind: gpa", ("runs[0].attention", "did you mean 'gqa'?")),
    "unknown preset": ("model.yaml", MODEL, "preset: nothing-like-it", ("preset", "nothing-like-it", "tpopt presets")),
    "missing config": ("model.yaml", MODEL, "hf: config.json", ("hf", "config.json", "no such file")),
    "neither preset nor architecture": ("model.yaml", MODEL, "max_model_len: 4096", ("preset", "missing")),
    "several models": ("model.yaml", MODEL, "- {model: a}\n- {model: b}", ("-w ", "each model's workload itself")),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD.values(), ids=BAD.keys())
def test_a_wrong_input_exits_2_with_one_message_and_writes_nothing(
    files: Path, capsys: pytest.CaptureFixture[str], case: tuple[str, str, str, tuple[str, ...]]
) -> None:
    name, old, new, named = case
    text = (files / name).read_text()
    assert old in text
    (files / name).write_text(text.replace(old, new))
    before = sorted(files.iterdir())
    plan = files / "plan.json"
    code = run(
        [
            "solve",
            *(str(files / f) for f in ("cluster.yaml", "model.yaml")),
            "-w",
            str(files / "workload.yaml"),
            "-o",
            str(plan),
        ]
    )
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert name in err
    for part in named:
        assert part in err
    assert "Traceback" not in err
    assert sorted(files.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "text", "named"),
    [
        ("config.json", '{"model_type": "llama",}', (":1", "broken JSON", "commas")),
        ("config.json", '{"model_type": "llama",\n "model_type": "qwen2"}', ("'model_type'", "lines 1, 2")),
        ("config.json", json.dumps(LLAMA_70B | {"hidden_size": float("nan")}), ("hidden_size",)),
        ("config.json", json.dumps({k: v for k, v in LLAMA_70B.items() if k != "hidden_size"}), ("hidden_size",)),
    ],
    ids=["broken", "duplicate key", "not a number", "missing field"],
)
def test_a_wrong_config_json_is_named(files: Path, name: str, text: str, named: tuple[str, ...]) -> None:
    (files / name).write_text(text)
    with pytest.raises(InputError) as caught:
        read.read_model(str(files / name))
    for part in (name, *named):
        assert part in str(caught.value)


def test_a_missing_file_names_the_remedy_and_what_lies_beside_it(files: Path) -> None:
    with pytest.raises(InputError, match=r"clutser\.yaml: no such file.*did you mean 'cluster\.yaml'"):
        read.read_cluster(str(files / "clutser.yaml"))
    with pytest.raises(InputError, match="no such file"):
        read.read_workload(str(files / "w.yaml"))


def test_an_unknown_preset_name_says_how_to_list_them() -> None:
    with pytest.raises(InputError, match="tpopt presets clusters"):
        read.read_cluster("no-such-cluster-anywhere")
    with pytest.raises(InputError, match="tpopt presets models"):
        read.read_model("no-such-model-anywhere")


def test_a_file_that_is_not_utf8_or_too_large_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"name: x\nb: \xff\n")
    with pytest.raises(InputError, match=r"a\.yaml:2: .*UTF-8"):
        read_document(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(InputError, match=r"b\.yaml: larger than 16 MiB"):
        read_document(tmp_path / "b.yaml")


def test_gpus_of_the_catalogue_are_filled_in(files: Path) -> None:
    cluster = read.read_cluster(str(files / "cluster.yaml"))
    assert set(cluster.gpus) == {"h200-sxm"}
    assert cluster.gpus["h200-sxm"] == presets.load_gpu("h200-sxm")


def test_a_resolved_cluster_reads_back_to_itself(files: Path) -> None:
    cluster = read.read_cluster(str(files / "cluster.yaml"))
    (files / "again.json").write_text(cluster.model_dump_json())
    assert read.read_cluster(str(files / "again.json")) == cluster


def test_a_gpu_given_in_full_is_named_by_its_id(files: Path) -> None:
    own = presets.load_gpu("h200-sxm").model_dump(mode="json") | {"id": "mine"}
    document = yaml.safe_load(CLUSTER)
    document["templates"]["hgx"]["gpu"] = own
    (files / "cluster.yaml").write_text(yaml.safe_dump(document))
    cluster = read.read_cluster(str(files / "cluster.yaml"))
    assert cluster.templates["hgx"].gpu == "mine"
    assert set(cluster.gpus) == {"mine"}


def test_one_id_cannot_name_two_gpus(files: Path) -> None:
    own = presets.load_gpu("h200-sxm").model_dump(mode="json")
    document = yaml.safe_load(CLUSTER)
    document["templates"]["hgx"] |= {"gpus": [{"gpu": own, "count": 4}, {"gpu": own | {"tdp": "1 W"}, "count": 4}]}
    del document["templates"]["hgx"]["gpu"]
    (files / "cluster.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(InputError, match=r"gpus\[1\]\.gpu\.id: 'h200-sxm' is another GPU"):
        read.read_cluster(str(files / "cluster.yaml"))


def test_a_config_json_and_its_folder_give_the_same_model(tmp_path: Path) -> None:
    folder = tmp_path / "meta-llama--Llama-3.1-70B"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(LLAMA_70B))
    model = read.read_model(str(folder))
    assert model == read.read_model(str(folder / "config.json"))
    assert model.name == "meta-llama/Llama-3.1-70B"
    assert (model.num_layers, model.hidden, model.vocab) == (80, 8192, 128256)


def test_infinity_in_a_config_json_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_70B | {"time_step_limit": [0.0, float("inf")]}))
    assert read.read_model(str(tmp_path)).num_layers == 80


def test_quantization_written_beside_a_config_json_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_70B))
    (tmp_path / "hf_quant_config.json").write_text(
        '{"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8"}}'
    )
    assert read.read_model(str(tmp_path)).checkpoint_scheme == "fp8"
    (tmp_path / "hf_quant_config.json").write_text("{}")
    with pytest.raises(InputError, match=r"hf_quant_config\.json: quantization"):
        read.read_model(str(tmp_path))


def test_model_yaml_replaces_what_it_names_of_its_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_70B))
    (tmp_path / "model.yaml").write_text("hf: config.json\nmax_model_len: 32768\nname: mine\n")
    model = read.read_model(str(tmp_path / "model.yaml"))
    assert (model.max_model_len, model.name, model.num_layers) == (32768, "mine", 80)


def test_no_workload_means_1024_tokens_in_256_out_at_saturation() -> None:
    workload = read.read_workload(None)
    assert (workload.isl.mean, workload.osl.mean) == (1024, 256)
    assert workload.request_rate is None
    assert workload.concurrency is None


def test_yaml_is_read_by_its_newer_rules() -> None:
    text = "a: no\nb: 012\nc: 1:30\nd: 2024-01-01\ne: 1e3\nf: .5\ng: 1_000\nh: ~\ni: true\nj: on\nk: 0o17\nl: .inf\n"
    assert parse_yaml(text, "x") == {
        "a": "no", "b": "012", "c": "1:30", "d": "2024-01-01", "e": 1000.0, "f": 0.5, "g": "1_000", "h": None,
        "i": True, "j": "on", "k": "0o17", "l": ".inf",
    }  # fmt: skip


def test_merge_keys_fill_what_is_not_named() -> None:
    text = "base: &base {a: 1, b: 2}\nown: {<<: *base, b: 3}\n"
    assert parse_yaml(text, "x") == {"base": {"a": 1, "b": 2}, "own": {"a": 1, "b": 3}}


def test_bombs_are_refused() -> None:
    doubling = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))
    for text, said in [(doubling, "aliases expand"), ("a: &a [*a]", "alias of itself"), ("[" * 99 + "]" * 99, "deep")]:
        with pytest.raises(InputError, match=said):
            parse_yaml(text, "x.yaml")
    for text in ("[" * 100_000, "{a: " * 100_000):
        with pytest.raises(InputError, match=r"x\.yaml"):
            parse_yaml(text, "x.yaml")
        with pytest.raises(InputError, match=r"x\.json"):
            parse_json(text, "x.json")


def test_several_mistakes_are_told_together() -> None:
    with pytest.raises(InputError) as caught:
        validated(WorkloadSpec, {"isl": 0, "osll": 3, "request_rate": 3}, "w.yaml")
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == ["isl.mean", "request_rate", "osll"]


def test_the_nearest_name_comes_first() -> None:
    assert nearest("h200", ("a100", "h100-sxm", "h200-sxm", "h200-nvl"))[0] in ("h200-sxm", "h200-nvl")
    assert nearest("xyz", ("a100",)) == ()


@pytest.mark.parametrize("kind", presets.KINDS)
def test_every_shipped_preset_reads(kind: presets.Kind) -> None:
    loaders: dict[presets.Kind, Any] = {
        "gpus": presets.load_gpu, "clusters": presets.load_cluster, "models": presets.load_model,
        "engines": presets.load_engine, "calibrations": lambda name: presets.load_calibration(presets.load_gpu(name)),
    }  # fmt: skip
    for name in presets.names(kind):
        record = loaders[kind](name)
        assert record.sources if kind != "engines" else record.versions, name


def test_a_model_preset_answers_to_its_hub_name() -> None:
    for name in presets.names("models"):
        hub = presets.load_model(name).name
        assert presets.load_model(hub.upper()) == presets.load_model(name)


def test_a_gpu_without_measurements_borrows_from_its_kin() -> None:
    calibrated = presets.names("calibrations")
    for name in presets.names("gpus"):
        assert (presets.load_calibration(presets.load_gpu(name)).gpu == name) == (name in calibrated)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 10**7) | st.floats() | st.text(max_size=8)
    | st.sampled_from(["80 GiB", "400 Gb/s", "20 /s", "h200-sxm", "gqa", "rail-clos", "vllm", "bf16"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(sorted({*ClusterSpec.model_fields, *ModelSpec.model_fields, *WorkloadSpec.model_fields,
                                "gpu", "gpus", "template", "kind", "count", "mean", "attention", "hgx"}))
        | st.text(max_size=5),
        inner, max_size=5,
    ),
    max_leaves=12,
)  # fmt: skip


def _said(call: Callable[[], object]) -> str | None:
    """Return the message of the InputError that ``call`` raises, None when it raises nothing."""
    try:
        call()
    except InputError as error:
        return str(error)
    return None


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.sampled_from([ClusterSpec, ModelSpec, WorkloadSpec]), VALUES)
def test_any_document_gives_a_record_or_an_input_error_that_names_the_file(
    spec: type[BaseModel], value: object
) -> None:
    text = yaml.safe_dump(value, allow_unicode=True)
    said = _said(lambda: validated(spec, parse_yaml(text, "x.yaml"), "x.yaml"))
    assert said is None or said.startswith("x.yaml")


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.dictionaries(
        st.sampled_from(sorted(WorkloadSpec.model_fields)) | st.text(min_size=1, max_size=5), VALUES, max_size=3
    )
)
def test_a_wrong_workload_key_is_named(document: dict[str, object]) -> None:
    said = _said(lambda: validated(WorkloadSpec, document, "w.yaml"))
    assert said is None or any(key in said for key in document)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.text(max_size=40), st.sampled_from([parse_yaml, parse_json]))
def test_any_text_is_read_or_refused(text: str, parse: Callable[[str, str], object]) -> None:
    said = _said(lambda: parse(text, "x"))
    assert said is None or said.startswith("x")
