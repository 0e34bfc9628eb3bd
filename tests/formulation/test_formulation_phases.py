"""Several models, and prefill and decode apart: each rule just fits and is one short."""

from dataclasses import replace

import pytest
from formulation.instances import column, nodes, point, workload

from optimizer.cost.quantities import Estimate
from optimizer.formulation.columns import Column
from optimizer.formulation.instance import Instance, Load, Phase
from optimizer.formulation.objectives import value
from optimizer.formulation.pairs import agree, slowest_pair_s
from optimizer.formulation.solve import Choice, Limits, choose
from optimizer.inputs.workload import Role
from optimizer.plan import ObjectiveName


def of(made: Column, service: int = 0, role: Role = "both") -> Column:
    return replace(made, shape=replace(made.shape, service=service, role=role))


def gives(rate: float, *, ttft_s: float = 0.1, transfer_s: float = 0.0, concurrency: int = 1) -> Estimate:
    return replace(point(rate, ttft_s=ttft_s, concurrency=concurrency), transfer_s=transfer_s)


def asked(columns: tuple[Column, ...], *loads: Load, gpus: int = 8, objective: ObjectiveName = "gpus") -> Instance:
    return Instance((nodes(1, gpus),), columns, loads or (Load(workload()),), objective)


def solved(instance: Instance) -> Choice | None:
    return choose(instance, Limits(), lambda _: None)


def chosen(instance: Instance) -> tuple[int, ...] | None:
    choice = solved(instance)
    return None if choice is None else choice.replicas


PREFILL = of(column((1,), gives=gives(3.0)), role="prefill")
DECODE = of(column((1,), gives=gives(2.0)), role="decode")


def test_a_replica_of_whole_requests_takes_part_in_both_phases() -> None:
    instance = asked((of(column((1,))), PREFILL, DECODE))
    assert instance.phases == (Phase(0, "prefill"), Phase(0, "decode"))
    assert all(phase.covers(instance.columns[0]) for phase in instance.phases)


@pytest.mark.parametrize(("rate", "expected"), [("6 /s", (2, 3)), ("6.1 /s", (3, 4))])
def test_each_phase_carries_the_whole_rate(rate: str, expected: tuple[int, int]) -> None:
    assert chosen(asked((PREFILL, DECODE), Load(workload(request_rate=rate)))) == expected


@pytest.mark.parametrize(("gpus", "expected"), [(7, (3, 4)), (6, None)])
def test_a_rate_needs_the_gpus_of_both_phases(gpus: int, expected: tuple[int, int] | None) -> None:
    assert chosen(asked((PREFILL, DECODE), Load(workload(request_rate="7 /s")), gpus=gpus)) == expected


@pytest.mark.parametrize(("gpus", "expected"), [(3, (1, 1, 1)), (2, None)])
def test_every_model_has_a_replica_in_each_phase(gpus: int, expected: tuple[int, ...] | None) -> None:
    columns = (of(column((1,), gives=gives(9.0)), 1), PREFILL, DECODE)
    loads = (Load(workload()), Load(workload(), weight=0.001))
    assert chosen(asked(columns, *loads, gpus=gpus, objective="throughput")) == expected


@pytest.mark.parametrize(("weight", "expected"), [(0.4, (3, 1)), (0.6, (1, 3))])
def test_a_weight_decides_which_model_gets_the_gpus(weight: float, expected: tuple[int, int]) -> None:
    columns = (of(column((1,), gives=gives(1.0))), of(column((1,), gives=gives(2.0)), 1))
    instance = asked(columns, Load(workload()), Load(workload(), weight), gpus=4, objective="throughput")
    assert chosen(instance) == expected


def test_throughput_counts_the_slower_phase_only() -> None:
    instance = asked((PREFILL, DECODE), gpus=5, objective="throughput")
    choice = solved(instance)
    assert choice is not None
    assert choice.replicas == (2, 3)
    assert choice.value == pytest.approx(value(instance, "throughput", [PREFILL] * 2 + [DECODE] * 3))


@pytest.mark.parametrize(("bound", "expected"), [("0.5 s", (1, 0, 1)), ("0.49 s", (0, 1, 1))])
@pytest.mark.parametrize(("sent_s", "taken_s"), [(0.1, 0.15), (0.15, 0.1)], ids=["slow-to-take", "slow-to-send"])
def test_the_slowest_pair_keeps_the_ttft(bound: str, expected: tuple[int, ...], sent_s: float, taken_s: float) -> None:
    """0.2 + max(0.1, 0.15) + 0.15 seconds: the cheaper prefill just fits."""
    slow = of(column((1,), gives=gives(1.0, ttft_s=0.2, transfer_s=sent_s)), role="prefill")
    fast = of(column((2,), gives=gives(1.0, ttft_s=0.1, transfer_s=sent_s)), role="prefill")
    decode = of(column((1,), gives=gives(1.0, ttft_s=0.15, transfer_s=taken_s)), role="decode")
    late = of(column((1,), gives=gives(0.1, ttft_s=0.1)), role="decode")  # leaves the slow one a partner in any case
    load = workload(request_rate="1 /s", slo={"ttft": bound})
    assert chosen(asked((slow, fast, decode, late), Load(load))) == (*expected, 0)


def test_the_ttft_objective_sees_pairs_with_their_transfer() -> None:
    near = of(column((1,), gives=gives(1.0, ttft_s=0.2, transfer_s=0.3)), role="prefill")
    far = of(column((1,), gives=gives(1.0, ttft_s=0.25, transfer_s=0.1)), role="prefill")
    decode = of(column((1,), gives=gives(1.0, ttft_s=0.1, transfer_s=0.2)), role="decode")
    instance = asked((near, far, decode), Load(workload(request_rate="1 /s")), objective="ttft")
    choice = solved(instance)
    assert choice is not None
    assert choice.replicas == (0, 1, 1)
    assert choice.value == pytest.approx(0.55)
    assert value(instance, "ttft", [far, decode]) == slowest_pair_s([far, decode], 0) == pytest.approx(0.55)


def test_the_ttft_objective_sees_replicas_of_whole_requests_beside_pairs() -> None:
    whole = of(column((1,), gives=gives(1.0, ttft_s=0.4)))
    prefill = of(column((1,), gives=gives(1.0, ttft_s=0.2)), role="prefill")
    decode = of(column((1,), gives=gives(1.0, ttft_s=0.1)), role="decode")
    choice = solved(asked((whole, prefill, decode), Load(workload(request_rate="1 /s")), objective="ttft"))
    assert choice is not None
    assert choice.replicas == (0, 1, 1)
    assert choice.bound == pytest.approx(0.3)


@pytest.mark.parametrize(("tp", "expected"), [(2, (1, 0, 1)), (3, (0, 1, 1))])
def test_only_tp_sizes_that_divide_hand_over(tp: int, expected: tuple[int, ...]) -> None:
    two = of(column((2,), gives=gives(1.0), tp=2), role="prefill")
    one = of(column((3,), gives=gives(1.0), tp=1), role="prefill")
    decode = of(column((1,), gives=gives(1.0), tp=tp), role="decode")
    assert chosen(asked((two, one, decode), Load(workload(request_rate="1 /s")))) == expected


def test_kv_of_another_precision_is_not_taken_over() -> None:
    assert agree((2, "bf16"), (4, "bf16"))
    assert agree((4, "bf16"), (2, "bf16"))
    assert not agree((2, "bf16"), (3, "bf16"))
    assert not agree((2, "bf16"), (2, "fp8"))


@pytest.mark.parametrize(("clients", "expected"), [(4, (2, 2)), (5, (2, 3))])
def test_prompts_keep_up_with_answers_where_clients_wait(clients: int, expected: tuple[int, int]) -> None:
    decode = of(column((1,), gives=gives(2.0, concurrency=2)), role="decode")
    prefill = of(column((1,), gives=gives(3.0, concurrency=9)), role="prefill")
    assert chosen(asked((prefill, decode), Load(workload(concurrency=clients)))) == expected


@pytest.mark.parametrize(("clients", "expected"), [(3, (1, 1)), (2, None)])
def test_for_throughput_prompts_in_flight_are_clients_too(clients: int, expected: tuple[int, int] | None) -> None:
    decode = of(column((1,), gives=gives(2.0, concurrency=2)), role="decode")
    prefill = of(column((1,), gives=gives(3.0, concurrency=1)), role="prefill")
    load = Load(workload(concurrency=clients))
    assert chosen(asked((prefill, decode), load, objective="throughput")) == expected


def test_a_loss_of_either_phase_is_survived() -> None:
    instance = replace(asked((PREFILL, DECODE), Load(workload(request_rate="2 /s"))), survive="gpu")
    assert chosen(instance) == (2, 2)


def test_a_gap_stops_early_and_is_not_called_proven() -> None:
    columns = tuple(of(column((n,), gives=gives(1.0 + n * 0.97 + n % 3 / 10))) for n in range(1, 8))
    instance = asked(columns, gpus=97, objective="throughput")
    exact = choose(instance, Limits(), lambda _: None)
    rough = choose(instance, Limits(gap=0.5), lambda _: None)
    assert exact is not None
    assert rough is not None
    assert exact.proven
    assert rough.bound >= exact.value - 1e-6
    assert rough.proven == (rough.bound <= rough.value * (1 + 1e-9))


def test_tokens_that_are_asked_for_break_ties_before_those_that_are_not() -> None:
    """On two GPUs the model with a rate could carry much more than that, or the one without a little more."""
    asked_for = (of(column((1,), gives=gives(1.0))), of(column((2,), gives=gives(9.0))))
    open_ended = (of(column((1,), gives=gives(2.0)), 1), of(column((2,), gives=gives(3.0)), 1))
    loads = (Load(workload(request_rate="1 /s")), Load(workload()))
    instance = replace(asked((*asked_for, *open_ended), *loads, gpus=3), replicas=2)
    instance = replace(instance, objective="cost", columns=tuple(replace(c, price_per_h=1.0) for c in instance.columns))
    assert chosen(instance) == (1, 0, 0, 1)
