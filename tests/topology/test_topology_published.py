"""Nominal bus bandwidths of shipped machines against what was measured on them, with one efficiency per kind of link.

The efficiency of a kind is the mean over the machines that are not held out; no machine has one of its own.
"""

import pytest
from measured_busbw import RUNS, Run, efficiency


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run.preset}-{run.gpus}-{run.question}")
def test_one_efficiency_per_kind_of_link_is_within_ten_percent(run: Run) -> None:
    assert run.nominal * efficiency(run.kind) == pytest.approx(run.measured, rel=0.1)


def test_a_third_of_the_machines_is_held_out() -> None:
    assert sum(run.held_out for run in RUNS) * 3 >= len(RUNS)


def test_a_pair_on_a_mesh_is_far_slower_than_on_a_switch() -> None:
    """The trap of advertised totals: 896 GB/s of MI300X are 64 to one peer and direction."""
    pair, node = (run for run in RUNS if run.preset == "mi300x-8")
    assert (pair.nominal, node.nominal) == (64, 448)
