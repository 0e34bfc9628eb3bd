"""Tori and meshes: places, links, what is broken, boxes, and bandwidth against the exact bound on random ones."""

import random
from itertools import pairwise, product
from math import prod
from typing import Any

import pytest
from exact_bounds import exact
from tori import torus

from optimizer.errors import InputError, NoPathError
from optimizer.inputs.cluster import ClusterSpec, Match, Override
from optimizer.inputs.complaints import validated
from optimizer.topology.bandwidth import capacity, reservations, wiring
from optimizer.topology.boxes import EVERY_BOX, every_footprint, ring, snake
from optimizer.topology.busbw import busbw, point_to_point
from optimizer.topology.classes import joins_nodes, node_classes
from optimizer.topology.exits import leaving
from optimizer.topology.graph import Topology, build
from optimizer.topology.lattice import box_around, lattice, route

GB_PER_S = 1e9


def built(*shape: int, **more: Any) -> Topology:
    return build(torus(shape, **more))


def link(a: str, b: str, **what: Any) -> Override:
    return Override(match=Match(node=a, to=b), **what)


def neighbours(found: Topology, node: str) -> list[str]:
    arcs = found.graph.adj[f"{node}/router"].items()
    return sorted(v.removesuffix("/router") for v, arc in arcs if arc["kind"] == "torus")


def places(found: Topology) -> dict[str, Any]:
    return {name: node.at for name, node in found.node_by_name.items()}


# -- what is there -------------------------------------------------------------------------------------------------


def test_nodes_take_places_in_file_order_the_last_dimension_running_fastest() -> None:
    assert places(built(2, 3)) == {f"n{i}": (i // 3, i % 3) for i in range(6)}


def test_every_node_of_a_torus_has_two_links_along_each_long_dimension() -> None:
    assert neighbours(built(3, 4), "n0") == ["n1", "n3", "n4", "n8"]


def test_two_nodes_of_a_dimension_share_one_link_and_one_node_has_none() -> None:
    assert neighbours(built(1, 2), "n0") == ["n1"]


def test_a_mesh_has_no_links_around() -> None:
    assert neighbours(built(3, 4, wrap=False), "n0") == ["n1", "n4"]
    assert neighbours(built(3, 4, wrap=[True, False]), "n0") == ["n1", "n4", "n8"]


def test_links_carry_what_their_dimension_says() -> None:
    found = lattice(built(2, 2, link=["100 GB/s", "25 GB/s"]))
    assert found is not None
    assert found.rates[(0, 0), (1, 0)] == 100 * GB_PER_S
    assert found.rates[(0, 0), (0, 1)] == 25 * GB_PER_S


def test_given_coordinates_are_kept_and_the_others_fill_what_is_left() -> None:
    spec = torus((2, 2)).model_dump(mode="json")
    spec["nodes"][0]["at"] = [1, 1]
    found = build(ClusterSpec.model_validate(spec))
    assert places(found) == {"n0": (1, 1), "n1": (0, 0), "n2": (0, 1), "n3": (1, 0)}


def test_a_cluster_written_back_reads_to_the_same() -> None:
    spec = torus((2, 3), link=["100 GB/s", "1 GB/s"], wrap=[True, False], overrides=(link("n0", "n1", state="down"),))
    assert ClusterSpec.model_validate_json(spec.model_dump_json()) == spec


def test_one_figure_for_all_links_and_one_for_each_dimension_are_the_same_key() -> None:
    fabric = {"kind": "torus", "shape": [2, 2]}
    assert [torus((2, 2), link=rate).fabric.link for rate in ("1 GB/s", ["1 GB/s"])] == [(1e9,), (1e9,)]  # type: ignore[union-attr]
    bad = {"name": "x", "nodes": [{"count": 1, "template": "t"}], "fabric": {**fabric, "link": 5}}
    with pytest.raises(InputError, match="fabric"):
        validated(ClusterSpec, bad, "cluster.yaml")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"fabric": {"shape": [1, 2]}}, "holds 2 nodes, the cluster has 4"),
        ({"fabric": {"link": ["1 GB/s", "1 GB/s", "1 GB/s"]}}, r"fabric\.link: 3 values for 2 dimensions"),
        ({"fabric": {"wrap": [True, True, True]}}, r"fabric\.wrap: 3 values"),
        ({"at": [0, 2]}, r"n0 at \[0, 2\] is outside \[2, 2\]"),
        ({"at": [0]}, "outside"),
        ({"overrides": [{"match": {"node": "n0", "to": "n3"}, "state": "down"}]}, "n0 has no link to n3; its neigh"),
        ({"overrides": [{"match": {"node": "n0", "to": "x"}, "state": "down"}]}, "no node 'x'"),
        ({"overrides": [{"match": {"node": "n0", "to": "n1", "gpu": 0}, "state": "down"}]}, "by node and to alone"),
        ({"overrides": [{"match": {"node": "n0", "to": "n1"}, "speed_factor": 0.5}]}, "speed_factor: a link between"),
        ({"template": {"gpus": 2, "nics": None}}, "has 2 GPUs and no NICs"),
        ({"template": {"nvswitch": {"nodes": 2}}}, "NVSwitch domains of several nodes"),
    ],
)  # fmt: skip
def test_a_torus_that_cannot_be_is_refused_with_the_reason(changes: dict[str, Any], says: str) -> None:
    spec = torus((2, 2)).model_dump(mode="json")
    spec["fabric"] |= changes.get("fabric", {})
    spec["templates"]["t"] |= changes.get("template", {})
    spec["overrides"] = changes.get("overrides", [])
    if "at" in changes:
        spec["nodes"][0]["at"] = changes["at"]
    with pytest.raises(InputError, match=says):
        build(ClusterSpec.model_validate(spec))


def test_links_between_nodes_are_those_of_a_torus() -> None:
    spec = torus((2, 2), nic="400 Gb/s", overrides=(link("n0", "n1", state="down"),)).model_dump(mode="json")
    with pytest.raises(InputError, match="only nodes of a torus"):
        build(ClusterSpec.model_validate(spec | {"fabric": {"kind": "switch"}}))
    spec["overrides"], spec["nodes"][0]["at"] = [], [0, 0]
    with pytest.raises(InputError, match="coordinates are for the nodes of a torus"):
        build(ClusterSpec.model_validate(spec | {"fabric": {"kind": "switch"}}))


def test_a_lost_node_takes_its_links_with_it() -> None:
    found = lattice(built(3, 3, overrides=(Override(match=Match(node="n4"), state="down"),)))
    assert found is not None
    down = [arc for arc, rate in found.rates.items() if rate == 0]
    assert {found.node_at[b] for a, b in down if a == (1, 1)} == {"n1", "n3", "n5", "n7"}
    assert len(down) == 8


def test_a_cordoned_node_keeps_its_links() -> None:
    found = lattice(built(3, 3, overrides=(Override(match=Match(node="n4"), state="cordoned"),)))
    assert found is not None
    assert min(found.rates.values()) > 0


# -- boxes ---------------------------------------------------------------------------------------------------------

SIZES = [size for d in (1, 2, 3) for size in product(range(1, 5), repeat=d)]


def beside(a: tuple[int, ...], b: tuple[int, ...], size: tuple[int, ...], closed: tuple[bool, ...]) -> bool:
    steps = [(abs(x - y), n, c) for x, y, n, c in zip(a, b, size, closed, strict=True) if x != y]
    return len(steps) == 1 and (steps[0][0] == 1 or (steps[0][2] and steps[0][0] == steps[0][1] - 1))


@pytest.mark.parametrize("wraps", [False, True])
def test_rings_go_once_to_every_node_over_links_wherever_there_is_such_a_ring(wraps: bool) -> None:
    for size in SIZES:
        closed = tuple(wraps and length > 2 for length in size)
        order, long = ring(size, closed), [d for d, n in enumerate(size) if n > 1]
        assert sorted(order) == sorted(product(*map(range, size)))
        assert all(beside(a, b, size, closed) for a, b in pairwise(order))
        there_is_one = len(long) > 1 and (prod(size) % 2 == 0 or any(closed))
        there_is_one |= len(long) == 1 and (closed[long[0]] or size[long[0]] == 2)
        assert (len(order) > 1 and beside(order[-1], order[0], size, closed)) == there_is_one


def test_snakes_go_from_neighbour_to_neighbour() -> None:
    for size in SIZES:
        path = snake(size)
        assert sorted(path) == sorted(product(*map(range, size)))
        assert all(beside(a, b, size, (False,) * len(size)) for a, b in pairwise(path))


def test_routes_keep_to_the_box_and_take_the_shorter_way_around() -> None:
    assert list(route((4,), (True,), (0,), (3,))) == [((0,), (3,))]
    assert [a for a, _ in route((4,), (False,), (0,), (3,))] == [(0,), (1,), (2,)]
    assert [b for _, b in route((2, 3), (False, False), (0, 0), (1, 2))] == [(1, 0), (1, 1), (1, 2)]


def test_the_smallest_box_goes_around_the_edge_where_that_is_shorter() -> None:
    found = lattice(built(5))
    assert found is not None
    assert (box_around(found, [(4,), (0,)]).start, box_around(found, [(4,), (0,)]).size) == ((4,), (2,))
    flat = lattice(built(5, wrap=False))
    assert flat is not None
    assert box_around(flat, [(4,), (0,)]).size == (5,)


def test_a_ring_with_a_broken_link_is_a_line_that_starts_behind_it() -> None:
    found = lattice(built(4, overrides=(link("n1", "n2", state="down"),)))
    assert found is not None
    box = box_around(found, [(i,) for i in range(4)])
    assert (box.start, box.size, box.closed, box.rates) == ((2,), (4,), (False,), (100 * GB_PER_S,))


def test_footprints_over_nodes_list_every_box_without_a_broken_link() -> None:
    found = built(3, 2, wrap=False, overrides=(link("n0", "n1", state="down"),))
    boxes = {place for f in every_footprint(found, node_classes(found), "big", 2, 1) for place in f.places}
    assert {frozenset(place) for place in boxes} == {
        frozenset(pair) for pair in [("n2", "n3"), ("n4", "n5"), ("n0", "n2"), ("n2", "n4"), ("n1", "n3"), ("n3", "n5")]
    }
    assert not joins_nodes(found)


def test_boxes_of_a_large_torus_begin_at_multiples_of_their_lengths() -> None:
    found = built(5, 16)
    assert len(found.nodes) > EVERY_BOX
    boxes = [place for f in every_footprint(found, node_classes(found), "big", 4, 1) for place in f.places]
    assert len(boxes) == len({frozenset(box) for box in boxes}) < 80
    assert max(sum(node in box for box in boxes) for node in found.nodes) <= 2  # one square, one line


# -- bandwidth -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "wrap", "ring_gb_per_s", "optimal_gb_per_s"),
    [
        ((2,), True, 100, 100),
        ((4,), False, 100, 100),  # a line: the way back takes the other direction of every link
        ((4,), True, 200, 200),  # both ways round
        ((2, 2), True, 200, 200),
        ((3, 3), False, 100, 200),  # no ring over an odd mesh: its last hop goes back over four links
        ((4, 4), True, 200, 400),  # one ring of the two that there are
    ],
)
def test_a_box_rings_over_one_ring_both_ways(
    shape: tuple[int, ...], wrap: bool, ring_gb_per_s: float, optimal_gb_per_s: float
) -> None:
    found = built(*shape, wrap=wrap)
    gpus = [gpu.id for gpu in found.gpus]
    told = busbw(found, gpus)
    assert told.ring == pytest.approx(ring_gb_per_s * GB_PER_S)
    assert told.optimal == pytest.approx(optimal_gb_per_s * GB_PER_S)
    assert told.hierarchical == pytest.approx(told.ring)


def test_all_to_all_is_bound_by_the_bisection_of_the_box() -> None:
    """4 x 8 nodes: 16 of 32 send half of what each holds over 2 x 4 links of 100 GB/s: 31/32 M / (8 M / 800 GB/s)."""
    found = built(4, 8)
    assert busbw(found, [gpu.id for gpu in found.gpus]).all_to_all == pytest.approx(31 / 32 * 100 * GB_PER_S)


def test_nodes_of_several_gpus_ring_no_faster_than_their_nics() -> None:
    found = built(2, 2, gpus=2, nic="80 Gb/s")
    stage = [gpu.id for gpu in found.gpus]
    path = wiring(found, [stage]).group
    assert (path.domains, path.inner, path.outer) == (4, "nvswitch", "rdma")
    assert path.outer_bytes_per_s == 20 * GB_PER_S
    assert busbw(found, stage).in_switch is None


def test_point_to_point_takes_its_way_along_one_dimension_after_the_other() -> None:
    assert point_to_point(built(2, 2, link=["100 GB/s", "5 GB/s"]), "n0/0", "n1/0") == 5 * GB_PER_S


def test_a_hand_over_between_lines_takes_a_link_for_each_node() -> None:
    found = built(2, 2, wrap=False)
    assert wiring(found, [("n0/0", "n1/0"), ("n2/0", "n3/0")]).hops[0].bytes_per_s == 100 * GB_PER_S
    along = built(4, wrap=False)
    assert wiring(along, [("n0/0", "n1/0"), ("n2/0", "n3/0")]).hops[0].bytes_per_s == 50 * GB_PER_S


def test_gpus_of_a_node_share_the_link_to_the_next_stage() -> None:
    found = built(2, gpus=2, link="10 GB/s")
    assert wiring(found, [("n0/0", "n0/1"), ("n1/0", "n1/1")]).hops[0].bytes_per_s == 5 * GB_PER_S


def test_a_replica_sets_aside_all_torus_links_of_its_nodes() -> None:
    found = built(3, 3, gpus=2)
    kept = dict(reservations(found, [("n0/0", "n1/0")]))
    assert kept["n0/router"] == capacity(found, "n0/router") == 400 * GB_PER_S
    assert reservations(found, [("n0/0", "n0/1")]) == ()


@pytest.mark.parametrize("nodes", [("n0", "n3"), ("n0", "n1", "n2")], ids=["diagonal", "corner"])
def test_nodes_that_are_no_box_hold_no_replica(nodes: tuple[str, ...]) -> None:
    with pytest.raises(NoPathError, match="no box"):
        wiring(built(2, 2), [[f"{node}/0" for node in nodes]])


def test_a_box_with_a_broken_link_holds_no_replica() -> None:
    found = built(2, 2, overrides=(link("n0", "n1", state="down"),))
    with pytest.raises(NoPathError, match="link of the torus"):
        wiring(found, [[f"n{i}/0" for i in range(4)]])
    assert wiring(found, [["n2/0", "n3/0"]]).group.outer_bytes_per_s == 100 * GB_PER_S


def test_a_box_is_as_fast_as_its_slowest_link() -> None:
    found = built(2, 2, overrides=(link("n0", "n1", bandwidth="10 GB/s"),))
    assert wiring(found, [[f"n{i}/0" for i in (0, 1, 3, 2)]]).group.outer_bytes_per_s == 20 * GB_PER_S


def test_kv_has_no_way_out_over_a_torus() -> None:
    with pytest.raises(InputError, match=r"not planned on a torus.*roles: \[both\]"):
        leaving(built(2, 2), [("n0/0",)])


# -- against the exact bound ---------------------------------------------------------------------------------------


def random_torus(chance: random.Random, most: int) -> Topology:
    shapes = [(2,), (3,), (5,), (2, 2), (3, 2), (3, 3), (4, 2), (2, 2, 2), (6,), (4, 3)]
    shape = chance.choice([shape for shape in shapes if prod(shape) <= most])
    rates = [chance.choice(["100 GB/s", "50 GB/s", "25 GB/s"]) for _ in shape]
    bare = torus(
        shape, gpus=chance.choice([1, 1, 2, 4]), link=rates if chance.random() < 0.4 else rates[0],
        wrap=[chance.random() < 0.5 for _ in shape], nic=chance.choice([None, "400 Gb/s", "80 Gb/s"]),
    )  # fmt: skip
    found = lattice(build(bare))
    assert found is not None
    ends = sorted((found.node_at[a], found.node_at[b]) for a, b in found.rates)
    broken = chance.sample(ends, chance.choice([0, 0, 1]))
    slow = chance.sample(ends, chance.choice([0, 1]))
    overrides = (*(link(*pair, state="down") for pair in broken), *(link(*pair, bandwidth="10 GB/s") for pair in slow))
    return build(bare.model_copy(update={"overrides": overrides}))


def compare(seed: int, sizes: tuple[int, ...], most: int) -> None:
    chance = random.Random(seed)
    found = random_torus(chance, most)
    ids = [gpu.id for gpu in found.gpus]
    size = chance.choice([n for n in sizes if n <= len(ids)])
    gpus = chance.sample(ids, size) if chance.random() < 0.6 else ids[:size]
    mine = busbw(found, gpus)
    if mine.optimal == 0:  # some of the GPUs are cut off
        return
    least, optimal, all_to_all = exact(found, gpus)
    assert (mine.optimal, mine.all_to_all) == pytest.approx((optimal, all_to_all))
    assert mine.ring <= least * (1 + 1e-9)


@pytest.mark.parametrize("block", range(4))
def test_cuts_on_tori_give_the_exact_bound_and_rings_stay_below_it(block: int) -> None:
    for seed in range(block * 25, block * 25 + 25):
        compare(seed, (2, 3, 4), 6)


@pytest.mark.slow
def test_cuts_on_larger_tori_give_the_exact_bound() -> None:
    for seed in range(1000, 1250):
        compare(seed, (5, 6, 7, 8), 12)
