"""Routers in front of several replicas: one for each model, cache-aware; prefill and decode told apart.

vllm-router 0.1.17 and sglang-router 0.3.2 (one code base, same options but for the name of the split mode).
"""

from collections.abc import Iterator

from optimizer import __version__
from optimizer.export.artifact import MARK, Artifact
from optimizer.export.launch.seating import Launch
from optimizer.export.launch.words import Option, Ref, Word, comment, shell, slug

ROUTER_PORT = 9000
"""Beside the engines' own ports; the router of each further model takes the next one."""
_PROGRAMS: dict[str, tuple[str, ...]] = {
    "vllm": ("vllm-router",),
    "sglang": ("python3", "-m", "sglang_router.launch_router"),
}
_SPLIT = {"vllm": "--vllm-pd-disaggregation", "sglang": "--pd-disaggregation"}


def scripts(heads: tuple[Launch, ...]) -> tuple[Artifact, ...]:
    """Return a router script for every model with more than one replica."""
    models = tuple(dict.fromkeys(head.replica.model for head in heads))
    found = []
    for number, model in enumerate(models):
        own = tuple(head for head in heads if head.replica.model == model)
        if len(own) > 1:
            name = "router.sh" if len(models) == 1 else f"router-{number}-{slug(model)}.sh"
            found.append(Artifact(name, _text(model, own, ROUTER_PORT + number), executable=True))
    return tuple(found)


def words(own: tuple[Launch, ...], port: Word) -> tuple[tuple[Word, ...], ...]:
    """Return the router's command: the program, then each option with its values."""
    engine = own[0].replica.engine.name
    return (_PROGRAMS[engine], *(option.words for option in _ends(port)), *_workers(own))


def _ends(port: Word) -> Iterator[Option]:
    yield Option("--host", "0.0.0.0")
    yield Option("--port", port)
    yield Option("--policy", "cache_aware")


def _workers(own: tuple[Launch, ...]) -> Iterator[tuple[Word, ...]]:
    engine = own[0].replica.engine.name
    if all(head.replica.role == "both" for head in own):
        yield "--worker-urls", *(_url(head) for head in own)
        return
    yield (_SPLIT[engine],)
    for head in own:
        if head.replica.role == "prefill":
            yield "--prefill", _url(head), *((str(head.transfer_port),) if engine == "sglang" else ())
        else:
            yield "--decode", _url(head)


def _url(head: Launch) -> str:
    return f"http://{head.head}:{head.api_port}"


def _text(model: str, own: tuple[Launch, ...], port: int) -> str:
    program, *options = words(own, Ref("PORT", str(port)))
    lines = [
        "#!/usr/bin/env bash",
        f"# {MARK} {__version__}: router of {comment(model)}, {len(own)} replicas.",
        "set -euo pipefail",
        "",
        f"PORT=${{PORT:-{port}}}",
        "",
        f"exec {' '.join(map(shell, program))} \\",
        *(f"  {' '.join(map(shell, option))} \\" for option in options),
        '  "$@"',
    ]
    return "\n".join(lines) + "\n"
