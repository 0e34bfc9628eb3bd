"""Pods on exactly the planned nodes and GPUs: whole nodes through the device plugin, parts of a node by DRA claims.

The device plugin hands out any GPUs of a node, so a part of a node needs a ResourceClaim that names UUIDs (the NVIDIA
DRA driver publishes ``uuid``, not an index).
"""

import re
from typing import Any

from optimizer.export.launch.command import Command
from optimizer.export.launch.containers import (
    CACHE,
    SHARED_MEMORY,
    inside,
    local_path,
    must_be_stored,
    node_indices,
    own_indices,
    resolved,
    uses_rdma,
    with_port,
)
from optimizer.export.launch.refusal import any_gpus, refuse
from optimizer.export.launch.seating import API_PORT, Launch
from optimizer.export.launch.words import kubernetes

Document = dict[str, Any]
HOST = "kubernetes.io/hostname"
TOKEN_SECRET = "hf-token"
_NODE = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")


def object_name(launch: Launch) -> str:
    """Return the replica's name as a DNS label."""
    return f"tpopt-{launch.short_name}-{launch.number}"


def check_seats(launch: Launch) -> None:
    """Raise InputError when pods cannot be bound to the launch's node or GPUs."""
    where, engine = f"replica {launch.number}", launch.replica.engine.name
    if not _NODE.fullmatch(launch.node):
        raise refuse(where, f"{launch.node!r} is no name of a Kubernetes node", any_gpus(engine))
    if not launch.whole_node and not launch.uuids:
        raise refuse(
            where,
            f"{len(launch.seats)} of the {len(node_indices(launch))} GPUs of {launch.node}: a device plugin cannot "
            "choose which, and a ResourceClaim needs their UUIDs (gpu_ids of the cluster)",
            any_gpus(engine),
        )


def claims_devices(launch: Launch) -> bool:
    """Whether the GPUs are picked by a claim: a part of a node."""
    return not launch.whole_node


def labels(launch: Launch, component: str) -> dict[str, str]:
    """Return labels by which services and people find the pods."""
    role = {} if launch.replica.role == "both" else {"tpopt.dev/role": launch.replica.role}
    return {
        "app.kubernetes.io/name": f"tpopt-{launch.short_name}",
        "app.kubernetes.io/instance": object_name(launch),
        "app.kubernetes.io/component": component,
    } | role


def seen_inside(launch: Launch, command: Command) -> Command:
    """Return the command with its GPUs named as the pod sees them; InputError when no checkpoint fits."""
    must_be_stored(launch, command)
    visible = own_indices(launch) if claims_devices(launch) else node_indices(launch)
    return with_port(inside(launch, command, visible), api_port(launch))


def api_port(launch: Launch) -> int:
    """Return where the pod answers: the engine's default, unless pods share the host's network."""
    return launch.api_port if uses_rdma(launch) else API_PORT[launch.replica.engine.name]


def environment(command: Command) -> list[Document]:
    """Return the variables: planned values as text, the pod's own address and the secret by reference."""
    found: list[Document] = []
    for name, word in command.environment:
        if name.endswith("SIDE_CHANNEL_HOST"):
            found.append({"name": name, "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}})
        else:
            found.append({"name": name, "value": kubernetes(resolved(word))})
    return [*found, token()]


def token() -> Document:
    """Return HF_TOKEN from a secret that may be absent."""
    reference = {"name": TOKEN_SECRET, "key": "token", "optional": True}
    return {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": reference}}


def resources(launch: Launch) -> Document:
    """Return what the scheduler sets aside."""
    if claims_devices(launch):
        return {"claims": [{"name": "gpus"}]}
    amount = {"nvidia.com/gpu": str(len(launch.seats))}
    return {"limits": amount, "requests": dict(amount)}


def container(launch: Launch, command: Command, image: str, *, name: str, run: Document) -> Document:
    """Return the engine's container; ``run`` holds its command and args, and more variables under "env"."""
    made: Document = {
        "name": name,
        "image": image,
        **{key: value for key, value in run.items() if key != "env"},
        "env": [*run.get("env", environment(command))],
        "resources": resources(launch),
        "volumeMounts": mounts(command),
    }
    if uses_rdma(launch):
        made["securityContext"] = {"capabilities": {"add": ["IPC_LOCK"]}}
    return made | (serving(launch) if launch.is_head else {})


def serving(launch: Launch) -> Document:
    """Return the port of a head and its probes; loading may take half an hour."""
    check = {"httpGet": {"path": "/health", "port": "http"}}
    return {
        "ports": [{"name": "http", "containerPort": api_port(launch)}],
        "startupProbe": check | {"periodSeconds": 10, "failureThreshold": 180},
        "readinessProbe": check | {"periodSeconds": 5},
        "livenessProbe": check | {"periodSeconds": 30, "failureThreshold": 4},
    }


def run_words(command: Command) -> Document:
    """Return command and args of a container that runs the engine itself."""
    length = next(i for i, word in enumerate(command.words) if word == "serve") + 1
    return {
        "command": [resolved(word) for word in command.words[:length]],
        "args": [kubernetes(resolved(word)) for word in command.words[length:]],
    }


def mounts(command: Command) -> list[Document]:
    """Return where the container finds shared memory, the hub's cache and the checkpoint."""
    path = local_path(command)
    cache = {"name": "cache", "mountPath": CACHE}
    model = [] if path is None else [{"name": "model", "mountPath": path, "readOnly": True}]
    return [{"name": "shm", "mountPath": "/dev/shm"}, cache, *model]


def pod(launch: Launch, command: Command, containers: list[Document], claim: Document | None = None) -> Document:
    """Return a pod on the launch's node; ``claim`` names the GPUs when they are a part of it."""
    path = local_path(command)
    volumes: list[Document] = [
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": SHARED_MEMORY}},
        {"name": "cache", "emptyDir": {}},
    ]
    if path is not None:
        volumes.append({"name": "model", "hostPath": {"path": path, "type": "Directory"}})
    network = {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"} if uses_rdma(launch) else {}
    return {
        "nodeSelector": {HOST: launch.node},
        **network,
        "containers": containers,
        "volumes": volumes,
        **({"resourceClaims": [{"name": "gpus", **claim}]} if claim else {}),
    }


def claim_spec(launches: tuple[Launch, ...]) -> Document:
    """Return a claim for the seats of one of the launches, whichever node its pod is on."""
    uuids = ", ".join(f'"{uuid}"' for launch in launches for uuid in launch.uuids)
    exactly = {
        "deviceClassName": "gpu.nvidia.com",
        "allocationMode": "ExactCount",
        "count": len(launches[0].seats),
        "selectors": [{"cel": {"expression": f'device.attributes["gpu.nvidia.com"].uuid in [{uuids}]'}}],
    }
    return {"devices": {"requests": [{"name": "gpus", "exactly": exactly}]}}


def claim(launch: Launch) -> Document:
    """Return the claim of a replica on one node."""
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {"name": f"{object_name(launch)}-gpus"},
        "spec": claim_spec((launch,)),
    }


def claim_template(name: str, launches: tuple[Launch, ...]) -> Document:
    """Return the template of claims for pods on several nodes."""
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaimTemplate",
        "metadata": {"name": name},
        "spec": {"spec": claim_spec(launches)},
    }


def service(name: str, selector: dict[str, str]) -> Document:
    """Return a service on port 8000 for the heads that ``selector`` finds."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": selector, "ports": [{"name": "http", "port": 8000, "targetPort": "http"}]},
    }
