"""README.txt of an export: what the files are, what to run where, where requests go."""

from collections.abc import Callable, Iterable

from optimizer import __version__
from optimizer.export.artifact import MARK, Artifact
from optimizer.export.launch.seating import Launch, heads, parts
from optimizer.export.launch.words import comment
from optimizer.plan import Plan

TOKEN = "Gated checkpoints need HF_TOKEN in the environment of the engine; it is referenced and never written."


def readme(
    plan: Plan, started: tuple[Launch, ...], steps: Iterable[str], place: Callable[[Launch], str], *, route: bool = True
) -> Artifact:
    """Return README.txt: the steps, then every replica with ``place`` of each launch, then where requests go."""
    lines = [
        f"{MARK} {__version__}: {comment(plan.inputs.model.name)} on {comment(plan.inputs.cluster.name)}.",
        "",
        *steps,
        "",
    ]
    for head in heads(started):
        lines += [*_replica_lines(head, parts(head, started), place), ""]
    if route:
        lines += [
            "Send requests to the replicas in proportion to their GPUs, for instance by least requests in flight:"
        ]
        lines += [f"  {head.url}/v1" for head in heads(started) if head.replica.role != "decode"]
    return Artifact("README.txt", "\n".join(lines).rstrip("\n") + "\n")


def _replica_lines(head: Launch, own: tuple[Launch, ...], place: Callable[[Launch], str]) -> list[str]:
    replica = head.replica
    role = "" if replica.role == "both" else f" {replica.role},"
    what = f"{replica.layout.label} {replica.weights} weights, {replica.kv_cache} KV"
    order = " (first node first; the others wait for it)" if len(own) > 1 else ""
    return [
        f"Replica {head.number}:{role} {what}, {replica.engine.name} {replica.engine.version}{order}",
        *(f"  {comment(part.node)}: {place(part)}    GPUs {' '.join(part.devices)}" for part in own),
        f"  ready when `curl -fsS {head.url}/health` succeeds",
    ]
