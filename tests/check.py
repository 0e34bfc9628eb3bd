"""All checks in one command: lint, format, types, import contracts, then the tests, whose summary comes last.

Usage: python tests/check.py [pytest options]
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

CHECKS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),
    ("lint-imports",),
)


def main(options: list[str]) -> int:
    """Run every check even when one fails; return 0 only when all passed."""
    tools = Path(sys.executable).parent
    failed = []
    for tool, *arguments in CHECKS:
        sys.stdout.write(f"== {tool} {' '.join(arguments)}\n")
        sys.stdout.flush()
        if subprocess.run([tools / tool, *arguments], cwd=ROOT, check=False).returncode:
            failed.append(tool)
    sys.stdout.write("== pytest\n")
    sys.stdout.flush()
    tests = subprocess.run([sys.executable, "-m", "pytest", *options], cwd=ROOT, check=False).returncode
    if failed:
        sys.stderr.write(f"failed: {', '.join(failed)}\n")
    return tests or bool(failed)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
