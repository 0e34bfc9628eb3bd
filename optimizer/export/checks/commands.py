"""Flags that were written, held against those of the engine's release."""

import re
import shlex
from collections.abc import Iterator
from typing import Any

from optimizer.inputs import presets
from optimizer.plan import Plan

PROGRAMS = {"vllm": "vllm", "sglang": "sglang", "trtllm-serve": "trtllm"}
_FLAG = re.compile(r"--[A-Za-z][A-Za-z0-9_-]*")


def known_flags(plan: Plan) -> dict[str, frozenset[str]]:
    """Return the flags of each engine of the plan, in the releases it names."""
    known: dict[str, frozenset[str]] = {}
    for replica in plan.replicas:
        name, version = replica.engine.name, replica.engine.version
        known[name] = known.get(name, frozenset()) | frozenset(presets.load_flags(name, version).flags.values())
    return known


def script_complaints(text: str, known: dict[str, frozenset[str]]) -> Iterator[str]:
    """Yield the unknown flags of the engine that a script starts, and what no shell could read."""
    if not text.startswith("#!"):
        yield "does not begin with #!"
    started = re.search(r"^(?:exec |  )((?:vllm serve|sglang serve|trtllm-serve)\b.*)", text, re.DOTALL | re.MULTILINE)
    if started is None:
        return
    try:
        words = shlex.split(started[1])
    except ValueError as error:
        yield f"cannot be read by a shell: {error}"
        return
    yield from word_complaints(words, known)


def word_complaints(words: list[str], known: dict[str, frozenset[str]]) -> Iterator[str]:
    """Yield the flags of a command that its engine does not have."""
    engine = PROGRAMS.get(words[0] if words else "")
    if engine not in known:
        yield f"starts {words[0] if words else 'nothing'}, which the plan does not name"
        return
    for word in words:
        if _FLAG.fullmatch(word) and word not in known[engine]:
            yield f"{word}: no flag of {engine}"


def key_complaints(document: Any, known: dict[str, frozenset[str]]) -> Iterator[str]:
    """Yield keys of a configuration file that the engine does not have."""
    names = frozenset(flag.removeprefix("--") for flags in known.values() for flag in flags)
    if not isinstance(document, dict):
        yield "is no mapping"
        return
    yield from (f"{key}: no setting of the engine" for key in document if key not in names)
