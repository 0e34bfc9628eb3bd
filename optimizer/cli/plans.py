"""Plans as files, to be told of."""

from typing import TYPE_CHECKING

from optimizer.errors import InputError

if TYPE_CHECKING:
    from optimizer.plan import Plan


def whole_plan(path: str) -> "Plan":
    """Return the plan of a file, priced otherwise by now or not; InputError where seats, ranks or layers are amiss."""
    from optimizer.report.records import read_plan
    from optimizer.verify import SHAPE, check

    plan = read_plan(path)
    if broken := check(plan, SHAPE):
        raise InputError(f"{path}: {broken[0]}; tpopt never wrote it so: solve again")
    return plan
