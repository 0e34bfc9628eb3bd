"""Bash scripts that start a launch: assignments that the environment may override, exports, one command."""

from collections.abc import Iterator

from optimizer import __version__
from optimizer.export.artifact import MARK, Artifact
from optimizer.export.launch.command import Command
from optimizer.export.launch.seating import Launch
from optimizer.export.launch.words import Ref, comment, shell


def script(launch: Launch, command: Command, folder: str = "") -> Artifact:
    """Return the script of one launch; further flags given to it are added to its own."""
    replica, seats = launch.replica, launch.seats
    ranks = sorted(seat.rank for seat in seats)
    lines = [
        "#!/usr/bin/env bash",
        f"# {MARK} {__version__} for {replica.engine.name} {replica.engine.version}.",
        f"# Replica {launch.number}, node {launch.node_rank + 1} of {len(launch.nodes)}: "
        f"ranks {ranks[0]} to {ranks[-1]} on {comment(launch.node)}.",
        "set -euo pipefail",
        "",
        *assignments(launch, command),
        "",
        f"exec {' '.join(map(shell, command.program))} \\",
        *(f"  {' '.join(map(shell, option.words))} \\" for option in command.options),
        '  "$@"',
    ]
    return Artifact(f"{folder}{launch.stem}.sh", "\n".join(lines) + "\n", executable=True)


def assignments(launch: Launch, command: Command) -> Iterator[str]:
    """Yield one line for each reference and each environment variable; an empty planned value must be given."""
    exported = dict(command.environment)
    for reference in command.references:
        if reference.name not in exported:
            yield from _assigned(reference, launch)
    for name, word in command.environment:
        match word:
            case Ref():
                yield f"export {name}=${{{word.name}:-{shell(word.default)}}}"
            case str():
                yield f"export {name}={shell(word)}"


def _assigned(reference: Ref, launch: Launch) -> Iterator[str]:
    if reference.default:
        yield f"{reference.name}=${{{reference.name}:-{shell(reference.default)}}}"
        return
    scheme = launch.replica.weights
    yield f"# The engine does not make {scheme} weights while loading: {reference.name} must be a checkpoint stored so."
    yield f': "${{{reference.name}:?set {reference.name} to a checkpoint stored as {scheme}}}"'
