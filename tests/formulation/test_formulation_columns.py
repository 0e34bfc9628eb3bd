"""Which replicas may be counted instead of assigned: those whose pieces on equal nodes are equal."""

import pytest
from formulation.instances import nodes

from optimizer.formulation.columns import _pieces_are_equal
from optimizer.topology.footprints import Footprint, Slot


@pytest.mark.parametrize(
    ("count", "parts", "equal"),
    [
        (3, (((2,),), ((2,),)), True),
        (3, (((2,),), ((1,),)), False),
        (3, (((1,), (1,)), ((2,),)), False),  # as many GPUs, of other stages
        (1, (((2,),), ((1,),)), True),  # a node that is a class by itself is counted by itself
    ],
)
def test_slots_on_a_class_of_several_nodes_have_to_be_alike(
    count: int, parts: tuple[tuple[tuple[int, ...], ...], ...], equal: bool
) -> None:
    footprint = Footprint("g", 2, tuple(Slot(0, one) for one in parts))
    assert _pieces_are_equal((nodes(count, 4),), footprint) is equal
