"""Saying no: the reason, and the targets that can."""

from optimizer.errors import InputError
from optimizer.inputs.workload import EngineName

_BARE: dict[EngineName, tuple[str, ...]] = {
    "vllm": ("vllm", "slurm", "compose", "systemd"),
    "sglang": ("sglang", "slurm", "compose", "systemd"),
    "trtllm": ("trtllm",),
}


def any_gpus(engine: EngineName) -> tuple[str, ...]:
    """Return the targets that start an engine on any GPUs of a node."""
    return _BARE[engine]


def refuse(where: str, why: str, can: tuple[str, ...] = (), remedy: str = "") -> InputError:
    """Return the error: what cannot be expressed, the targets that can, what else helps."""
    told = f"; targets that can: {', '.join(can)}" if can else ""
    return InputError(f"{where}: {why}{told}{'; ' + remedy if remedy else ''}")
