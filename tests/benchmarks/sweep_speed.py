"""How much faster a sweep runs on all cores, and that killing it changes nothing: prints both.

Usage: python tests/benchmarks/sweep_speed.py [SOLVES] [JOBS]      (200 solves on 2 cores unless told otherwise)
"""

import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
TPOPT = (sys.executable, "-m", "optimizer", "--quiet")


def sweep_of(solves: int, folder: Path) -> Path:
    """Write a sweep of about so many solves: lengths of prompts and answers on one node and on two."""
    lengths = range(1, -(-solves // 4) + 1)
    grid = {
        "clusters": ["hgx-h200", "hgx-h200-x2"], "models": ["llama-3.1-70b"], "objectives": ["throughput", "gpus"],
        "workloads": {f"w{n}": {"isl": 256 + 64 * n, "osl": 128 + 16 * n} for n in lengths},
    }  # fmt: skip
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump(grid))
    return path


def seconds(grid: Path, out: Path, jobs: int) -> tuple[float, float]:
    """Return how long the sweep takes, and the CPU seconds of all its processes."""
    start, before = time.perf_counter(), _cpu_s()
    command = [*TPOPT, "sweep", str(grid), "-o", str(out), "--jobs", str(jobs)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start, _cpu_s() - before


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def killed(grid: Path, out: Path, jobs: int, after_s: float) -> int:
    """Kill the sweep with everything it started, and return how many solves it left."""
    command = [*TPOPT, "sweep", str(grid), "-o", str(out), "--jobs", str(jobs)]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True)
    time.sleep(after_s)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    return len(list(Path(f"{out}.solves").glob("*.json")))


def main(solves: int = 200, jobs: int = 2) -> None:
    """Print speed-up and what a kill in the middle costs."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        grid = sweep_of(solves, folder)
        alone, alone_cpu = seconds(grid, folder / "one.csv", 1)
        together, together_cpu = seconds(grid, folder / "all.csv", jobs)
        sys.stdout.write(f"{solves} solves: {alone:.1f} s one by one, {together:.1f} s with {jobs} at a time: ")
        sys.stdout.write(f"{alone / together:.2f} x\n")
        sys.stdout.write(
            f"CPU: {alone_cpu:.1f} s one by one, {together_cpu:.1f} s with {jobs} at a time; "
            f"cores that do nothing else allow {alone_cpu * jobs / together_cpu:.2f} x\n"
        )
        left = killed(grid, folder / "cut.csv", jobs, together / 2)
        again, _ = seconds(grid, folder / "cut.csv", jobs)
        same = (
            (folder / "cut.csv").read_bytes() == (folder / "one.csv").read_bytes() == (folder / "all.csv").read_bytes()
        )
        sys.stdout.write(f"killed with {left} solves done, {again:.1f} s to finish; results equal: {same}\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
