"""Equal nodes that no good plan can use are left out, and no plan is worse for it."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typed_plans import MODEL, cluster

from optimizer.formulation import solve as solving
from optimizer.formulation.first import Built, built
from optimizer.formulation.instance import Instance
from optimizer.formulation.reach import within_reach
from optimizer.formulation.solve import Choice, Limits, choose
from optimizer.inputs.workload import WorkloadSpec
from optimizer.pipeline.prepare import prepare
from optimizer.pipeline.request import Request, silent
from optimizer.plan import Failure, ObjectiveName


def instance(rate: float, objective: ObjectiveName, survive: Failure | None = None, nodes: int = 24) -> Instance:
    load = WorkloadSpec.model_validate({"isl": 512, "osl": 64, "request_rate": f"{rate} /s", "engine": "sglang"})
    request = Request(cluster(nodes, 2), MODEL, load, objective=objective, survive=survive)
    return prepare(request, silent).instance


def known(asked: Instance) -> Built:
    found = built(asked)
    assert found is not None
    return found


def nodes_of(asked: Instance) -> int:
    return sum(len(node_class.nodes) for node_class in asked.classes)


def gpus_of(asked: Instance, replicas: tuple[int, ...]) -> int:
    return sum(n * column.gpus for n, column in zip(replicas, asked.columns, strict=True))


@settings(max_examples=8, deadline=None)
@given(
    rate=st.floats(1.0, 800.0), objective=st.sampled_from(["gpus", "cost", "energy"]),
    survive=st.sampled_from([None, None, "node", "gpu"]),
)  # fmt: skip
def test_no_plan_is_worse_for_nodes_that_were_out_of_reach(
    rate: float, objective: ObjectiveName, survive: Failure | None
) -> None:
    asked = instance(rate, objective, survive)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solving, "within_reach", lambda every, _: every)
        every = choose(asked, Limits(), silent)
    few = choose(asked, Limits(), silent)
    assert few is not None
    assert every is not None
    assert few.proven
    assert every.proven
    assert few.value == pytest.approx(every.value)
    assert gpus_of(asked, few.replicas) == gpus_of(asked, every.replicas)


def placed(found: Choice) -> list[str]:
    return [node for node, held in found.held.items() if held]


def test_nodes_that_are_left_out_are_told_to_be_empty() -> None:
    asked = instance(1.0, "gpus", nodes=40)
    found = choose(asked, Limits(), silent)
    assert found is not None
    assert len(found.held) == 40
    assert len(placed(found)) == 1


@pytest.mark.parametrize("objective", ["gpus", "cost", "energy"])
def test_every_node_is_left_that_a_plan_as_good_may_use(objective: ObjectiveName) -> None:
    asked = instance(400.0, objective, nodes=60)
    plan = known(asked)
    left = nodes_of(within_reach(asked, plan))
    # a plan as good may have one GPU on each of its nodes
    assert gpus_of(asked, plan.replicas) <= left < 60


def test_a_dear_gpu_counts_for_several_cheap_ones() -> None:
    asked = instance(400.0, "cost", nodes=60)
    plan = known(asked)
    cheap = tuple(replace(column, price_per_h=(column.price_per_h or 0.0) / 3) for column in asked.columns[:1])
    mixed = replace(asked, columns=(*asked.columns, *cheap))
    found = replace(plan, replicas=(*plan.replicas, 0))
    assert nodes_of(within_reach(mixed, found)) >= min(60, 3 * gpus_of(asked, plan.replicas))


@pytest.mark.parametrize("objective", ["throughput", "latency", "ttft"])
def test_where_more_gpus_do_no_harm_all_nodes_stay(objective: ObjectiveName) -> None:
    asked = instance(1.0, objective)
    assert within_reach(asked, known(asked)) is asked


def test_where_gpus_cost_nothing_all_nodes_stay() -> None:
    asked = instance(1.0, "cost")
    free = replace(asked, columns=tuple(replace(column, price_per_h=0.0) for column in asked.columns))
    assert within_reach(free, known(free)) is free
