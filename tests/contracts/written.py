"""What exports wrote, taken apart for the engines' parsers: commands as the shell, compose and pods would run them."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from configs import write_model

from optimizer.export import EXPORTERS, Artifact
from optimizer.plan import Plan

_STAND_IN = """#!/usr/bin/env python3
import json, os, sys
kept = {name: value for name, value in os.environ.items() if name.startswith(("VLLM", "SGLANG", "CUDA"))}
print(json.dumps({"argv": sys.argv[1:], "environment": kept}))
"""
PROGRAMS = ("vllm", "sglang", "vllm-router", "python3")


@dataclass(frozen=True)
class Request:
    """One command of an engine: what stands after the program's name."""

    name: str
    argv: list[str]
    environment: dict[str, str]

    @property
    def line(self) -> str:
        """The request as JSON."""
        return json.dumps(asdict(self))


def run_script(text: str, model: Path, scratch: Path, *, program: str) -> Request:
    """Run a script with a program that only tells how it was started."""
    folder = scratch / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    stand_in = folder / program
    stand_in.write_text(_STAND_IN.replace("/usr/bin/env python3", os.path.realpath("/proc/self/exe")))
    stand_in.chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-s"], input=text, env={"PATH": path, "MODEL": str(model)}, capture_output=True, text=True, check=True
    )
    stand_in.unlink()
    told = json.loads(done.stdout)
    return Request("", told["argv"], told["environment"])


def requests(plan: Plan, target: str, scratch: Path) -> Iterator[Request]:
    """Yield every engine command of an export, the checkpoint replaced by a folder with the model's config.json."""
    folders = {
        str(model.weights_path or model.name): write_model(model.name, scratch / "models")
        for model in (service.model for service in plan.inputs.services)
    }
    for artifact in EXPORTERS[target](plan):
        for number, request in enumerate(_of(artifact, plan, folders, scratch)):
            argv = ["serve", *request.argv] if request.argv[:1] != ["serve"] else request.argv
            yield Request(f"{artifact.path}#{number}", argv[1:], request.environment)


def _of(artifact: Artifact, plan: Plan, folders: dict[str, Path], scratch: Path) -> Iterator[Request]:
    if re.match(r"replica\d+-\d+-.*\.sh$", artifact.path):
        yield _script(artifact.text, int(artifact.path[7:10]), plan, folders, scratch)
    elif artifact.path.endswith(".yaml"):
        for document in yaml.safe_load_all(artifact.text):
            yield from _document(document, plan, folders, scratch)


def _script(text: str, number: int, plan: Plan, folders: dict[str, Path], scratch: Path) -> Request:
    replica = plan.replicas[number]
    model = plan.inputs.services[replica.service].model
    return run_script(text, folders[str(model.weights_path or model.name)], scratch, program=replica.engine.name)


def _document(document: Any, plan: Plan, folders: dict[str, Path], scratch: Path) -> Iterator[Request]:
    if not isinstance(document, dict):
        return
    if document.get("kind") == "ConfigMap":
        number = int(document["metadata"]["name"].split("-")[-2])
        yield from (_script(text, number, plan, folders, scratch) for text in document["data"].values())
        return
    if document.get("kind") == "DynamoGraphDeployment":
        for component in document["spec"]["components"]:
            yield from _component(component, folders)
        return
    for one in _containers(document):
        words = [
            word.replace("$$", "$") for word in (*one.get("entrypoint", ()), *one["command"], *one.get("args", ()))
        ]
        if words[0] in ("vllm", "sglang"):
            yield Request("", [str(folders.get(word, word)) for word in words[1:]], _environment(one))


def _component(component: dict[str, Any], folders: dict[str, Path]) -> Iterator[Request]:
    """Yield what every pod of a Dynamo component starts: its own words and those that the operator adds.

    For vLLM's own multi-node mode these are nodes, rank and address; with data parallelism, addresses only.
    """
    (main,) = component["podTemplate"]["spec"]["containers"]
    if component["type"] == "frontend":
        return
    argv = _dynamo([*main["command"], *main["args"]], folders)
    nodes = component.get("multinode", {}).get("nodeCount", 1)
    for rank in range(nodes):
        added = ["--nnodes", str(nodes), "--node-rank", str(rank), "--master-addr", "10.0.0.1"]
        added += ["--headless"] if rank else []
        adds = nodes > 1 and main["command"][-1] == "dynamo.vllm" and "--data-parallel-size" not in argv
        yield Request("", argv + (added if adds else []), _environment(main))


def _dynamo(words: list[str], folders: dict[str, Path]) -> list[str]:
    """Return what dynamo hands on to the engine: everything but its own options."""
    engine = words[3:]
    if words[2] == "dynamo.vllm" and "--disaggregation-mode" in engine:
        place = engine.index("--disaggregation-mode")
        engine = engine[:place] + engine[place + 2 :]
    return ["serve", *(str(folders.get(word, word)) for word in engine)]


def _environment(container: dict[str, Any]) -> dict[str, str]:
    found = container.get("env", container.get("environment", {}))
    pairs = found.items() if isinstance(found, dict) else ((one["name"], one.get("value")) for one in found)
    return {name: value for name, value in pairs if value is not None and name != "HF_TOKEN"}


def _containers(value: Any) -> Iterator[dict[str, Any]]:
    """Yield everything in a document that has a command."""
    if isinstance(value, dict):
        if isinstance(value.get("command"), list):
            yield value
        for inner in value.values():
            yield from _containers(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _containers(inner)
