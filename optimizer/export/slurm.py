"""Slurm: one batch script for replicas that share nodes, one step for each replica, on exactly the planned nodes.

A job takes whole nodes, since Slurm chooses the GPUs of a part by itself; each rank's GPUs are then named by its step's
scripts. Rank order follows SLURM_HOSTFILE with --distribution=arbitrary (srun manual).
"""

from shlex import quote

from optimizer import __version__
from optimizer.export.artifact import MARK, Artifact
from optimizer.export.launch import engines, router
from optimizer.export.launch.readme import TOKEN, readme
from optimizer.export.launch.refusal import any_gpus
from optimizer.export.launch.scripts import script
from optimizer.export.launch.seating import Launch, heads, launches, parts
from optimizer.export.launch.slurm_names import check_name
from optimizer.plan import Plan

Job = tuple[Launch, ...]
"""First launches of the replicas of one job."""


def export(plan: Plan) -> tuple[Artifact, ...]:
    """Return batch scripts, what their tasks run, and a README; InputError for names Slurm cannot hold."""
    started = launches(plan)
    for launch in started:
        check_name(launch, any_gpus(launch.replica.engine.name))
    tasks = tuple(script(launch, engines.command(launch)) for launch in started)
    programs = tuple(_programs(parts(head, started)) for head in heads(started))
    jobs = _jobs(started)
    batches = tuple(Artifact(_batch_name(job), _batch(job, started), executable=True) for job in jobs)
    routers = router.scripts(heads(started))
    where = {head.number: _batch_name(job) for job in jobs for head in job}
    notes = readme(plan, started, _steps(batches, routers), lambda launch: where[launch.number])
    return (*batches, *programs, *tasks, *routers, notes)


def _jobs(started: tuple[Launch, ...]) -> tuple[Job, ...]:
    """Return the replicas that share nodes, directly or through others, job by job in the order of the first."""
    groups: list[tuple[set[str], list[Launch]]] = []
    for head in heads(started):
        nodes, members = {node for node, _ in head.nodes}, [head]
        for group in [group for group in groups if group[0] & nodes]:
            groups.remove(group)
            nodes, members = nodes | group[0], group[1] + members
        groups.append((nodes, members))
    jobs = (tuple(sorted(members, key=lambda head: head.number)) for _, members in groups)
    return tuple(sorted(jobs, key=lambda job: job[0].number))


def _batch_name(job: Job) -> str:
    return f"job{job[0].number:03d}.sbatch"


def _programs(own: tuple[Launch, ...]) -> Artifact:
    """Return which script each task of a replica's step runs (srun --multi-prog)."""
    lines = [f"# {MARK} {__version__}: task and script", *(f"{part.node_rank} bash ./{part.stem}.sh" for part in own)]
    return Artifact(f"{own[0].name}.conf", "\n".join(lines) + "\n")


def _batch(job: Job, started: tuple[Launch, ...]) -> str:
    places = {node: head.places.get(node) for head in job for node, _ in head.nodes}
    nodes = tuple(places)
    gpus = min(len(place.working) if place else 0 for place in places.values())
    lines = [
        "#!/bin/bash",
        f"# {MARK} {__version__}: replicas {', '.join(str(head.number) for head in job)} on {len(nodes)} nodes.",
        f"#SBATCH --job-name=tpopt-{job[0].name}",
        f"#SBATCH --nodes={len(nodes)}",
        f"#SBATCH --nodelist={','.join(nodes)}",
        "#SBATCH --ntasks-per-node=1",
        f"#SBATCH --gpus-per-node={gpus}",
        "#SBATCH --exclusive",
        "#SBATCH --mem=0",
        "#SBATCH --output=tpopt-%x-%j.log",
        "set -euo pipefail",
        "",
        "hosts=$(mktemp -d)",
        "trap 'rm -rf \"$hosts\"' EXIT",
        "steps=()",
        "",
    ]
    for head in job:
        lines += _step(head, len(parts(head, started)), gpus)
    return "\n".join([*lines, 'for step in "${steps[@]}"; do wait "$step"; done']) + "\n"


def _step(head: Launch, tasks: int, gpus: int) -> list[str]:
    hostfile = f'"$hosts/{head.name}"'
    names = " ".join(quote(node) for node, _ in head.nodes)
    return [
        f"printf '%s\\n' {names} > {hostfile}",
        f"SLURM_HOSTFILE={hostfile} srun --nodes={tasks} --ntasks={tasks} --distribution=arbitrary \\",
        f"  --overlap --gpus-per-node={gpus} --cpu-bind=none --mem=0 --kill-on-bad-exit=1 \\",
        f"  --output={head.name}-%j-%t.log --multi-prog {head.name}.conf &",
        "steps+=($!)",
        "",
    ]


def _steps(batches: tuple[Artifact, ...], routers: tuple[Artifact, ...]) -> list[str]:
    return [
        "From this folder, on a file system that all nodes share, submit each job; add what your site asks for:",
        *(f"  sbatch --partition=... --account=... --time=... {batch.path}" for batch in batches),
        "A job takes its nodes whole and names the GPUs of every rank itself: Slurm alone would choose them.",
        "MODEL and the other variables at the top of the replica scripts can be set in the environment of sbatch.",
        *(f"Then run {artifact.path} on any host that reaches the nodes: it spreads requests." for artifact in routers),
        TOKEN,
    ]
