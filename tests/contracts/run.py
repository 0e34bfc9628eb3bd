"""Contracts: what exports write, through the strictest real checks that this machine can run.

Usage: python tests/contracts/run.py [--install] [--environments DIR] [--crds DIR] [--only WORD]

--install makes the environments first (about 5 minutes and 5 GB). --crds names a folder of the CRD files of
LeaderWorkerSet, KubeRay and the Gateway API Inference Extension. A check that cannot run says why. Each check is also
given a broken variant of a file that passes, which it must refuse. The exit code is 0 when all that ran agreed.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent.parent)]

import environments  # noqa: E402
from contracts_checks import CHECKS, Context, Outcome  # noqa: E402


def main(options: list[str]) -> int:
    """Run every check and print the table."""
    given = _options(options)
    root = given.environments.expanduser().resolve()
    root.mkdir(parents=True, exist_ok=True)
    if given.install:
        environments.install(root)
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="tpopt-contracts-") as scratch:
        context = Context(root, Path(scratch), tuple(sorted(given.crds.glob("*.yaml"))) if given.crds else ())
        for name, check in CHECKS.items():
            if given.only in name:
                began = time.monotonic()
                outcome = check(context)
                outcomes.append(outcome)
                _tell(name, outcome, time.monotonic() - began)
    failed = sum(len(outcome.failures) for outcome in outcomes)
    sys.stdout.write(f"\n{sum(o.passed for o in outcomes)} passed, {failed} failed\n")
    return 1 if failed else 0


def _options(options: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--environments", type=Path, default=environments.CACHE)
    parser.add_argument("--crds", type=Path)
    parser.add_argument("--only", default="")
    return parser.parse_args(options)


def _tell(name: str, outcome: Outcome, seconds: float) -> None:
    if outcome.missing:
        sys.stdout.write(f"{name:32} not run: {outcome.missing}\n")
    else:
        broken = f"broken variant {'refused' if outcome.refuses_broken else 'ACCEPTED'}"
        sys.stdout.write(
            f"{name:32} {outcome.passed:4} passed {len(outcome.failures):3} failed   {broken}   {seconds:.0f} s\n"
        )
    for failure in outcome.failures[:10]:
        sys.stdout.write(f"    {failure}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
