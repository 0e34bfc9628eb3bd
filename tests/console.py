"""Pages whose console blocks are real: each ``$ command`` is run and its output compared with what the page shows.

Usage: python tests/console.py --update [PAGE ...]   rewrites the shown output with today's
"""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(?P<open>^```console\n)(?P<body>.*?)(?P<close>^```$)", re.MULTILINE | re.DOTALL)
CLOCK = re.compile(r"(?<=%, )[\d.,]+ (ms|s|us)\b")
"""The seconds behind the gap on the line of the proof."""


def pages() -> list[Path]:
    """Return README and every page under examples/, in order."""
    return [ROOT / "README.md", *sorted((ROOT / "examples").glob("*/README.md"))]


def commands(body: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a block with the output shown for it."""
    for chunk in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        command, _, output = chunk.partition("\n")
        while command.endswith("\\"):
            more, _, output = output.partition("\n")
            command += "\n" + more
        yield command, output


def run(command: str, folder: Path) -> str:
    """Return what a command prints on stdout, in 80 columns, from the page's folder."""
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": tools, "COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{command}: exit {done.returncode}: {done.stderr}")
    return done.stdout


def steady(output: str) -> str:
    """Return output without what differs from run to run: seconds of computing and trailing blanks."""
    return "\n".join(line.rstrip() for line in CLOCK.sub("# s", output).strip().splitlines())


def update(page: Path) -> None:
    """Rewrite the output shown on a page."""

    def renewed(match: re.Match[str]) -> str:
        shown = "".join(f"$ {command}\n{run(command, page.parent)}" for command, _ in commands(match["body"]))
        return f"{match['open']}{shown}{match['close']}"

    page.write_text(BLOCK.sub(renewed, page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--update", action="store_true", required=True)
    parser.add_argument("page", nargs="*", type=Path)
    for each in parser.parse_args().page or pages():
        update(each.resolve())
