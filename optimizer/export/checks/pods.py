"""Pods and the built-in Kubernetes objects that exports write (Kubernetes API v1.37), trimmed to the fields in use."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from optimizer.export.checks.shape import CamelShape

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
Labels = dict[str, Annotated[str, Field(pattern=r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$", max_length=63)]]
Port = Annotated[int, Field(ge=1, le=65535)]
Quantity = Annotated[str, Field(pattern=r"^\d+(\.\d+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$")]


class Meta(CamelShape):
    """metadata of an object."""

    name: Name
    labels: Labels = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class KeyOf(CamelShape):
    """A key of a secret."""

    name: Name
    key: str
    optional: bool = False


class FieldOf(CamelShape):
    """A field of the pod."""

    field_path: Literal["status.podIP", "status.hostIP", "spec.nodeName", "metadata.name"]


class ValueFrom(CamelShape):
    """Where a variable's value comes from."""

    field_ref: FieldOf | None = None
    secret_key_ref: KeyOf | None = None


class Variable(CamelShape):
    """An environment variable; a secret is never a value."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    value: str | None = None
    value_from: ValueFrom | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.value is None) == (self.value_from is None):
            raise ValueError("needs value or valueFrom, not both")
        if self.name == "HF_TOKEN" and self.value is not None:
            raise ValueError("a secret is written out")
        return self


class ClaimName(CamelShape):
    """A claim of the pod."""

    name: Name


class Resources(CamelShape):
    """What is set aside."""

    limits: dict[str, Quantity] = Field(default_factory=dict)
    requests: dict[str, Quantity] = Field(default_factory=dict)
    claims: list[ClaimName] = Field(default_factory=list)


class HttpGet(CamelShape):
    """A probe's request."""

    path: str
    port: str | Port


class Probe(CamelShape):
    """A probe."""

    http_get: HttpGet
    period_seconds: Annotated[int, Field(ge=1)] = 10
    failure_threshold: Annotated[int, Field(ge=1)] = 3


class ContainerPort(CamelShape):
    """A port of a container."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,15}$")]
    container_port: Port


class Mount(CamelShape):
    """A mounted volume."""

    name: Name
    mount_path: Annotated[str, Field(pattern=r"^/")]
    read_only: bool = False


class Container(CamelShape):
    """A container."""

    name: Name
    image: str
    command: list[str] = Field(default_factory=list)
    args: list[str] = Field(default_factory=list)
    env: list[Variable] = Field(default_factory=list)
    ports: list[ContainerPort] = Field(default_factory=list)
    resources: Resources = Resources()
    volume_mounts: list[Mount] = Field(default_factory=list)
    security_context: dict[str, Any] = Field(default_factory=dict)
    startup_probe: Probe | None = None
    readiness_probe: Probe | None = None
    liveness_probe: Probe | None = None


class Volume(CamelShape):
    """A volume of a pod."""

    name: Name
    empty_dir: dict[Literal["medium", "sizeLimit"], str] | None = None
    host_path: dict[Literal["path", "type"], str] | None = None
    config_map: dict[Literal["name"], str] | None = None


class PodClaim(CamelShape):
    """A claim of devices, or a template of one."""

    name: Name
    resource_claim_name: Name | None = None
    resource_claim_template_name: Name | None = None


class PodSpec(CamelShape):
    """A pod."""

    containers: Annotated[list[Container], Field(min_length=1)]
    node_selector: Labels = Field(default_factory=dict)
    affinity: dict[Literal["nodeAffinity", "podAntiAffinity"], Any] = Field(default_factory=dict)
    host_network: bool = False
    dns_policy: Literal["ClusterFirst", "ClusterFirstWithHostNet"] = "ClusterFirst"
    volumes: list[Volume] = Field(default_factory=list)
    resource_claims: list[PodClaim] = Field(default_factory=list)

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        volumes, claims = {v.name for v in self.volumes}, {c.name for c in self.resource_claims}
        for one in self.containers:
            missing = sorted({m.name for m in one.volume_mounts} - volumes)
            missing += sorted({c.name for c in one.resources.claims} - claims)
            if missing:
                raise ValueError(f"container {one.name} names what the pod does not have: {', '.join(missing)}")
        return self


class Template(CamelShape):
    """A pod template."""

    metadata: dict[Literal["labels", "annotations"], dict[str, str]] = Field(default_factory=dict)
    spec: PodSpec


class Selector(CamelShape):
    """Labels to match."""

    match_labels: Labels


class DeploymentSpec(CamelShape):
    """spec of a Deployment."""

    replicas: Annotated[int, Field(ge=0)]
    strategy: dict[Literal["type"], Literal["Recreate", "RollingUpdate"]]
    selector: Selector
    template: Template

    @model_validator(mode="after")
    def _selects_its_pods(self) -> Self:
        if not self.selector.match_labels.items() <= self.template.metadata.get("labels", {}).items():
            raise ValueError("selector does not match the labels of the template")
        return self


class ServicePort(CamelShape):
    """A port of a service."""

    name: str
    port: Port
    target_port: str | Port


class ServiceSpec(CamelShape):
    """spec of a Service."""

    selector: Labels
    ports: Annotated[list[ServicePort], Field(min_length=1)]


class Expression(CamelShape):
    """A selector of devices."""

    cel: dict[Literal["expression"], str]


class Exactly(CamelShape):
    """Devices of one class."""

    device_class_name: str
    allocation_mode: Literal["ExactCount", "All"]
    count: Annotated[int, Field(ge=1)]
    selectors: list[Expression]


class Request(CamelShape):
    """A request of devices."""

    name: Name
    exactly: Exactly


class Devices(CamelShape):
    """Requests of a claim."""

    devices: dict[Literal["requests"], list[Request]]


class ClaimTemplateSpec(CamelShape):
    """spec of a ResourceClaimTemplate."""

    spec: Devices
