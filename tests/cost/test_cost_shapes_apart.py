"""Shapes of one phase: where KV has a way, what is kept free for it, and what they cost."""

import pytest
from typed_plans import MODEL, WORKLOAD, cluster

from optimizer.cost.shapes import Market, Shape, shapes
from optimizer.inputs import presets
from optimizer.inputs.cluster import ClusterSpec
from optimizer.inputs.workload import Role
from optimizer.layout import Layout
from optimizer.topology.classes import node_classes
from optimizer.topology.graph import build

TP1, TP2 = Layout(1, 1, (4,)), Layout(2, 1, (4,))


def found(where: ClusterSpec, role: Role, *layouts: Layout) -> list[Shape]:
    topology = build(where)
    calibrations = {name: presets.load_calibration(spec) for name, spec in where.gpus.items()}
    market = Market(MODEL, WORKLOAD, presets.load_engine("vllm"), where.gpus, calibrations, role=role)
    return list(shapes(topology, node_classes(topology), {"big": layouts}, market, lambda *_: None))


@pytest.mark.parametrize("role", ["prefill", "decode"])
def test_shapes_of_a_phase_keep_the_nics_of_their_gpus_free(role: Role) -> None:
    (shape,) = found(cluster(nodes=2, gpus=2), role, TP1)
    assert shape.role == role
    assert shape.reserved == (("n0/nic0", 50e9),)
    assert all(point.transfer_s > 0 for point in shape.points)
    assert all((point.output_tokens_per_s == 0) == (role == "prefill") for point in shape.points)


def test_a_nic_that_gpus_share_may_be_taken_whole() -> None:
    fair, alone = found(cluster(nodes=2, gpus=2, nics=1), "decode", TP1)
    assert (fair.reserved, alone.reserved) == ((("n0/nic0", 25e9),), (("n0/nic0", 50e9),))
    assert alone.points[0].transfer_s < fair.points[0].transfer_s


def test_replicas_of_both_phases_need_no_nic() -> None:
    (shape,) = found(cluster(nodes=2, gpus=2), "both", TP1)
    assert shape.reserved == ()
    assert all(point.transfer_s == 0 for point in shape.points)


def test_nodes_that_nothing_joins_have_no_shapes_of_a_phase() -> None:
    assert found(cluster(fabric=None), "prefill", TP1) == []
    assert len(found(cluster(fabric=None), "both", TP1)) == 1
    (inside,) = found(cluster(nodes=1, fabric=None), "prefill", TP1)
    assert inside.reserved == ()
