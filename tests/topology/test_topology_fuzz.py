"""Any cluster that reads either builds and answers or is refused with an InputError: never another exception."""

from contextlib import suppress
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from topology_cases import GPUS

from optimizer.errors import InputError
from optimizer.inputs.cluster import ClusterSpec
from optimizer.topology.bandwidth import capacity, reservations, wiring
from optimizer.topology.busbw import busbw
from optimizer.topology.classes import node_classes, node_islands, seat_order
from optimizer.topology.graph import build

RATES = st.sampled_from(["0 GB/s", "12.5 GB/s", "50 GB/s", "60 GB/s"])
STATES = st.sampled_from(["up", "lost", "down", "cordoned", "drained", "reserved"])
GPU_COUNT = 4


def optional(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=keys)


NICS = st.integers(1, 6).flatmap(
    lambda count: st.fixed_dictionaries(
        {"count": st.just(count), "bandwidth": RATES},
        optional={"nearest": st.lists(st.integers(0, count - 1), min_size=GPU_COUNT, max_size=GPU_COUNT)},
    )
)
TEMPLATES = st.fixed_dictionaries(
    {"gpu": st.sampled_from(sorted(GPUS)), "gpus": st.just(GPU_COUNT)},
    optional={
        "nvswitch": optional(bandwidth=RATES, nodes=st.integers(1, 3)),
        "mesh": optional(pair_bandwidth=RATES),
        "bridges": st.lists(
            st.fixed_dictionaries({"gpus": st.permutations(range(GPU_COUNT)).map(lambda p: p[:2]), "bandwidth": RATES}),
            max_size=3,
        ),
        "pcie": optional(
            bandwidth=RATES, gpus_per_switch=st.integers(1, 5), uplink=RATES, sockets=st.integers(1, 5),
            socket_bandwidth=RATES,
        ),
        "nics": NICS,
    },
)  # fmt: skip
AT = st.lists(st.integers(0, 3), min_size=1, max_size=2)
LEAVES = st.sampled_from(["su1", "su1/rail0", "leaf1", "switch", "spine", "rack"])
FABRICS = st.one_of(
    st.none(),
    st.just({"kind": "switch"}),
    st.fixed_dictionaries({"kind": st.just("rail-clos")}, optional={"nodes_per_leaf": st.integers(1, 3)}),
    st.fixed_dictionaries(
        {"kind": st.just("fat-tree"), "nodes_per_leaf": st.integers(1, 2), "oversubscription": st.floats(1, 8)},
        optional={"leaves_per_pod": st.integers(1, 2), "pod_oversubscription": st.floats(1, 8)},
    ),
    st.fixed_dictionaries(
        {
            "kind": st.just("torus"),
            "shape": st.sampled_from([[3], [1, 3], [2, 2], [4]]),
            "link": st.one_of(RATES, st.lists(RATES, min_size=1, max_size=2)),
        },
        optional={"wrap": st.one_of(st.booleans(), st.lists(st.booleans(), min_size=1, max_size=2))},
    ),
)
SHARES = st.sampled_from(["0/18", "7/8", "12/18", "18/18", "9/8"])
OVERRIDES = st.fixed_dictionaries(
    {
        "match": optional(
            node=st.sampled_from(["n1", "n1", "n1", "n2", "n[1-3]"]),
            gpu=st.one_of(st.integers(0, 4), st.sampled_from(["n2/1", "GPU-7"])),
            nic=st.one_of(st.integers(0, 6), st.just("nic1")), link=st.sampled_from(["nvlink", "pcie"]), leaf=LEAVES,
            to=st.sampled_from(["n2", "n3", "n4"]),
        )
    },
    optional={
        "state": STATES, "bandwidth": RATES, "links_active": SHARES, "uplinks": SHARES,
        "speed_factor": st.floats(0, 1),
    },
)  # fmt: skip
CLUSTERS = st.fixed_dictionaries(
    {
        "name": st.just("any"), "gpus": st.just(GPUS), "templates": st.fixed_dictionaries({"t": TEMPLATES}),
        "nodes": st.lists(
            st.fixed_dictionaries({"template": st.just("t")}, optional={"leaf": LEAVES, "at": AT}),
            min_size=1, max_size=3,
        ).map(lambda entries: [entry | {"name": f"n{i + 1}"} for i, entry in enumerate(entries)]),
        "fabric": FABRICS, "overrides": st.lists(OVERRIDES, max_size=2),
    }
)  # fmt: skip


@settings(max_examples=600, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(CLUSTERS, st.randoms(use_true_random=False))
def test_a_cluster_answers_or_is_refused(given_cluster: dict[str, Any], chance: Any) -> None:
    with suppress(InputError):
        found = build(ClusterSpec.model_validate(given_cluster))
        classes = node_classes(found)
        seats = [gpu.id for gpu in found.gpus if gpu.placeable]
        for node_class in classes:
            for island in node_islands(found, node_class.nodes[0]):
                assert sorted(seat_order(found, island.gpus)) == sorted(island.gpus)
        if len(seats) < 2:
            return
        chosen = chance.sample(seats, chance.randint(2, min(6, len(seats))))
        for share in ("fair", "alone"):
            path = wiring(found, [tuple(chosen)], share)
            assert min(path.group.inner_bytes_per_s, path.group.outer_bytes_per_s) > 0
            for boundary, bytes_per_s in reservations(found, [tuple(chosen)], share):
                assert bytes_per_s <= capacity(found, boundary) * (1 + 1e-9)
        assert busbw(found, chosen).ring >= 0
