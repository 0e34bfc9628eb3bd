"""The oracle against instances worked by hand, and against an enumeration that knows no shortcut at all."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import best
from seatings import Seated, equal_gpus, replicas
from strategies import OBJECTIVES, Instance, gpu_spec, instances

from optimizer.inputs.cluster import ClusterSpec, GpuGroup, Nics, NodeEntry, NodeTemplate, NvSwitch, OneSwitch
from optimizer.inputs.model import Dense, GroupedQuery, LayerRun, ModelSpec
from optimizer.inputs.workload import EngineChoice, Slo, WorkloadSpec
from optimizer.topology.bandwidth import capacity
from optimizer.topology.graph import build

TWO_LAYERS = ModelSpec(
    name="two-layers", hidden=8192, vocab=32000, context=4096, tied_embeddings=True,
    runs=(
        LayerRun(
            attention=GroupedQuery(heads=2, kv_heads=2, head_dim=128), feed_forward=Dense(intermediate=28672), count=2
        ),
    ),
)  # fmt: skip
"""2 x 713 M parameters and an embedding of 262 M, 3.4 GB: splits in two and no further (two heads, two layers)."""

WORKLOAD = WorkloadSpec(isl=512, osl=64, engine=EngineChoice(max_num_batched_tokens=512, max_num_seqs=8))


def one_node(gpus: int, memory: str) -> ClusterSpec:
    """Return a node of equal GPUs on NVSwitch, without NICs."""
    return ClusterSpec(
        name="one", nodes=(NodeEntry(name="n0", template="t"),), prices={"big": "2 USD/h"},
        templates={"t": NodeTemplate(gpu="big", gpus=gpus, nvswitch=NvSwitch())}, gpus={"big": gpu_spec(memory=memory)},
    )  # fmt: skip


def seated(where: ClusterSpec, workload: WorkloadSpec = WORKLOAD, model: ModelSpec = TWO_LAYERS) -> list[Seated]:
    """Return all admissible replicas on all seats, no two GPUs taken for equal."""
    topology = build(where)
    return list(replicas(topology, [(gpu.id,) for gpu in topology.gpus if gpu.placeable], model, workload))


def most_tokens_per_s(found: list[Seated], gpus: int, tp: int | None = None) -> float:
    """Return the highest rate of one replica on so many GPUs."""
    alike = [r for r in found if len(r.gpus) == gpus and tp in (None, r.layout.tp)]
    return max((r.estimate.output_tokens_per_s for r in alike), default=0.0)


def test_two_roomy_gpus_serve_most_as_two_replicas() -> None:
    where = one_node(2, "40 GB")
    single, pair = (most_tokens_per_s(seated(where), n) for n in (1, 2))
    assert 2 * single > pair
    answer = best(where, TWO_LAYERS, WORKLOAD, "throughput")
    assert answer is not None
    assert answer.value == pytest.approx(2 * single)
    assert answer.tie == 2


def test_three_gpus_serve_as_a_pair_and_a_single_where_the_third_has_no_partner() -> None:
    """A latency bound that only the pair keeps at full load makes a pair better than two singles."""
    where = one_node(3, "40 GB")
    found = seated(where)
    fastest_single = min(r.estimate.tpot_s for r in found if len(r.gpus) == 1)
    workload = WORKLOAD.model_copy(update={"slo": Slo(tpot=f"{fastest_single * 1.0001!r} s")})
    found = seated(where, workload)
    single, pair = (most_tokens_per_s(found, n) for n in (1, 2))
    assert pair > 2 * single > 0
    answer = best(where, TWO_LAYERS, workload, "throughput")
    assert answer is not None
    assert answer.value == pytest.approx(pair + single)
    assert answer.tie == 3


def test_fewest_gpus_is_one_where_one_serves_the_demand_and_two_where_it_does_not() -> None:
    where = one_node(2, "40 GB")
    at_random = WORKLOAD.model_copy(update={"request_rate": 1.0})
    single = max(r.estimate.requests_per_s for r in seated(where, at_random) if len(r.gpus) == 1)
    for share, gpus in ((0.9, 1), (1.1, 2)):
        workload = WORKLOAD.model_copy(update={"request_rate": single * share})
        answer = best(where, TWO_LAYERS, workload, "gpus")
        assert answer is not None
        assert answer.value == gpus
        assert answer.tie == pytest.approx(single * share * 64)


def test_latency_is_that_of_the_fastest_replica_and_spares_the_other_gpu() -> None:
    where = one_node(2, "40 GB")
    least = min(r.estimate.tpot_s for r in seated(where))
    fewest = min(len(r.gpus) for r in seated(where) if r.estimate.tpot_s == least)
    answer = best(where, TWO_LAYERS, WORKLOAD, "latency")
    assert answer is not None
    assert (answer.value, answer.tie) == (least, fewest)


def test_nothing_fits_where_the_weights_exceed_all_memory() -> None:
    for objective in OBJECTIVES:
        assert best(one_node(2, "1 GB"), TWO_LAYERS, WORKLOAD, objective) is None


def two_mixed_nodes(*, joined: bool, memory: str) -> ClusterSpec:
    """Return two nodes that each hold one big and one small GPU behind one NIC: a replica of two has to cross."""
    template = NodeTemplate(
        gpus=(GpuGroup(gpu="big", count=1), GpuGroup(gpu="small", count=1)), nvswitch=NvSwitch(bandwidth="450 GB/s"),
        nics=Nics(count=1, bandwidth="100 Gb/s"),
    )  # fmt: skip
    return ClusterSpec(
        name="mixed", nodes=tuple(NodeEntry(name=f"n{i}", template="t") for i in range(2)), templates={"t": template},
        gpus={name: gpu_spec(name, memory) for name in ("big", "small")}, fabric=OneSwitch() if joined else None,
        prices={"big": "2 USD/h", "small": "2 USD/h"},
    )  # fmt: skip


def test_memory_fits_and_the_missing_fabric_alone_forbids() -> None:
    """The weights need two GPUs of one type, and those are on different nodes."""
    assert best(two_mixed_nodes(joined=False, memory="3.2 GB"), TWO_LAYERS, WORKLOAD, "throughput") is None
    assert best(two_mixed_nodes(joined=True, memory="3.2 GB"), TWO_LAYERS, WORKLOAD, "throughput") is not None


def test_bandwidth_alone_leaves_room_for_one_replica_of_two() -> None:
    """Both pairs want the NIC alone to keep the bound on TTFT, so only one of them is served."""
    where = two_mixed_nodes(joined=True, memory="3.2 GB")
    ttft = {share: min(r.estimate.ttft_s for r in seated(where) if r.share == share) for share in ("fair", "alone")}
    assert ttft["alone"] < ttft["fair"]
    bound = Slo(ttft=f"{(ttft['alone'] + ttft['fair']) / 2!r} s")
    strict = WORKLOAD.model_copy(update={"slo": bound})
    answer, free = (best(where, TWO_LAYERS, w, "throughput") for w in (strict, WORKLOAD))
    assert answer is not None
    assert free is not None
    assert (answer.tie, free.tie) == (2, 4)
    assert answer.value == pytest.approx(most_tokens_per_s(seated(where, strict), 2))


# -- without any shortcut -----------------------------------------------------------------------------------------


def plans(found: Sequence[Seated], used: frozenset[str] = frozenset()) -> Iterator[tuple[Seated, ...]]:
    """Yield every set of replicas that share no GPU."""
    yield ()
    for index, replica in enumerate(found):
        ids = {gpu.id for gpu in replica.gpus}
        if not ids & used:
            for rest in plans(found[index + 1 :], used | ids):
                yield (replica, *rest)


def plain_best(instance: Instance) -> tuple[float, float] | None:
    """Return (value, tie) of the best plan, all plans looked at one by one."""
    where, workload, objective = instance.cluster, instance.workload, instance.objective
    topology = build(where)
    rate, clients, osl = workload.request_rate, workload.concurrency, workload.osl.mean
    reached: list[tuple[float, float]] = []
    for plan in plans(seated(where, workload, instance.model)):
        promised: dict[str, float] = {}
        for replica in plan:
            for domain, share in replica.reserved:
                promised[domain] = promised.get(domain, 0.0) + share
        if not plan or any(total > capacity(topology, domain) * 1.000001 for domain, total in promised.items()):
            continue
        estimates = [replica.estimate for replica in plan]
        in_flight, served = sum(e.concurrency for e in estimates), sum(e.requests_per_s for e in estimates)
        tokens = min(served, rate) * osl if rate else served * osl
        gpus = sum(len(replica.gpus) for replica in plan)
        if objective == "throughput":
            if not clients or in_flight <= clients:
                reached.append((-tokens, gpus))
        elif served >= rate * 0.999999 if rate else in_flight >= (clients or 1):
            price = sum(where.prices[gpu.type][0] for replica in plan for gpu in replica.gpus)
            reached.append(
                {
                    "latency": (max(e.tpot_s for e in estimates), gpus),
                    "ttft": (max(e.ttft_s for e in estimates), gpus),
                    "gpus": (gpus, -tokens),
                    "cost": (price, -tokens),
                    "energy": (sum(where.gpus[gpu.type].tdp for r in plan for gpu in r.gpus), -tokens),
                }[objective]
            )
    if not reached:
        return None
    value, tie = min(reached, key=lambda pair: (float(f"{pair[0]:.12g}"), pair[1]))
    return abs(value), abs(tie)


def usable(instance: Instance) -> int:
    """Return the GPUs that ranks may sit on."""
    return sum(gpu.placeable for gpu in build(instance.cluster).gpus)


@settings(max_examples=60, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(instances().filter(lambda instance: usable(instance) <= 3), st.sampled_from([1, 2]))
def test_the_oracle_finds_what_looking_at_every_plan_finds(instance: Instance, seqs: int) -> None:
    engine = instance.workload.engine.model_copy(update={"max_num_seqs": seqs})
    few = replace(instance, workload=instance.workload.model_copy(update={"engine": engine}))
    answer, plain = best(few.cluster, few.model, few.workload, few.objective), plain_best(few)
    assert (answer is None) == (plain is None)
    if answer is not None and plain is not None:
        assert (answer.value, answer.tie) == pytest.approx(plain, rel=1e-9)


@settings(max_examples=60, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(instances().filter(lambda instance: usable(instance) <= 5))
def test_equal_gpus_may_be_exchanged(instance: Instance) -> None:
    """Counting equal GPUs instead of naming them changes no answer."""
    given_ = (instance.cluster, instance.model, instance.workload, instance.objective)
    assert best(*given_) == best(*given_, tell_apart=True)


def test_gpus_of_one_nvswitch_with_a_nic_each_are_told_apart_by_their_nics() -> None:
    where = two_mixed_nodes(joined=True, memory="8 GB")
    roomy = NodeTemplate(gpu="big", gpus=4, nvswitch=NvSwitch(), nics=Nics(count=2, bandwidth="100 Gb/s"))
    where = where.model_copy(update={"templates": {"t": roomy}})
    assert equal_gpus(build(where)) == (("n0/0", "n0/1"), ("n0/2", "n0/3"), ("n1/0", "n1/1"), ("n1/2", "n1/3"))
