"""The rows that are left are those that no other reaches."""

import random

import pytest

from optimizer.formulation.outdone import best


def _kept_by_comparing(rows: list[tuple[float, ...]]) -> list[int]:
    def beaten(n: int) -> bool:
        others = ((m, row) for m, row in enumerate(rows) if m != n)
        return any(
            all(a >= b for a, b in zip(row, rows[n], strict=True)) and (row != rows[n] or m < n) for m, row in others
        )

    return [n for n in range(len(rows)) if not beaten(n)]


@pytest.mark.parametrize("length", range(6))
@pytest.mark.parametrize("seed", range(20))
def test_rows_are_kept_that_no_other_reaches_and_the_first_of_equals(length: int, seed: int) -> None:
    draw = random.Random(f"{length} {seed}")
    values = draw.choice([range(3), range(12)])
    rows = [tuple(float(draw.choice(values)) for _ in range(length)) for _ in range(draw.choice([0, 1, 5, 40]))]
    assert sorted(best(rows)) == _kept_by_comparing(rows)
