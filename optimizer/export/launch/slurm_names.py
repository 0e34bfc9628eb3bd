"""Names that Slurm can hold."""

import re

from optimizer.export.launch.refusal import refuse
from optimizer.export.launch.seating import Launch


def check_name(launch: Launch, can: tuple[str, ...]) -> None:
    """Raise InputError, naming the targets that can, unless the node's name can stand in a Slurm host list."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", launch.node):
        able = tuple(target for target in can if target != "slurm")
        raise refuse(f"replica {launch.number}", f"{launch.node!r} is no name of a Slurm node", able)
