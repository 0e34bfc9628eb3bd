"""llm-d: the workloads of every replica, an InferencePool for each model, joined by kustomize."""

from optimizer import __version__
from optimizer.export.artifact import MARK, Artifact
from optimizer.export.launch.kubernetes import TOKEN_SECRET, Document, api_port
from optimizer.export.launch.pools import pool_name, pools
from optimizer.export.launch.readme import readme
from optimizer.export.launch.refusal import refuse
from optimizer.export.launch.seating import Launch, check_engine, heads, launches, parts, short_names
from optimizer.export.launch.words import slug, yaml_text
from optimizer.export.launch.workloads import workload
from optimizer.plan import Plan

PICKER_PORT = 9002
"""The endpoint picker's default (Gateway API Inference Extension)."""


def export(plan: Plan) -> tuple[Artifact, ...]:
    """Return the objects, a kustomization and a README; InputError for split prefill and decode."""
    started = launches(plan)
    for launch in started:
        _check(launch)
    files = [
        _file(f"{head.name}.yaml", workload(parts(head, started), _labels(head))) for head in heads(started)
    ]  # fmt: skip
    shared = _pools(heads(started))
    files += [_file(f"inferencepool-{slug(pool['metadata']['name'])}.yaml", [pool]) for pool in shared]
    kustomization: Document = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [file.path for file in files],
    }
    notes = readme(plan, started, _steps(shared), lambda launch: f"{launch.name}.yaml", route=False)
    return (*files, _file("kustomization.yaml", [kustomization]), notes)


def _check(launch: Launch) -> None:
    check_engine(launch, "vllm")
    if launch.replica.role != "both":
        raise refuse(
            f"replica {launch.number}",
            f"role {launch.replica.role}: llm-d joins prefill and decode by a sidecar that is not written here",
            ("lws", "vllm", "slurm", "compose", "systemd"),
        )


def _file(path: str, documents: list[Document]) -> Artifact:
    return Artifact(path, yaml_text(*documents, head=f"{MARK} {__version__}: kubectl apply -k ."))


def _labels(head: Launch) -> dict[str, str]:
    return {"llm-d.ai/inferenceServing": "true", "llm-d.ai/model": _model_label(head)}


def _model_label(head: Launch) -> str:
    return short_names(head.plan.inputs.services, 40)[head.service]


def _pools(all_heads: tuple[Launch, ...]) -> list[Document]:
    """Return a pool for each model and traffic; its pods must answer at one port."""
    return [_pool(own) for own in pools(all_heads)]


def _pool(own: tuple[Launch, ...]) -> Document:
    ports = sorted({api_port(head) for head in own})
    if len(ports) > 1:
        told = ", ".join(map(str, ports))
        raise refuse(
            f"replica {own[-1].number}", f"the heads of its model answer at ports {told}; a pool has one", ("lws",)
        )
    name = f"tpopt-{pool_name(own)}"
    return {
        "apiVersion": "inference.networking.k8s.io/v1",
        "kind": "InferencePool",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": _labels(own[0])},
            "targetPorts": [{"number": ports[0]}],
            "endpointPickerRef": {"name": f"{name}-epp", "port": {"number": PICKER_PORT}},
        },
    }


def _steps(shared: list[Document]) -> list[str]:
    names = ", ".join(pool["spec"]["endpointPickerRef"]["name"] for pool in shared)
    return [
        "kubectl apply -k . in the namespace of llm-d; replicas on several nodes need LeaderWorkerSet, claims by UUID",
        "the NVIDIA DRA driver. Nodes are chosen by their label kubernetes.io/hostname.",
        f"Each pool expects the service of an endpoint picker (prefix-cache aware): {names}.",
        "Install it with the inferencepool chart of the Gateway API Inference Extension or of your llm-d release, and",
        "point your HTTPRoute at the pool.",
        f"Gated checkpoints: kubectl create secret generic {TOKEN_SECRET} --from-literal=token=...",
    ]
