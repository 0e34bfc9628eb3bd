"""Kernels of another GPU: Splitwise's runs on A100, priced with H100's shares of the datasheet, beside those on H100.

Printed by tests/accuracy/kin.py --data DIR. Models, layouts, engine and lengths are the same on both (hosts differ), so
what A100 is off beyond H100 is what its kin costs. GPUs of other vendors have no such runs.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import published

from optimizer.inputs.cells import Row
from optimizer.validation import Validation, summary

SET = "Splitwise (ISCA24)"


def table(rows: Sequence[Row], found: Validation) -> list[str]:
    """Return one line for each GPU and metric, and one for all rows of a GPU."""
    gpus = dict.fromkeys(row["gpu"] for row in rows)
    groups = {}
    for gpu in gpus:
        mine = [one for one in found.predictions if rows[one.row]["gpu"] == gpu and one.error is not None]
        for metric in dict.fromkeys(one.metric for one in mine):
            groups[f"{gpu} {metric}"] = summary([one.error or 0.0 for one in mine if one.metric == metric])
        groups[f"{gpu}, all"] = summary([one.error or 0.0 for one in mine])
    return [
        "| | rows | MAPE | median | bias |", "|---|---:|---:|---:|---:|",
        *(
            f"| {name} | {e.n} | {100 * e.mape:.1f} % | {100 * e.median_ape:.1f} % | {100 * e.bias:.1f} % |"
            for name, e in groups.items()
        ),
    ]  # fmt: skip


def main() -> None:
    """Print the errors of both GPUs."""
    import report  # which prints this table, too

    options = argparse.ArgumentParser(description=main.__doc__)
    options.add_argument("--data", type=Path, required=True)
    rows = published.sets(options.parse_args().data)[SET][0]
    print("\n".join(table(rows, report.check(rows, SET))))


if __name__ == "__main__":
    main()
