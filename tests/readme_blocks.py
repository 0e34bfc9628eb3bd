"""The commands that README shows, so that CI runs exactly those.

Usage: python tests/readme_blocks.py N   prints the N-th block of commands (1: install and solve, 2: test)
"""

import re
import sys
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"


def blocks(text: str) -> list[str]:
    """Return the bash blocks of a page in order."""
    return [match["body"] for match in re.finditer(r"^```bash\n(?P<body>.*?)^```$", text, re.MULTILINE | re.DOTALL)]


if __name__ == "__main__":
    sys.stdout.write(blocks(README.read_text(encoding="utf-8"))[int(sys.argv[1]) - 1])
