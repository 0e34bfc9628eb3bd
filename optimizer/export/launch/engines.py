"""The command of a launch, by its plan's engine."""

from collections.abc import Callable

from optimizer.export.launch import sglang, vllm
from optimizer.export.launch.command import Command
from optimizer.export.launch.seating import Launch, check_engine
from optimizer.inputs.workload import EngineName

COMMANDS: dict[EngineName, Callable[[Launch], Command]] = {"vllm": vllm.command, "sglang": sglang.command}
"""Engines that are started as one process per node."""


def command(launch: Launch) -> Command:
    """Return the command in the words of the plan's engine and release."""
    check_engine(launch, *COMMANDS)
    return COMMANDS[launch.replica.engine.name](launch)
