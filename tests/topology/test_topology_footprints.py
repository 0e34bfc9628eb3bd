"""Footprints: all of them where they are few, a bounded and fair choice where damage makes every node different."""

from itertools import combinations_with_replacement

from topology_cases import HGX, cluster, fault

from optimizer.topology.classes import node_classes
from optimizer.topology.footprints import FEW, MOST, _multisets, footprints
from optimizer.topology.graph import build


def test_two_equal_nodes_have_one_footprint_for_a_group_on_one_node() -> None:
    classes = node_classes(build(cluster(HGX, 2, fabric={"kind": "rail-clos"})))
    (one,) = [f for f in footprints(classes, "switched", 8, 1, joined=True) if f.span == "1 node"]
    assert one.slots[0].counts == (8,)


def test_nodes_that_all_differ_are_tried_in_bounded_number_each_in_its_turn() -> None:
    broken = [
        fault(node=f"n{node}", gpu=gpu, link="nvlink", links_active=f"{links}/18")
        for node in range(1, 7)
        for gpu, links in ((0, 10 + node), (1, 2 + node))
    ]
    classes = node_classes(build(cluster(HGX, 6, fabric={"kind": "rail-clos"}, overrides=broken)))
    assert len(classes) == 6
    found = list(footprints(classes, "switched", 1, 12, joined=True))
    per_spread = {len(f.slots): 0 for f in found}
    for footprint in found:
        per_spread[len(footprint.slots)] += 1
    assert all(count <= MOST for count in per_spread.values())
    assert 0 < per_spread[6] <= FEW
    pairs = {tuple(slot.node_class for slot in f.slots) for f in found if len(f.slots) == 2}
    assert {node for pair in pairs for node in pair} == set(range(6))
    assert found == list(footprints(classes, "switched", 1, 12, joined=True))


def test_nodes_of_classes_are_taken_in_every_way_that_there_is_room_for() -> None:
    ways = list(_multisets([3, 5, 8], [1, 2, 1], 3))
    every = combinations_with_replacement([3, 5, 8], 3)
    assert ways == [way for way in every if way.count(3) < 2 and way.count(5) < 3 and way.count(8) < 2]
    alone = _multisets(list(range(90)), [1] * 90, 10)
    assert next(alone) == tuple(range(10)), "not found by going through all that take a node twice"
    assert not list(_multisets([0, 1], [1, 1], 3))
