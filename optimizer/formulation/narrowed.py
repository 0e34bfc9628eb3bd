"""What is known before the whole is solved: columns that no best plan has, a bound, and a plan to start from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from optimizer.formulation.instance import Instance
from optimizer.formulation.integers import LARGEST


@dataclass(frozen=True)
class Narrowed:
    """An instance of equal optimum with fewer columns, and what is known of its plans."""

    instance: Instance
    settled: bool = True
    """Else the search ended before: what is proven of it is that no plan is faster than ``slowest_s``, no more.

    Columns that a faster plan needs may be missing, as slower ones that carry more have taken their place.
    """
    known: Mapping[int, int] = field(default_factory=dict)
    """Replicas of a plan to start from, by the id of their column."""
    least: int = -LARGEST
    """What the first goal is proven not to go below, whatever columns were left out; -LARGEST where nothing is."""
    reached: int = LARGEST
    """What the known plan has of it; LARGEST where that was not looked at."""
    outside: int = LARGEST
    """The same of plans with a column that was left out; LARGEST where none of them is as good as the best."""
