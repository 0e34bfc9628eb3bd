"""Kubernetes: LeaderWorkerSets for replicas on several nodes, Deployments else, a DisaggregatedSet for pairs."""

from optimizer import __version__
from optimizer.export.artifact import MARK, Artifact
from optimizer.export.launch.kubernetes import (
    TOKEN_SECRET,
    Document,
    check_seats,
    claim,
    claims_devices,
    labels,
    object_name,
    service,
)
from optimizer.export.launch.pools import pools
from optimizer.export.launch.readme import readme
from optimizer.export.launch.seating import Launch, heads, launches, parts
from optimizer.export.launch.words import comment, yaml_text
from optimizer.export.launch.workloads import beside, set_spec, workload
from optimizer.plan import Plan

_MOST_ROLES = 10
"""Of a DisaggregatedSet (disaggregatedset.x-k8s.io/v1)."""


def export(plan: Plan) -> tuple[Artifact, ...]:
    """Return the objects of every replica, services and a README."""
    started = launches(plan)
    for launch in started:
        check_seats(launch)
    files: list[Artifact] = []
    places = {head.number: f"{head.name}.yaml" for head in heads(started)}
    for own in pools(heads(started)):
        if own[0].is_apart and 2 <= len(own) <= _MOST_ROLES:
            path = f"pairs-{own[0].short_name}.yaml"
            files.append(_file(path, _disaggregated(own, started)))
            places |= {head.number: path for head in own}
        else:
            files += [_file(f"{head.name}.yaml", workload(parts(head, started))) for head in own]
    files.append(_file("services.yaml", _services(heads(started))))
    notes = readme(plan, started, _steps(), lambda launch: f"kubectl apply -f {places[launch.number]}", route=False)
    return (*files, notes)


def _file(path: str, documents: list[Document]) -> Artifact:
    return Artifact(path, yaml_text(*documents, head=f"{MARK} {__version__}: kubectl apply -f {comment(path)}"))


def _disaggregated(own: tuple[Launch, ...], started: tuple[Launch, ...]) -> list[Document]:
    """Return one set with a role for each replica, so that each keeps its own nodes and GPUs."""
    roles, documents = [], []
    for head in own:
        members = parts(head, started)
        documents += beside(members) if len(members) > 1 else [claim(head)] if claims_devices(head) else []
        roles.append({"name": f"{head.replica.role}-{head.number}", "spec": set_spec(members, {})})
    name = f"tpopt-{own[0].short_name}"
    made = {
        "apiVersion": "disaggregatedset.x-k8s.io/v1",
        "kind": "DisaggregatedSet",
        "metadata": {"name": name},
        "spec": {"slices": 1, "roles": roles},
    }
    return [*documents, made]


def _services(all_heads: tuple[Launch, ...]) -> list[Document]:
    """Return a service for every replica, and one for all whole replicas of a model and traffic."""
    documents = [service(object_name(head), labels(head, "head")) for head in all_heads]
    shared = {head.service: head for head in all_heads if not head.is_apart}
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
