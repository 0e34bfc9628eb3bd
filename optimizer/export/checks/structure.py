"""All structural checks of an export: each file by its kind, then what files must agree on."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from optimizer.export.artifact import MARK, Artifact
from optimizer.export.checks.commands import key_complaints, known_flags, script_complaints, word_complaints
from optimizer.export.checks.hosts import compose_complaints, unit_complaints
from optimizer.export.checks.manifests import documents, embedded, manifest_complaints
from optimizer.export.launch.seating import heads, launches
from optimizer.plan import Plan

_SECRET = re.compile(r"\bhf_[A-Za-z0-9]{20,}\b|HF_TOKEN=\S")


@dataclass(frozen=True)
class Problem:
    """What is wrong with one file."""

    path: str
    what: str


def checked(artifacts: Sequence[Artifact]) -> tuple[str, ...]:
    """Return what ``problems`` looks at in these files, by the kinds of file that are there."""
    endings = {artifact.path.rpartition(".")[2] for artifact in artifacts}
    kinds = {
        "scripts": endings & {"sh", "sbatch"},
        "systemd units": endings & {"service"},
        "YAML (Kubernetes objects, compose files, configurations)": endings & {"yaml"},
    }
    shapes = ", ".join(kind for kind, there in kinds.items() if there)
    return (
        "marks, secrets, paths, ports unique on every host",
        "flags and settings: those of the engine's release",
        f"fields and types by trimmed schemas: {shapes}",
    )


def problems(plan: Plan, artifacts: Sequence[Artifact]) -> tuple[Problem, ...]:
    """Return all problems, file by file; empty when the export is well formed."""
    known = known_flags(plan)
    found = [
        Problem(artifact.path, what) for artifact in artifacts for what in (*_common(artifact), *_own(artifact, known))
    ]
    return (*found, *(Problem("plan", what) for what in _ports(plan)))


def _common(artifact: Artifact) -> Iterator[str]:
    if MARK not in artifact.text[:200]:
        yield "does not say who wrote it"
    if artifact.path.startswith("/") or ".." in artifact.path.split("/"):
        yield "leaves the output folder"
    if _SECRET.search(artifact.text):
        yield "holds a secret"


def _own(artifact: Artifact, known: dict[str, frozenset[str]]) -> Iterator[str]:
    match artifact.path.rpartition(".")[2]:
        case "sh" | "sbatch":
            yield from script_complaints(artifact.text, known)
        case "service":
            yield from unit_complaints(artifact.text)
        case "yaml":
            yield from _yaml(artifact, known)


def _yaml(artifact: Artifact, known: dict[str, frozenset[str]]) -> Iterator[str]:
    try:
        found = documents(artifact.text)
    except yaml.YAMLError as error:
        yield f"is no YAML: {str(error).splitlines()[0]}"
        return
    for document in found:
        yield from _document(document, known)


def _document(document: Any, known: dict[str, frozenset[str]]) -> Iterator[str]:
    if isinstance(document, dict) and "apiVersion" in document:
        yield from manifest_complaints(document)
        for name, text in embedded(document):
            yield from (f"{name}: {what}" for what in script_complaints(text, known))
        for words in _commands(document):
            yield from word_complaints(words, known)
    elif isinstance(document, dict) and "services" in document:
        yield from compose_complaints(document)
        for service in document["services"].values():
            yield from word_complaints([*service.get("entrypoint", []), *service.get("command", [])], known)
    elif isinstance(document, dict) and "generation_servers" not in document:
        yield from key_complaints(document, known)


def _commands(value: Any) -> Iterator[list[str]]:
    """Yield the commands of engines inside a Kubernetes object."""
    if isinstance(value, dict):
        command = value.get("command")
        if isinstance(command, list) and command and command[0] in ("vllm", "sglang"):
            yield [*command, *value.get("args", [])]
        for inner in value.values():
            yield from _commands(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _commands(inner)


def _ports(plan: Plan) -> Iterator[str]:
    """Yield ports that two replicas of a host share."""
    taken: dict[tuple[str, int], int] = {}
    for head in heads(launches(plan, equal_nodes=False)):
        for port in {head.api_port, head.head_port, head.transfer_port}:
            if (other := taken.setdefault((head.head, port), head.number)) != head.number:
                yield f"{head.head}: replicas {other} and {head.number} share port {port}"
