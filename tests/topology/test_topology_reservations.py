"""Reservations read off an equal replica are those of the replica itself."""

from hypothesis import HealthCheck, given, settings
from seatings import equal_gpus, seatings
from strategies import Instance, instances

from optimizer.errors import NoPathError
from optimizer.layout import layouts
from optimizer.topology.bandwidth import _reservations, reservations
from optimizer.topology.graph import build
from optimizer.topology.shares import Share

SHARES: tuple[Share, ...] = ("fair", "alone")


@settings(max_examples=60, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(instances())
def test_equal_replicas_reserve_the_same_at_their_own_places(instance: Instance) -> None:
    topology = build(instance.cluster)
    usable = [gpu for gpu in topology.gpus if gpu.placeable]
    classes = tuple((gpu.id,) for gpu in usable) if len(usable) <= 4 else equal_gpus(topology)
    for layout in layouts(instance.model, len(usable), weights=("bf16",), kv=("bf16",), engine="vllm"):
        for gpus in seatings(usable, classes, layout):
            size = layout.ranks_per_stage
            stages = [tuple(gpu.id for gpu in gpus[at : at + size]) for at in range(0, len(gpus), size)]
            for share in SHARES:
                try:
                    expected = _reservations(topology, stages, share)
                except NoPathError:
                    continue
                assert reservations(topology, stages, share) == expected
