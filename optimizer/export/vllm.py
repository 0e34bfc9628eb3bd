"""vLLM without Ray: one bash script for each replica and node, which starts exactly the planned seats.

Engine rules and flags: vLLM 0.33.0, ``vllm serve --help=all``, vllm/engine/arg_utils.py and vllm/config/parallel.py.
A replica on several nodes runs with the multiprocessing backend: equal GPUs per node, ranks node by node, TP fastest.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from shlex import quote

from optimizer import __version__
from optimizer.errors import InputError
from optimizer.export.artifact import MARK, Artifact
from optimizer.inputs.cluster import NodeTemplate
from optimizer.inputs.gpu import GpuSpec
from optimizer.inputs.hostlist import all_hosts
from optimizer.inputs.model import Scheme
from optimizer.plan import Plan, Replica, Seat

FLAGS = (
    "--block-size", "--cudagraph-capture-sizes", "--decode-context-parallel-size", "--distributed-executor-backend",
    "--dtype", "--enable-expert-parallel", "--enforce-eager", "--gpu-memory-utilization", "--headless", "--host",
    "--kv-cache-dtype", "--master-addr", "--master-port", "--max-model-len", "--max-num-batched-tokens",
    "--max-num-seqs", "--nnodes", "--node-rank", "--pipeline-parallel-size", "--port",
    "--prefill-context-parallel-size", "--quantization", "--served-model-name", "--tensor-parallel-size",
)  # fmt: skip
"""Every flag that a script may hold."""
CHECKED_VERSION = "0.33.0"
API_PORT = 8000
"""vLLM's default; each further replica of a host takes the next one."""
MASTER_PORT = 29501
"""vLLM's default; each further replica of a first node takes the next one."""
_LOADED_AS: dict[Scheme, str] = {"fp8": "fp8"}
"""Schemes that vLLM makes of a 16-bit checkpoint while it loads; any other needs a checkpoint stored so."""


@dataclass(frozen=True)
class Script:
    """What one script is about."""

    plan: Plan
    number: int
    replica: Replica
    nodes: tuple[tuple[str, tuple[Seat, ...]], ...]
    node_rank: int
    port: int
    master_port: int

    @property
    def node(self) -> str:
        """The node it runs on."""
        return self.nodes[self.node_rank][0]

    @property
    def seats(self) -> tuple[Seat, ...]:
        """The seats it starts, in rank order."""
        return self.nodes[self.node_rank][1]

    @property
    def path(self) -> str:
        """The file's name: replica, node's rank and node."""
        return f"replica{self.number:03d}-{self.node_rank:02d}-{re.sub(r'[^A-Za-z0-9._-]+', '-', self.node)}.sh"

    @property
    def gpu(self) -> GpuSpec:
        """The type of all its GPUs."""
        return self.plan.inputs.cluster.gpus[self.replica.gpu_type]


def export(plan: Plan) -> tuple[Artifact, ...]:
    """Return the scripts and a README; InputError when vLLM cannot start the plan as it is."""
    scripts = tuple(_scripts(plan))
    files = tuple(Artifact(script.path, _text(script), executable=True) for script in scripts)
    return (*files, Artifact("README.txt", _readme(plan, scripts)))


def _scripts(plan: Plan) -> Iterator[Script]:
    heads: dict[str, int] = {}
    for number, replica in enumerate(plan.replicas):
        _check(replica, number, plan)
        nodes = _nodes(replica, number)
        head = nodes[0][0]
        heads[head] = heads.get(head, -1) + 1
        for node_rank in range(len(nodes)):
            yield Script(plan, number, replica, nodes, node_rank, API_PORT + heads[head], MASTER_PORT + heads[head])


def _check(replica: Replica, number: int, plan: Plan) -> None:
    where = f"replica {number}"
    if replica.engine.name != "vllm":
        raise InputError(f"{where}: priced for {replica.engine.name}, not vllm; solve again with --engine vllm")
    if replica.role != "both":
        raise InputError(
            f"{where}: role {replica.role}: split prefill and decode are not written for vllm; use one role"
        )
    if replica.attn_dp > 1:
        raise InputError(f"{where}: attention DP {replica.attn_dp} is not written for vllm; solve with --fix attn_dp=1")
    if replica.ep not in (1, replica.tp * replica.pcp):
        raise InputError(
            f"{where}: EP {replica.ep}: vLLM spreads experts over all {replica.tp} ranks of a stage or none"
        )
    if plan.inputs.cluster.gpus[replica.gpu_type].vendor == "intel":
        raise InputError(
            f"{where}: {replica.gpu_type}: vLLM selects these devices by a plugin's rules; start it by hand"
        )


def _nodes(replica: Replica, number: int) -> tuple[tuple[str, tuple[Seat, ...]], ...]:
    """Return the seats of each node in rank order; InputError when vLLM's node-major order cannot express them."""
    by_node: dict[str, list[Seat]] = {}
    for seat in sorted(replica.seats, key=lambda seat: seat.rank):
        by_node.setdefault(seat.node, []).append(seat)
    sizes = {node: len(seats) for node, seats in by_node.items()}
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{size} on {node}" for node, size in sizes.items())
        raise InputError(
            f"replica {number}: {told}: vLLM without Ray needs equally many GPUs on every node; "
            "solve again with a layout that divides evenly (--fix tp=..,pp=..)"
        )
    ranks = [seat.rank for seats in by_node.values() for seat in seats]
    if ranks != sorted(ranks):
        raise InputError(f"replica {number}: ranks return to a node that they left; vLLM numbers ranks node by node")
    return tuple((node, tuple(seats)) for node, seats in by_node.items())


def _text(script: Script) -> str:
    lines = [
        "#!/usr/bin/env bash",
        f"# {MARK} {__version__} for vLLM {script.replica.engine.version}.",
        f"# Replica {script.number}, node {script.node_rank + 1} of {len(script.nodes)}: "
        f"ranks {script.seats[0].rank} to {script.seats[-1].rank} on {_comment(script.node)}.",
        "set -euo pipefail",
        "",
        *_environment(script),
        "",
        'exec vllm serve "$MODEL" \\',
        *(f"  {' '.join(flag)} \\" for flag in _flags(script)),
        '  "$@"',
    ]
    return "\n".join(lines) + "\n"


def _comment(text: str) -> str:
    return re.sub(r"[^\x20-\x7e]", "?", text)


def _environment(script: Script) -> Iterator[str]:
    model, replica = script.plan.inputs.model, script.replica
    source = quote(model.weights_path or model.name)
    if replica.weights == model.checkpoint_scheme or _converted(script):
        yield f"MODEL=${{MODEL:-{source}}}"
    else:
        yield f"# vLLM does not make {replica.weights} weights while loading: MODEL must be a checkpoint stored so."
        yield f': "${{MODEL:?set MODEL to a checkpoint stored as {replica.weights}}}"'
    yield "export CUDA_DEVICE_ORDER=PCI_BUS_ID"
    yield f"export CUDA_VISIBLE_DEVICES={','.join(_device(seat) for seat in script.seats)}"
    if replica.pp > 1:
        yield f"export VLLM_PP_LAYER_PARTITION={','.join(map(str, replica.layers_per_stage))}"
    if len(script.nodes) > 1:
        yield f"MASTER_ADDR=${{MASTER_ADDR:-{quote(script.nodes[0][0])}}}"
        yield f"MASTER_PORT=${{MASTER_PORT:-{script.master_port}}}"
        nics = _nics(script)
        if nics:
            yield f"export NCCL_IB_HCA=${{NCCL_IB_HCA:-{quote('=' + ','.join(nics))}}}"
    if script.node_rank == 0:
        yield f"PORT=${{PORT:-{script.port}}}"


def _device(seat: Seat) -> str:
    """Return the GPU's UUID where it is known, else its index in PCI bus order."""
    return seat.gpu if re.fullmatch(r"(GPU|MIG)-[0-9A-Fa-f-]+", seat.gpu) else str(seat.local_index)


def _nics(script: Script) -> tuple[str, ...]:
    """Return the names of the NICs nearest to the script's GPUs, the ones whose bandwidth was priced."""
    template = _template(script)
    nics = template.nics if template else None
    if (
        nics is None
        or template is None
        or len(nics.names) != nics.count
        or nics.transport not in ("infiniband", "roce")
    ):
        return ()
    nearest = nics.nearest or tuple(index * nics.count // template.size for index in range(template.size))
    return tuple(dict.fromkeys(nics.names[nearest[seat.local_index]] for seat in script.seats))


def _template(script: Script) -> NodeTemplate | None:
    cluster = script.plan.inputs.cluster
    for entry, names in zip(cluster.nodes, all_hosts(cluster.nodes), strict=True):
        if script.node in names:
            return cluster.templates[entry.template]
    return None


def _flags(script: Script) -> Iterator[tuple[str, ...]]:
    """Yield each flag with its values, quoted: names, layout, nodes, then every setting that was priced."""
    replica, engine = script.replica, script.replica.engine
    yield "--served-model-name", quote(script.plan.inputs.model.name)
    yield from _layout_flags(replica)
    yield from _node_flags(script)
    yield from _precision_flags(script)
    yield "--gpu-memory-utilization", _utilization(script)
    yield "--max-model-len", str(engine.max_model_len)
    yield "--max-num-seqs", str(engine.max_num_seqs)
    yield "--max-num-batched-tokens", str(engine.max_num_batched_tokens)
    yield "--block-size", str(engine.block_tokens)
    if not engine.cuda_graphs:
        yield ("--enforce-eager",)
    elif engine.cuda_graph_sizes:
        yield "--cudagraph-capture-sizes", *map(str, engine.cuda_graph_sizes)


def _layout_flags(replica: Replica) -> Iterator[tuple[str, ...]]:
    yield "--tensor-parallel-size", str(replica.tp)
    yield "--pipeline-parallel-size", str(replica.pp)
    if replica.ep > 1:
        yield ("--enable-expert-parallel",)
    if replica.dcp > 1:
        yield "--decode-context-parallel-size", str(replica.dcp)
    if replica.pcp > 1:
        yield "--prefill-context-parallel-size", str(replica.pcp)


def _node_flags(script: Script) -> Iterator[tuple[str, ...]]:
    if len(script.nodes) > 1:
        yield "--distributed-executor-backend", "mp"
        yield "--nnodes", str(len(script.nodes))
        yield "--node-rank", str(script.node_rank)
        yield "--master-addr", '"$MASTER_ADDR"'
        yield "--master-port", '"$MASTER_PORT"'
    if script.node_rank > 0:
        yield ("--headless",)
    else:
        yield "--host", "0.0.0.0"
        yield "--port", '"$PORT"'


def _precision_flags(script: Script) -> Iterator[tuple[str, ...]]:
    model, replica = script.plan.inputs.model, script.replica
    half = script.gpu.architecture in ("volta", "turing")
    if model.checkpoint_scheme == "bf16":
        yield "--dtype", "half" if half else "bfloat16"
    if _converted(script):
        yield "--quantization", _LOADED_AS[replica.weights]
    yield "--kv-cache-dtype", "fp8" if replica.kv_cache == "fp8" else "auto" if half else "bfloat16"


def _converted(script: Script) -> bool:
    """Return whether the engine makes the priced weights of a 16-bit checkpoint while it loads."""
    return script.plan.inputs.model.checkpoint_scheme == "bf16" and script.replica.weights in _LOADED_AS


def _utilization(script: Script) -> str:
    """Return the share of visible memory to hold: the priced one less the reserve, rounded down to 1/10,000."""
    engine = script.replica.engine
    share = engine.gpu_memory_utilization - engine.reserve_bytes / script.gpu.memory
    return f"{int(share * 10_000 + 1e-6) / 10_000:g}"


def _readme(plan: Plan, scripts: tuple[Script, ...]) -> str:
    version = plan.replicas[0].engine.version
    checked = "" if version == CHECKED_VERSION else f" (their names were checked with {CHECKED_VERSION})"
    lines = [
        f"{MARK} {__version__}: {_comment(plan.inputs.model.name)} on {_comment(plan.inputs.cluster.name)}.",
        "",
        f"Each script needs vLLM {version} on its node; the flags are those of that version{checked}.",
        "Run each script on the node it names. MODEL, PORT, MASTER_ADDR, MASTER_PORT can be set in the environment;",
        "flags given to a script are added to its own. MASTER_ADDR must be an address of the first node of a replica",
        "that the others reach over the fabric.",
        "",
    ]
    for script in scripts:
        if script.node_rank == 0:
            lines += _replica_lines(script, [s for s in scripts if s.number == script.number])
    lines += ["Send requests to the replicas in proportion to their GPUs, for instance by least requests in flight:"]
    lines += [f"  {_url(script)}/v1" for script in scripts if script.node_rank == 0]
    return "\n".join(lines) + "\n"


def _replica_lines(head: Script, scripts: list[Script]) -> list[str]:
    order = " (first node first; the others wait for it)" if len(scripts) > 1 else ""
    replica = head.replica
    devices = (
        f"  {_comment(s.node)}: ./{s.path}    GPUs {' '.join(_device(seat) for seat in s.seats)}" for s in scripts
    )
    return [
        f"Replica {head.number}: {replica.layout.label} {replica.weights} weights, {replica.kv_cache} KV{order}",
        *devices,
        f"  ready when `curl -fsS {quote(_url(head) + '/health')}` succeeds",
        "",
    ]


def _url(script: Script) -> str:
    return f"http://{_comment(script.node)}:{script.port}"
