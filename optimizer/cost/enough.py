"""Which seats a demand does not need: smaller replicas on fewer of the same GPUs carry all of it."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from optimizer.cost.options import Points
from optimizer.topology.footprints import Footprint

Island = tuple[int, int]
"""A class of nodes, and the place of an island in it."""


@dataclass(frozen=True)
class Carried:
    """Most requests/s of replicas seen so far that sit on one island and set no bandwidth aside.

    Such replicas may take any GPUs of their island, and as many of them as there is room for: of a replica on more
    GPUs they can take the place.
    """

    most: dict[Island, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))
    """By the GPUs of one replica."""

    def learn(self, footprint: Footprint, reserved: object, points: Points) -> None:
        """Remember a replica, if it is of that kind and has a point that is admissible."""
        taken = taken_of(footprint)
        if len(taken) > 1 or reserved or footprint.places or not points.admissible:
            return
        ((island, gpus),) = taken
        rate = max([point.requests_per_s for point in points.admissible])
        known = self.most[island]
        known[gpus] = max(known.get(gpus, 0.0), rate)

    def on_fewer(self, footprint: Footprint) -> float:
        """Return the most requests/s of such replicas on all GPUs of a footprint but one."""
        sums = [_sums(self.most.get(island, {}), gpus) for island, gpus in taken_of(footprint)]
        return sum([each[-1] for each in sums]) - min([each[-1] - each[-2] for each in sums])


def taken_of(footprint: Footprint) -> list[tuple[Island, int]]:
    """Return the GPUs that a footprint takes of each island it lies on, node by node."""
    return [
        ((slot.node_class, place), gpus)
        for slot in footprint.slots
        for place, gpus in enumerate(slot.counts)
        if gpus
    ]  # fmt: skip


def _sums(rates: Mapping[int, float], gpus: int) -> list[float]:
    """Return the most that replicas of these rates carry together on 0, 1, … ``gpus`` GPUs."""
    sums = [0.0]
    for room in range(1, gpus + 1):
        more = [sums[room - size] + rate for size, rate in rates.items() if size <= room]
        sums.append(max([sums[-1], *more]))
    return sums
