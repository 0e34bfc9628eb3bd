"""The solver against brute force on thousands of random instances, on all cores: prints how many agree, by family.

Usage: python tests/benchmarks/oracle_agreement.py [--instances 2000] [--jobs N] [--family plans,spread,services]
Each chunk of instances follows from its number alone; a chunk that fails is printed with its number and what was wrong,
and `--chunk NUMBER` runs it again by itself with the smallest instance that fails. Exit code 1 if any fails.
"""

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from strategies import instances, shared
from test_oracle import FEWER_GPUS, compared
from test_oracle_services import compared as compared_services

Family = tuple[Callable[[], SearchStrategy[Any]], Callable[[Any], None]]

FAMILIES: dict[str, Family] = {
    "plans": (instances, compared),
    "spread": (lambda: instances(FEWER_GPUS, routed=True), compared),
    "services": (shared, compared_services),
}
"""plans: one model on up to eight GPUs; spread: experts and attention over parts of a stage; services: several
models, prefill and decode together or apart."""

CHUNK = 20
"""Instances that share a number."""


@dataclass(frozen=True)
class Chunk:
    """Some instances of a family."""

    family: str
    number: int

    def run(self, phases: Sequence[Phase]) -> int:
        """Compare solver and brute force on each; return how many there were."""
        strategy, compare = FAMILIES[self.family]
        done = 0

        @seed(self.number)
        @settings(
            max_examples=CHUNK, deadline=None, database=None, phases=phases, suppress_health_check=list(HealthCheck)
        )
        @given(strategy())
        def each(instance: Any) -> None:
            nonlocal done
            compare(instance)
            done += 1

        each()
        return done


def told(chunk: Chunk) -> tuple[Chunk, int, str]:
    """Return the chunk, how many instances agree, and what went wrong."""
    try:
        return chunk, chunk.run((Phase.generate,)), ""
    except Exception:
        return chunk, 0, traceback.format_exc(limit=-4)


def main() -> int:
    """Print agreement by family."""
    asked = _asked()
    if asked.chunk is not None:
        for family in asked.family:
            Chunk(family, asked.chunk).run((Phase.generate, Phase.shrink))
        return 0
    failed = 0
    with get_context("spawn").Pool(asked.jobs) as pool:
        for family in asked.family:
            start, agreed, wrong = time.perf_counter(), 0, 0
            chunks = [Chunk(family, number) for number in range(-(-asked.instances // CHUNK))]
            for chunk, count, message in pool.imap_unordered(told, chunks):
                agreed, wrong = agreed + count, wrong + bool(message)
                if message:
                    sys.stdout.write(f"{chunk.family} --chunk {chunk.number}:\n{message}\n")
            took = time.perf_counter() - start
            sys.stdout.write(f"{family:9} {agreed:6} agree, {wrong} chunks of {len(chunks)} fail, {took:.0f} s\n")
            sys.stdout.flush()
            failed += wrong
    return min(1, failed)


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--family", type=lambda text: text.split(","), default=list(FAMILIES))
    parser.add_argument("--chunk", type=int)
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
