"""Every target over the whole matrix of plans: written as planned, or refused with the targets that can."""

import re
from pathlib import Path
from typing import Any

import deployed
import handmade
import pytest
import yaml

from optimizer.cli.deploy import TARGETS
from optimizer.errors import InputError
from optimizer.export import EXPORTERS
from optimizer.export.checks.structure import problems
from optimizer.export.launch import sglang, vllm
from optimizer.export.launch.seating import launches
from optimizer.inputs import presets
from optimizer.inputs.workload import EngineName
from optimizer.plan import Plan

GOLDEN = Path(__file__).parent.parent / "golden"
PAIRS: tuple[tuple[str, EngineName, str], ...] = (
    ("vllm", "vllm", "0.33.0"), ("sglang", "sglang", "0.5.23"), ("trtllm", "trtllm", "1.2.0"),
    ("slurm", "vllm", "0.33.0"), ("slurm", "sglang", "0.5.23"), ("compose", "vllm", "0.33.0"),
    ("compose", "sglang", "0.5.23"), ("systemd", "vllm", "0.33.0"), ("systemd", "sglang", "0.5.23"),
    ("lws", "vllm", "0.33.0"), ("lws", "sglang", "0.5.23"), ("llm-d", "vllm", "0.33.0"), ("ray", "vllm", "0.29.0"),
    ("dynamo", "vllm", "0.31.0"), ("dynamo", "sglang", "0.5.21"),
)  # fmt: skip
REFUSED = {
    "slurm": {"hostile-names"},
    "lws": {"hostile-names"},
    "llm-d": {"hostile-names", "prefill-decode-2-1", "three-services-one-in-pairs"},
    "ray": {
        "hostile-names", "prefill-decode-2-1", "three-services-one-in-pairs", "moe-ep-attention-dp",
        "mla-dp16-two-nodes", "tp8pp4-four-nodes",
    },
    "dynamo": {"hostile-names"},
    "trtllm": {"moe-ep-attention-dp", "mla-dcp8"},
}  # fmt: skip
GOLDENS = [
    ("sglang", "sglang", "moe-ep-attention-dp"), ("slurm", "vllm", "prefill-decode-2-1"),
    ("compose", "vllm", "fp8-weights-and-kv"), ("systemd", "vllm", "uneven-stages"),
    ("lws", "vllm", "uneven-stages"), ("lws", "sglang", "prefill-decode-2-1"), ("ray", "vllm", "tp4x4"),
    ("dynamo", "vllm", "tp8pp2-two-nodes"), ("llm-d", "vllm", "tp8"), ("trtllm", "trtllm", "tp8pp2-two-nodes"),
]  # fmt: skip


def version(target: str, engine: EngineName) -> str:
    return next(release for t, e, release in PAIRS if (t, e) == (target, engine))


@pytest.mark.parametrize(("target", "engine", "release"), PAIRS)
def test_every_plan_is_written_well_formed_or_refused_with_the_targets_that_can(
    target: str, engine: EngineName, release: str
) -> None:
    plans = deployed.matrix(engine, release)
    for name in REFUSED.get(target, ()):
        with pytest.raises(InputError, match="targets that can" if target != "trtllm" else "TensorRT-LLM"):
            EXPORTERS[target](plans.pop(name))
    for name, plan in plans.items():
        artifacts = EXPORTERS[target](plan)
        assert problems(plan, artifacts) == (), name
        assert len({artifact.path for artifact in artifacts}) == len(artifacts), name
        assert artifacts[-1].path == "README.txt"
        assert all(replica_is_told(artifacts[-1].text, number) for number in range(len(plan.replicas)))


def replica_is_told(readme: str, number: int) -> bool:
    return f"Replica {number}:" in readme


@pytest.mark.parametrize(("target", "engine", "name"), GOLDENS)
def test_the_text_of_each_target_is_the_golden_one(target: str, engine: EngineName, name: str) -> None:
    folder = GOLDEN / f"{target}-{engine}-{name}"
    artifacts = EXPORTERS[target](deployed.matrix(engine, version(target, engine))[name])
    for artifact in artifacts:
        assert artifact.text == (folder / artifact.path).read_text(), artifact.path
    assert {p.name for p in folder.iterdir()} == {a.path for a in artifacts}


def test_the_help_names_every_target() -> None:
    assert TARGETS.split(", ") == list(EXPORTERS)


def test_an_unknown_release_is_refused_with_the_nearest_known() -> None:
    plan = deployed.with_version(deployed.matrix("vllm")["tp8"], "0.34.1")
    with pytest.raises(InputError, match=r"vllm 0\.34\.1: .*nearest known: 0\.33"):
        EXPORTERS["vllm"](plan)
    assert presets.load_flags("vllm", "0.33.4").version == "0.33"
    with pytest.raises(InputError, match=r"nearest known: 0\.5\.2"):
        presets.load_flags("sglang", "0.5.230")


@pytest.mark.parametrize(("target", "brings"), [("ray", "0.29.0"), ("dynamo", "0.31.0")])
def test_a_target_with_its_own_engine_refuses_plans_priced_for_another(target: str, brings: str) -> None:
    with pytest.raises(InputError, match=rf"priced for vllm 0\.33\.0, and .* brings {re.escape(brings)}"):
        EXPORTERS[target](deployed.matrix("vllm")["tp8"])


@pytest.mark.parametrize("target", ["lws", "llm-d", "ray", "dynamo"])
def test_a_part_of_a_node_without_uuids_is_refused_where_a_device_plugin_chooses(target: str) -> None:
    release = version(target, "vllm")
    plan = deployed.with_version(handmade.plan(handmade.replica([("node01", [0, 1])], tp=2)), release)
    with pytest.raises(InputError, match=r"2 of the 8 GPUs of node01.*targets that can: vllm, slurm, compose, systemd"):
        EXPORTERS[target](plan)
    whole = deployed.with_version(handmade.plan(handmade.replica([("node01", list(range(8)))], tp=8)), release)
    assert EXPORTERS[target](whole)


def test_pairs_on_parts_of_a_node_without_uuids_are_refused_too() -> None:
    pair = [
        handmade.replica([("node01", [0, 1])], tp=2, role="prefill"),
        handmade.replica([("node01", [2, 3])], tp=2, role="decode"),
    ]
    with pytest.raises(InputError, match="2 of the 8 GPUs of node01"):
        EXPORTERS["lws"](handmade.plan(*pair))


def test_a_lost_gpu_leaves_a_whole_node_of_seven() -> None:
    lost = {"match": {"node": "node[01-02]", "gpu": 7}, "state": "lost"}
    reserved = {"match": {"node": "node01", "gpu": 7}, "state": "reserved"}
    small = presets.load_model("qwen3-8b")
    seats = [("node01", list(range(7)))]
    replica = deployed.replica(seats, small, "vllm", 1, pp=7)
    plan = deployed.plan([replica], [small], handmade.cluster(overrides=[lost]))
    assert launches(plan)[0].whole_node
    assert not launches(deployed.plan([replica], [small], handmade.cluster(overrides=[reserved])))[0].whole_node


def test_vllm_numbers_attention_replicas_outside_the_stages() -> None:
    moe = presets.load_model("qwen3-235b-a22b-fp8")
    replica = deployed.replica([("node01", list(range(8)))], moe, "vllm", 2, pp=2, attn_dp=2, ep=4)
    (launch,) = launches(deployed.plan([replica], [moe]))
    assert [seat.rank for seat in launch.seats] == [0, 1, 4, 5, 2, 3, 6, 7]


def test_data_parallel_ranks_of_two_nodes_are_counted_on() -> None:
    first, second = launches(deployed.matrix("vllm")["mla-dp16-two-nodes"])
    assert flags(vllm.command(first).options)["--data-parallel-size-local"] == 8
    assert "--data-parallel-start-rank" not in flags(vllm.command(first).options)
    assert flags(vllm.command(second).options)["--data-parallel-start-rank"] == 8
    assert flags(vllm.command(second).options)["--headless"] is True


def test_sglang_holds_attention_replicas_inside_the_tp_group() -> None:
    plan = deployed.matrix("sglang")["moe-ep-attention-dp"]
    given = flags(sglang.command(launches(plan)[0]).options)
    assert (given["--tp-size"], given["--attn-dp-size"], given["--ep-size"]) == (8, 4, 8)
    assert given["--max-running-requests"] == 4 * plan.replicas[0].engine.max_num_seqs
    older = flags(sglang.command(launches(deployed.with_version(plan, "0.5.21"))[0]).options)
    assert (older["--dp-size"], older["--enable-dp-attention"]) == (4, True)


def flags(options: tuple[Any, ...]) -> dict[str, Any]:
    return {option.flag: option.value for option in options}


def test_pairs_know_their_connector_ports_and_network_devices() -> None:
    prefill, second, decode = launches(deployed.matrix("vllm")["prefill-decode-2-1"])
    transfer = flags(vllm.command(prefill).options)["--kv-transfer-config"]
    assert transfer == {"kv_connector": "NixlConnector", "kv_role": "kv_producer"}
    assert flags(vllm.command(decode).options)["--kv-transfer-config"]["kv_role"] == "kv_consumer"
    ports = [dict(vllm.command(x).environment)["VLLM_NIXL_SIDE_CHANNEL_PORT"] for x in (prefill, second)]
    assert len(set(ports)) == 2
    ucx = dict(vllm.command(prefill).environment)["UCX_NET_DEVICES"]
    assert getattr(ucx, "default", ucx) == "mlx5_0:1,mlx5_1:1,mlx5_2:1,mlx5_3:1"


@pytest.mark.parametrize(("tp", "said"), [(6, "neither divides"), (8, "")])
def test_pairs_need_tp_sizes_that_divide_one_another(tp: int, said: str) -> None:
    llama = handmade.model()
    plan = deployed.plan(
        [
            deployed.replica([("node01", list(range(4)))], llama, "vllm", 4, role="prefill"),
            deployed.replica([("node02", list(range(tp)))], llama, "vllm", tp, role="decode"),
        ],
        [llama],
    )
    if said:
        with pytest.raises(InputError, match=said):
            EXPORTERS["vllm"](plan)
    else:
        router = next(a for a in EXPORTERS["vllm"](plan) if a.path == "router.sh")
        assert "--vllm-pd-disaggregation" in router.text
        assert "--prefill http://node01:8000" in router.text


def test_each_service_has_its_own_router_and_pairs_are_apart_from_whole_replicas() -> None:
    plan = deployed.matrix("vllm")["three-services-one-in-pairs"]
    artifacts = {artifact.path: artifact.text for artifact in EXPORTERS["vllm"](plan)}
    (router,) = [path for path in artifacts if path.startswith("router")]
    assert router == "router-0-meta-llama-llama-3-1-70b-pairs.sh"
    assert "--prefill http://node01:8000" in artifacts[router]
    assert "node02" not in artifacts[router]
    readme = artifacts["README.txt"]
    assert readme.startswith("Generated by tpopt 0.1.0: meta-llama/Llama-3.1-70B, Qwen/Qwen3-8B on two-hgx-h200.")
    assert "Replica 0: meta-llama/Llama-3.1-70B, prefill, tp4" in readme
    assert "Replica 4: Qwen/Qwen3-8B (service 2), tp1" in readme
    assert "Send requests for meta-llama/Llama-3.1-70B to the router that joins prefill and decode, port 9000" in readme
    assert readme.count("in proportion to their GPUs") == 3


def test_a_pair_is_looked_for_in_the_own_service() -> None:
    plan = deployed.matrix("vllm")["three-services-one-in-pairs"]
    moved = plan.replicas[1].model_copy(update={"service": 1})
    with pytest.raises(InputError, match="no other half"):
        EXPORTERS["vllm"](plan.model_copy(update={"replicas": (plan.replicas[0], moved, *plan.replicas[2:])}))


def test_objects_of_two_services_of_one_model_have_names_of_their_own() -> None:
    plan = deployed.matrix("vllm")["three-services-one-in-pairs"]
    objects = kubernetes_objects(plan)
    services = [one["metadata"]["name"] for one in objects if one["kind"] == "Service"]
    assert {"tpopt-qwen-qwen3-8b-s1", "tpopt-qwen-qwen3-8b-s2", "tpopt-meta-llama-llama-3-1-70b"} <= set(services)
    assert len(set(services)) == len(services) == 8
    kinds = [one["kind"] for one in objects]
    assert (kinds.count("DisaggregatedSet"), kinds.count("Deployment")) == (1, 3)
    graphs = kubernetes_objects(deployed.matrix("vllm", "0.31.0")["three-services-one-in-pairs"], "dynamo")
    names = [one["metadata"]["name"] for one in graphs if one["kind"] == "DynamoGraphDeployment"]
    assert names == [
        "tpopt-meta-llama-llama-3-1-70b-pairs", "tpopt-meta-llama-llama-3-1-70b", "tpopt-qwen-qwen3-8b-s1",
        "tpopt-qwen-qwen3-8b-s2",
    ]  # fmt: skip


def test_a_pair_of_pipelines_is_refused_where_the_connector_moves_no_kv_of_stages() -> None:
    llama = handmade.model()
    pair = [
        deployed.replica([("node01", list(range(4)))], llama, "vllm", 2, pp=2, role="prefill"),
        deployed.replica([("node02", list(range(4)))], llama, "vllm", 4, role="decode"),
    ]
    with pytest.raises(InputError, match="pp 2: vllm hands over no KV from pipeline stages"):
        EXPORTERS["vllm"](deployed.plan(pair, [llama]))


def test_a_replica_of_a_service_that_the_plan_lacks_is_refused() -> None:
    plan = deployed.matrix("vllm")["tp8"]
    strange = plan.replicas[0].model_copy(update={"service": 3})
    with pytest.raises(InputError, match="does not describe service 3"):
        EXPORTERS["vllm"](plan.model_copy(update={"replicas": (strange,)}))


def test_gpus_and_nics_known_by_bus_id_are_mapped_one_by_one() -> None:
    gpus = [f"00000000:{index + 16:02x}:00.0" for index in range(8)]
    nics = [f"0000:{index + 64:02x}:00.0" for index in range(8)]
    node = {
        "gpu": "h200-sxm", "gpus": 8, "nvswitch": {},
        "nics": {"count": 8, "bandwidth": "400 Gb/s", "names": nics},
    }  # fmt: skip
    entries = [{"name": f"n{n}", "template": "hgx-h200", "gpu_ids": [f"{n}{g}"[1:] for g in gpus]} for n in (1, 2)]
    replica = handmade.replica([("n1", list(range(8))), ("n2", list(range(8)))], tp=8, pp=2)
    seats = tuple(seat.model_copy(update={"gpu": gpus[seat.local_index]}) for seat in replica.seats)
    plan = deployed.plan(
        [replica.model_copy(update={"seats": seats})], [handmade.model()],
        handmade.cluster(nodes=entries, templates={"hgx-h200": node}),
    )  # fmt: skip
    variables = dict(vllm.command(launches(plan)[0]).environment)
    assert str(variables["VLLM_GPU_NIC_PCIE_MAPPING"]).startswith("00000000:10:00.0=0000:40:00.0,00000000:11:00.0=")
    assert variables["CUDA_VISIBLE_DEVICES"] == "0,1,2,3,4,5,6,7"
    assert "NCCL_IB_HCA" not in variables


def test_a_broken_nic_is_not_pinned() -> None:
    plan = deployed.matrix("vllm")["tp8pp2-two-nodes"]
    broken = deployed.cluster(overrides=[{"match": {"node": "node01", "nic": 3}, "state": "down"}])
    inputs = plan.inputs.model_copy(update={"cluster": broken})
    first, second = launches(plan.model_copy(update={"inputs": inputs}))
    assert "mlx5_3" not in str(dict(vllm.command(first).environment)["NCCL_IB_HCA"])
    assert "mlx5_3" in str(dict(vllm.command(second).environment)["NCCL_IB_HCA"])


@pytest.mark.parametrize("target", ["vllm", "compose", "systemd"])
def test_no_file_of_a_hostile_plan_leaves_its_folder(target: str) -> None:
    for artifact in EXPORTERS[target](deployed.hostile("vllm")):
        assert re.fullmatch(r"[A-Za-z0-9._-]+", artifact.path)


def test_hostile_names_come_back_whole_from_yaml() -> None:
    compose = next(a for a in EXPORTERS["compose"](deployed.hostile("vllm")) if a.path.startswith("compose-00"))
    (service,) = yaml.safe_load(compose.text)["services"].values()
    assert deployed.HOSTILE.replace("$", "$$") in service["command"]
    config = next(a for a in EXPORTERS["vllm"](deployed.hostile("vllm")) if a.path.endswith(".yaml"))
    assert yaml.safe_load(config.text)["served-model-name"] == deployed.HOSTILE


def kubernetes_objects(plan: Plan, target: str = "lws") -> list[Any]:
    texts = [a.text for a in EXPORTERS[target](plan) if a.path.endswith(".yaml")]
    return [document for text in texts for document in yaml.safe_load_all(text)]


def test_picked_gpus_are_claimed_by_uuid() -> None:
    objects = kubernetes_objects(deployed.matrix("vllm")["fp8-weights-and-kv"])
    (claim,) = [one for one in objects if one["kind"] == "ResourceClaim"]
    (exactly,) = [request["exactly"] for request in claim["spec"]["devices"]["requests"]]
    assert exactly["count"] == 4
    assert deployed.uuid("node01", 3) in exactly["selectors"][0]["cel"]["expression"]
    (deployment,) = [one for one in objects if one["kind"] == "Deployment"]
    pod = deployment["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"kubernetes.io/hostname": "node01"}
    assert pod["resourceClaims"] == [{"name": "gpus", "resourceClaimName": claim["metadata"]["name"]}]


def test_pods_of_many_nodes_run_the_script_of_their_node() -> None:
    objects = kubernetes_objects(deployed.matrix("vllm")["tp8pp4-four-nodes"])
    (scripts,) = [one for one in objects if one["kind"] == "ConfigMap"]
    assert list(scripts["data"]) == [f"node{n:02d}.sh" for n in range(1, 5)]
    (group,) = [one["spec"]["leaderWorkerTemplate"] for one in objects if one["kind"] == "LeaderWorkerSet"]
    assert group["size"] == 4
    assert group["leaderTemplate"]["spec"]["nodeSelector"] == {"kubernetes.io/hostname": "node01"}
    worker = group["workerTemplate"]["spec"]["affinity"]["nodeAffinity"]
    (term,) = worker["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term["matchExpressions"][0]["values"] == ["node02", "node03", "node04"]


def test_the_graph_of_dynamo_leaves_ranks_to_its_operator() -> None:
    plan = deployed.matrix("vllm", "0.31.0")["tp8pp2-two-nodes"]
    (graph,) = kubernetes_objects(plan, "dynamo")
    worker = graph["spec"]["components"][1]
    assert worker["multinode"] == {"nodeCount": 2}
    arguments = worker["podTemplate"]["spec"]["containers"][0]["args"]
    assert not {"--nnodes", "--node-rank", "--master-addr", "--headless", "--port"} & set(arguments)


@pytest.mark.parametrize("target", list(EXPORTERS))
def test_tokens_are_referenced_and_never_written(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_" + "s" * 30)
    engine = next(engine for t, engine, _ in PAIRS if t == target)
    texts = [a.text for a in EXPORTERS[target](deployed.matrix(engine, version(target, engine))["tp8"])]
    assert any("HF_TOKEN" in text or "hf-token" in text for text in texts)
    assert not any("hf_ss" in text for text in texts)
