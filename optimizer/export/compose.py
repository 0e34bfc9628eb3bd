"""Docker Compose: one file for each node, one service for each launch, on exactly its GPUs."""

from typing import Any

from optimizer import __version__
from optimizer.export.artifact import MARK, Artifact
from optimizer.export.launch import engines, router
from optimizer.export.launch.command import Command
from optimizer.export.launch.containers import CACHE, devices_inside, image, local_path, own_indices, uses_rdma
from optimizer.export.launch.readme import TOKEN, readme
from optimizer.export.launch.seating import Launch, heads, launches
from optimizer.export.launch.words import Ref, Word, comment, compose, slug, yaml_text
from optimizer.plan import Plan


def export(plan: Plan) -> tuple[Artifact, ...]:
    """Return a compose file for each node, a router script and a README."""
    started = launches(plan)
    nodes = tuple(dict.fromkeys(launch.node for launch in started))
    names = {node: f"compose-{number:02d}-{slug(node)}.yaml" for number, node in enumerate(nodes)}
    files = tuple(_file(names[node], tuple(x for x in started if x.node == node)) for node in nodes)
    routers = router.scripts(heads(started))
    return (*files, *routers, readme(plan, started, _steps(routers), lambda launch: names[launch.node]))


def _file(path: str, own: tuple[Launch, ...]) -> Artifact:
    cached = any(local_path(engines.command(launch)) is None for launch in own)
    project = {
        "name": f"tpopt-{slug(own[0].node)}",
        "services": {launch.name: _service(launch, engines.command(launch)) for launch in own},
    } | ({"volumes": {"huggingface": {}}} if cached else {})
    head = f"{MARK} {__version__}: services of {comment(own[0].node)}"
    return Artifact(path, yaml_text(project, head=head))


def _service(launch: Launch, command: Command) -> dict[str, Any]:
    program = ("sglang", "serve") if launch.replica.engine.name == "sglang" else ("vllm", "serve")
    service: dict[str, Any] = {
        "image": image(launch),
        "entrypoint": list(program),
        "command": [_text(word) for word in command.words[len(program) :]],
        "environment": _environment(launch, command),
        "network_mode": "host",
        "ipc": "host",
        "ulimits": {"memlock": -1, "stack": 67108864},
        "volumes": [_checkpoint(command)],
        "deploy": {"resources": {"reservations": {"devices": [_devices(launch)]}}},
        "restart": "unless-stopped",
    }
    if uses_rdma(launch):
        service |= {"cap_add": ["IPC_LOCK"], "devices": ["/dev/infiniband:/dev/infiniband"]}
    if launch.is_head:
        service["healthcheck"] = _health(launch)
    return service


def _text(word: Word) -> str:
    """Return a word of a compose file; a checkpoint that must be named is asked for by compose itself."""
    if isinstance(word, Ref) and not word.default:
        return f"${{{word.name}:?set {word.name} to a checkpoint stored as planned}}"
    return compose(word.default if isinstance(word, Ref) else word)


def _environment(launch: Launch, command: Command) -> dict[str, str | None]:
    """Return the variables; HF_TOKEN without a value is passed on from the caller's environment."""
    inside = {"CUDA_VISIBLE_DEVICES": devices_inside(launch, own_indices(launch))}
    return {name: _text(word) for name, word in command.environment} | inside | {"HF_TOKEN": None}


def _checkpoint(command: Command) -> dict[str, Any]:
    path = local_path(command)
    if path is None:
        return {"type": "volume", "source": "huggingface", "target": CACHE}
    return {"type": "bind", "source": compose(path), "target": compose(path), "read_only": True}


def _devices(launch: Launch) -> dict[str, Any]:
    return {"driver": "nvidia", "device_ids": list(launch.devices), "capabilities": ["gpu"]}


def _health(launch: Launch) -> dict[str, Any]:
    test = ["CMD", "curl", "-fsS", f"http://localhost:{launch.api_port}/health"]
    return {"test": test, "interval": "30s", "timeout": "10s", "start_period": "30m", "retries": 3}


def _steps(routers: tuple[Artifact, ...]) -> list[str]:
    return [
        "On each node: docker compose -f FILE up -d, with the file named below. It needs the NVIDIA container toolkit.",
        "The hosts' own network is used: node names must resolve, ports are unique on each host.",
        *(f"Then run {artifact.path} on any host that reaches the nodes: it spreads requests." for artifact in routers),
        TOKEN,
    ]
