"""Custom resources that exports write, and which shape each kind of object has.

LeaderWorkerSet 0.9, DisaggregatedSet v1, InferencePool v1 (Gateway API Inference Extension), KubeRay v1, Dynamo 1.6.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, create_model

from optimizer.export.checks.pods import (
    ClaimTemplateSpec,
    DeploymentSpec,
    Devices,
    Meta,
    Name,
    Port,
    Selector,
    ServiceSpec,
    Template,
)
from optimizer.export.checks.shape import CamelShape, complaints


class LeaderWorkerTemplate(CamelShape):
    """leaderWorkerTemplate."""

    size: Annotated[int, Field(ge=1)]
    restart_policy: Literal["Default", "RecreateGroupOnPodRestart", "RecreateGroupAfterStart", "None"]
    leader_template: Template | None = None
    worker_template: Template


class SetSpec(CamelShape):
    """spec of a LeaderWorkerSet."""

    replicas: Annotated[int, Field(ge=0)]
    startup_policy: Literal["LeaderCreated", "LeaderReady"]
    leader_worker_template: LeaderWorkerTemplate


class Role(CamelShape):
    """A role of a DisaggregatedSet."""

    name: Name
    spec: SetSpec


class DisaggregatedSpec(CamelShape):
    """spec of a DisaggregatedSet."""

    slices: Annotated[int, Field(ge=1)]
    roles: Annotated[list[Role], Field(min_length=2, max_length=10)]


class PortNumber(CamelShape):
    """A port."""

    number: Port


class Picker(CamelShape):
    """The endpoint picker of a pool."""

    name: str
    port: PortNumber


class PoolSpec(CamelShape):
    """spec of an InferencePool."""

    selector: Selector
    target_ports: Annotated[list[PortNumber], Field(min_length=1, max_length=8)]
    endpoint_picker_ref: Picker


class RayHead(CamelShape):
    """The head of a Ray cluster."""

    ray_start_params: dict[str, str]
    template: Template


class RayGroup(RayHead):
    """A worker group of a Ray cluster."""

    group_name: Name
    replicas: Annotated[int, Field(ge=0)]
    min_replicas: Annotated[int, Field(ge=0)]
    max_replicas: Annotated[int, Field(ge=0)]


class RayCluster(CamelShape):
    """spec of a RayCluster."""

    ray_version: str
    head_group_spec: RayHead
    worker_group_specs: list[RayGroup]


class RayServiceSpec(CamelShape):
    """spec of a RayService."""

    serve_config_v2: str
    ray_cluster_config: RayCluster


class Component(CamelShape):
    """A component of a Dynamo graph."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?$", max_length=63)]
    type: Literal["frontend", "worker", "prefill", "decode", "planner", "epp"]
    replicas: Annotated[int, Field(ge=0)]
    pod_template: Template
    shared_memory_size: str | None = None
    multinode: dict[Literal["nodeCount"], Annotated[int, Field(ge=2)]] | None = None


class GraphSpec(CamelShape):
    """spec of a DynamoGraphDeployment."""

    backend_framework: Literal["vllm", "sglang", "trtllm"]
    components: Annotated[list[Component], Field(min_length=1, max_length=25)]


_SPECS: dict[tuple[str, str], type[CamelShape]] = {
    ("v1", "Service"): ServiceSpec,
    ("apps/v1", "Deployment"): DeploymentSpec,
    ("resource.k8s.io/v1", "ResourceClaim"): Devices,
    ("resource.k8s.io/v1", "ResourceClaimTemplate"): ClaimTemplateSpec,
    ("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet"): SetSpec,
    ("disaggregatedset.x-k8s.io/v1", "DisaggregatedSet"): DisaggregatedSpec,
    ("inference.networking.k8s.io/v1", "InferencePool"): PoolSpec,
    ("ray.io/v1", "RayService"): RayServiceSpec,
    ("nvidia.com/v1beta1", "DynamoGraphDeployment"): GraphSpec,
}


class ConfigMap(CamelShape):
    """A ConfigMap."""

    api_version: Literal["v1"]
    kind: Literal["ConfigMap"]
    metadata: Meta
    data: dict[Annotated[str, Field(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253)], str]


class Kustomization(CamelShape):
    """A kustomization."""

    api_version: Literal["kustomize.config.k8s.io/v1beta1"]
    kind: Literal["Kustomization"]
    resources: Annotated[list[str], Field(min_length=1)]


_WHOLE: dict[tuple[str, str], type[CamelShape]] = {
    ("v1", "ConfigMap"): ConfigMap,
    ("kustomize.config.k8s.io/v1beta1", "Kustomization"): Kustomization,
}


def manifest_complaints(document: Any) -> Iterator[str]:
    """Yield what is wrong with one Kubernetes object: an unknown kind or field, a wrong type, a name it cannot have."""
    if not isinstance(document, dict):
        yield "is no object"
        return
    kind = (str(document.get("apiVersion")), str(document.get("kind")))
    if kind in _WHOLE:
        yield from complaints(_WHOLE[kind], document)
    elif kind in _SPECS:
        literals: dict[str, Any] = {"api_version": (str, ...), "kind": (str, ...), "metadata": (Meta, ...)}
        whole = create_model(kind[1], __base__=CamelShape, spec=(_SPECS[kind], ...), **literals)
        yield from complaints(whole, document)
    else:
        yield f"{kind[0]} {kind[1]}: not an object that exports write"


def embedded(document: Any) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of the scripts that an object carries."""
    if isinstance(document, dict) and document.get("kind") == "ConfigMap":
        yield from document["data"].items()


def documents(text: str) -> list[Any]:
    """Return the YAML documents of a text; yaml.YAMLError when it is none."""
    return [document for document in yaml.safe_load_all(text) if document is not None]
