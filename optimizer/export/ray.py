"""Ray: one RayService (KubeRay) with Ray Serve LLM, a worker group for each launch, a bundle for each seat.

Ray Serve LLM 2.60, ray/llm/_internal/serve/engines/vllm: engine_kwargs are vLLM's flags with underscores, the executor
is Ray's; bundles come in rank order. vLLM's Ray executor puts the driver's node first and orders the others by itself
(vllm/v1/executor/ray_executor.py), so a replica on more than two nodes is refused.
"""

import json
from typing import Any

from optimizer import __version__
from optimizer.export.artifact import MARK, Artifact
from optimizer.export.launch import vllm
from optimizer.export.launch.bundled import RAY_BRINGS, RAY_SERVE, check_release
from optimizer.export.launch.command import Command
from optimizer.export.launch.containers import resolved
from optimizer.export.launch.kubernetes import (
    TOKEN_SECRET,
    Document,
    check_seats,
    claim,
    claims_devices,
    mounts,
    object_name,
    pod,
    resources,
    seen_inside,
    token,
)
from optimizer.export.launch.readme import readme
from optimizer.export.launch.refusal import any_gpus, refuse
from optimizer.export.launch.seating import Launch, heads, launches, parts
from optimizer.export.launch.words import Option, plain, slug, yaml_text
from optimizer.plan import Plan

IMAGE = f"rayproject/ray-llm:{RAY_SERVE}-py312-cu130"
_HEAD_CPUS, _HEAD_MEMORY = "8", "32Gi"


def export(plan: Plan) -> tuple[Artifact, ...]:
    """Return the RayService and a README; InputError when Ray cannot keep the seats or brings another engine."""
    started = launches(plan, equal_nodes=False)
    for launch in started:
        check_release(launch, RAY_BRINGS, f"Ray Serve LLM {RAY_SERVE}")
        check_seats(launch)
        _check(launch)
    claims = [_claim(launch) for launch in started if claims_devices(launch)]
    service: Document = {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {
            "name": f"tpopt-{slug(plan.inputs.cluster.name if plan.inputs.more else plan.inputs.model.name, 30)}"
        },
        "spec": {"serveConfigV2": _serve(started), "rayClusterConfig": _cluster(started)},
    }
    text = yaml_text(*claims, service, head=f"{MARK} {__version__}: kubectl apply -f rayservice.yaml")
    notes = readme(plan, started, _steps(), lambda launch: f"group {_group(launch)}", route=False)
    return Artifact("rayservice.yaml", text), notes


def _check(launch: Launch) -> None:
    where, replica = f"replica {launch.number}", launch.replica
    can = any_gpus("vllm")
    if replica.role != "both":
        raise refuse(where, f"role {replica.role}: pairs are not written for Ray Serve LLM", ("lws", *can))
    if replica.attn_dp > 1:
        raise refuse(where, f"attention DP {replica.attn_dp}: its ranks are not bound to seats by Ray", ("lws", *can))
    if len(launch.nodes) > 2:
        raise refuse(where, f"Ray orders {len(launch.nodes)} nodes by itself", ("lws", *can))
    order = [seat.local_index for seat in launch.seats]
    if order != sorted(order):
        raise refuse(where, f"Ray takes the GPUs of {launch.node} in ascending order, not {order}", can)


def _claim(launch: Launch) -> Document:
    return claim(launch) | {"metadata": {"name": _claim_name(launch)}}


def _claim_name(launch: Launch) -> str:
    return f"{object_name(launch)}-{launch.node_rank}-gpus"


def _group(launch: Launch) -> str:
    return f"r{launch.number:03d}n{launch.node_rank:02d}"


def _serve(started: tuple[Launch, ...]) -> str:
    """Return the Serve configuration as text, as RayService embeds it."""
    shapes = tuple(dict.fromkeys(_first_alike(head, started) for head in heads(started)))
    application = {
        "name": "llm",
        "route_prefix": "/",
        "import_path": "ray.serve.llm:build_openai_app",
        "args": {"llm_configs": [_config(started[index], started) for index in shapes]},
    }
    return yaml_text({"applications": [application]}, head=f"{MARK} {__version__}")


def _first_alike(launch: Launch, started: tuple[Launch, ...]) -> int:
    """Return the place of the first replica that differs from this one in nothing but its seats on one node.

    Such replicas are copies of one deployment: each fills one pod, whichever. On two nodes, copies could mix pods.
    """
    if len(launch.nodes) > 1:
        return started.index(parts(launch, started)[0])
    mine = _shape(launch)
    return next(i for i, other in enumerate(started) if len(other.nodes) == 1 and _shape(other) == mine)


def _shape(head: Launch) -> Document:
    return head.replica.model_dump(exclude={"seats", "estimate", "reservations", "share"})


def _config(head: Launch, started: tuple[Launch, ...]) -> Document:
    """Return the LLMConfig of a replica and its copies."""
    command = seen_inside(head, vllm.command(head))
    own = parts(head, started)
    place = started.index(head)
    copies = sum(_first_alike(other, started) == place for other in heads(started))
    bundles = [{"GPU": 1, "CPU": 1, _resource(part, started): 1} for part in own for _ in part.seats]
    return {
        "model_loading_config": {"model_id": _model_id(head, started), "model_source": resolved(command.model)},
        "engine_kwargs": dict(map(_keyword, (*command.layout, *command.engine))),
        "placement_group_config": {"strategy": "STRICT_PACK" if len(own) == 1 else "PACK", "bundles": bundles},
        "deployment_config": {"num_replicas": copies, "max_ongoing_requests": head.replica.engine.max_num_seqs},
        "runtime_env": {"env_vars": _variables(command)},
    }


def _model_id(head: Launch, started: tuple[Launch, ...]) -> str:
    """Return the model's name; where different replicas serve it, each has its number behind it."""
    same = {_first_alike(other, started) for other in heads(started) if other.replica.model == head.replica.model}
    return head.model.name if len(same) == 1 else f"{head.model.name}-{head.number}"


def _resource(launch: Launch, started: tuple[Launch, ...]) -> str:
    """Return the custom resource that ties bundles to the pods made for them."""
    return _group(started[_first_alike(launch, started)]) if len(launch.nodes) == 1 else _group(launch)


def _keyword(option: Option) -> tuple[str, Any]:
    return option.key.replace("-", "_"), plain(option.value)


def _variables(command: Command) -> dict[str, str]:
    """Return the engine's variables; GPUs are Ray's to name."""
    given = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")
    return {name: resolved(word) for name, word in command.environment if name not in given}


def _cluster(started: tuple[Launch, ...]) -> Document:
    amount = {"cpu": _HEAD_CPUS, "memory": _HEAD_MEMORY}
    head = {"name": "ray-head", "image": IMAGE, "env": [token()], "resources": {"limits": amount, "requests": amount}}
    return {
        "rayVersion": RAY_SERVE,
        "headGroupSpec": {"rayStartParams": {"num-cpus": "0"}, "template": {"spec": {"containers": [head]}}},
        "workerGroupSpecs": [_workers(launch, started) for launch in started],
    }


def _workers(launch: Launch, started: tuple[Launch, ...]) -> Document:
    """Return a group of one pod on the launch's node; its custom resource is what the bundles ask for."""
    command = seen_inside(launch, vllm.command(launch))
    seats = len(launch.seats)
    worker = {
        "name": "ray-worker", "image": IMAGE, "env": [token()], "resources": resources(launch),
        "volumeMounts": mounts(command),
    }  # fmt: skip
    named = {"resourceClaimName": _claim_name(launch)} if claims_devices(launch) else None
    custom = json.dumps(json.dumps({_resource(launch, started): seats}))
    return {
        "groupName": _group(launch),
        "replicas": 1,
        "minReplicas": 1,
        "maxReplicas": 1,
        "rayStartParams": {"num-gpus": str(seats), "num-cpus": str(seats), "resources": custom},
        "template": {"spec": pod(launch, command, [worker], named)},
    }


def _steps() -> list[str]:
    return [
        f"kubectl apply -f rayservice.yaml; KubeRay must be installed. The image holds Ray {RAY_SERVE} and vLLM "
        f"{RAY_BRINGS['vllm']}.",
        "Nodes are chosen by their label kubernetes.io/hostname; claims by UUID need the NVIDIA DRA driver.",
        f"Gated checkpoints: kubectl create secret generic {TOKEN_SECRET} --from-literal=token=...",
        "Where different replicas serve one model, each answers under its own name (model-NUMBER).",
    ]
