"""Kubernetes: LeaderWorkerSets for replicas on several nodes, Deployments else, a DisaggregatedSet for pairs."""

from optimizer import __version__
from optimizer.export.artifact import MARK, Artifact
from optimizer.export.launch.kubernetes import (
    TOKEN_SECRET,
    Document,
    claim,
    claims_devices,
    labels,
    object_name,
    service,
)
from optimizer.export.launch.readme import readme
from optimizer.export.launch.seating import Launch, heads, launches, parts
from optimizer.export.launch.words import comment, slug, yaml_text
from optimizer.export.launch.workloads import beside, set_spec, workload
from optimizer.plan import Plan

_MOST_ROLES = 10
"""Of a DisaggregatedSet (disaggregatedset.x-k8s.io/v1)."""


def export(plan: Plan) -> tuple[Artifact, ...]:
    """Return the objects of every replica, services and a README."""
    started = launches(plan)
    files: list[Artifact] = []
    paired = _pairs(started)
    for model, own in paired.items():
        files.append(_file(f"pairs-{slug(model)}.yaml", _disaggregated(own, started)))
    for head in heads(started):
        if head.replica.model not in paired:
            files.append(_file(f"{head.name}.yaml", workload(parts(head, started))))
    files.append(_file("services.yaml", _services(heads(started))))
    places = {head.number: f"kubectl apply -f {_place(head, paired)}" for head in heads(started)}
    return (*files, readme(plan, started, _steps(), lambda launch: places[launch.number], route=False))


def _place(head: Launch, paired: dict[str, tuple[Launch, ...]]) -> str:
    return f"pairs-{slug(head.replica.model)}.yaml" if head.replica.model in paired else f"{head.name}.yaml"


def _file(path: str, documents: list[Document]) -> Artifact:
    return Artifact(path, yaml_text(*documents, head=f"{MARK} {__version__}: kubectl apply -f {comment(path)}"))


def _pairs(started: tuple[Launch, ...]) -> dict[str, tuple[Launch, ...]]:
    """Return the heads of models that are split into prefill and decode, where one set can hold them."""
    found: dict[str, tuple[Launch, ...]] = {}
    for head in heads(started):
        if head.replica.role != "both":
            found[head.replica.model] = (*found.get(head.replica.model, ()), head)
    return {model: own for model, own in found.items() if 2 <= len(own) <= _MOST_ROLES}


def _disaggregated(own: tuple[Launch, ...], started: tuple[Launch, ...]) -> list[Document]:
    """Return one set with a role for each replica, so that each keeps its own nodes and GPUs."""
    roles, documents = [], []
    for head in own:
        members = parts(head, started)
        documents += beside(members) if len(members) > 1 else [claim(head)] if claims_devices(head) else []
        roles.append({"name": f"{head.replica.role}-{head.number}", "spec": set_spec(members, {})})
    name = f"tpopt-{slug(own[0].model.name, 30)}"
    made = {
        "apiVersion": "disaggregatedset.x-k8s.io/v1",
        "kind": "DisaggregatedSet",
        "metadata": {"name": name},
        "spec": {"slices": 1, "roles": roles},
    }
    return [*documents, made]


def _services(all_heads: tuple[Launch, ...]) -> list[Document]:
    """Return a service for every replica, and one for all whole replicas of a model."""
    documents = [service(object_name(head), labels(head, "head")) for head in all_heads]
    shared = {head.replica.model: head for head in all_heads if head.replica.role == "both"}
    for head in shared.values():
        name = labels(head, "head")["app.kubernetes.io/name"]
        selector = {"app.kubernetes.io/name": name, "app.kubernetes.io/component": "head"}
        documents.append(service(name, selector))
    return documents


def _steps() -> list[str]:
    return [
        "Apply every .yaml file of this folder: kubectl apply -f . (LeaderWorkerSet 0.9 or later must be installed",
        "where a replica spans nodes or prefill and decode are apart; claims by UUID need the NVIDIA DRA driver).",
        "Nodes are chosen by their label kubernetes.io/hostname, which must equal the node names of the plan.",
        f"Gated checkpoints: kubectl create secret generic {TOKEN_SECRET} --from-literal=token=...",
        "Pods of replicas on several nodes use the host's network; add the resource of your RDMA device plugin.",
        "Each replica answers at the service of its name, port 8000; whole replicas of a model share one more.",
        "Prefill and decode replicas need a router in front (vllm-router or sglang-router, policy cache_aware).",
    ]
