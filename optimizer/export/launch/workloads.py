"""Kubernetes workloads of replicas: a Deployment on one node, a LeaderWorkerSet on several.

The pods of a LeaderWorkerSet share one template, so each runs the script of the node it finds itself on: seats and rank
order are exact for any number of nodes.
"""

from typing import Any

from optimizer.export.launch import engines
from optimizer.export.launch.containers import image
from optimizer.export.launch.kubernetes import (
    HOST,
    Document,
    check_seats,
    claim,
    claim_template,
    claims_devices,
    container,
    environment,
    labels,
    object_name,
    pod,
    run_words,
    seen_inside,
    token,
)
from optimizer.export.launch.scripts import script
from optimizer.export.launch.seating import Launch

_RUN = (
    'export MASTER_ADDR="$LWS_LEADER_ADDRESS" DIST_INIT_ADDR="$LWS_LEADER_ADDRESS:$HEAD_PORT"; '
    'exec bash "/tpopt/$NODE_NAME.sh"'
)
"""The leader's address is what the controller tells (LWS_LEADER_ADDRESS), the rest is the node's script."""


def workload(own: tuple[Launch, ...], extra: dict[str, str] | None = None) -> list[Document]:
    """Return the objects of one replica; ``extra`` labels its heads."""
    for launch in own:
        check_seats(launch)
    if len(own) == 1:
        return _deployment(own[0], extra or {})
    return [*beside(own), _set(own, extra or {})]


def _meta(name: str) -> Document:
    return {"name": name}


def head_pod(launch: Launch, extra: dict[str, str]) -> Document:
    """Return the pod template of a replica on one node."""
    command = seen_inside(launch, engines.command(launch))
    made = container(launch, command, image(launch), name="engine", run=run_words(command))
    named = {"resourceClaimName": f"{object_name(launch)}-gpus"} if claims_devices(launch) else None
    return {"metadata": {"labels": labels(launch, "head") | extra}, "spec": pod(launch, command, [made], named)}


def _deployment(launch: Launch, extra: dict[str, str]) -> list[Document]:
    spec = {
        "replicas": 1,
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": labels(launch, "head")},
        "template": head_pod(launch, extra),
    }
    made = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": _meta(object_name(launch)), "spec": spec}
    return [*([claim(launch)] if claims_devices(launch) else []), made]


def beside(own: tuple[Launch, ...]) -> list[Document]:
    """Return what the pods of a set need: their scripts, and claims for parts of nodes."""
    name = object_name(own[0])
    commands = [(launch, seen_inside(launch, engines.command(launch))) for launch in own]
    scripts = {f"{launch.node}.sh": script(launch, command).text for launch, command in commands}
    documents: list[Document] = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _meta(f"{name}-scripts"), "data": scripts}
    ]
    if claims_devices(own[0]):
        documents.append(claim_template(f"{name}-gpus", own))
    return documents


def _set(own: tuple[Launch, ...], extra: dict[str, str]) -> Document:
    return {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": _meta(object_name(own[0])),
        "spec": set_spec(own, extra),
    }


def set_spec(own: tuple[Launch, ...], extra: dict[str, str]) -> Document:
    """Return the spec of a LeaderWorkerSet: the leader on the first node, workers on the others, one each."""
    template: Document = {"size": len(own), "restartPolicy": "RecreateGroupOnPodRestart"}
    if len(own) == 1:
        template["workerTemplate"] = head_pod(own[0], extra)
    else:
        template["leaderTemplate"] = _member(own[0], own, extra)
        template["workerTemplate"] = _member(own[1], own, {})
    return {"replicas": 1, "startupPolicy": "LeaderCreated", "leaderWorkerTemplate": template}


def _member(launch: Launch, own: tuple[Launch, ...], extra: dict[str, str]) -> Document:
    command = seen_inside(launch, engines.command(launch))
    run = {
        "command": ["/bin/bash", "-c", _RUN],
        "env": [
            {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "HEAD_PORT", "value": str(launch.head_port)},
            *(entry for entry in environment(command) if entry["name"].endswith("SIDE_CHANNEL_HOST")),
            token(),
        ],
    }
    made = container(launch, command, image(launch), name="engine", run=run)
    made["volumeMounts"].append({"name": "scripts", "mountPath": "/tpopt", "readOnly": True})
    named = {"resourceClaimTemplateName": f"{object_name(launch)}-gpus"} if claims_devices(launch) else None
    spec = pod(launch, command, [made], named)
    spec["volumes"].append({"name": "scripts", "configMap": {"name": f"{object_name(launch)}-scripts"}})
    if not launch.is_head:
        spec = _on_any(spec, tuple(other.node for other in own[1:]), launch)
    component = "head" if launch.is_head else "worker"
    return {"metadata": {"labels": labels(launch, component) | extra}, "spec": spec}


def _on_any(spec: Document, nodes: tuple[str, ...], launch: Launch) -> Document:
    """Return the pod on any of the nodes, one pod on each."""
    if len(nodes) == 1:
        return spec
    term: dict[str, Any] = {"matchExpressions": [{"key": HOST, "operator": "In", "values": list(nodes)}]}
    apart = {"topologyKey": HOST, "labelSelector": {"matchLabels": labels(launch, "worker")}}
    rest = {key: value for key, value in spec.items() if key != "nodeSelector"}
    return {
        "affinity": {
            "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}},
            "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [apart]},
        },
        **rest,
    }
