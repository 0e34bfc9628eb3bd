"""The checks, each over the whole matrix of plans: (what passed, what failed, whether a broken variant is refused)."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import deployed
import environments
import real_slurm
import weights
import written
import yaml

from optimizer.errors import InputError
from optimizer.export import EXPORTERS, Artifact
from optimizer.inputs.workload import EngineName
from optimizer.plan import Plan

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Context:
    """Where environments are, where files may be written, which CRDs were given."""

    root: Path
    scratch: Path
    crds: tuple[Path, ...]


@dataclass(frozen=True)
class Outcome:
    """What a check found; ``missing`` says why it did not run."""

    passed: int = 0
    failures: tuple[str, ...] = ()
    refuses_broken: bool = True
    missing: str = ""


def plans(target: str, engine: EngineName, version: str) -> Iterator[tuple[str, Plan]]:
    """Yield the plans that a target can express."""
    for name, plan in deployed.matrix(engine, version).items():
        try:
            EXPORTERS[target](plan)
        except InputError:
            continue
        yield name, plan


def files(target: str, engine: EngineName, version: str) -> Iterator[tuple[str, Artifact]]:
    """Yield every artifact of a target under the plan's name."""
    for name, plan in plans(target, engine, version):
        yield from ((name, artifact) for artifact in EXPORTERS[target](plan))


def _ask(context: Context, environment: str, words: list[str], lines: list[str]) -> dict[str, str | None]:
    """Return the answers of a script inside an environment: name to error or None."""
    done = subprocess.run(
        [environments.interpreter(environment, context.root), *words],
        input="\n".join(lines) + "\n", capture_output=True, text=True, check=False,
        env={**os.environ, **environments.variables(environment, context.root)},
    )  # fmt: skip
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    if len(answers) != len(lines):
        last = (done.stderr.strip().splitlines() or ["nothing said"])[-1]
        return {f"after {len(answers)} of {len(lines)}": last}
    return {answer["name"]: answer["error"] for answer in answers}


def _outcome(answers: dict[str, str | None]) -> Outcome:
    """Return the outcome of named answers; those called broken must be errors."""
    broken = [error for name, error in answers.items() if name.startswith("broken")]
    sound = {name: error for name, error in answers.items() if not name.startswith("broken")}
    failures = tuple(f"{name}: {error}" for name, error in sound.items() if error is not None)
    refuses = bool(broken) and None not in broken
    failures += () if refuses else ("a broken variant was accepted",)
    return Outcome(sum(error is None for error in sound.values()), failures, refuses)


def _engine(target: str, engine: EngineName, version: str, breaks: tuple[tuple[str, str], ...]) -> "Check":
    """Return the check of one target's commands by the engine's own parser and configuration."""
    environment = f"{engine}-{version}"

    def check(context: Context) -> Outcome:
        if not environments.is_ready(environment, context.root):
            return Outcome(missing=f"environment {environment} is not installed (--install)")
        found = [
            replace(request, name=f"{name}/{request.name}")
            for name, plan in plans(target, engine, version)
            for request in written.requests(plan, target, context.scratch)
        ]
        broken = [replace(_broken(found[0], old, new), name=f"broken {new}") for old, new in breaks]
        script = str(HERE / f"inside_{engine}.py")
        return _outcome(_ask(context, environment, [script], [request.line for request in (*found, *broken)]))

    return check


def _broken(request: written.Request, old: str, new: str) -> written.Request:
    return replace(request, argv=[new if word == old else word for word in request.argv])


def _kubernetes(context: Context) -> Outcome:
    if not environments.is_ready("tools", context.root):
        return Outcome(missing="environment tools is not installed (--install)")
    documents = [
        (f"{target}-{engine}/{name}/{artifact.path}#{number}", document)
        for target, engine, version in _KUBERNETES
        for name, artifact in files(target, engine, version)
        if artifact.path.endswith(".yaml")
        for number, document in enumerate(yaml.safe_load_all(artifact.text))
    ]
    broken = _broken_pod(next(d for _, d in documents if d["kind"] == "Deployment"))
    lines = [json.dumps({"name": n, "document": d}) for n, d in (*documents, ("broken containerPort", broken))]
    words = [str(HERE / "inside_tools.py"), "kubernetes", *map(str, context.crds)]
    return _outcome(_ask(context, "tools", words, lines))


_KUBERNETES: tuple[tuple[str, EngineName, str], ...] = (
    ("lws", "vllm", "0.33.0"), ("lws", "sglang", "0.5.23"), ("llm-d", "vllm", "0.33.0"), ("ray", "vllm", "0.29.0"),
    ("dynamo", "vllm", "0.31.0"), ("dynamo", "sglang", "0.5.21"),
)  # fmt: skip


def _broken_pod(document: Any) -> Any:
    broken = json.loads(json.dumps(document))
    broken["spec"]["template"]["spec"]["containers"][0]["ports"][0]["containerPort"] = "http"
    return broken


def _ray(context: Context) -> Outcome:
    if not environments.is_ready("ray-2.60.0", context.root):
        return Outcome(missing="environment ray-2.60.0 is not installed (--install)")
    found: dict[str, str] = {}
    for name, artifact in files("ray", "vllm", "0.29.0"):
        for document in yaml.safe_load_all(artifact.text) if artifact.path.endswith(".yaml") else ():
            if document["kind"] == "RayService":
                found[name] = document["spec"]["serveConfigV2"]
    found["broken num_replicas"] = found["tp8"].replace("num_replicas: 1", "num_replicas: -1")
    found["broken field"] = found["tp8"].replace("engine_kwargs:", "engine_arguments:")
    lines = [json.dumps({"name": name, "serve": text}) for name, text in found.items()]
    return _outcome(_ask(context, "ray-2.60.0", [str(HERE / "inside_ray.py")], lines))


def _router(engine: EngineName) -> "Check":
    def check(context: Context) -> Outcome:
        if not environments.is_ready("tools", context.root):
            return Outcome(missing="environment tools is not installed (--install)")
        program = "vllm-router" if engine == "vllm" else "python3"
        found = []
        for name, artifact in files(engine, engine, deployed.VERSIONS[engine]):
            if artifact.path.startswith("router"):
                request = written.run_script(artifact.text, Path("/none"), context.scratch, program=program)
                argv = request.argv if engine == "vllm" else request.argv[2:]
                found.append({"name": f"{name}/{artifact.path}", "argv": argv})
        found.append({"name": "broken policy", "argv": [*found[0]["argv"], "--policy", "best"]})
        words = [str(HERE / "inside_tools.py"), f"{engine}-router"]
        return _outcome(_ask(context, "tools", words, [json.dumps(one) for one in found]))

    return check


def _tool(
    what: str, targets: tuple[str, ...], endings: tuple[str, ...], words: tuple[str, ...], broken: tuple[str, str]
) -> "Check":
    """Return the check of files by a program that reads one file at a time."""

    def check(context: Context) -> Outcome:
        beside = context.root / "tools" / "bin" / what
        program = str(beside) if beside.exists() else shutil.which(what)
        if program is None:
            return Outcome(missing=f"{what} is not installed")
        answers: dict[str, str | None] = {}
        for name, target, artifact in _chosen(targets, endings):
            answers[f"{target}/{name}/{artifact.path}"] = _read(program, words, artifact, artifact.text, context)
            worse = artifact.text.replace(*broken)
            if "broken" not in answers and worse != artifact.text:
                answers["broken"] = _read(program, words, artifact, worse, context) or None
        return _outcome(answers)

    return check


def _chosen(targets: tuple[str, ...], endings: tuple[str, ...]) -> Iterator[tuple[str, str, Artifact]]:
    for target in targets:
        engines: tuple[EngineName, ...] = (target,) if target in ("vllm", "sglang", "trtllm") else ("vllm", "sglang")  # type: ignore[assignment]
        for engine in engines:
            for name, artifact in files(target, engine, deployed.VERSIONS[engine]):
                if artifact.path.endswith(endings):
                    yield f"{engine}-{name}", target, artifact


def _read(program: str, words: tuple[str, ...], artifact: Artifact, text: str, context: Context) -> str | None:
    place = context.scratch / "files" / Path(artifact.path).name
    place.parent.mkdir(exist_ok=True)
    place.write_text(text)
    arguments = [str(place) if word == "FILE" else word for word in words]
    environment = {**os.environ, "MODEL": "/models/given"}
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False, env=environment)
    place.unlink()
    said = (done.stderr or done.stdout).strip()
    return " ".join(said.splitlines()[:3]) or f"exit {done.returncode}" if done.returncode else None


def _weights(context: Context) -> Outcome:
    if not environments.is_ready(weights.ENVIRONMENT, context.root):
        return Outcome(missing=f"environment {weights.ENVIRONMENT} is not installed (--install)")
    found = weights.compare(context.root, None)
    answers: dict[str, str | None] = {
        case.line: held if isinstance(held, str) else None if held.agrees else f"{held.apart:+.2%}"
        for case, held in found.items()
    }
    case, held = next((case, held) for case, held in found.items() if case.name == "Qwen/Qwen3-0.6B")
    told = isinstance(held, weights.Held) and weights.tells_a_missing_layer(case, held)
    return _outcome(answers | {"broken layer": "told" if told else None})


def _slurm(context: Context) -> Outcome:
    missing = real_slurm.missing()
    if missing:
        return Outcome(missing=missing)
    chosen = dict(plans("slurm", "vllm", "0.33.0"))
    return _outcome(real_slurm.answers(chosen, context.scratch / "slurm"))


Check = Callable[[Context], Outcome]
_VLLM = (("--tensor-parallel-size", "--tensor-parallel-sise"), ("8", "7"), ("0.92", "much"))
_SGLANG = (("--tp-size", "--tp-sise"), ("0.92", "much"))

CHECKS: dict[str, Check] = {
    "vLLM 0.33 scripts": _engine("vllm", "vllm", "0.33.0", _VLLM),
    "vLLM 0.33 compose": _engine("compose", "vllm", "0.33.0", _VLLM),
    "vLLM 0.33 Kubernetes": _engine("lws", "vllm", "0.33.0", _VLLM),
    "vLLM 0.33 llm-d": _engine("llm-d", "vllm", "0.33.0", _VLLM),
    "vLLM 0.31 Dynamo": _engine("dynamo", "vllm", "0.31.0", _VLLM),
    "vLLM 0.29 scripts": _engine("vllm", "vllm", "0.29.0", _VLLM),
    "vLLM 0.33 weights per rank": _weights,
    "SGLang 0.5.23 scripts": _engine("sglang", "sglang", "0.5.23", _SGLANG),
    "SGLang 0.5.23 compose": _engine("compose", "sglang", "0.5.23", _SGLANG),
    "SGLang 0.5.23 Kubernetes": _engine("lws", "sglang", "0.5.23", _SGLANG),
    "SGLang 0.5.21 Dynamo": _engine("dynamo", "sglang", "0.5.21", _SGLANG),
    "Kubernetes objects": _kubernetes,
    "Ray Serve LLM 2.60": _ray,
    "vllm-router": _router("vllm"),
    "sglang-router": _router("sglang"),
    "shellcheck": _tool(
        "shellcheck", ("vllm", "sglang", "slurm", "trtllm"), (".sh", ".sbatch"), ("-S", "warning", "FILE"),
        ("set -euo pipefail", "cd $HOME/$1"),
    ),
    "docker-compose config": _tool(
        "docker-compose", ("compose",), (".yaml",), ("-f", "FILE", "config", "-q"), ("device_ids", "device_idz")
    ),
    "systemd-analyze verify": _tool(
        "systemd-analyze", ("systemd",), (".service",), ("verify", "--man=no", "FILE"), ("ExecStart=/", "ExecStart=./")
    ),
    "Slurm: sbatch, srun": _slurm,
}  # fmt: skip
