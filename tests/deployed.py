"""Plans to deploy, written by hand: every shape an export has to express, each small enough to read.

Names of the dictionary say what is special. Settings are plausible, not predicted.
"""

import dataclasses
from typing import Any

import handmade

from optimizer.inputs import presets
from optimizer.inputs.cluster import ClusterSpec
from optimizer.inputs.model import ModelSpec
from optimizer.inputs.service import Service
from optimizer.inputs.workload import EngineName
from optimizer.plan import Inputs, Plan, Replica

ALL = list(range(8))
HOSTILE = 'x\'; touch $(pwned) `pwned` "${HOME}" %h {{y}} #'
"""A name that would run, expand or end a quotation wherever it is pasted."""

VERSIONS: dict[EngineName, str] = {"vllm": "0.33.0", "sglang": "0.5.23", "trtllm": "1.2.0"}
BLOCKS: dict[EngineName, int] = {"vllm": 16, "sglang": 1, "trtllm": 32}


def cluster(nodes: int = 2, **changes: Any) -> ClusterSpec:
    """Return HGX H200 nodes with named NICs and known UUIDs."""
    nics = {"count": 8, "bandwidth": "400 Gb/s", "names": [f"mlx5_{i}" for i in range(8)]}
    node = {"gpu": "h200-sxm", "gpus": 8, "nvswitch": {}, "nics": nics}
    entries = [
        {"name": f"node{n:02d}", "template": "hgx-h200", "gpu_ids": [uuid(f"node{n:02d}", i) for i in range(8)]}
        for n in range(1, nodes + 1)
    ]
    return handmade.cluster(**({"nodes": entries, "templates": {"hgx-h200": node}} | changes))


def uuid(node: str, index: int) -> str:
    """Return a UUID made from the node's number and the GPU's index."""
    return f"GPU-00000000-0000-0000-{int(node[-2:]):04d}-{index:012d}"


def known(replica: Replica) -> Replica:
    """Return the replica on GPUs named by UUID."""
    seats = tuple(seat.model_copy(update={"gpu": uuid(seat.node, seat.local_index)}) for seat in replica.seats)
    return replica.model_copy(update={"seats": seats})


def settings(engine: EngineName, **changes: Any) -> Any:
    """Return an engine with every setting named."""
    given = {"name": engine, "version": VERSIONS[engine], "block_tokens": BLOCKS[engine]}
    return handmade.settings(**(given | changes))


def replica(
    nodes: list[tuple[str, list[int]]], model: ModelSpec, engine: EngineName, tp: int, **changes: Any
) -> Replica:
    """Return a replica of a model, its layers spread over the stages."""
    pp = int(changes.pop("pp", 1))
    least, rest = divmod(model.num_layers, pp)
    split = tuple(least + (stage < rest) for stage in range(pp))
    tuned = settings(engine, **changes.pop("tuned", {}))
    given: dict[str, Any] = {
        "model": model.name, "weights": model.checkpoint_scheme, "layers_per_stage": split, "engine": tuned,
    }  # fmt: skip
    made = handmade.replica(nodes, tp=tp, pp=pp, **(given | changes))
    return known(made) if all(node[-2:].isdigit() for node, _ in nodes) else made


def plan(replicas: list[Replica], models: list[ModelSpec], on: ClusterSpec | None = None) -> Plan:
    """Return a plan of these replicas and models."""
    first, *more = models
    names = [model.name for model in models]
    replicas = [one.model_copy(update={"service": names.index(one.model)}) for one in replicas]
    inputs = Inputs(
        cluster=on or cluster(),
        model=first,
        workload=handmade.workload(),
        more=tuple(Service(model=model) for model in more),
    )
    return handmade.plan(*replicas, inputs=inputs)


def again(plan: Plan) -> Plan:
    """Return the plan with its last replica for a further service: the same model as before, with other traffic."""
    more = (*plan.inputs.more, Service(model=plan.inputs.services[-1].model, workload=handmade.workload(isl=128)))
    last = plan.replicas[-1].model_copy(update={"service": len(more)})
    inputs = plan.inputs.model_copy(update={"more": more})
    return plan.model_copy(update={"replicas": (*plan.replicas[:-1], last), "inputs": inputs})


def matrix(engine: EngineName, version: str | None = None) -> dict[str, Plan]:
    """Return the plans that an engine can be asked to run, by what is special about them."""
    return {name: with_version(plan, version or VERSIONS[engine]) for name, plan in _matrix(engine).items()}


def with_version(plan: Plan, version: str) -> Plan:
    """Return the plan with all replicas on another release of their engine."""
    replicas = tuple(
        replica.model_copy(update={"engine": dataclasses.replace(replica.engine, version=version)})
        for replica in plan.replicas
    )
    return plan.model_copy(update={"replicas": replicas})


def _matrix(engine: EngineName) -> dict[str, Plan]:
    llama, moe, mla = handmade.model(), presets.load_model("qwen3-235b-a22b-fp8"), presets.load_model("deepseek-v3")
    small = presets.load_model("qwen3-8b")
    one, two, three, four = "node01", "node02", "node03", "node04"

    def on(nodes: list[tuple[str, list[int]]], tp: int, model: ModelSpec = llama, **changes: Any) -> Replica:
        return replica(nodes, model, engine, tp, **changes)

    plans = {
        "tp8": plan([on([(one, ALL)], 8)], [llama]),
        "tp8pp2-two-nodes": plan([on([(one, ALL), (two, ALL)], 8, pp=2)], [llama]),
        "tp4x4": plan([on([(n, half)], 4) for n in (one, two) for half in (ALL[:4], ALL[4:])], [llama]),
        "uneven-stages": plan(
            [on([(one, ALL), (two, ALL)], 8, pp=2, layers_per_stage=(41, 39))], [llama]
        ),
        "moe-ep-attention-dp": plan([on([(one, ALL)], 2, moe, ep=8, attn_dp=4)], [moe]),
        "mla-dp16-two-nodes": plan([on([(one, ALL), (two, ALL)], 1, mla, ep=16, attn_dp=16)], [mla]),
        "mla-dcp8": plan([on([(one, ALL)], 8, mla, dcp=8)], [mla]),
        "prefill-decode-2-1": plan(
            [
                on([(one, ALL[:4])], 4, role="prefill"),
                on([(one, ALL[4:])], 4, role="prefill"),
                on([(two, ALL)], 8, role="decode"),
            ],
            [llama],
        ),
        "fp8-weights-and-kv": plan([on([(one, ALL[:4])], 4, weights="fp8", kv_cache="fp8")], [llama]),
        "seven-gpus-mixed": plan(
            [
                on([(one, ALL[:4])], 4),
                on([(one, ALL[4:6])], 2, kv_cache="fp8", weights="fp8"),
                on([(one, [6])], 1, small),
            ],
            [llama, small],
        ),
        "long-context": plan(
            [on([(one, ALL)], 8, tuned={"max_model_len": 131072, "max_num_seqs": 16, "max_num_batched_tokens": 16384})],
            [llama],
        ),
        "two-models": plan([on([(one, ALL)], 8), on([(two, ALL)], 8, mla)], [llama, mla]),
        "three-services-one-in-pairs": again(
            plan(
                [
                    on([(one, ALL[:4])], 4, role="prefill"),
                    on([(one, ALL[4:])], 4, role="decode"),
                    on([(two, ALL[:4])], 4),
                    on([(two, [4])], 1, small),
                    on([(two, [5])], 1, small),
                ],
                [llama, small],
            )
        ),
        "eager-with-reserve": plan(
            [on([(one, [5])], 1, small, tuned={"cuda_graphs": False, "cuda_graph_sizes": (), "reserve_bytes": 2**33})],
            [small],
        ),
        "tp8pp4-four-nodes": plan(
            [on([(n, ALL) for n in (one, two, three, four)], 8, pp=4)], [llama], cluster(4)
        ),
    }  # fmt: skip
    if engine != "trtllm":
        plans["hostile-names"] = hostile(engine)
    return plans


def hostile(engine: EngineName) -> Plan:
    """Return a replica whose model, checkpoint and nodes are named to do harm."""
    evil = handmade.model(name=HOSTILE, weights_path=f"/models/{HOSTILE}")
    node = {"gpu": "h200-sxm", "gpus": 8, "nvswitch": {}}
    nodes = [{"name": HOSTILE, "count": 2, "template": "hgx-h200"}]
    on = handmade.cluster(name=HOSTILE, nodes=nodes, templates={"hgx-h200": node})
    one = replica([(f"{HOSTILE}1", ALL), (f"{HOSTILE}2", ALL)], evil, engine, 8, pp=2)
    return plan([one], [evil], on)
