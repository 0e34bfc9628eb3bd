"""README.txt of an export: what the files are, what to run where, where requests go."""

from collections.abc import Callable, Iterable, Iterator

from optimizer import __version__
from optimizer.export.artifact import MARK, Artifact
from optimizer.export.launch.pools import pools
from optimizer.export.launch.router import ROUTER_PORT
from optimizer.export.launch.seating import Launch, heads, parts
from optimizer.export.launch.words import comment
from optimizer.plan import Plan

TOKEN = "Gated checkpoints need HF_TOKEN in the environment of the engine; it is referenced and never written."


def readme(
    plan: Plan, started: tuple[Launch, ...], steps: Iterable[str], place: Callable[[Launch], str], *, route: bool = True
) -> Artifact:
    """Return README.txt: the steps, then every replica with ``place`` of each launch, then where requests go."""
    names = ", ".join(dict.fromkeys(comment(service.model.name) for service in plan.inputs.services))
    lines = [f"{MARK} {__version__}: {names} on {comment(plan.inputs.cluster.name)}.", "", *steps, ""]
    for head in heads(started):
        lines += [*_replica_lines(head, parts(head, started), place), ""]
    if route:
        lines += [line for number, own in enumerate(pools(heads(started))) for line in _route(own, number)]
    return Artifact("README.txt", "\n".join(lines).rstrip("\n") + "\n")


def _route(own: tuple[Launch, ...], number: int) -> Iterator[str]:
    """Yield where the requests of one pool go; ``number`` is its place among the pools, from which its port follows."""
    of = f" for {_whose(own[0])}" if own[0].plan.inputs.more else ""
    if own[0].is_apart:
        port = ROUTER_PORT + number
        yield f"Send requests{of} to the router that joins prefill and decode, port {port}. Behind it are:"
        yield from (f"  {head.replica.role} {head.url}" for head in own)
        return
    yield f"Send requests{of} to the replicas in proportion to their GPUs, for instance by least requests in flight:"
    yield from (f"  {head.url}/v1" for head in own)


def _whose(head: Launch) -> str:
    """Return the model, and which of its kinds of traffic where there are several."""
    names = [service.model.name for service in head.plan.inputs.services]
    which = f" (service {head.service})" if names.count(head.model.name) > 1 else ""
    return comment(head.model.name) + which


def _replica_lines(head: Launch, own: tuple[Launch, ...], place: Callable[[Launch], str]) -> list[str]:
    replica = head.replica
    role = "" if replica.role == "both" else f" {replica.role},"
    whose = f" {_whose(head)}," if head.plan.inputs.more else ""
    what = f"{replica.layout.label} {replica.weights} weights, {replica.kv_cache} KV"
    order = " (first node first; the others wait for it)" if len(own) > 1 else ""
    return [
        f"Replica {head.number}:{whose}{role} {what}, {replica.engine.name} {replica.engine.version}{order}",
        *(f"  {comment(part.node)}: {place(part)}    GPUs {' '.join(part.devices)}" for part in own),
        f"  ready when `curl -fsS {head.url}/health` succeeds",
    ]
