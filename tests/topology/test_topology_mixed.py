"""Seats of pipelines over several GPU types, and the paths of each run of stages."""

import pytest
from mixed_clusters import apart, together

from optimizer.inputs.cluster import ClusterSpec
from optimizer.pipeline.usable import classes_of
from optimizer.topology.bandwidth import wiring
from optimizer.topology.footprints import Footprint
from optimizer.topology.graph import build
from optimizer.topology.mixed import mixed_footprints
from optimizer.topology.seats import first_seats


def found(where: ClusterSpec, *gpu_types: str, ranks: int = 1, every: bool = False) -> list[Footprint]:
    classes = classes_of(build(where))
    return list(mixed_footprints(classes, gpu_types, ranks, joined=True, every=every))


def test_every_stage_sits_on_its_own_type() -> None:
    topology = build(where := together(2, 2))
    for footprint in found(where, "small", "big", "big", every=True):
        seats = first_seats(topology, classes_of(topology), footprint, spread=False)
        assert [topology.gpu(stage[0]).type for stage in seats] == ["small", "big", "big"]
        assert footprint.gpus_of_type == {"small": 1, "big": 2}
        assert footprint.gpu_type == "1 x small + 2 x big"


def test_types_on_nodes_of_their_own_take_unequal_parts() -> None:
    (footprint,) = found(apart(1, 2), "big", "small", "small")
    assert [sum(slot.counts) for slot in footprint.slots] == [1, 2]
    assert footprint.span == "1 + 2 GPUs on 2 nodes"


@pytest.mark.parametrize(("small", "seats"), [(2, 1), (1, 0)], ids=["just-fits", "one-short"])
def test_no_stage_sits_where_its_type_is_used_up(small: int, seats: int) -> None:
    assert len(found(apart(1, small), "big", "small", "small")) == seats


def test_paths_name_the_runs_of_stages_and_their_groups() -> None:
    topology = build(where := apart(2, 4))
    (footprint,) = found(where, "big", "small", "small", ranks=2)
    paths = wiring(topology, first_seats(topology, classes_of(topology), footprint, spread=False))
    assert [(s.gpu_type, s.stages, s.group.ranks) for s in paths.sections] == [("big", 1, 2), ("small", 2, 2)]
    assert [hop.medium for hop in paths.hops] == ["rdma", "nvswitch"]


def test_stages_of_one_type_have_no_sections() -> None:
    topology = build(apart(2, 4))
    assert wiring(topology, (("n-small/0",), ("n-small/1",))).sections == ()
