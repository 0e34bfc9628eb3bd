"""TensorRT-LLM: trtllm-serve and its YAML for each replica, by script on one node and by Slurm (MPI) on several.

Written from the sources named in launch/trtllm.py; not run.
"""

from shlex import quote

from optimizer import __version__
from optimizer.export.artifact import MARK, Artifact
from optimizer.export.launch import router, trtllm
from optimizer.export.launch.command import Command
from optimizer.export.launch.pools import pools
from optimizer.export.launch.readme import TOKEN, readme
from optimizer.export.launch.refusal import refuse
from optimizer.export.launch.scripts import assignments, script
from optimizer.export.launch.seating import Launch, check_engine, heads, launches, parts
from optimizer.export.launch.slurm_names import check_name
from optimizer.export.launch.words import shell, yaml_text
from optimizer.plan import Plan


def export(plan: Plan) -> tuple[Artifact, ...]:
    """Return scripts or batch jobs, configurations, the router of split replicas and a README."""
    started = launches(plan)
    files: list[Artifact] = []
    for head in heads(started):
        check_engine(head, "trtllm")
        files += _replica(parts(head, started))
    joined = [_disaggregated(own, name, port) for own, name, port in _pairs(heads(started))]
    return (*files, *joined, readme(plan, started, _steps(joined), _place))


def _pairs(all_heads: tuple[Launch, ...]) -> list[tuple[tuple[Launch, ...], str, int]]:
    """Return the split replicas of each model, the file that joins them and the port that takes requests."""
    split = [(number, own) for number, own in enumerate(pools(all_heads)) if own[0].is_apart]
    alone = len(split) == 1
    return [
        (own, "disaggregated.yaml" if alone else f"disaggregated-{own[0].short_name}.yaml", router.ROUTER_PORT + number)
        for number, own in split
    ]


def _place(launch: Launch) -> str:
    return f"sbatch {launch.name}.sbatch" if len(launch.nodes) > 1 else f"./{launch.stem}.sh"


def _replica(own: tuple[Launch, ...]) -> list[Artifact]:
    head, command = own[0], trtllm.command(own[0])
    note = f"{MARK} {__version__} for TensorRT-LLM {head.replica.engine.version}, replica {head.number}"
    config = Artifact(f"{head.name}.yaml", yaml_text(trtllm.configuration(command), head=note))
    shown = Command(command.program, command.model, command.serving, (), (), (), command.environment)
    return [script(head, shown) if len(own) == 1 else _batch(own, shown), config]


def _batch(own: tuple[Launch, ...], command: Command) -> Artifact:
    """Return a job of one MPI task for each rank, node by node; every node shows the same GPUs in the same order."""
    head, seats = own[0], len(own[0].seats)
    for launch in own:
        check_name(launch, ("trtllm",))
        if not launch.whole_node or [s.local_index for s in launch.seats] != [s.local_index for s in head.seats]:
            raise refuse(f"replica {head.number}", f"MPI ranks on {launch.node} need the whole node in one order")
    hosts = " ".join(quote(node) for node, _ in head.nodes for _ in range(seats))
    words = [" ".join(map(shell, words)) for words in (command.program, *(x.words for x in command.serving))]
    lines = [
        "#!/bin/bash",
        f"# {MARK} {__version__}: TensorRT-LLM {head.replica.engine.version}, replica {head.number}.",
        f"#SBATCH --job-name=tpopt-{head.name}",
        f"#SBATCH --nodes={len(own)}",
        f"#SBATCH --nodelist={','.join(node for node, _ in head.nodes)}",
        f"#SBATCH --ntasks-per-node={seats}",
        f"#SBATCH --gpus-per-node={seats}",
        "#SBATCH --exclusive",
        "#SBATCH --mem=0",
        "set -euo pipefail",
        "",
        *(line for line in assignments(head, command) if "CUDA_VISIBLE_DEVICES" not in line),
        f"export CUDA_VISIBLE_DEVICES={','.join(str(seat.local_index) for seat in head.seats)}",
        "",
        "hosts=$(mktemp)",
        "trap 'rm -f \"$hosts\"' EXIT",
        f"printf '%s\\n' {hosts} > \"$hosts\"",
        f'SLURM_HOSTFILE="$hosts" srun --mpi=pmix --nodes={len(own)} --ntasks={seats * len(own)} \\',
        "  --distribution=arbitrary --cpu-bind=none --kill-on-bad-exit=1 trtllm-llmapi-launch \\",
        *(f"  {word} \\" for word in words[:-1]),
        f"  {words[-1]}",
    ]
    return Artifact(f"{head.name}.sbatch", "\n".join(lines) + "\n", executable=True)


def _disaggregated(split: tuple[Launch, ...], name: str, port: int) -> Artifact:
    """Return the file for ``trtllm-serve disaggregated -c``: which servers prefill and which decode."""
    urls = {
        role: [f"{head.head}:{head.api_port}" for head in split if head.replica.role == role]
        for role in ("prefill", "decode")
    }
    content = {
        "hostname": "0.0.0.0",
        "port": port,
        "backend": "pytorch",
        "context_servers": {"num_instances": len(urls["prefill"]), "urls": urls["prefill"]},
        "generation_servers": {"num_instances": len(urls["decode"]), "urls": urls["decode"]},
    }
    head = f"{MARK} {__version__}: trtllm-serve disaggregated -c {name}"
    return Artifact(name, yaml_text(content, head=head))


def _steps(joined: list[Artifact]) -> list[str]:
    lines = [
        "Each replica has a .yaml with all settings and a script (one node) or a Slurm job (several nodes, MPI).",
        "Run them from this folder; CONFIG, MODEL and PORT can be set in the environment. These files follow the",
        "sources of TensorRT-LLM 1.2 and were not run by us.",
        TOKEN,
    ]
    return lines + [f"Then run `trtllm-serve disaggregated -c {file.path}`: it takes the requests." for file in joined]
