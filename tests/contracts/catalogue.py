"""Every config.json of a folder: read and counted beside what its publisher says, or refused by name.

Usage: python tests/contracts/catalogue.py DIR     (files ORG--NAME_config.json)

The exit code is 0 when nothing read is more than 5 % from its publisher's total, and every total is known.
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]

from published_totals import published  # noqa: E402

from optimizer.cost.parameters import active_parameters, total_parameters  # noqa: E402
from optimizer.errors import InputError  # noqa: E402
from optimizer.inputs.huggingface import from_config  # noqa: E402

MOST_APART = 0.05


def main(folder: Path) -> int:
    """Print the table."""
    files = sorted(folder.glob("*_config.json"))
    read, far = 0, 0
    for file in files:
        name = file.name.removesuffix("_config.json").replace("--", "/")
        try:
            model = from_config(json.loads(file.read_text()), name=name, where=file.name)
        except InputError as error:
            sys.stdout.write(f"{name:58} refused: {str(error).partition(': ')[2]}\n")
            continue
        read += 1
        total = (total_parameters(model) + model.vision_parameters) / 1e9
        stated, source = published(name) or (0.0, "no published total is known")
        apart = total / stated - 1 if stated else 1.0
        far += abs(apart) > MOST_APART
        active = active_parameters(model) / 1e9
        sys.stdout.write(
            f"{name:58} {total:9.3f} B, {active:.2f} active; published {stated:g} ({source}): {apart:+.1%}\n"
        )
    sys.stdout.write(f"\n{read} of {len(files)} read, {far} of them more than 5 % from the published total\n")
    return 1 if far else 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
