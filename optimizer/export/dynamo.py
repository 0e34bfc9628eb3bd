"""NVIDIA Dynamo: one DynamoGraphDeployment (v1beta1) for each model and traffic, a component for each replica.

The operator adds node counts, ranks and addresses to the engines' commands itself, so they are left out here.
"""

from optimizer import __version__
from optimizer.export.artifact import MARK, Artifact
from optimizer.export.launch import engines
from optimizer.export.launch.bundled import DYNAMO, DYNAMO_BRINGS, check_release
from optimizer.export.launch.command import Command
from optimizer.export.launch.containers import SHARED_MEMORY, node_indices, own_indices, positions, resolved
from optimizer.export.launch.kubernetes import (
    HOST,
    TOKEN_SECRET,
    Document,
    check_seats,
    claim,
    claim_template,
    claims_devices,
    environment,
    mounts,
    object_name,
    pod,
    resources,
    seen_inside,
    token,
)
from optimizer.export.launch.pools import pool_name, pools
from optimizer.export.launch.readme import readme
from optimizer.export.launch.refusal import any_gpus, refuse
from optimizer.export.launch.seating import Launch, heads, launches, parts
from optimizer.export.launch.words import Option, kubernetes, yaml_text
from optimizer.plan import Plan

_MODULES = {"vllm": "dynamo.vllm", "sglang": "dynamo.sglang"}
_MOST_COMPONENTS = 25
"""Of one deployment (the resource's schema)."""


def export(plan: Plan) -> tuple[Artifact, ...]:
    """Return a deployment for each pool and a README; InputError when the operator cannot keep the seats."""
    started = launches(plan)
    for launch in started:
        check_release(launch, DYNAMO_BRINGS, f"Dynamo {DYNAMO}")
        check_seats(launch)
        _check_order(launch)
    files = [(own, _file(own, started)) for own in pools(heads(started))]
    places = {head.number: file.path for own, file in files for head in own}
    notes = readme(plan, started, _steps(), lambda launch: places[launch.number], route=False)
    return (*(file for _, file in files), notes)


def _check_order(launch: Launch) -> None:
    """Raise InputError unless any order of the replica's nodes is as good as the planned one.

    The operator gives ranks to pods in its own order: harmless on two equal nodes, or on equal nodes of one leaf.
    """
    places = {(place.template, place.leaf) for place in launch.places.values()}
    orders = {tuple(seat.local_index for seat in seats) for _, seats in launch.nodes}
    alike = len({template for template, _ in places}) == 1 and len(orders) == 1
    if len(launch.nodes) > 1 and not (alike and (len(launch.nodes) == 2 or len(places) == 1)):
        raise refuse(
            f"replica {launch.number}",
            f"Dynamo's operator chooses which of its {len(launch.nodes)} nodes holds which ranks, and they differ",
            ("lws", *any_gpus(launch.replica.engine.name)),
        )


def _file(own: tuple[Launch, ...], started: tuple[Launch, ...]) -> Artifact:
    name = f"tpopt-{pool_name(own)}"
    if len(own) + 1 > _MOST_COMPONENTS:
        raise refuse(
            f"model {own[0].model.name}", f"{len(own)} replicas exceed {_MOST_COMPONENTS - 1} components", ("lws",)
        )
    claims = [_claim(parts(head, started)) for head in own if claims_devices(head)]
    deployment: Document = {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeployment",
        "metadata": {"name": name},
        "spec": {
            "backendFramework": own[0].replica.engine.name,
            "components": [_frontend(own[0]), *(_worker(parts(head, started)) for head in own)],
        },
    }
    return Artifact(f"{name}.yaml", yaml_text(*claims, deployment, head=f"{MARK} {__version__}: kubectl apply -f"))


def _claim(own: tuple[Launch, ...]) -> Document:
    return claim(own[0]) if len(own) == 1 else claim_template(f"{object_name(own[0])}-gpus", own)


def _image(launch: Launch) -> str:
    return f"nvcr.io/nvidia/ai-dynamo/{launch.replica.engine.name}-runtime:{DYNAMO}"


def _frontend(launch: Launch) -> Document:
    main = {
        "name": "main",
        "image": _image(launch),
        "command": ["python3", "-m", "dynamo.frontend"],
        "args": ["--router-mode", "kv"],
        "env": [token()],
    }
    return {"name": "Frontend", "type": "frontend", "replicas": 1, "podTemplate": {"spec": {"containers": [main]}}}


def _worker(own: tuple[Launch, ...]) -> Document:
    head = own[0]
    role = head.replica.role
    component: Document = {
        "name": f"{'worker' if role == 'both' else role}-{head.number}",
        "type": "worker" if role == "both" else role,
        "replicas": 1,
        "sharedMemorySize": SHARED_MEMORY,
        "podTemplate": _template(own),
    }
    return component | ({"multinode": {"nodeCount": len(own)}} if len(own) > 1 else {})


def _template(own: tuple[Launch, ...]) -> Document:
    head = own[0]
    command = seen_inside(head, engines.command(head))
    main = {
        "name": "main",
        "image": _image(head),
        "command": ["python3", "-m", _MODULES[head.replica.engine.name]],
        "args": _arguments(head, command),
        "env": [_on_every_node(entry, own) for entry in environment(command)],
        "resources": resources(head),
        "volumeMounts": [mount for mount in mounts(command) if mount["name"] != "shm"],
    }
    which = "resourceClaimName" if len(own) == 1 else "resourceClaimTemplateName"
    spec = pod(head, command, [main], {which: f"{object_name(head)}-gpus"} if claims_devices(head) else None)
    spec["volumes"] = [volume for volume in spec["volumes"] if volume["name"] != "shm"]
    term = {"matchExpressions": [{"key": HOST, "operator": "In", "values": [launch.node for launch in own]}]}
    nodes = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    kept = {key: value for key, value in spec.items() if key != "nodeSelector"} | {"affinity": {"nodeAffinity": nodes}}
    template: Document = {"spec": kept}
    if len(own) > 1 and head.replica.engine.name == "vllm":
        template = {"metadata": {"annotations": {"nvidia.com/vllm-distributed-executor-backend": "mp"}}} | template
    return template


def _on_every_node(entry: Document, own: tuple[Launch, ...]) -> Document:
    """Return a variable as it holds on all nodes of the replica: positions, not the UUIDs of one node."""
    if len(own) == 1 or entry["name"] != "CUDA_VISIBLE_DEVICES":
        return entry
    visible = own_indices(own[0]) if claims_devices(own[0]) else node_indices(own[0])
    return entry | {"value": positions(own[0], visible)}


def _arguments(launch: Launch, command: Command) -> list[str]:
    """Return the model, its name, the layout and every priced setting; the operator adds nodes and addresses."""
    model = () if launch.replica.engine.name == "sglang" else (Option("--model", command.model),)
    addresses = ("--host", "--port")
    named = tuple(option for option in command.serving if option.flag not in addresses)
    mode: tuple[Option, ...] = ()
    if launch.replica.role != "both" and launch.replica.engine.name == "vllm":
        mode = (Option("--disaggregation-mode", launch.replica.role),)
    options = (*model, *named, *mode, *command.layout, *command.engine)
    return [kubernetes(resolved(word)) for option in options for word in option.words]


def _steps() -> list[str]:
    return [
        f"kubectl apply -f each file below; the Dynamo platform {DYNAMO} must be installed. Its operator adds ranks",
        "and addresses of replicas on several nodes. Nodes are chosen by their label kubernetes.io/hostname; claims",
        "by UUID need the NVIDIA DRA driver.",
        f"Gated checkpoints: kubectl create secret generic {TOKEN_SECRET} --from-literal=token=...",
        "Requests go to the frontend's service, port 8000, which routes by cached prefixes.",
    ]
