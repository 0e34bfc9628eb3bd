"""How ``tpopt solve`` grows: CPU-seconds of the whole process, status and gap, by family of instances and size.

Usage: python tests/benchmarks/scale.py [--family equal,mixed,ten,cost] [--runs 5] [--seed 0] [--gpus 8,64]
Instances follow from the seed alone.
equal: nodes of one type, one model, traffic whose lengths and bound on TPOT are drawn, most throughput.
mixed: four GPU types, three models with weights and objectives, prefill and decode apart; most weighted throughput.
ten: two GPU types, ten models whose request rates grow with the cluster and leave room in it; fewest GPUs.
cost: the same on 64 GPUs for least cost.
Each figure is the median of ``--runs`` runs with bytecode on disk.
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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PRICES = {"h200-sxm": "3.50 USD/h", "h100-sxm": "2.50 USD/h", "a100-80-sxm": "1.50 USD/h", "l40s": "0.90 USD/h"}
FABRIC = {"kind": "rail-clos", "nodes_per_leaf": 32}
NODE: dict[str, Any] = {"nvswitch": {}, "nics": {"count": 8, "bandwidth": "400 Gb/s"}}
PCIE_NODE: dict[str, Any] = {
    "pcie": {"gpus_per_switch": 4, "sockets": 2, "socket_bandwidth": "22 GB/s"},
    "nics": {"count": 2, "bandwidth": "400 Gb/s"},
}

TEN = {
    "llama-3.1-8b": 1.0, "qwen3-8b": 1.0, "qwen2-7b": 1.1, "mistral-7b": 1.0, "qwen3-14b": 0.6,
    "gemma-2-9b": 0.8, "qwen3-32b": 0.25, "gemma-3-27b": 0.3, "qwen3-30b-a3b": 0.8, "llama-3.1-70b": 0.1,
}  # fmt: skip
"""Ten models, and how their request rates compare."""


@dataclass(frozen=True)
class Instance:
    """What one run is asked."""

    cluster: dict[str, Any]
    models: str | list[dict[str, Any]]
    workload: dict[str, Any] | None = None
    options: tuple[str, ...] = ()


def equal(gpus: int, seed: int) -> Instance:
    """Return one model on equal nodes, the same for the same seed."""
    draw = random.Random(f"{gpus} GPUs, seed {seed}")
    kind = draw.choice(["hgx-h200", "dgx-h100"])
    cluster: dict[str, Any] = {
        "name": f"equal-{gpus}",
        "nodes": [{"count": gpus // 8, "template": kind}],
        "fabric": FABRIC,
        "prices": {name: PRICES[name] for name in ("h200-sxm", "h100-sxm")},
    }
    workload: dict[str, Any] = {
        "isl": draw.choice([512, 1024, 2048, 4096]),
        "osl": draw.choice([128, 256, 512]),
        "slo": {"tpot": draw.choice(["30 ms", "50 ms", "100 ms"])},
        "weights": ["bf16", "fp8"],
    }
    return Instance(cluster, "llama-3.1-70b", workload)


def _of_types(name: str, gpus: int, types: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return a cluster with equally many GPUs of each type, in nodes of eight or as few as there are."""
    each = gpus // len(types)
    size = min(8, each)
    return {
        "name": name,
        "nodes": [{"name": f"{gpu}-[1-{each // size}]", "template": gpu} for gpu in types],
        "templates": {gpu: {"gpu": gpu, "gpus": size, **node} for gpu, node in types.items()},
        "fabric": FABRIC,
        "prices": {gpu: PRICES[gpu] for gpu in types},
    }


def mixed(gpus: int, seed: int) -> Instance:
    """Return three models with objectives on four GPU types, prefill and decode apart."""
    draw = random.Random(f"mixed, {gpus} GPUs, seed {seed}")
    types = {"h200-sxm": NODE, "h100-sxm": NODE, "a100-80-sxm": NODE, "l40s": PCIE_NODE}
    models = [
        {
            "model": model,
            "weight": draw.choice([1.0, 1.5, 2.0, 4.0]),
            "workload": {
                "isl": draw.choice([1024, 2048, 4096]),
                "osl": draw.choice([128, 256, 512]),
                "slo": {"ttft": draw.choice(["800 ms", "1500 ms"]), "tpot": draw.choice(["30 ms", "50 ms"])},
                "roles": ["prefill", "decode"],
            },
        }
        for model in ("llama-3.1-8b", "qwen3-14b", "qwen3-8b")
    ]
    return Instance(_of_types(f"mixed-{gpus}", gpus, types), models, options=("--gap", "0.1%"))


def ten(gpus: int, seed: int, objective: str = "gpus") -> Instance:
    """Return ten models with rates on two GPU types; no model's rate is drawn beyond what its share can carry."""
    draw = random.Random(f"ten, {gpus} GPUs, seed {seed}")
    models = [
        {
            "model": model,
            "workload": {
                "isl": draw.choice([512, 1024, 2048]),
                "osl": draw.choice([128, 256]),
                "request_rate": f"{gpus * share * draw.uniform(0.7, 1.3):.3f} /s",
                "slo": {"ttft": "2 s", "tpot": "50 ms"},
            },
        }
        for model, share in TEN.items()
    ]
    cluster = _of_types(f"ten-{gpus}", gpus, {"h200-sxm": NODE, "h100-sxm": NODE})
    return Instance(cluster, models, options=("--objective", objective, "--gap", "0.1%"))


def cost(gpus: int, seed: int) -> Instance:
    """Return ten models on two GPU types for least cost, to be proven."""
    least = ten(gpus, seed, "cost")
    return Instance(least.cluster, least.models, options=("--objective", "cost"))


@dataclass(frozen=True)
class Family:
    """How instances are made, and the seconds each size may take."""

    make: Callable[[int, int], Instance]
    bars_s: dict[int, int]


FAMILIES = {
    "equal": Family(equal, {8: 2, 64: 2, 512: 3, 4096: 4, 16384: 6}),
    "mixed": Family(mixed, {8: 3, 64: 4, 512: 8, 4096: 8, 16384: 12}),
    "ten": Family(ten, {64: 30, 512: 30, 4096: 30, 16384: 30}),
    "cost": Family(cost, {64: 5}),
}


def measured(folder: Path, instance: Instance) -> tuple[float, dict[str, Any]]:
    """Return CPU-seconds of one process, from its start to its exit, and its plan."""
    files = []
    for name, content in (("cluster", instance.cluster), ("models", instance.models), ("workload", instance.workload)):
        path = folder / f"{name}.yaml"
        path.write_text(json.dumps(content))
        files.append(str(path))
    if isinstance(instance.models, str):
        files[1] = instance.models
    given = [*files[:2], *(["-w", files[2]] if instance.workload else []), *instance.options]
    warm = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "optimizer", "solve", *given, "-o", str(folder / "plan.json")],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False,
        env=warm | {"PYTHONPYCACHEPREFIX": str(folder / "bytecode")},
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{instance.cluster['name']}: exit code {done.returncode}: {done.stderr}")
    plan: dict[str, Any] = json.loads((folder / "plan.json").read_text())
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, plan


def main() -> None:
    """Print one line for each family and size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", default=",".join(FAMILIES))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gpus", help="default: all sizes of a family")
    asked = parser.parse_args()
    head = f"{'family':<7} {'GPUs':>7} {'CPU-s':>7} {'bar':>5}  {'status':<9} {'gap':>9} {'replicas':>9}  value\n"
    sys.stdout.write(head)
    for name in asked.family.split(","):
        family = FAMILIES[name]
        sizes = family.bars_s if asked.gpus is None else tuple(map(int, asked.gpus.split(",")))
        for gpus in sizes:
            sys.stdout.write(_line(name, family, gpus, asked.seed, asked.runs))
            sys.stdout.flush()


def _line(name: str, family: Family, gpus: int, seed: int, times: int) -> str:
    instance = family.make(gpus, seed)
    with tempfile.TemporaryDirectory() as folder:
        measured(Path(folder), equal(8, seed))  # writes the bytecode
        runs = [measured(Path(folder), instance) for _ in range(times)]
    seconds = statistics.median(cpu_s for cpu_s, _ in runs)
    plan = runs[0][1]
    objective, bar = plan["objective"], family.bars_s.get(gpus, "-")
    return (
        f"{name:<7} {gpus:>7,} {seconds:>7.2f} {bar!s:>5}  {plan['status']:<9} {objective['gap']:>9.1e} "
        f"{len(plan['replicas']):>9,}  {objective['value']:,.6g} {objective['unit']}\n"
    )


if __name__ == "__main__":
    main()
