"""Islands and node classes: what the solver need not tell apart really makes no difference."""

import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from topology_cases import HGX, PCIE, fault, on, topology

from optimizer.errors import NoPathError
from optimizer.topology.bandwidth import capacity, reservations, wiring
from optimizer.topology.classes import joined, joins_nodes, leaf_of, node_classes, node_islands, seat_order
from optimizer.topology.graph import Topology
from optimizer.topology.shares import Share

MESH: dict[str, Any] = {
    "gpu": "meshed", "gpus": 8, "mesh": {}, "nics": {"count": 8, "bandwidth": "400 Gb/s"},
}  # fmt: skip
BRIDGED: dict[str, Any] = {
    "gpu": "plain", "gpus": 4, "nics": {"count": 1, "bandwidth": "200 Gb/s"},
    "bridges": [{"gpus": [0, 1], "bandwidth": "300 GB/s"}, {"gpus": [2, 3], "bandwidth": "300 GB/s"}],
    "pcie": {"gpus_per_switch": 2, "sockets": 2, "socket_bandwidth": "20 GB/s"},
}  # fmt: skip
HOST: dict[str, Any] = {"gpu": "host-only", "gpus": 4, "nics": {"count": 1, "bandwidth": "100 Gb/s"}}
TRAY: dict[str, Any] = HGX | {"gpus": 4, "nvswitch": {"nodes": 2}, "nics": {"count": 2, "bandwidth": "400 Gb/s"}}
MIXED: dict[str, Any] = {
    "gpus": [{"gpu": "switched", "count": 4}, {"gpu": "other", "count": 4}], "nvswitch": {},
    "nics": {"count": 3, "bandwidth": "200 Gb/s"}, "pcie": {"gpus_per_switch": 4},
}  # fmt: skip
TEMPLATES = (HGX, HGX | {"nics": {"count": 4, "bandwidth": "100 Gb/s"}}, PCIE, MESH, BRIDGED, HOST, TRAY, MIXED)
FABRICS: tuple[dict[str, Any] | None, ...] = (
    None,
    {"kind": "switch"},
    {"kind": "rail-clos", "nodes_per_leaf": 2, "oversubscription": 2.0},
    {
        "kind": "fat-tree",
        "nodes_per_leaf": 1,
        "oversubscription": 3.0,
        "leaves_per_pod": 2,
        "pod_oversubscription": 2.0,
    },
)


@st.composite
def faults(draw: st.DrawFn, gpus: int, nics: int) -> dict[str, Any]:
    node, index = f"n{draw(st.integers(1, 3))}", draw(st.integers(0, gpus - 1))
    return draw(st.sampled_from([
        fault("lost", node=node, gpu=index),
        fault("reserved", node=node, gpu=index),
        fault("down", node=node, gpu=index, link="nvlink"),
        fault(node=node, gpu=index, link="nvlink", links_active="12/18"),
        fault(node=node, gpu=index, link="pcie", links_active="8/16"),
        fault(node=node, gpu=index, speed_factor=0.9),
        fault("down", node=node, nic=index % nics),
        fault(node=node, nic=index % nics, bandwidth="50 Gb/s"),
        fault("cordoned", node=node),
    ]))  # fmt: skip


@st.composite
def clusters(draw: st.DrawFn) -> Topology:
    template = draw(st.sampled_from(TEMPLATES))
    gpus = template["gpus"] if isinstance(template["gpus"], int) else 8
    broken = draw(st.lists(faults(gpus, template["nics"]["count"]), max_size=3))
    return topology(template, 3, fabric=draw(st.sampled_from(FABRICS)), overrides=broken)


def replica(found: Topology, chance: random.Random) -> list[tuple[str, ...]] | None:
    """Stages on equally many GPUs of one to three nodes, node by node."""
    nodes = chance.sample(found.nodes, chance.choice([1, 1, 2, 3]))
    free = [[gpu for gpu in found.node(node).gpus if found.gpu(gpu).placeable] for node in nodes]
    most = min(len(gpus) for gpus in free)
    if most == 0:
        return None
    each = chance.randint(1, most)
    seats = [gpu for gpus in free for gpu in chance.sample(gpus, each)]
    tp = chance.choice([n for n in range(1, len(seats) + 1) if len(seats) % n == 0])
    return [tuple(seats[start : start + tp]) for start in range(0, len(seats), tp)]


def answer(found: Topology, stages: Sequence[Sequence[str]], share: Share = "fair") -> object:
    try:
        path = wiring(found, stages, share)
    except NoPathError:
        return "no path"
    return path


def rounded(path: object) -> str:
    """Sums of the same shares in another order may differ in their last bit."""
    return " ".join(f"{float(w):.9g}" if w.replace(".", "", 1).isdigit() else w for w in
                    repr(path).replace("=", " ").replace(",", " ").replace(")", " ").split())  # fmt: skip


CHEAP = settings(max_examples=150, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))


@CHEAP
@given(clusters(), st.integers(0, 10**6))
def test_gpus_of_an_island_may_change_seats(found: Topology, seed: int) -> None:
    chance = random.Random(seed)
    stages = replica(found, chance)
    if stages is None:
        return
    swap: dict[str, str] = {}
    for node in found.nodes:
        for island in node_islands(found, node):
            swap |= dict(zip(island.gpus, chance.sample(island.gpus, len(island.gpus)), strict=True))
    other = [tuple(swap[gpu] for gpu in stage) for stage in stages]
    assert rounded(answer(found, stages)) == rounded(answer(found, other))


@CHEAP
@given(clusters(), st.integers(0, 10**6))
def test_nodes_of_a_class_may_change_places(found: Topology, seed: int) -> None:
    chance = random.Random(seed)
    stages = replica(found, chance)
    if stages is None:
        return
    swap: dict[str, str] = {}
    for node_class in node_classes(found):
        nodes = chance.sample(node_class.nodes, len(node_class.nodes))
        for here, there in zip(node_class.nodes, nodes, strict=True):
            islands = zip(node_islands(found, here), node_islands(found, there), strict=True)
            swap |= {a: b for mine, yours in islands for a, b in zip(mine.gpus, yours.gpus, strict=True)}
    other = [tuple(swap[gpu] for gpu in stage) for stage in stages]
    for share in ("fair", "alone"):
        assert rounded(answer(found, stages, share)) == rounded(answer(found, other, share))


@CHEAP
@given(clusters(), st.integers(0, 10**6))
def test_replicas_that_share_fairly_never_reserve_more_than_there_is(found: Topology, seed: int) -> None:
    chance = random.Random(seed)
    free = [gpu for gpu in found.gpus if gpu.placeable]
    chance.shuffle(free)
    total: dict[str, float] = defaultdict(float)
    while free:
        size = chance.choice([n for n in (1, 2, 4, 8) if n <= len(free)])
        seats, free = [gpu.id for gpu in free[:size]], free[size:]
        tp = chance.choice([n for n in (1, 2, 4, 8) if size % n == 0])
        stages = [seats[start : start + tp] for start in range(0, size, tp)]
        for boundary, bytes_per_s in reservations(found, stages):
            total[boundary] += bytes_per_s
    for boundary, bytes_per_s in total.items():
        assert bytes_per_s <= capacity(found, boundary) * (1 + 1e-9)


@CHEAP
@given(clusters(), st.integers(0, 10**6))
def test_a_replica_alone_is_never_slower_and_reserves_no_more_than_there_is(found: Topology, seed: int) -> None:
    stages = replica(found, random.Random(seed))
    if stages is None or answer(found, stages) == "no path":
        return
    fair, alone = wiring(found, stages), wiring(found, stages, "alone")
    assert alone.group.outer_bytes_per_s >= fair.group.outer_bytes_per_s * (1 - 1e-9) or fair.group != alone.group
    for boundary, bytes_per_s in reservations(found, stages, "alone"):
        assert bytes_per_s == capacity(found, boundary)


def test_a_healthy_nvswitch_node_is_one_island_even_with_few_nics() -> None:
    assert [len(island.gpus) for island in node_islands(topology(HGX), "n1")] == [8]
    few = topology(HGX | {"nics": {"count": 4, "bandwidth": "100 Gb/s"}}, 2, fabric={"kind": "switch"})
    assert [len(island.gpus) for island in node_islands(few, "n1")] == [8]
    assert seat_order(few, on("n1", *range(8)))[:4] == on("n1", 0, 2, 4, 6)
    assert seat_order(few, on("n1", 4, 5, 6)) == on("n1", 4, 6, 5)


def test_a_pcie_node_has_an_island_per_switch() -> None:
    assert [island.gpus for island in node_islands(topology(PCIE), "n1")] == [
        on("n1", 0, 1, 2, 3),
        on("n1", 4, 5, 6, 7),
    ]
    ports = topology({"gpu": "plain", "gpus": 4, "pcie": {"sockets": 2, "socket_bandwidth": "9 GB/s"}})
    assert [len(island.gpus) for island in node_islands(ports, "n1")] == [2, 2]
    assert [len(island.gpus) for island in node_islands(topology(BRIDGED), "n1")] == [2, 2]


def test_faults_split_islands_and_classes() -> None:
    faults = [
        fault("down", node="n1", gpu=2, link="nvlink"),
        fault("lost", node="n2", gpu=5),
        fault("lost", node="n3", gpu=0),
        fault("cordoned", node="n4"),
        fault("down", node="n5", nic=3),
        fault(node="n6", gpu=1, speed_factor=0.5),
    ]
    found = topology(HGX, 8, fabric={"kind": "rail-clos"}, overrides=faults)
    sizes = {node: [len(island.gpus) for island in node_islands(found, node)] for node in found.nodes}
    assert sizes == {
        "n1": [7, 1], "n2": [7], "n3": [7], "n4": [], "n5": [6, 2], "n6": [7, 1], "n7": [8], "n8": [8],
    }  # fmt: skip
    assert [c.nodes for c in node_classes(found)] == [("n1",), ("n2", "n3"), ("n5",), ("n6",), ("n7", "n8")]


def test_nodes_are_classed_by_leaf_and_by_rack() -> None:
    clos = topology(HGX, 4, fabric={"kind": "rail-clos", "nodes_per_leaf": 2, "oversubscription": 2.0})
    assert [(c.nodes, c.leaf) for c in node_classes(clos)] == [(("n1", "n2"), "su1"), (("n3", "n4"), "su2")]
    racks = node_classes(topology(TRAY, 4))
    assert [(c.nodes, c.nvlink_domain) for c in racks] == [(("n1", "n2"), "n1/nvswitch"), (("n3", "n4"), "n3/nvswitch")]


def test_leaves_that_carry_all_their_ports_are_as_good_as_one() -> None:
    cut = fault(leaf="su2/rail3", uplinks="14/18")
    clos = topology(HGX, 6, fabric={"kind": "rail-clos", "nodes_per_leaf": 2}, overrides=[cut])
    assert [(c.nodes, c.leaf) for c in node_classes(clos)] == [(("n1", "n2", "n5", "n6"), None), (("n3", "n4"), "su2")]
    assert dict(reservations(clos, [on("n1", 0), on("n5", 0)])) == {"n1/nic0": 50e9, "n5/nic0": 50e9}
    assert wiring(clos, [on("n1", 3), on("n3", 3)]).hops[0].bytes_per_s == pytest.approx(50e9 * 14 / 18)


def test_leaves_are_joined_by_their_uplinks() -> None:
    cut = topology(
        HGX, 4, fabric={"kind": "rail-clos", "nodes_per_leaf": 2}, overrides=[fault(leaf="su1", uplinks="0/9")]
    )
    assert leaf_of(cut, "n4") == "su2"
    assert joined(cut, "su1", "su1")
    assert not joined(cut, "su1", "su2")
    assert joins_nodes(cut)
    assert not joins_nodes(topology(HGX, 2))
    assert joins_nodes(topology(TRAY, 2))
    assert not joined(topology(HGX, 2), None, None)


def test_uneven_cables_make_every_gpu_its_own_island() -> None:
    edges = defaultdict(list, {25: [(0, 1), (1, 2)], 50: [(2, 3)]})
    bridges = [{"gpus": list(pair), "bandwidth": f"{rate} GB/s"} for rate, pairs in edges.items() for pair in pairs]
    chain = topology({"gpu": "plain", "gpus": 4, "bridges": bridges})
    assert [len(island.gpus) for island in node_islands(chain, "n1")] == [1, 1, 1, 1]


@pytest.mark.parametrize("template", TEMPLATES)
def test_islands_cover_every_gpu_that_can_hold_a_rank_once(template: dict[str, Any]) -> None:
    found = topology(template, 3, overrides=[fault("reserved", node="n2", gpu=1)])
    seats = [gpu for node in found.nodes for island in node_islands(found, node) for gpu in island.gpus]
    assert sorted(seats) == sorted(gpu.id for gpu in found.gpus if gpu.placeable)


def test_gpus_that_meet_one_off_nvlink_are_alike_only_with_equal_shares_of_their_rails() -> None:
    broken = [fault("down", node="n1", nic=2), fault("down", node="n2", gpu=2, link="nvlink")]
    found = topology(HGX, 4, fabric={"kind": "rail-clos", "oversubscription": 2.0}, overrides=broken)
    for island in node_islands(found, "n3"):
        assert len({wiring(found, [on("n2", 2), (gpu,)]) for gpu in island.gpus}) == 1
    assert len(node_islands(found, "n3")) > 1
