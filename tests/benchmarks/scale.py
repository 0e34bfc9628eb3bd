"""Clusters of equal nodes, one model: CPU-seconds of the whole ``tpopt solve`` process, status and gap by size.

Usage: python tests/benchmarks/scale.py [--runs 5] [--seed 0] [--gpus 8,64,512,4096,16384]
Instances follow from the seed alone: HGX nodes of eight GPUs on a rail Clos of 32 nodes a leaf group, and traffic whose
lengths and bound on TPOT are drawn. Each figure is the median of ``--runs`` runs with bytecode on disk.
"""

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

BARS_S = {8: 2, 64: 2, 512: 3, 4096: 4, 16384: 6}
MODEL = "llama-3.1-70b"


def instance(gpus: int, seed: int) -> tuple[dict[str, object], dict[str, object]]:
    """Return cluster and workload of a size, the same for the same seed."""
    draw = random.Random(f"{gpus} GPUs, seed {seed}")
    kind = draw.choice(["hgx-h200", "dgx-h100"])
    cluster: dict[str, object] = {
        "name": f"equal-{gpus}",
        "nodes": [{"count": gpus // 8, "template": kind}],
        "fabric": {"kind": "rail-clos", "nodes_per_leaf": 32},
        "prices": {"h200-sxm": "3.50 USD/h", "h100-sxm": "2.50 USD/h"},
    }
    workload: dict[str, object] = {
        "isl": draw.choice([512, 1024, 2048, 4096]),
        "osl": draw.choice([128, 256, 512]),
        "slo": {"tpot": draw.choice(["30 ms", "50 ms", "100 ms"])},
        "weights": ["bf16", "fp8"],
    }
    return cluster, workload


def measured(folder: Path, gpus: int, seed: int) -> tuple[float, dict[str, object]]:
    """Return CPU-seconds of one process, from its start to its exit, and its plan."""
    cluster, workload = instance(gpus, seed)
    for name, value in (("cluster", cluster), ("workload", workload)):
        (folder / f"{name}.yaml").write_text(json.dumps(value))
    files = [str(folder / "cluster.yaml"), MODEL, "-w", str(folder / "workload.yaml")]
    warm = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "optimizer", "solve", *files, "-o", str(folder / "plan.json")],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False,
        env=warm | {"PYTHONPYCACHEPREFIX": str(folder / "bytecode")},
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{gpus} GPUs: exit code {done.returncode}: {done.stderr}")
    plan: dict[str, object] = json.loads((folder / "plan.json").read_text())
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, plan


def main() -> None:
    """Print one line for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gpus", default=",".join(map(str, BARS_S)))
    asked = parser.parse_args()
    sys.stdout.write(f"{'GPUs':>7} {'CPU-s':>7} {'bar':>5}  {'status':<9} {'gap':>9} {'replicas':>9}  tokens/s\n")
    for gpus in map(int, asked.gpus.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            measured(Path(folder), 8, asked.seed)  # writes the bytecode
            runs = [measured(Path(folder), gpus, asked.seed) for _ in range(asked.runs)]
        seconds = statistics.median(cpu_s for cpu_s, _ in runs)
        plan = runs[0][1]
        objective, replicas = plan["objective"], plan["replicas"]
        assert isinstance(objective, dict)
        assert isinstance(replicas, list)
        bar = f"{BARS_S[gpus]}" if gpus in BARS_S else "-"
        sys.stdout.write(
            f"{gpus:>7,} {seconds:>7.2f} {bar:>5}  {plan['status']:<9} {objective['gap']:>9.1e} {len(replicas):>9,}  "
            f"{objective['value']:,.0f}\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
