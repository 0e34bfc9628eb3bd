"""Damaged and irregular clusters, one model: CPU-seconds of a ``tpopt solve`` process, status, gap, brute force.

Usage: python tests/benchmarks/irregular.py [--runs 5] [--seed 0] [--cases two-types-16,lost-256] [--oracle-s 600]
Instances follow from the seed alone: which GPUs and NICs are broken, lengths of the traffic and its bound on TPOT are
drawn. Each figure is the median of ``--runs`` runs with bytecode on disk, what each fault costs included.

Up to 16 GPUs the same cluster and traffic are asked about again as brute force can take them: all layouts of an engine
whose pipelines keep to one GPU type (their cuts of 80 layers are too many to go through), with its tokens per step
given. Where all placements are gone through within ``--oracle-s``, "equal" says whether the best of them is the plan's.
"""

import argparse
import json
import multiprocessing
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

MODEL = "llama-3.1-70b"

Record: TypeAlias = dict[str, object]


def two_types(draw: random.Random, gpus: int) -> Record:
    """Return two nodes of different GPUs: one GPU off NVLink, one NIC down."""
    half = gpus // 2
    kinds = ("h200-sxm", "h100-sxm")
    templates = {
        kind: {"gpu": kind, "gpus": half, "nvswitch": {}, "pcie": {}, "nics": {"count": half, "bandwidth": "400 Gb/s"}}
        for kind in kinds
    }
    return {
        "nodes": [{"name": f"node{n}", "template": kind} for n, kind in enumerate(kinds)],
        "templates": templates,
        "fabric": {"kind": "switch"},
        "overrides": [
            {"match": {"node": "node0", "gpu": draw.randrange(half), "link": "nvlink"}, "state": "down"},
            {"match": {"node": "node1", "nic": draw.randrange(half)}, "state": "down"},
        ],
    }


def lost(draw: random.Random, gpus: int) -> Record:
    """Return equal nodes on a rail Clos, one GPU of them lost."""
    node = f"node{1 + draw.randrange(gpus // 8)}"
    return {
        "nodes": [{"count": gpus // 8, "template": draw.choice(["hgx-h200", "dgx-h100"])}],
        "fabric": {"kind": "rail-clos", "nodes_per_leaf": 32},
        "overrides": [{"match": {"node": node, "gpu": draw.randrange(8)}, "state": "lost"}],
    }


def eight_faults(draw: random.Random, gpus: int) -> Record:
    """Return equal nodes with eight different faults on six of them."""
    part = [draw.randrange(8) for _ in range(8)]
    said: list[tuple[int, str, Record]] = [
        (1, "gpu", {"state": "lost"}),
        (2, "nic", {"state": "down"}),
        (3, "gpu", {"speed_factor": 0.9}),
        (4, "nvlink", {"state": "down"}),
        (5, "nic", {"bandwidth": "200 Gb/s"}),
        (6, "nvlink", {"links_active": "12/18"}),
        (3, "nic", {"state": "down"}),
        (1, "pcie", {"bandwidth": "16 GB/s"}),
    ]
    overrides = []
    for (node, what, fault), n in zip(said, part, strict=True):
        link = {"link": what} if what in ("nvlink", "pcie") else {}
        match = {"node": f"node{node}", "nic" if what == "nic" else "gpu": n, **link}
        overrides.append({"match": match, **fault})
    return {
        "nodes": [{"count": gpus // 8, "template": "hgx-h200"}],
        "fabric": {"kind": "rail-clos", "nodes_per_leaf": 32},
        "overrides": overrides,
    }


CASES: dict[str, tuple[Callable[[random.Random, int], Record], int, int]] = {
    "two-types-8": (two_types, 8, 10),
    "two-types-16": (two_types, 16, 10),
    "eight-faults-48": (eight_faults, 48, 20),
    "lost-256": (lost, 256, 5),
    "lost-16384": (lost, 16384, 10),
}
"""Kind of cluster, GPUs and CPU-seconds that are the bar, by name."""


def instance(case: str, seed: int) -> tuple[Record, Record]:
    """Return cluster and workload of a case, the same for the same seed."""
    draw = random.Random(f"{case}, seed {seed}")
    make, gpus, _ = CASES[case]
    cluster = {"name": case, **make(draw, gpus), "prices": {"h200-sxm": "3.50 USD/h", "h100-sxm": "2.50 USD/h"}}
    workload: Record = {
        "isl": draw.choice([512, 1024, 2048, 4096]),
        "osl": draw.choice([128, 256, 512]),
        "slo": {"tpot": draw.choice(["30 ms", "50 ms", "100 ms"])},
        "weights": ["bf16", "fp8"],
    }
    return cluster, workload


ONE_TYPE: Record = {"name": "sglang", "max_num_batched_tokens": 8192}
"""An engine whose replicas sit on one GPU type, with nothing of it left to choose but the layout."""


def written(folder: Path, case: str, seed: int, engine: Record | None = None) -> tuple[Path, Path]:
    """Write cluster and workload of a case and return their files."""
    files = (folder / "cluster.yaml", folder / "workload.yaml")
    cluster, workload = instance(case, seed)
    for file, value in zip(files, (cluster, workload | ({"engine": engine} if engine else {})), strict=True):
        file.write_text(json.dumps(value))
    return files


def measured(folder: Path, case: str, seed: int, engine: Record | None = None) -> tuple[float, Record]:
    """Return CPU-seconds of one process, from its start to its exit, and its plan."""
    cluster, workload = written(folder, case, seed, engine)
    files = [str(cluster), MODEL, "-w", str(workload)]
    warm = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "optimizer", "solve", *files, "--time-limit", "300", "-o", str(folder / "plan.json")],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False,
        env=warm | {"PYTHONPYCACHEPREFIX": str(folder / "bytecode")},
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{case}: exit code {done.returncode}: {done.stderr}")
    plan: Record = json.loads((folder / "plan.json").read_text())
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, plan


def by_brute_force(folder: Path, case: str, seed: int, seconds: float) -> float | None:
    """Return the most output tokens/s over all placements; None when that takes longer than ``seconds``."""
    files = written(folder, case, seed, ONE_TYPE)
    with multiprocessing.Pool(1) as pool:
        try:
            return pool.apply_async(_best, files).get(timeout=seconds)
        except multiprocessing.TimeoutError:
            return None


def _best(cluster: Path, workload: Path) -> float | None:
    from oracle import best

    from optimizer.inputs.presets import load_model
    from optimizer.inputs.read import read_cluster, read_workload

    found = best(read_cluster(str(cluster)), load_model(MODEL), read_workload(str(workload)), "throughput")
    return None if found is None else found.value


def agreement(found: float | None, planned: float) -> str:
    """Return whether brute force finds the plan's value, to the solver's quantum of a replica; "-": it did not end."""
    if found is None:
        return "-"
    return "yes" if abs(found - planned) <= 2e-6 * planned else f"NO: {found:,.0f}"


def main() -> None:
    """Print one line for each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--oracle-s", type=float, default=600.0)
    asked = parser.parse_args()
    print(f"{'case':<16} {'GPUs':>6} {'CPU-s':>7} {'bar':>4}  {'status':<9} {'gap':>8} replicas  tokens/s")
    for case in asked.cases.split(","):
        _, gpus, bar = CASES[case]
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            measured(folder, "two-types-8", asked.seed)  # writes the bytecode
            runs = [measured(folder, case, asked.seed) for _ in range(asked.runs)]
            print(line(case, gpus, statistics.median(cpu_s for cpu_s, _ in runs), bar, runs[0][1]), flush=True)
            if gpus <= MOST_GPUS:
                cpu_s, plan = measured(folder, case, asked.seed, ONE_TYPE)
                found = by_brute_force(folder, case, asked.seed, asked.oracle_s)
                told = f"{line('  on one type', gpus, cpu_s, bar, plan)}  equal to brute force: "
                print(told + agreement(found, value_of(plan)), flush=True)


MOST_GPUS = 16
"""Brute force goes through all placements of up to so many."""


def value_of(plan: Record) -> float:
    """Return the objective of a plan."""
    objective = plan["objective"]
    assert isinstance(objective, dict)
    return float(objective["value"])


def line(case: str, gpus: int, cpu_s: float, bar: int, plan: Record) -> str:
    """Return the row of a case."""
    objective, replicas = plan["objective"], plan["replicas"]
    assert isinstance(objective, dict)
    assert isinstance(replicas, list)
    return (
        f"{case:<16} {gpus:>6,} {cpu_s:>7.2f} {bar:>4}  {plan['status']:<9} {objective['gap']:>8.1e} "
        f"{len(replicas):>8,}  {objective['value']:>9,.0f}"
    )


if __name__ == "__main__":
    main()
