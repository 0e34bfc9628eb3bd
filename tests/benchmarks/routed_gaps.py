"""Pools of mixed machines from the catalogue: what ``solve --routed`` carries, its bound, and what it took.

Usage: python tests/benchmarks/routed_gaps.py [--cases pair-3,desk-8] [--time-limit SECONDS] [--workers N] [--drawn N]
Prints a row per pool: the best that is known to flow, the bound, the gap, the status, seconds and CPU-seconds; then the
same as a line of JSON each. Machines, traffic and networks are stated below; ``--drawn`` adds pools that follow from
their seeds alone.
"""

import argparse
import json
import random
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from optimizer.cost.routed import Priced
from optimizer.errors import NoAnswerError
from optimizer.formulation.routing.operate import operate
from optimizer.formulation.solve import Limits
from optimizer.inputs import presets
from optimizer.inputs.cluster import ClusterSpec
from optimizer.inputs.resolve import resolved
from optimizer.inputs.workload import WorkloadSpec
from optimizer.pipeline.request import Request
from optimizer.pipeline.routed import groupings_of
from optimizer.topology.graph import build

ROW = "{:<14} {:>8} {:>6} {:>12} {:>12} {:>8} {:>9} {:>8} {:>8}"
HEAD = ("pool", "machines", "layers", "tokens/s", "bound", "gap", "status", "seconds", "CPU s")


@dataclass(frozen=True)
class Pooled:
    """A pool to be routed."""

    model: str
    nodes: Mapping[str, tuple[int, int]]
    """Nodes of a GPU type, and the GPUs in each."""
    network: str
    """The bandwidth of a node's NIC."""
    workload: Mapping[str, Any]
    fabric: Mapping[str, Any]

    def request(self, name: str, limits: Limits) -> Request:
        """Return the question as it is asked of the product."""
        templates = {
            gpu: {"gpu": gpu, "gpus": gpus, "pcie": {}, "nics": {"count": 1, "bandwidth": self.network}}
            for gpu, (_, gpus) in self.nodes.items()
        }
        nodes = [{"name": f"{gpu}-[1-{n}]", "template": gpu} for gpu, (n, _) in self.nodes.items()]
        content = {"name": name, "nodes": nodes, "templates": templates, "fabric": self.fabric}
        return Request(
            resolved(ClusterSpec.model_validate(content), presets.CATALOGUE, name), presets.load_model(self.model),
            WorkloadSpec.model_validate(self.workload), time_limit_s=limits.time_limit_s, workers=limits.workers,
        )  # fmt: skip


def pooled(
    model: str, network: str, nodes: Mapping[str, int | tuple[int, int]], *, fabric: Mapping[str, Any] | None = None,
    **workload: Any,
) -> Pooled:  # fmt: skip
    """Return a pool of so many nodes of each GPU type, one GPU in each unless two numbers say otherwise."""
    each = {gpu: n if isinstance(n, tuple) else (n, 1) for gpu, n in nodes.items()}
    return Pooled(model, each, network, workload, fabric or {"kind": "switch"})


CASES: dict[str, Pooled] = {
    "pair-3": pooled("llama-3.1-8b", "10 Gb/s", {"t4": 2, "rtx4090": 1}),
    "home-4": pooled("llama-2-13b", "1 Gb/s", {"rtx4090": 2, "t4": 2}),
    "home-6": pooled("qwen3-14b", "1 Gb/s", {"rtx5090": 1, "rtx4090": 2, "t4": 3}, isl=512, osl=128),
    "small-7": pooled("llama-3.1-8b", "50 Gb/s", {"t4": 5, "l4": 2}),
    "quick-7": pooled("llama-3.1-8b", "50 Gb/s", {"t4": 5, "l4": 2}, slo={"tpot": "120 ms"}),
    "desk-8": pooled("qwen2.5-32b", "10 Gb/s", {"rtx5090": 2, "rtx4090": 4, "l4": 2}),
    "host-8": pooled("qwen3-32b", "25 Gb/s", {"rtx4090": (1, 4), "a10": 4}, slo={"tpot": "500 ms", "percentile": 90}),
    "helix-10": pooled("qwen3-32b", "50 Gb/s", {"l4": 4, "t4": 6}),
    "centre-10": pooled("llama-3.1-70b", "100 Gb/s", {"a100-40-pcie": 2, "l40s": 4, "a10": 4}, isl=2048),
    "thin-10": pooled("llama-2-13b", "1 Gb/s", {"rtx4090": 3, "l4": 3, "t4": 4}),
    "helix-24": pooled("llama-2-70b", "50 Gb/s", {"a100-40-pcie": 4, "l4": 8, "t4": 12}, isl=763, osl=232),
    "mixed-24": pooled("qwen2.5-72b", "25 Gb/s", {"h100-pcie": 2, "l40s": 6, "rtx4090": 8, "a10": 8}),
    "regions-24": pooled(
        "llama-2-70b", "10 Gb/s", {"a100-40-pcie": 4, "l4": 8, "t4": 12}, isl=763, osl=232,
        fabric={"kind": "fat-tree", "nodes_per_leaf": 8, "oversubscription": 8},
    ),
}  # fmt: skip


MEMORY_GB = {"t4": 16, "a10": 24, "l4": 24, "rtx4090": 24, "rtx5090": 32, "a100-40-pcie": 40, "l40s": 48}

WEIGHTS_GB = {"llama-3.1-8b": 17, "llama-2-13b": 27, "qwen3-14b": 31, "qwen3-32b": 67, "llama-3.1-70b": 145}


def drawn(seed: int) -> Pooled:
    """Return a pool of 3 to 10 machines of two or three types, and a model that none of them holds."""
    draw = random.Random(seed)
    while True:
        types = draw.sample(sorted(MEMORY_GB), draw.choice([2, 2, 3]))
        nodes = {gpu: draw.randint(1, 4) for gpu in types}
        model = draw.choice(sorted(WEIGHTS_GB))
        memory = sum(MEMORY_GB[gpu] * n for gpu, n in nodes.items())
        widest = max(MEMORY_GB[gpu] for gpu in types)
        if 3 <= sum(nodes.values()) <= 10 and widest < WEIGHTS_GB[model] < 0.75 * memory:
            break
    slo = draw.choice([{}, {}, {"tpot": "100 ms"}, {"tpot": "200 ms", "percentile": 90}])
    network = draw.choice(["1 Gb/s", "10 Gb/s", "25 Gb/s", "100 Gb/s"])
    return pooled(model, network, nodes, isl=draw.choice([256, 1024, 2048]), osl=draw.choice([128, 512]), slo=slo)


def priced(name: str, one: Pooled, limits: Limits) -> list[Priced]:
    """Return the pool priced, for each way to take GPUs together."""
    request = one.request(name, limits)
    return [found for _, found in groupings_of(request, build(request.cluster))]


def measure(name: str, one: Pooled, limits: Limits, told: Callable[[str], None]) -> dict[str, Any]:
    """Return the record of one pool."""
    start, cpu = time.monotonic(), _cpu_seconds()
    ways = priced(name, one, limits)
    try:
        found, status = operate(ways, limits, told), "nothing"
    except NoAnswerError:
        found, status = None, "unknown"
    value, most = (found.best.tokens_per_s, max(found.bound, found.best.tokens_per_s)) if found else (0.0, 0.0)
    gap = most / value - 1 if value else 0.0
    return {
        "pool": name, "machines": max(len(way.seats) for way in ways), "layers": ways[0].num_layers,
        "tokens_per_s": value, "bound": most, "gap": gap,
        "status": status if not found else "optimal" if gap <= 1e-6 else "feasible",
        "seconds": time.monotonic() - start, "cpu_seconds": _cpu_seconds() - cpu,
    }  # fmt: skip


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _shown(record: Mapping[str, Any]) -> str:
    numbers = (f"{record['tokens_per_s']:,.2f}", f"{record['bound']:,.2f}", f"{record['gap']:.2%}")
    times = (f"{record['seconds']:.1f}", f"{record['cpu_seconds']:.1f}")
    return ROW.format(record["pool"], record["machines"], record["layers"], *numbers, record["status"], *times)


def main() -> int:
    """Print the table and the records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--drawn", type=int, default=0, metavar="N", help="seeds 1 to N")
    parser.add_argument("--time-limit", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("-v", "--verbose", action="store_true", help="progress on stderr")
    asked = parser.parse_args()
    pools = {name: CASES[name] for name in asked.cases.split(",") if name}
    pools |= {f"seed {seed}": drawn(seed) for seed in range(1, asked.drawn + 1)}
    told: Callable[[str], None] = (lambda line: print(line, file=sys.stderr)) if asked.verbose else (lambda _: None)
    print(ROW.format(*HEAD), flush=True)
    records = []
    for name, one in pools.items():
        records.append(measure(name, one, Limits(asked.time_limit, asked.workers), told))
        print(_shown(records[-1]), flush=True)
    for record in records:
        print(json.dumps(record))
    return 0


if __name__ == "__main__":
    sys.exit(main())
