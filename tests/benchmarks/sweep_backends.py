"""The same sweep one by one, in local processes, on a local Ray and on a local Dask cluster: the results are equal.

Usage: python tests/benchmarks/sweep_backends.py [BACKEND ...]      (needs the extras ray and dask)
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
GRID = {
    "clusters": ["hgx-h200", "ws-4x4090"], "models": ["llama-3.1-8b", "llama-3.2-1b"],
    "workloads": {"chat": {"isl": 1024, "osl": 256}, "long": {"isl": 4096, "osl": 256}},
    "objectives": ["throughput", "gpus"],
}  # fmt: skip


def swept(grid: Path, out: Path, backend: str, jobs: int) -> bytes:
    """Return the results of the sweep on a backend."""
    options = ["-o", str(out), "--backend", backend, "--jobs", str(jobs)]
    command = [sys.executable, "-m", "optimizer", "--quiet", "sweep", str(grid), *options]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return out.read_bytes()


def main(backends: list[str]) -> int:
    """Print seconds and whether the results are those of the sweep one by one; return 0 when all are."""
    equal = True
    with tempfile.TemporaryDirectory() as scratch:
        grid = Path(scratch) / "sweep.yaml"
        grid.write_text(yaml.safe_dump(GRID))
        alone = swept(grid, Path(scratch) / "alone.csv", "local", 1)
        for backend in backends or ["local", "ray", "dask"]:
            start = time.perf_counter()
            same = swept(grid, Path(scratch) / f"{backend}.csv", backend, 2) == alone
            equal &= same
            told = "equal to" if same else "DIFFERENT from"
            sys.stdout.write(f"{backend}: {time.perf_counter() - start:.1f} s, {told} one by one\n")
    return not equal


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
