"""What every container of an engine needs: image, devices as seen inside, words without references."""

from collections.abc import Mapping
from dataclasses import replace

from optimizer.export.launch.command import Command
from optimizer.export.launch.refusal import any_gpus, refuse
from optimizer.export.launch.seating import Launch
from optimizer.export.launch.words import Ref, Word
from optimizer.inputs import presets

SHARED_MEMORY = "64Gi"
"""Upper bound of /dev/shm, through which the ranks of a node talk; only what is used is taken."""
CACHE = "/root/.cache/huggingface"


def image(launch: Launch, version: str | None = None) -> str:
    """Return the publisher's image of the engine; InputError for GPUs it is not built for."""
    name, release = launch.replica.engine.name, version or launch.replica.engine.version
    if launch.gpu.vendor != "nvidia":
        raise refuse(
            f"replica {launch.number}", f"no image of {name} for {launch.gpu.vendor} GPUs is known", any_gpus(name)
        )
    known = presets.load_flags(name, release).image
    if known is None:
        raise refuse(f"replica {launch.number}", f"no image of {name} {release} is known", any_gpus(name))
    return known.format(version=release.removeprefix("v"))


def devices_inside(launch: Launch, visible: tuple[int, ...]) -> str:
    """Return CUDA_VISIBLE_DEVICES where only the GPUs with these local indices exist: UUIDs, else their positions."""
    return ",".join(launch.uuids) or positions(launch, visible)


def positions(launch: Launch, visible: tuple[int, ...]) -> str:
    """Return the seats as positions among the GPUs with these local indices."""
    order = sorted(visible)
    return ",".join(str(order.index(seat.local_index)) for seat in launch.seats)


def inside(launch: Launch, command: Command, visible: tuple[int, ...]) -> Command:
    """Return the command with the seats named as a container with these GPUs sees them."""
    changed = {"CUDA_VISIBLE_DEVICES": devices_inside(launch, visible)}
    return replace(command, environment=tuple((name, changed.get(name, word)) for name, word in command.environment))


def with_port(command: Command, port: int) -> Command:
    """Return the command with another planned port for requests."""
    moved = Ref("PORT", str(port))
    serving = (
        replace(option, value=moved) if isinstance(option.value, Ref) and option.value.name == moved.name else option
        for option in command.serving
    )
    return replace(command, serving=tuple(serving))


def own_indices(launch: Launch) -> tuple[int, ...]:
    """Return the local indices of the launch's seats."""
    return tuple(seat.local_index for seat in launch.seats)


def node_indices(launch: Launch) -> tuple[int, ...]:
    """Return the local indices of all GPUs that its node shows."""
    return launch.working


def resolved(word: Word, known: Mapping[str, str] | None = None) -> str:
    """Return a word as text: references give what is ``known`` for them, else their planned value."""
    return (known or {}).get(word.name, word.default) if isinstance(word, Ref) else word


def must_be_stored(launch: Launch, command: Command) -> None:
    """Raise InputError when no checkpoint of the priced precision is known: a container cannot ask for it."""
    if isinstance(command.model, Ref) and not command.model.default:
        raise refuse(
            f"replica {launch.number}",
            f"{launch.replica.engine.name} does not make {launch.replica.weights} weights while loading, and no "
            "checkpoint stored so is known",
            any_gpus(launch.replica.engine.name),
            "or solve for a model whose config.json says so",
        )


def uses_rdma(launch: Launch) -> bool:
    """Whether the launch talks to other hosts over RDMA: ranks on several nodes, or KV transfers."""
    return len(launch.nodes) > 1 or launch.replica.role != "both"


def local_path(command: Command) -> str | None:
    """Return the checkpoint's folder on the host, None for a hub name."""
    model = resolved(command.model)
    return model if model.startswith("/") else None
