"""Routers in front of several replicas: one for each model and traffic, cache-aware; one for its pairs.

vllm-router 0.1.17 and sglang-router 0.3.2 (one code base, same options but for the name of the split mode).
"""

from collections.abc import Iterator

from optimizer import __version__
from optimizer.export.artifact import MARK, Artifact
from optimizer.export.launch.pools import pool_name, pools
from optimizer.export.launch.seating import Launch
from optimizer.export.launch.words import Option, Ref, Word, comment, shell

ROUTER_PORT = 9000
"""Beside the engines' own ports; each further router takes the next one."""
_PROGRAMS: dict[str, tuple[str, ...]] = {
    "vllm": ("vllm-router",),
    "sglang": ("python3", "-m", "sglang_router.launch_router"),
}
_SPLIT = {"vllm": "--vllm-pd-disaggregation", "sglang": "--pd-disaggregation"}


def scripts(heads: tuple[Launch, ...]) -> tuple[Artifact, ...]:
    """Return a router script for every pool of more than one replica."""
    return tuple(
        Artifact(name, _text(own, port), executable=True) for own, name, port in routers(heads)
    )  # fmt: skip


def routers(heads: tuple[Launch, ...]) -> tuple[tuple[tuple[Launch, ...], str, int], ...]:
    """Return the replicas, script and port of every router."""
    every = pools(heads)
    found = []
    for number, own in enumerate(every):
        name = "router.sh" if len(every) == 1 else f"router-{number}-{pool_name(own)}.sh"
        if len(own) > 1:
            found.append((own, name, ROUTER_PORT + number))
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
    if not own[0].is_apart:
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


def _text(own: tuple[Launch, ...], port: int) -> str:
    program, *options = words(own, Ref("PORT", str(port)))
    lines = [
        "#!/usr/bin/env bash",
        f"# {MARK} {__version__}: router of {comment(own[0].model.name)}, {len(own)} replicas.",
        "set -euo pipefail",
        "",
        f"PORT=${{PORT:-{port}}}",
        "",
        f"exec {' '.join(map(shell, program))} \\",
        *(f"  {' '.join(map(shell, option))} \\" for option in options),
        '  "$@"',
    ]
    return "\n".join(lines) + "\n"
