"""Compose projects and systemd units, trimmed to what exports write."""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from optimizer.export.checks.shape import Shape, complaints

Duration = Annotated[str, Field(pattern=r"^\d+(ms|s|m|h)$")]


class Health(Shape):
    """healthcheck."""

    test: list[str]
    interval: Duration
    timeout: Duration
    start_period: Duration
    retries: int


class Device(Shape):
    """A reservation of GPUs by id."""

    driver: Literal["nvidia"]
    device_ids: Annotated[list[str], Field(min_length=1)]
    capabilities: Annotated[list[str], Field(min_length=1)]


class Reserved(Shape):
    """reservations."""

    devices: list[Device]


class Limits(Shape):
    """resources."""

    reservations: Reserved


class Deploy(Shape):
    """deploy."""

    resources: Limits


class Mounted(Shape):
    """A volume of a service."""

    type: Literal["bind", "volume"]
    source: str
    target: str
    read_only: bool = False


class Service(Shape):
    """A service; HF_TOKEN may only be passed on."""

    image: str
    entrypoint: list[str]
    command: list[str]
    environment: dict[str, str | None]
    network_mode: Literal["host"]
    ipc: Literal["host"]
    ulimits: dict[str, int]
    volumes: list[Mounted]
    deploy: Deploy
    restart: Literal["unless-stopped", "always", "on-failure", "no"]
    cap_add: list[str] = Field(default_factory=list)
    devices: list[str] = Field(default_factory=list)
    healthcheck: Health | None = None

    @model_validator(mode="after")
    def _no_secret(self) -> Self:
        if self.environment.get("HF_TOKEN") is not None:
            raise ValueError("a secret is written out")
        return self


class Project(Shape):
    """A compose file."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    services: dict[str, Service]
    volumes: dict[str, dict[str, str]] = Field(default_factory=dict)


def compose_complaints(document: Any) -> Iterator[str]:
    """Yield what is wrong with a compose file."""
    yield from complaints(Project, document)


_UNIT: dict[str, frozenset[str]] = {
    "Unit": frozenset(("Description", "Wants", "After")),
    "Service": frozenset(
        (
            "Type", "EnvironmentFile", "ExecStartPre", "ExecStart", "Restart", "RestartSec", "TimeoutStopSec",
            "LimitMEMLOCK", "LimitNOFILE", "KillMode",
        )
    ),
    "Install": frozenset(("WantedBy",)),
}  # fmt: skip
_RESTART = ("no", "always", "on-success", "on-failure", "on-abnormal", "on-abort", "on-watchdog")


def unit_complaints(text: str) -> Iterator[str]:
    """Yield what is wrong with a systemd service: unknown sections and keys, no absolute program, a bad Restart=."""
    section, seen = "", set()
    for number, line in enumerate(text.splitlines(), start=1):
        if not line or line.startswith("#"):
            continue
        if match := re.fullmatch(r"\[(\w+)\]", line):
            section = match[1]
            continue
        key, _, value = line.partition("=")
        seen.add(key)
        if key not in _UNIT.get(section, ()):
            yield f"line {number}: [{section}] has no {key}"
        if key.startswith("Exec") and not value.startswith("/"):
            yield f"line {number}: {key}: {value[:40]!r} names no program by its whole path"
        if key == "Restart" and value not in _RESTART:
            yield f"line {number}: Restart: {value!r} is none of {', '.join(_RESTART)}"
    if "ExecStart" not in seen:
        yield "has no ExecStart"
