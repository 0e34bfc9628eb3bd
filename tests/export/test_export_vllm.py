"""vLLM scripts: exact text from plans written by hand, no solver in the loop; every flag is one of the engine's."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import handmade
import pytest

from optimizer.errors import InputError
from optimizer.export import EXPORTERS, Artifact
from optimizer.export.vllm import export
from optimizer.inputs import presets
from optimizer.inputs.model import ModelSpec
from optimizer.plan import Inputs, Plan

GOLDEN = Path(__file__).parent.parent / "golden"


def two_nodes(**changes: Any) -> Plan:
    return handmade.plan(
        handmade.replica([("node01", list(range(8))), ("node02", list(range(8)))], tp=8, pp=2, **changes)
    )


def with_model(plan: Plan, **changes: Any) -> Plan:
    model = ModelSpec.model_validate(plan.inputs.model.model_dump(mode="json") | changes)
    inputs = Inputs(cluster=plan.inputs.cluster, model=model, workload=plan.inputs.workload)
    replicas = tuple(replica.model_copy(update={"model": model.name}) for replica in plan.replicas)
    return plan.model_copy(update={"inputs": inputs, "replicas": replicas})


def scripts(plan: Plan) -> list[Artifact]:
    return [artifact for artifact in export(plan) if artifact.path.startswith("replica") and artifact.executable]


def flags_of(artifact: Artifact) -> dict[str, str]:
    body = artifact.text.replace(" \\\n", "\n")
    return dict(re.findall(r"^  (--[a-z-]+) ?(.*)$", body, re.M))


@pytest.mark.parametrize("name", ["vllm-tp4x4", "vllm-tp8pp2-two-nodes"])
def test_the_text_is_the_golden_one(name: str, request: pytest.FixtureRequest) -> None:
    plan = handmade.plan() if name == "vllm-tp4x4" else two_nodes(layers_per_stage=(41, 39))
    for artifact in EXPORTERS["vllm"](plan):
        assert artifact.text == (GOLDEN / name / artifact.path).read_text(), artifact.path
    assert {p.name for p in (GOLDEN / name).iterdir()} == {a.path for a in export(plan)}


def test_prefill_context_ranks_are_started_by_the_runner_that_has_them() -> None:
    split = handmade.replica([("node01", list(range(8)))], tp=4, pcp=2, engine=handmade.settings(cuda_graphs=False))
    (script,) = scripts(handmade.plan(split))
    assert "export VLLM_USE_V2_MODEL_RUNNER=1" in script.text
    settings = next(artifact.text for artifact in export(handmade.plan(split)) if artifact.path.endswith(".yaml"))
    assert "prefill-context-parallel-size: 2" in settings
    assert "VLLM_USE_V2_MODEL_RUNNER" not in scripts(handmade.plan())[0].text


def test_every_flag_is_one_of_the_engines() -> None:
    known = set(presets.load_flags("vllm", "0.33.0").flags.values())
    everything = two_nodes(ep=8, dcp=2, pcp=1, weights="fp8", kv_cache="fp8")
    eager = handmade.plan(handmade.replica([("node01", [0])], tp=1, engine=handmade.settings(cuda_graphs=False)))
    for plan in (everything, eager, handmade.plan()):
        for artifact in scripts(plan):
            assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", artifact.text)) <= known


def test_ranks_take_gpus_in_rank_order() -> None:
    script = export(handmade.plan(handmade.replica([("node01", [6, 2, 4, 0])], tp=4)))[0]
    assert "export CUDA_VISIBLE_DEVICES=6,2,4,0\n" in script.text


def test_known_uuids_are_used() -> None:
    one = handmade.replica([("node01", [5])], tp=1)
    uuid = "GPU-6e9f2ac2-6c57-7a2d-4a3f-0c8d4c2b7f11"
    seats = (one.seats[0].model_copy(update={"gpu": uuid}),)
    script = export(handmade.plan(one.model_copy(update={"seats": seats})))[0]
    assert f"export CUDA_VISIBLE_DEVICES={uuid}\n" in script.text


def test_ports_are_unique_on_each_node() -> None:
    found = scripts(handmade.plan())
    ports = [re.search(r"PORT:-(\d+)", script.text) for script in found]
    assert [match[1] for match in ports if match] == ["8000", "8001", "8000", "8001"]


def test_only_the_first_node_of_a_replica_serves_requests() -> None:
    first, second = scripts(two_nodes())
    assert "--headless" not in flags_of(first)
    assert "--headless" in flags_of(second)
    assert (flags_of(first)["--node-rank"], flags_of(second)["--node-rank"]) == ("0", "1")
    assert "--port" not in flags_of(second)


def test_every_priced_setting_is_explicit() -> None:
    flags = flags_of(export(handmade.plan())[0])
    assert flags["--max-num-seqs"] == "256"
    assert flags["--max-num-batched-tokens"] == "8192"
    assert flags["--max-model-len"] == "4096"
    assert flags["--gpu-memory-utilization"] == "0.92"
    assert flags["--block-size"] == "16"
    assert flags["--cudagraph-capture-sizes"] == "1 2 4 8 16"
    assert flags["--kv-cache-dtype"] == "bfloat16"


def test_a_reserve_lowers_the_share_of_memory() -> None:
    reserve = handmade.settings(reserve_bytes=handmade.H200.memory // 10)
    flags = flags_of(export(handmade.plan(handmade.replica([("node01", [0])], tp=1, engine=reserve)))[0])
    assert float(flags["--gpu-memory-utilization"]) == pytest.approx(0.82, abs=2e-4)


def test_weights_are_converted_only_where_the_engine_can() -> None:
    fp8 = export(two_nodes(weights="fp8", kv_cache="fp8"))[0]
    assert flags_of(fp8)["--quantization"] == "fp8"
    assert flags_of(fp8)["--kv-cache-dtype"] == "fp8"
    stored = export(with_model(two_nodes(weights="fp8-block"), quantization={"scheme": "fp8-block", "block": 128}))[0]
    assert "--quantization" not in flags_of(stored)
    assert "--dtype" not in flags_of(stored)
    elsewhere = export(two_nodes(weights="int4"))[0]
    assert '"${MODEL:?set MODEL to a checkpoint stored as int4}"' in elsewhere.text


def test_expert_parallelism_is_switched_on() -> None:
    assert "--enable-expert-parallel" in flags_of(export(two_nodes(ep=8))[0])


@pytest.mark.parametrize(
    ("replica", "said"),
    [
        (lambda: handmade.replica([("node01", [0, 1, 2, 3]), ("node02", [0, 1])], tp=6), "4 on node01, 2 on node02"),
        (lambda: handmade.replica([("a", [0]), ("b", [0]), ("a", [1]), ("b", [1])], tp=4), "return to a node"),
        (lambda: handmade.replica([("a", [0])], tp=1, role="prefill"), "no other half"),
        (lambda: handmade.replica([("a", [0])], tp=1, engine=handmade.settings(name="sglang")), "priced for sglang"),
        (lambda: handmade.replica([("a", [0, 1, 2, 3])], tp=4, ep=2), "EP 2"),
    ],
    ids=["unequal nodes", "not node by node", "split roles", "other engine", "partial EP"],
)
def test_what_vllm_cannot_start_is_refused_with_the_reason(replica: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        export(handmade.plan(replica()))


def test_names_from_files_cannot_run_as_commands(tmp_path: Path) -> None:
    evil = 'x\'; touch $(pwned) `pwned` "${HOME}"\n#'
    plan = with_model(
        handmade.plan(handmade.replica([(evil, [0]), ("../../b", [0])], tp=1, pp=2)), name=evil, weights_path=evil
    )
    bash = shutil.which("bash") or pytest.skip("no bash on this machine")
    (tmp_path / "vllm").write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$OUT"\n')
    (tmp_path / "vllm").chmod(0o755)
    for artifact in scripts(plan):
        assert re.fullmatch(r"[A-Za-z0-9._-]+", artifact.path)
        (tmp_path / artifact.path).write_text(artifact.text)
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "OUT": str(tmp_path / "out"), "HOME": "/home"}
        done = subprocess.run(
            [bash, artifact.path, "--extra"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        arguments = (tmp_path / "out").read_text()
        assert arguments.startswith(f"serve\n{evil}\n--served-model-name\n{evil}\n")
        assert f"--master-addr\n{evil}\n" in arguments
        assert arguments.endswith("--extra\n")
        assert not (tmp_path / "pwned").exists()


def test_nics_nearest_to_the_gpus_are_pinned_when_their_names_are_known() -> None:
    node = {"gpu": "h200-sxm", "gpus": 8, "nvswitch": {},
            "nics": {"count": 4, "bandwidth": "400 Gb/s", "names": [f"mlx5_{i}" for i in range(4)]}}  # fmt: skip
    cluster = handmade.cluster(templates={"hgx-h200": node})
    plan = handmade.plan(handmade.replica([("node01", [4, 5]), ("node02", [0, 7])], tp=2, pp=2))
    known = plan.model_copy(
        update={"inputs": Inputs(cluster=cluster, model=plan.inputs.model, workload=plan.inputs.workload)}
    )
    first, second = scripts(known)
    assert "export NCCL_IB_HCA=${NCCL_IB_HCA:-=mlx5_2}\n" in first.text
    assert "export NCCL_IB_HCA=${NCCL_IB_HCA:-=mlx5_0,mlx5_3}\n" in second.text
    assert "NCCL_IB_HCA" not in export(plan)[0].text
