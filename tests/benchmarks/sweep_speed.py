"""How much faster a sweep runs on all cores, and that killing it changes nothing: prints both.

Usage: python tests/benchmarks/sweep_speed.py [SOLVES] [JOBS]      (200 solves on 2 cores unless told otherwise)
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
TPOPT = (sys.executable, "-m", "optimizer", "--quiet")
TOGETHER = 2
"""Solves that one worker does in a row in this grid: two objectives on the same prices."""


GRIDS = (("hgx-h200", "hgx-h200-x2"), ("hgx-h200-x2", "gb200-nvl72"))
"""Clusters of each sweep. Loading the solver takes a second, as long as twenty solves on one node."""


def sweep_of(clusters: Sequence[str], solves: int, folder: Path) -> Path:
    """Write a sweep of about so many solves: lengths of prompts and answers on two clusters."""
    lengths = range(1, -(-solves // 4) + 1)
    grid = {
        "clusters": list(clusters), "models": ["llama-3.1-70b"], "objectives": ["throughput", "gpus"],
        "workloads": {f"w{n}": {"isl": 256 + 64 * n, "osl": 128 + 16 * n} for n in lengths},
    }  # fmt: skip
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump(grid))
    return path


@dataclass(frozen=True)
class Spent:
    """Seconds of one run."""

    wall_s: float
    cpu_s: float
    """Of all its processes."""

    def on_idle_cores(self, serial_s: float, jobs: int, solves: int) -> float:
        """Return the seconds on cores that do nothing else: ``serial_s`` on one of them, and one alone at the end."""
        last_s = (jobs - 1) * TOGETHER * self.cpu_s / solves
        return serial_s + (self.cpu_s - serial_s + last_s) / jobs


def spent(grid: Path, out: Path, jobs: int) -> Spent:
    """Return the seconds that the sweep takes; CPU seconds are those that Linux counts for it and for its children."""
    start = time.perf_counter()
    command = [*TPOPT, "sweep", str(grid), "-o", str(out), "--jobs", str(jobs)]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    os.waitid(os.P_PID, running.pid, os.WEXITED | os.WNOWAIT)  # leaves what it used readable
    wall_s = time.perf_counter() - start
    fields = Path(f"/proc/{running.pid}/stat").read_text().rpartition(")")[2].split()
    ticks = sum(map(int, fields[11:15]))  # its own and its children's, in user and in system mode
    if code := running.wait():
        raise SystemExit(code)
    return Spent(wall_s, ticks / os.sysconf("SC_CLK_TCK"))


def killed(grid: Path, out: Path, jobs: int, after_s: float) -> int:
    """Kill the sweep with everything it started, and return how many solves it left."""
    command = [*TPOPT, "sweep", str(grid), "-o", str(out), "--jobs", str(jobs)]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True)
    time.sleep(after_s)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    return len(list(Path(f"{out}.solves").glob("*.json")))


def timed(clusters: Sequence[str], solves: int, jobs: int) -> None:
    """Print speed-up and what a kill in the middle costs."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        grid = sweep_of(clusters, solves, folder)
        alone, shared = spent(grid, folder / "one.csv", 1), spent(grid, folder / "all.csv", jobs)
        sys.stdout.write(f"{', '.join(clusters)}: {solves} solves: {alone.wall_s:.1f} s one by one, ")
        sys.stdout.write(f"{shared.wall_s:.1f} s with {jobs} at a time: {alone.wall_s / shared.wall_s:.2f} x\n")
        serial = spent(grid, folder / "all.csv", jobs)  # nothing is left: what is read, and how results are told
        idle_s = shared.on_idle_cores(serial.cpu_s, jobs, solves)
        sys.stdout.write(
            f"CPU: {alone.cpu_s:.1f} s one by one; {shared.cpu_s:.1f} s with {jobs} at a time; {serial.cpu_s:.1f} s "
            f"when nothing is left to solve.\nWith those and the last {TOGETHER} solves on one core, cores that do "
            f"nothing else take {idle_s:.1f} s: {alone.cpu_s / idle_s:.2f} x\n"
        )
        left = killed(grid, folder / "cut.csv", jobs, shared.wall_s / 2)
        again = spent(grid, folder / "cut.csv", jobs)
        same = (
            (folder / "cut.csv").read_bytes() == (folder / "one.csv").read_bytes() == (folder / "all.csv").read_bytes()
        )
        sys.stdout.write(f"killed with {left} solves done, {again.wall_s:.1f} s to finish; results equal: {same}\n")


def main(solves: int = 200, jobs: int = 2) -> None:
    """Print each sweep's figures."""
    for clusters in GRIDS:
        timed(clusters, solves, jobs)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
