"""Which prefill and decode replicas may work together within the TTFT objective: what of their seconds matters.

A pair keeps the bound B when t_p + e_p + t_d <= B and t_p + e_d + t_d <= B (t: the replica's seconds, e: its side of
the transfer). So the partners of a replica are those below two thresholds; of two replicas the one with more below
both has all partners of the other.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from optimizer.formulation.columns import Column
from optimizer.formulation.instance import Load
from optimizer.formulation.pairs import agree, bound_ns, kept_s, kind, nanoseconds, services_apart, total_s
from optimizer.inputs.workload import Role

Reach = tuple[int, int]
"""Partners below each of the two thresholds."""

OTHER: dict[Role, Role] = {"prefill": "decode", "decode": "prefill"}


@dataclass(frozen=True)
class Partners:
    """The partners of each column of roles apart, by its id; others are in no pair."""

    reach: dict[int, Reach]
    whole: dict[tuple[int, Role], Reach]
    """What a column reaches when it may be paired with all, by service and role."""

    def is_free(self, column: Column) -> bool:
        """Whether it may be paired with every replica of the other phase."""
        return self.reach.get(id(column)) == self.whole.get((column.service, column.role))


def partners(columns: Sequence[Column], loads: Sequence[Load]) -> Partners:
    """Return who may work with whom; without a bound on TTFT all may."""
    reach: dict[int, Reach] = {}
    whole: dict[tuple[int, Role], Reach] = {}
    for service in services_apart(columns):
        ttft_s = loads[service].workload.slo.ttft
        bound = None if ttft_s is None else bound_ns(ttft_s)
        for role, other in OTHER.items():
            there = [c for c in columns if c.service == service and c.role == other]
            bare, total = (sorted(nanoseconds(seconds(c)) for c in there) for seconds in (kept_s, total_s))
            whole[service, role] = (len(bare), len(total))
            for column in columns:
                if column.service == service and column.role == role:
                    reach[id(column)] = (
                        _within(bare, bound, nanoseconds(total_s(column))),
                        _within(total, bound, nanoseconds(kept_s(column))),
                    )
    return Partners(reach, whole)


def _within(there_ns: Sequence[int], bound: int | None, taken_ns: int) -> int:
    """Return how many of ascending nanoseconds keep the bound beside what is taken already, as ``pairs_meet_ttft``."""
    return len(there_ns) if bound is None else bisect_right(there_ns, bound - taken_ns)


def with_partners(columns: Iterable[Column], loads: Sequence[Load]) -> tuple[Column, ...]:
    """Return the columns without those of roles apart that have no partner at all."""
    kept = tuple(columns)
    known = partners(kept, loads)
    found = tuple(c for c in kept if c.role == "both" or min(known.reach.get(id(c), (0, 0))) > 0)
    return found if len(found) == len(kept) else with_partners(found, loads)


def freely_divisible(columns: Sequence[Column]) -> Callable[[Column], bool]:
    """Return whether a column may hand over to, or take over from, every kind of the other phase."""
    kinds = {(c.service, c.role, kind(c)) for c in columns if c.role != "both"}

    def divides(column: Column) -> bool:
        other = OTHER.get(column.role)
        return all(agree(kind(column), its) for s, role, its in kinds if s == column.service and role == other)

    return divides
