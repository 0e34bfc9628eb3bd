"""Route published pools of mixed machines (Helix, ASPLOS 2025): what flows, the bound, and whether a max-flow agrees.

Usage: python tests/benchmarks/helix.py FILE.json [FILE.json ...] [--time-limit SECONDS] [--workers N]
Prints a table, then one line of JSON per file: {objective, bound, status, seconds, ...}.
"""

import argparse
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

from optimizer.cost.pool import SINK, SOURCE, Link, Machine, Pool, Routing
from optimizer.formulation.routing.solve import route
from optimizer.formulation.solve import Limits
from optimizer.verify import flow

ROW = "{:<24} {:>8} {:>6} {:>12} {:>12} {:>12} {:>9} {:>8} {:>8} {:>9}"
HEAD = ("pool", "machines", "layers", "published", "tokens/s", "bound", "status", "seconds", "CPU s", "max-flow")


def read(path: Path) -> tuple[Pool, dict[str, Any]]:
    """Return the pool of a file, and the file."""
    content = json.loads(path.read_text())
    machines = tuple(
        Machine(str(node["id"]), node["type"], _rates(node["tokens_per_s_by_layers"], node["max_layers"]))
        for node in content["nodes"]
    )
    links = tuple(link for entry in content["links"] for link in _directions(entry))
    return Pool(content["model"]["num_layers"], machines, links), content


def _rates(by_layers: dict[str, float], most: int) -> tuple[float, ...]:
    return tuple(by_layers[str(count)] for count in range(1, most + 1))


def _directions(entry: dict[str, Any]) -> tuple[Link, ...]:
    """Entries are of both directions; nothing flows into the source or out of the sink."""
    one, other, rate = str(entry["a"]), str(entry["b"]), entry["tokens_per_s"]
    both = (Link(one, other, rate), Link(other, one, rate))
    return tuple(link for link in both if link.receiver != SOURCE and link.sender != SINK)


def measure(path: Path, limits: Limits) -> tuple[dict[str, Any], tuple[object, ...]]:
    """Return the record and the row of one file."""
    pool, content = read(path)
    start, cpu = time.monotonic(), _cpu_seconds()
    answer = route(pool, limits, lambda line: print(line, file=sys.stderr))
    seconds, cpu = time.monotonic() - start, _cpu_seconds() - cpu
    wrong, flows = flow.check(pool, answer), flow.largest_flow(pool, answer.runs)
    record = _record(answer, seconds, cpu) | {"name": content["name"], "max_flow": flows, "violations": wrong}
    known = content.get("published_best", {}).get("objective_tokens_per_s", 0.0)
    numbers = [f"{value:.3f}" for value in (known, answer.tokens_per_s, answer.bound_tokens_per_s)]
    times = (f"{seconds:.2f}", f"{cpu:.2f}", "WRONG" if wrong else "agrees")
    return record, (content["name"], len(pool.machines), pool.num_layers, *numbers, record["status"], *times)


def _record(answer: Routing, seconds: float, cpu_seconds: float) -> dict[str, Any]:
    return {
        "objective": answer.tokens_per_s,
        "bound": answer.bound_tokens_per_s,
        "status": "optimal" if answer.proven else "feasible",
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "placement": {run.machine: [run.first, run.end] for run in answer.runs},
        "worth_in_layers": dict(answer.worth),
    }


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> int:
    """Print the table and the records; 70 when an answer is not true."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.json")
    parser.add_argument("--time-limit", type=float, default=300.0, metavar="SECONDS")
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    results = [measure(path, Limits(asked.time_limit, asked.workers)) for path in asked.files]
    print(ROW.format(*HEAD))
    for _, row in results:
        print(ROW.format(*row))
    for record, _ in results:
        print(json.dumps(record))
    return 70 if any(record["violations"] for record, _ in results) else 0


if __name__ == "__main__":
    sys.exit(main())
