"""What tpopt costs to run and to install: CPU-seconds and memory of two commands, megabytes of an empty environment.

Usage: python tests/benchmarks/footprint.py [--install]   --install also measures a fresh virtual environment
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
FIRST = ROOT / "examples" / "first-plan"
COMMANDS = {
    "tpopt --help": (["--help"], 0.6, None),
    "tpopt solve, example 1": (["solve", str(FIRST / "cluster.yaml"), str(FIRST / "config.json")], 2.5, 300),
}
RUNS = 5


def measure(arguments: list[str]) -> tuple[float, float]:
    """Return CPU-seconds and peak MB of one run."""
    pid = os.fork()
    if pid == 0:
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        os.execv(sys.executable, [sys.executable, "-m", "optimizer", *arguments])
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise SystemExit(f"tpopt {' '.join(arguments)}: status {status}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6


def installed_mb() -> float:
    """Return the megabytes that a base install adds to an empty virtual environment."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        before = _size(Path(folder))
        pip = [f"{folder}/bin/python", "-m", "pip", "install", "-q", "--no-compile", str(ROOT)]
        subprocess.run(pip, check=True)
        packages = subprocess.run([f"{folder}/bin/pip", "list"], check=True, capture_output=True, text=True).stdout
        if any(name in packages.lower() for name in ("nvidia", "cuda", "torch")):
            raise SystemExit(f"a CUDA package came along:\n{packages}")
        return (_size(Path(folder)) - before) / 1e6


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def main() -> None:
    """Print one line for each figure beside its bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--install", action="store_true")
    install = parser.parse_args().install
    for name, (arguments, most_s, most_mb) in COMMANDS.items():
        measure(arguments)
        runs = [measure(arguments) for _ in range(RUNS)]
        seconds, peak = statistics.median(s for s, _ in runs), max(mb for _, mb in runs)
        memory = f", peak {peak:.0f} MB" + (f" (bar {most_mb})" if most_mb else "")
        print(f"{name}: {seconds:.2f} CPU-s (bar {most_s}){memory}")
    if install:
        print(f"base install adds {installed_mb():.0f} MB (bar 320), no CUDA package")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
