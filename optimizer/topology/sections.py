"""Where the stages of one replica sit on several types of GPU: runs of stages that share one."""

from collections.abc import Mapping, Sequence
from itertools import groupby

from optimizer.topology.graph import Topology
from optimizer.topology.wiring import GroupPath, Section, ring_rate


def sections(topology: Topology, stages: Sequence[Sequence[str]], groups: Sequence[GroupPath]) -> tuple[Section, ...]:
    """Return the runs of stages on GPUs of one type, ``groups`` being the path of each stage.

    Nothing where one type holds all of them, or where a stage is itself mixed: no layout has such a stage.
    """
    types = [sorted({topology.gpu(gpu).type for gpu in stage}) for stage in stages]
    runs = [list(run) for _, run in groupby(range(len(stages)), key=types.__getitem__)]
    if len(runs) == 1 or any(len(held) > 1 for held in types):
        return ()
    return tuple(
        Section(
            gpu_type=types[run[0]][0],
            stages=len(run),
            group=min((groups[stage] for stage in run), key=ring_rate),
            speed_factor=min(topology.gpu(gpu).speed_factor for stage in run for gpu in stages[stage]),
        )
        for run in runs
    )


def counts_of(gpu_types: Sequence[str], ranks_per_stage: int) -> dict[str, int]:
    """Return how many GPUs of each type the stages hold, types in order of first use."""
    return {gpu_type: ranks_per_stage * gpu_types.count(gpu_type) for gpu_type in dict.fromkeys(gpu_types)}


def told(counts: Mapping[str, int]) -> str:
    """Return the types for people: "h100-sxm", "2 x h100-sxm + 4 x l40s"."""
    if len(counts) == 1:
        return next(iter(counts))
    return " + ".join(f"{count} x {gpu_type}" for gpu_type, count in counts.items())
