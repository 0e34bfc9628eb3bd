"""Faults are told in words and can be taken away one by one."""

import pytest
from topology_cases import HGX, cluster, fault

from optimizer.inputs.cluster import Override
from optimizer.topology.faults import describe, faults, without
from optimizer.topology.graph import build


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (fault("lost", "Xid 79", node="n1", gpu=5), "GPU 5 of n1 is lost (Xid 79)"),
        (fault("down", gpu="GPU-7", link="nvlink"), "NVLink of GPU GPU-7 is down"),
        (fault(node="n1", gpu=2, link="nvlink", links_active="12/18"), "NVLink of GPU 2 of n1 has 12/18 links"),
        (fault(node="n1", nic=3, bandwidth="200 Gb/s"), "NIC 3 of n1 runs at 25 GB/s"),
        (fault(leaf="su1/rail2", uplinks="14/18"), "leaf su1/rail2 has 14/18 uplinks"),
        (fault(node="n1", gpu=0, speed_factor=0.9), "GPU 0 of n1 computes at 90% of its speed"),
        (fault("drained", node="n[1-2]"), "n[1-2] is drained"),
    ],
)
def test_an_override_is_told_in_words(override: dict[str, object], words: str) -> None:
    assert describe(Override.model_validate(override)) == words


def test_only_what_is_broken_is_a_fault_and_it_can_be_repaired() -> None:
    given = [
        fault("reserved", node="n1", gpu=0),
        fault("lost", node="n1", gpu=1),
        fault(node="n1", nic=0, bandwidth="1 GB/s"),
    ]
    spec = cluster(HGX, overrides=given)
    found = faults(spec)
    assert [f.override for f in found] == [1, 2]
    assert sum(gpu.placeable for gpu in build(without(spec, found[0])).gpus) == 7
    assert len(without(spec, *found).overrides) == 1
