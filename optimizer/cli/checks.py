"""export --check: what tpopt itself can tell about the files, then the tools this machine has."""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from optimizer.cli import output
from optimizer.errors import VerificationError

if TYPE_CHECKING:
    from optimizer.export import Artifact
    from optimizer.plan import Plan

_LIMIT_S = 120


@dataclass(frozen=True)
class Tool:
    """A program that reads one kind of file: all of ``names`` are tried, ``words`` stand before the file's path."""

    what: str
    names: tuple[str, ...]
    before: tuple[str, ...]
    endings: tuple[str, ...]
    after: tuple[str, ...] = ()


TOOLS = (
    Tool("bash -n", ("bash",), ("-n",), (".sh", ".sbatch")),
    Tool("shellcheck", ("shellcheck",), ("--severity=warning",), (".sh", ".sbatch")),
    Tool("docker-compose config", ("docker-compose",), ("-f",), ("compose",), ("config", "-q")),
    Tool("systemd-analyze verify", ("systemd-analyze",), ("verify", "--man=no"), (".service",)),
)


def check(plan: "Plan", artifacts: "Sequence[Artifact]", paths: Sequence[Path]) -> None:
    """Tell on stderr what was and was not checked; VerificationError names every problem."""
    from optimizer.export.checks.structure import checked, problems

    found = [f"{problem.path}: {problem.what}" for problem in problems(plan, artifacts)]
    for line in checked(artifacts):
        output.progress(f"checked: {line}")
    for tool in TOOLS:
        mine = [path for path in paths if _reads(tool, path)]
        if mine:
            found += _run(tool, mine)
    found += _engines(plan, artifacts)
    if found:
        raise VerificationError("; ".join(found))


def _reads(tool: Tool, path: Path) -> bool:
    is_compose = path.name.startswith("compose-") and path.suffix == ".yaml"
    return is_compose if tool.endings == ("compose",) else path.suffix in tool.endings


def _run(tool: Tool, paths: Sequence[Path]) -> list[str]:
    program = next((found for name in tool.names if (found := shutil.which(name))), None)
    if program is None:
        output.progress(f"not checked: {tool.what} of {len(paths)} files ({tool.names[0]} is not installed)")
        return []
    said = [problem for path in paths for problem in _one(tool, program, path)]
    output.progress(f"checked: {tool.what} of {len(paths)} files")
    return said


def _one(tool: Tool, program: str, path: Path) -> Iterator[str]:
    done = _call([program, *tool.before, str(path), *tool.after])
    if done is None or done.returncode:
        told = (done.stderr or done.stdout).strip().splitlines() if done else [f"no answer in {_LIMIT_S} s"]
        yield f"{path.name}: {tool.what}: {' '.join(told[:3])}"


def _call(words: list[str]) -> "subprocess.CompletedProcess[str] | None":
    try:
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=_LIMIT_S)
    except subprocess.TimeoutExpired:
        return None


def _engines(plan: "Plan", artifacts: "Sequence[Artifact]") -> Iterator[str]:
    """Hold the flags against the help of the engine itself, where it is installed."""
    from optimizer.export.checks.commands import known_flags

    text = "\n".join(artifact.text for artifact in artifacts)
    for engine, flags in known_flags(plan).items():
        program = shutil.which("trtllm-serve" if engine == "trtllm" else engine)
        used = sorted(flag for flag in flags if flag.startswith("--") and f"{flag} " in text)
        if program is None or engine == "trtllm":
            output.progress(f"not checked: {engine}'s own parser (not installed here)")
            continue
        done = _call([program, "serve", "--help=all" if engine == "vllm" else "--help"])
        if done is None or done.returncode:
            output.progress(f"not checked: {engine}'s own parser (its help does not answer here)")
            continue
        output.progress(f"checked: {len(used)} flags in the help of {program}")
        yield from (f"{flag}: not in the help of {program}" for flag in used if flag not in done.stdout)
