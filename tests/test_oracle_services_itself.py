"""The oracle of several models and roles apart against plans worked by hand, and against looking at every plan."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import packed
from oracle_services import best_of_services, goal_of
from seatings import Seated, of_services
from strategies import Shared, gpu_spec, shared
from test_oracle_itself import TWO_LAYERS, WORKLOAD, one_node, plans

from optimizer.inputs.cluster import ClusterSpec, Nics, NodeEntry, NodeTemplate, NvSwitch, OneSwitch
from optimizer.inputs.service import Service
from optimizer.inputs.workload import Role, Slo, WorkloadSpec
from optimizer.plan import ObjectiveName
from optimizer.topology.bandwidth import capacity
from optimizer.topology.graph import build

APART: tuple[Role, ...] = ("prefill", "decode")
ANY: tuple[Role, ...] = ("both", *APART)
CHAT = WORKLOAD.model_copy(update={"roles": APART})


def service(load: WorkloadSpec = WORKLOAD, weight: float = 1.0, **changes: object) -> Service:
    return Service(model=TWO_LAYERS, workload=load.model_copy(update=changes), weight=weight)


def offers(where: ClusterSpec, *services: Service, first_token: bool = False) -> list[Seated]:
    """Return all admissible replicas on all seats, no two GPUs taken for equal."""
    topology = build(where)
    each = [(gpu.id,) for gpu in topology.gpus if gpu.placeable]
    return list(of_services(topology, each, services, first_token=first_token))


def fastest(found: Iterable[Seated], role: Role, *, gpus: int = 1) -> float:
    """Return the highest rate of one replica of a role."""
    return max(r.estimate.requests_per_s for r in found if r.role == role and len(r.gpus) == gpus)


# -- worked by hand -----------------------------------------------------------------------------------------------


def test_two_models_on_two_gpus_have_one_each_and_the_third_gpu_goes_to_the_heavier() -> None:
    where = one_node(3, "40 GB")
    light, heavy = service(), service(weight=3.0)
    single = fastest(offers(where, light), "both")
    pair = fastest(offers(where, light), "both", gpus=2)
    answer = best_of_services(where, (light, heavy), "throughput")
    assert answer is not None
    assert 2 * single > pair
    assert answer.value == pytest.approx(64 * (single + 3 * 2 * single))
    assert answer.tie == 3


def test_a_model_with_a_rate_gives_no_more_than_that() -> None:
    where = one_node(2, "40 GB")
    asked, saturating = service(request_rate=0.01), service()
    single = fastest(offers(where, saturating), "both")
    answer = best_of_services(where, (asked, saturating), "throughput")
    assert answer is not None
    assert answer.value == pytest.approx(64 * (0.01 + single))


def test_two_models_do_not_share_one_gpu() -> None:
    assert best_of_services(one_node(1, "80 GB"), (service(), service()), "gpus") is None
    assert best_of_services(one_node(1, "80 GB"), (service(),), "gpus") is not None


def test_prefill_and_decode_serve_what_the_slower_of_them_carries() -> None:
    where = one_node(2, "40 GB")
    chat = service(CHAT)
    found = offers(where, chat)
    answer = best_of_services(where, (chat,), "throughput")
    assert answer is not None
    assert answer.value == pytest.approx(64 * min(fastest(found, "prefill"), fastest(found, "decode")))


def test_one_gpu_cannot_hold_both_phases_apart() -> None:
    assert best_of_services(one_node(1, "40 GB"), (service(CHAT),), "throughput") is None
    assert best_of_services(one_node(1, "40 GB"), (service(CHAT, roles=ANY),), "throughput") is not None


def test_prefill_has_as_many_replicas_as_keep_up_with_decode() -> None:
    """One decode replica of 8 sequences finishes more prompts than one prefill replica makes, so clients need two."""
    where = one_node(4, "40 GB")
    chat = service(CHAT, concurrency=8)
    found = [r for r in offers(where, chat) if len(r.gpus) == 1]
    made = fastest(found, "prefill")
    finished = max(r.estimate.requests_per_s for r in found if r.role == "decode" and r.estimate.concurrency == 8)
    answer = best_of_services(where, (chat,), "gpus")
    assert answer is not None
    assert answer.value == 1 + -(-finished // made)


def test_the_slowest_pair_decides_whether_ttft_is_kept() -> None:
    where = one_node(2, "40 GB")
    single = [r for r in offers(where, service(CHAT)) if len(r.gpus) == 1]
    prefill, decode = ([r.estimate for r in single if r.role == role] for role in APART)
    least = min(p.ttft_slo_s + max(p.transfer_s, d.transfer_s) + d.ttft_slo_s for p, d in product(prefill, decode))
    kept, missed = (service(CHAT, slo=Slo(ttft=f"{least * share!r} s")) for share in (1 + 1e-6, 1 - 1e-6))
    assert best_of_services(where, (kept,), "gpus") is not None
    assert best_of_services(where, (missed,), "gpus") is None


def test_prefill_on_two_ranks_and_decode_on_three_do_not_fit_together() -> None:
    chat = service(CHAT)
    single = offers(one_node(2, "40 GB"), chat)
    for first, then, fits in ((2, 2, True), (1, 2, True), (2, 3, False)):
        pair = [
            replace(one, layout=replace(one.layout, tp=tp))
            for role, tp in zip(APART, (first, then), strict=True)
            for one in [next(r for r in single if r.role == role)]
        ]
        goal = goal_of((chat,), "throughput", pair)
        assert goal.keeps(goal.together(*(goal.measure(one, 0.0) for one in pair))) == fits


def test_prefill_and_decode_hold_kv_of_one_precision() -> None:
    chat = service(CHAT, kv_cache=("bf16", "fp8"))
    single = [r for r in offers(one_node(2, "40 GB"), chat) if len(r.gpus) == 1]
    goal = goal_of((chat,), "throughput", single)
    by_kind: dict[tuple[str, str], tuple[float, ...]] = {
        (r.role, r.layout.kv_cache): goal.measure(r, 0.0) for r in single
    }
    for first, then in product(("bf16", "fp8"), repeat=2):
        together = goal.together(by_kind["prefill", first], by_kind["decode", then])
        assert goal.keeps(together) == (first == then)


def behind_nics(gpus: int, nics: int, nodes: int = 2) -> ClusterSpec:
    """Return nodes whose GPUs share 12.5 GB/s NICs."""
    template = NodeTemplate(
        gpu="big", gpus=gpus, nvswitch=NvSwitch(bandwidth="450 GB/s"), nics=Nics(count=nics, bandwidth="100 Gb/s")
    )
    return ClusterSpec(
        name="behind", nodes=tuple(NodeEntry(name=f"n{i}", template="t") for i in range(nodes)), fabric=OneSwitch(),
        templates={"t": template}, gpus={"big": gpu_spec(memory="40 GB")}, prices={"big": "2 USD/h"},
    )  # fmt: skip


def test_a_replica_of_one_phase_keeps_its_share_of_the_nic_free() -> None:
    """Two GPUs behind one NIC: half of it each, or all of it alone."""
    found = offers(behind_nics(2, 1), service(CHAT))
    shares = {(r.share, rate) for r in found if len(r.gpus) == 1 for domain, rate in r.reserved if domain == "n0/nic0"}
    assert shares == {("fair", 6.25e9), ("alone", 12.5e9)}
    assert not any(r.reserved for r in offers(behind_nics(2, 1), service()) if len(r.gpus) == 1)


@pytest.mark.parametrize(("share", "most"), [("alone", 2), ("fair", 4)])
def test_two_replicas_cannot_both_keep_the_only_nic_for_themselves(share: str, most: int) -> None:
    """One replica of each node when each wants the whole NIC, all four GPUs when halves will do."""
    where = behind_nics(2, 1)
    chat, topology = service(CHAT), build(where)
    single = [r for r in offers(where, chat) if len(r.gpus) == 1 and r.share == share]
    each = tuple((gpu.id,) for gpu in topology.gpus)
    answer = packed(topology, each, single, goal_of((chat,), "throughput", single), "throughput")
    prompts, answers = fastest(single, "prefill"), fastest(single, "decode")
    ways = [(n, most - n) for n in range(1, most)]
    assert answer is not None
    assert answer.value == pytest.approx(64 * max(min(n * prompts, m * answers) for n, m in ways))


# -- without any shortcut -----------------------------------------------------------------------------------------


def pairs(own: Sequence[Seated]) -> Iterator[tuple[Seated, Seated]]:
    return product((r for r in own if r.role == "prefill"), (r for r in own if r.role == "decode"))


def ttft_s(first: Seated, then: Seated, field: str) -> float:
    p, d = first.estimate, then.estimate
    return float(getattr(p, field) + max(p.transfer_s, d.transfer_s) + getattr(d, field))


def served(own: Sequence[Seated], one: Service, objective: ObjectiveName) -> float | None:
    """Return the requests/s that count of a service, None when its replicas break a rule."""
    load = one.workload
    by = {role: [r.estimate for r in own if r.role == role] for role in ANY}
    rate = {role: sum(e.requests_per_s for e in by[role]) for role in ANY}
    places = {role: sum(e.concurrency for e in by[role]) for role in ANY}
    if not (by["both"] or by["prefill"]) or not (by["both"] or by["decode"]):
        return None
    for first, then in pairs(own):
        a, b = sorted((first.layout.tp, then.layout.tp))
        if b % a or first.layout.kv_cache != then.layout.kv_cache:
            return None
        if load.slo.ttft is not None and ttft_s(first, then, "ttft_slo_s") > load.slo.ttft * (1 + 1e-9):
            return None
    carried = min(rate["both"] + rate["prefill"], rate["both"] + rate["decode"])
    if objective == "throughput":
        return None if load.concurrency and sum(places.values()) > load.concurrency else min(
            carried, load.request_rate or carried
        )  # fmt: skip
    clients = load.concurrency or (1 if objective in ("latency", "ttft") else None)
    if load.request_rate:
        return load.request_rate if carried >= load.request_rate * 0.999999 else None
    if clients and (places["both"] + places["decode"] < clients or rate["prefill"] < rate["decode"] * 0.999999999):
        return None
    return carried


def plain_best(instance: Shared) -> tuple[float, float] | None:
    """Return (value, tie) of the best plan, all plans looked at one by one."""
    where, topology = instance.cluster, build(instance.cluster)
    reached: list[tuple[float, float]] = []
    for plan in plans(offers(where, *instance.services, first_token=instance.objective == "ttft")):
        promised: Counter[str] = Counter()
        for replica in plan:
            promised.update(dict(replica.reserved))
        if any(total > capacity(topology, domain) * 1.000001 for domain, total in promised.items()):
            continue
        owned = [[r for r in plan if r.service == number] for number in range(len(instance.services))]
        rates = [served(own, one, instance.objective) for own, one in zip(owned, instance.services, strict=True)]
        if None not in rates:
            tokens = sum(
                (rate or 0.0) * one.workload.osl.mean * one.weight
                for rate, one in zip(rates, instance.services, strict=True)
            )
            reached.append(worth(instance, plan, tokens))
    if not reached:
        return None
    value, tie = min(reached, key=lambda pair: (float(f"{pair[0]:.12g}"), pair[1]))
    return abs(value), abs(tie)


def worth(instance: Shared, plan: Sequence[Seated], tokens: float) -> tuple[float, float]:
    gpus = [gpu.type for replica in plan for gpu in replica.gpus]
    match instance.objective:
        case "throughput":
            return -tokens, len(gpus)
        case "latency":
            return max(r.estimate.tpot_s for r in plan), len(gpus)
        case "ttft":
            alone = [r.estimate.ttft_s for r in plan if r.role == "both"]
            owned = [[r for r in plan if r.service == n] for n in range(len(instance.services))]
            return max(*alone, 0.0, *(ttft_s(*pair, "ttft_s") for own in owned for pair in pairs(own))), len(gpus)
        case "gpus":
            return len(gpus), -tokens
        case "cost":
            return sum(instance.cluster.prices[gpu][0] for gpu in gpus), -tokens
        case "energy":
            return sum(instance.cluster.gpus[gpu].tdp for gpu in gpus), -tokens


def usable(instance: Shared) -> int:
    return sum(gpu.placeable for gpu in build(instance.cluster).gpus)


@settings(max_examples=25, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(shared().filter(lambda instance: usable(instance) <= 3), st.sampled_from([1, 2]))
def test_the_oracle_of_services_finds_what_looking_at_every_plan_finds(instance: Shared, seqs: int) -> None:
    services = tuple(
        one.model_copy(update={"workload": one.workload.model_copy(
            update={"engine": one.workload.engine.model_copy(update={"max_num_seqs": seqs})}
        )})
        for one in instance.services
    )  # fmt: skip
    few = replace(instance, services=services)
    answer, plain = best_of_services(few.cluster, few.services, few.objective), plain_best(few)
    assert (answer is None) == (plain is None)
    if answer is not None and plain is not None:
        assert (answer.value, answer.tie) == pytest.approx(plain, rel=1e-9)


@settings(max_examples=10, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(shared())
def test_equal_gpus_may_be_exchanged_among_services(instance: Shared) -> None:
    """Counting equal GPUs instead of naming them changes no answer."""
    given_ = (instance.cluster, instance.services, instance.objective)
    assert best_of_services(*given_) == best_of_services(*given_, tell_apart=True)
