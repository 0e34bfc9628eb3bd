"""`scontrol show node` (also with `-o`): GPUs by `Gres`, and the state of each node."""

import re
from collections.abc import Iterator
from typing import Literal

from optimizer.errors import InputError
from optimizer.inputs.importers.facts import MAX_GPUS, Facts, Finding, HostFacts, Pasted, counted, listed
from optimizer.inputs.importers.slurm_conf import MAX_NODES

KIND = "scontrol show node"
_NODE = re.compile(r"^[ \t]*NodeName=(\S+)", re.MULTILINE)
_FIELD = re.compile(r"(?:^|\s)(Gres|State|OS)=(\S*)")
_REASON = re.compile(r"(?:^|\s)Reason=(.*?)(?:\s*\[[^\]\n]*\])?[ \t]*$", re.MULTILINE)
_GPUS = re.compile(r"(?:^|,)gpu(?::([A-Za-z][\w.-]*))?:(\d{1,6})")
State = Literal["cordoned", "drained", "down"]
_STATES: tuple[tuple[State, frozenset[str]], ...] = (
    ("down", frozenset({"DOWN", "FAIL", "FAILING", "ERROR", "NOT_RESPONDING", "INVALID_REG", "FUTURE", "UNKNOWN"})),
    ("drained", frozenset({"DRAIN", "DRAINED", "DRAINING"})),
    ("cordoned", frozenset({"MAINT", "MAINTENANCE", "RESERVED"})),
)
"""What a node is that is in one of these of Slurm's states, the first that holds; jobs on it are no obstacle."""


def recognises(pasted: Pasted) -> bool:
    """Whether the text has a record of the tool; configuration files name nodes too, but not their state's flags."""
    return _NODE.search(pasted.text) is not None and re.search(r"\bCPUAlloc=|\bNodeHostName=", pasted.text) is not None


def read(pasted: Pasted) -> Facts:
    """Return the nodes with their GPUs and states; those without a GPU are left out."""
    findings: list[Finding] = []
    found = [_host(name, record, pasted.where, findings) for name, record in _records(pasted.text)]
    hosts = tuple(host for host in found if host is not None)
    if not hosts:
        raise InputError(f"{pasted.where}: {KIND} without a node that has GPUs (Gres=gpu:...); give the whole output")
    if len(hosts) > MAX_NODES:
        raise InputError(f"{pasted.where}: names more than {MAX_NODES:,} nodes; import a part of it")
    bare = len(found) - len(hosts)
    said = f"{pasted.where}: {KIND}: {counted(len(hosts), 'node')} with GPUs"
    told = Finding("read", f"{said}, {bare} without" if bare else said)
    lacks = Finding("missing", f"{pasted.where}: no NIC, no fabric and no bandwidth; merge a node's own file")
    return Facts(hosts=hosts, findings=(told, lacks, *findings))


def _records(text: str) -> Iterator[tuple[str, str]]:
    """Yield each node's name and the text up to the next, once per name."""
    starts = list(_NODE.finditer(text))
    ends = [*(match.start() for match in starts[1:]), len(text)]
    records = {match[1]: text[match.end() : end] for match, end in zip(starts, ends, strict=True)}
    yield from records.items()


def _host(name: str, record: str, where: str, findings: list[Finding]) -> HostFacts | None:
    fields = dict(_FIELD.findall(record))
    if "State" not in fields:
        findings.append(Finding("broken", f"{where}: {name}: its record was cut before the state; taken as usable"))
    kinds = [(kind or None, int(count)) for kind, count in _GPUS.findall(fields.get("Gres", ""))]
    total = sum(count for _, count in kinds)
    if not total:
        return None
    if total > MAX_GPUS:
        findings.append(Finding("broken", f"{where}: {name}: {total} GPUs in one node; left out"))
        return None
    products = sorted({kind for kind, _ in kinds if kind})
    if len(products) > 1:
        message = f"{where}: {name}: GPUs of {listed(products)} in one node, in an order that is not told; left out"
        findings.append(Finding("missing", f"{message}; import the node's own file"))
        return None
    state = _state(fields.get("State", ""))
    reason = _REASON.search(record)
    why = (reason[1].strip() if reason else "") or fields.get("State", "")
    if state is not None:
        findings.append(Finding("broken", f"{where}: {name} is {state}: {why}"))
    product = products[0] if products else None
    return HostFacts(name, product=product, gpus=total, state=state, reason=why if state else None)


def _state(text: str) -> State | None:
    """Return what keeps a node from new work; ``IDLE+DRAIN``, and ``*`` for one that does not answer."""
    words = set(re.findall(r"[A-Z_]+", text.upper()))
    if "*" in text:
        words.add("NOT_RESPONDING")
    return next((state for state, these in _STATES if words & these), None)
