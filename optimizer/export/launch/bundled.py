"""Targets that bring their own engine: the release a plan was priced for must be the one they start."""

from optimizer.export.launch.refusal import any_gpus, refuse
from optimizer.export.launch.seating import Launch, check_engine
from optimizer.inputs.workload import EngineName

RAY_SERVE = "2.60.0"
RAY_BRINGS: dict[EngineName, str] = {"vllm": "0.29.0"}
"""Of ray[llm] 2.60.0 (its requirement vllm==0.29.0)."""
DYNAMO = "1.6.1"
DYNAMO_BRINGS: dict[EngineName, str] = {"vllm": "0.31.0", "sglang": "0.5.21"}
"""Of ai-dynamo 1.6.1 (its extras vllm==0.31.0 and sglang==0.5.21)."""


def check_release(launch: Launch, brings: dict[EngineName, str], what: str) -> None:
    """Raise InputError when ``what`` would start another engine, or another release of it, than was priced."""
    check_engine(launch, *brings)
    engine = launch.replica.engine
    release = brings[engine.name]
    if engine.version.removeprefix("v").split(".")[:2] != release.split(".")[:2]:
        raise refuse(
            f"replica {launch.number}",
            f"priced for {engine.name} {engine.version}, and {what} brings {release}",
            any_gpus(engine.name),
            f"or solve again with engine: {{name: {engine.name}, version: {release}}}",
        )
