"""Routed pools from a cluster to a verified plan: against every placement, and what breaks the rules of ``verify``."""

import json
from collections.abc import Callable
from functools import cache
from importlib import import_module
from io import StringIO
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest
from mixed_clusters import LOAD, apart, model, together
from rich.console import Console
from routed_force import most_in_turn, small

from optimizer.cli import run
from optimizer.cost.machine import Terms, curve
from optimizer.cost.routed import Priced, groups_of, price
from optimizer.errors import InfeasibleError, InputError, NoAnswerError
from optimizer.formulation.routing import lanes, paced
from optimizer.formulation.routing.choices import alike
from optimizer.formulation.routing.settle import settled
from optimizer.formulation.routing.turns import bound
from optimizer.formulation.solve import Limits
from optimizer.inputs.cluster import ClusterSpec, GpuGroup, NodeEntry, NodeTemplate, OneSwitch
from optimizer.inputs.model import ModelSpec
from optimizer.inputs.workload import Slo, WorkloadSpec
from optimizer.pipeline.markets import market_of
from optimizer.pipeline.request import Request
from optimizer.pipeline.routed import solve_routed
from optimizer.report.records import plan_text, read_plan
from optimizer.report.routed import lanes_of, routed
from optimizer.routed_plan import RoutedMachine, RoutedPlan
from optimizer.topology.graph import build
from optimizer.verify.routed import check

OPERATE = import_module("optimizer.formulation.routing.operate")


def three_types() -> ClusterSpec:
    """One node with a GPU of each of three types, joined over PCIe."""
    base = together(memory=("3.2 GB", "2.4 GB"))
    third = base.gpus["small"].model_copy(update={"id": "least", "memory": 2_000_000_000})
    groups = tuple(GpuGroup(gpu=name, count=1) for name in ("big", "small", "least"))
    return ClusterSpec(
        name="three-types", nodes=(NodeEntry(name="n0", template="t"),), gpus={**base.gpus, "least": third},
        fabric=OneSwitch(), templates={"t": NodeTemplate(gpus=groups)},
    )  # fmt: skip


def priced(where: ClusterSpec, spec: ModelSpec, most: int = 1, load: WorkloadSpec = LOAD) -> Priced:
    topology, terms = build(where), Terms(market_of(where, spec, load), "bf16", "bf16")
    return price(topology, terms, groups_of(topology, terms, most))


CASES = [
    pytest.param(lambda: (apart(1, 2, memory=("3.2 GB", "2.4 GB")), model(4)), id="two types"),
    pytest.param(lambda: (apart(2, 1, memory=("2.8 GB", "2.4 GB")), model(3)), id="small one left over"),
    pytest.param(lambda: (together(1, 1), model(4)), id="one node"),
    pytest.param(lambda: (three_types(), model(4)), id="three types"),
]


@pytest.mark.parametrize("made", CASES)
def test_no_placement_at_any_turn_carries_more_than_the_bound(
    made: Callable[[], tuple[ClusterSpec, ModelSpec]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _is_true(priced(*made()), monkeypatch)


@pytest.mark.parametrize("seed", range(8))
def test_drawn_pools_carry_what_brute_force_finds(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    _is_true(priced(*small(seed)), monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 160))
def test_more_drawn_pools_carry_what_brute_force_finds(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    _is_true(priced(*small(seed, 3 + seed % 2)), monkeypatch)


def _is_true(pool: Priced, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is no more than the best of all placements, the bound no less, and optimal is said where it is."""
    monkeypatch.setattr(OPERATE, "PER_DOUBLING", 2)
    best = max(most_in_turn(pool, turn_s) for turn_s in OPERATE.turns_of(pool))
    try:
        found = OPERATE.operate([pool], Limits())
    except NoAnswerError:
        found = None
    if found is None:
        assert best == 0.0
        return
    assert found.best.tokens_per_s <= best * (1 + 1e-9)
    assert found.bound >= best * (1 - 1e-9)
    if len(pool.seats) <= 3:
        assert found.bound <= found.best.tokens_per_s * (1 + 1e-6)
    if found.bound <= found.best.tokens_per_s * (1 + 1e-6):
        assert found.best.tokens_per_s == pytest.approx(best)
    assert found.best.tokens_per_s >= 0.95 * best


@pytest.mark.parametrize("made", [*CASES, pytest.param(lambda: (together(2, 2), model(2)), id="roomy")])
def test_no_placement_at_a_turn_carries_more_than_the_bounds_of_this_turn(
    made: Callable[[], tuple[ClusterSpec, ModelSpec]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On most of these pools some placement carries all that a bound allows, so that none tighter would be true."""
    monkeypatch.setattr(OPERATE, "PER_DOUBLING", 1)
    pool = priced(*made())
    for turn_s in OPERATE.turns_of(pool):
        best, classes = most_in_turn(pool, turn_s), alike(pool, turn_s, turn_s)
        assert bound(pool, turn_s, turn_s) >= best * (1 - 1e-9)
        assert paced.bound(classes, pool.num_layers, turn_s, 0.0, 2 * best + 1, 20) >= best * (1 - 1e-9)
        found = lanes.placed(classes, pool.num_layers, turn_s, 0.0, 2 * best + 1)
        runs, kept = [one.run for one in found], {one.run.machine: one for one in found}
        carried = settled(pool, runs, turn_s, kept) if found else None
        assert 0.9 * best <= (carried.tokens_per_s if carried else 0.0) <= best * (1 + 1e-9)


@pytest.mark.parametrize("made", CASES)
def test_the_bound_of_a_range_of_turns_holds_for_each_of_them(
    made: Callable[[], tuple[ClusterSpec, ModelSpec]],
) -> None:
    pool, turns = priced(*made()), [0.004 * 2**n for n in range(5)]
    for first, last in product(range(5), repeat=2):
        if first <= last:
            assert bound(pool, turns[first], turns[last]) >= max(bound(pool, t, t) for t in turns[first : last + 1]) - 1


def test_ctrl_c_keeps_the_best_with_a_bound_that_holds() -> None:
    def stop(_: str) -> None:
        raise KeyboardInterrupt

    pool, told = priced(apart(1, 2), model(10)), list[str]()
    whole, stopped = OPERATE.operate([pool], Limits(), told.append), OPERATE.operate([pool], Limits(), stop)
    assert stopped.stopped
    assert not whole.stopped
    assert stopped.best.tokens_per_s <= whole.best.tokens_per_s <= whole.bound <= stopped.bound
    assert all(" of at most " in line and ", gap " in line for line in told)


def test_a_time_limit_that_is_over_at_once_leaves_a_placement_and_a_bound() -> None:
    pool = priced(apart(1, 2), model(10))
    found = OPERATE.operate([pool], Limits(time_limit_s=0.0))
    assert 0 < found.best.tokens_per_s <= OPERATE.operate([pool], Limits()).bound <= found.bound


def test_more_layers_and_the_ends_of_the_model_carry_less() -> None:
    pool = priced(apart(memory=("5 GB", "3.5 GB")), model(10))
    for kind in pool.curves:
        known = curve(pool.terms, kind)
        inside, first, last = known[False, False], known[True, False], known[False, True]
        for fewer, more in pairwise(inside):
            assert more.sequences <= fewer.sequences
            assert all(a.tokens_per_s >= b.tokens_per_s for a, b in zip(fewer.steps, more.steps, strict=True))
        assert len(first) <= len(inside)
        assert len(last) <= len(inside)
        assert all(a.sequences >= b.sequences for a, b in zip(inside, last, strict=False))


@cache
def good() -> RoutedPlan:
    """A big GPU and two small ones hold a model that no type holds alone."""
    return solve_routed(Request(apart(), model(10), LOAD))


def test_a_plan_passes_its_rules_and_is_read_back() -> None:
    plan = good()
    assert check(plan) == ()
    assert RoutedPlan.model_validate_json(plan_text(plan)) == plan
    assert plan.totals.gpus == 3
    assert plan.kind == "routed"


def _with(plan: RoutedPlan, **changes: Any) -> RoutedPlan:
    return plan.model_copy(update=changes)


def _machine(plan: RoutedPlan, **changes: Any) -> RoutedPlan:
    first, *others = plan.machines
    return _with(plan, machines=(first.model_copy(update=changes), *others))


def _flow(plan: RoutedPlan, **changes: Any) -> RoutedPlan:
    first, *others = plan.flows
    return _with(plan, flows=(first.model_copy(update=changes), *others))


def _first(plan: RoutedPlan) -> RoutedMachine:
    return plan.machines[0]


SPOILED: list[tuple[str, Callable[[RoutedPlan], RoutedPlan]]] = [
    ("terms_are_allowed", lambda p: _with(p, kv_cache="fp8")),
    ("terms_are_allowed", lambda p: _with(p, weights="fp8")),
    ("machines_are_real_and_used_once", lambda p: _machine(p, seats=p.machines[1].seats)),
    ("machines_are_real_and_used_once", lambda p: _machine(p, id="elsewhere/0")),
    ("layers_are_covered", lambda p: _machine(p, first_layer=_first(p).first_layer + 1)),
    ("layers_are_covered", lambda p: _machine(p, end_layer=99)),
    ("flows_join", lambda p: _machine(p, end_layer=_first(p).end_layer - 1)),
    ("flow_is_conserved", lambda p: _machine(p, tokens_per_s=_first(p).tokens_per_s * 1.01)),
    ("flow_is_conserved", lambda p: _flow(p, weight=0.5)),
    ("links_carry_the_flow", lambda p: _flow(p, tokens_per_s=1e9)),
    ("machines_carry_the_flow", lambda p: _machine(p, batch=1)),
    ("machines_carry_the_flow", lambda p: _machine(p, turn_s=_first(p).turn_s / 2)),
    ("machines_carry_the_flow", lambda p: _machine(p, most_tokens_per_s=_first(p).most_tokens_per_s * 2)),
    ("memory_holds_the_kv", lambda p: _machine(p, most_in_flight=_first(p).most_in_flight + 1)),
    ("memory_holds_the_kv", lambda p: _with(p, turn_s=p.turn_s * 9)),
    ("turns_are_kept", lambda p: _with(p, turn_s=p.turn_s / 3)),
    ("a_maximum_flow_agrees", lambda p: _objective(p, value=p.objective.value * 1.1)),
    ("proof_is_stated_truly", lambda p: _objective(p, bound=p.objective.value * 0.9)),
    ("proof_is_stated_truly", lambda p: _objective(p, bound=p.objective.bound * 2)),
    ("totals_are_sums", lambda p: _with(p, totals=p.totals.model_copy(update={"gpus": 4}))),
]


def _objective(plan: RoutedPlan, **changes: Any) -> RoutedPlan:
    return _with(plan, objective=plan.objective.model_copy(update=changes))


@pytest.mark.parametrize(("rule", "spoil"), SPOILED, ids=[f"{n} {rule}" for n, (rule, _) in enumerate(SPOILED)])
def test_a_spoiled_plan_breaks_its_rule(rule: str, spoil: Callable[[RoutedPlan], RoutedPlan]) -> None:
    assert any(line.startswith(f"{rule}:") for line in check(spoil(good())))


def test_objectives_on_latency_are_kept_or_nothing_flows() -> None:
    free = good()
    bounded = LOAD.model_copy(update={"slo": Slo(tpot=f"{free.turn_s * 0.8 * 1e3} ms")})
    held = solve_routed(Request(apart(), model(10), bounded))
    assert held.totals.tpot_s <= free.turn_s * 0.8
    assert held.objective.value <= free.objective.value
    never = LOAD.model_copy(update={"slo": Slo(tpot="10 us")})
    with pytest.raises(InfeasibleError) as error:
        solve_routed(Request(apart(), model(10), never))
    assert "within the 10 us allowed; the shortest takes " in error.value.nearest_miss[0]


def test_a_model_that_does_not_fit_is_told_in_layers() -> None:
    with pytest.raises(InfeasibleError) as error:
        solve_routed(Request(apart(), model(30), LOAD))
    assert "of 30 layers" in error.value.nearest_miss[0]


@pytest.mark.parametrize("asked", [{"survive": "gpu"}, {"objective": "latency"}, {"max_gpus": 2}, {"fix": {"pp": 2}}])
def test_what_pools_are_not_planned_for_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="not planned for routed pools"):
        solve_routed(Request(apart(), model(10), LOAD, **asked))


def test_exporters_refuse_a_routed_pool_and_say_why(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(plan_text(good()))
    with pytest.raises(InputError, match=r"routed pool, which no export target runs.*router such as Helix's"):
        read_plan(str(tmp_path / "plan.json"))


def test_mixed_small_gpus_carry_more_than_ordinary_replicas_and_the_answer_says_so() -> None:
    """The two small GPUs together are a machine as large as the big one; a pipeline has all stages alike."""
    plan, console = good(), Console(width=100, file=StringIO())
    assert {machine.tp for machine in plan.machines} == {1, 2}
    assert plan.objective.value > 1.05 * plan.ordinary.output_tokens_per_s > 0
    console.print(routed(plan))
    assert isinstance(console.file, StringIO)
    told = console.file.getvalue()
    assert "best ordinary plan 1 x 1 x tp1pp3 bf16 on 2 x small + 1 x big on 3 GPUs" in told
    assert "% more" in told


def test_lanes_that_share_no_machine_are_told_apart() -> None:
    plan = good()
    flows = tuple(flow for flow in plan.flows if {flow.sender, flow.receiver} & {"source", "sink"})
    apart_from_each_other = _with(plan, flows=flows)
    assert len(lanes_of(plan)) == 1
    assert sum(lanes_of(plan)) == pytest.approx(plan.objective.value)
    assert len(lanes_of(apart_from_each_other)) == len(plan.machines)
    console = Console(width=100, file=StringIO())
    console.print(routed(apart_from_each_other))
    assert isinstance(console.file, StringIO)
    assert f"{len(plan.machines)} that share no machine" in console.file.getvalue()


def test_the_command_answers_and_writes_its_own_kind_of_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cluster.yaml").write_text(
        "name: odd-lot\nfabric: {kind: switch}\n"
        "nodes: [{name: a, template: l4}, {name: b, template: t4}]\n"
        "templates:\n"
        '  l4: {gpu: l4, gpus: 1, nics: {count: 1, bandwidth: "50 Gb/s"}}\n'
        '  t4: {gpu: t4, gpus: 1, nics: {count: 1, bandwidth: "50 Gb/s"}}\n'
    )
    asked = ["solve", str(tmp_path / "cluster.yaml"), "llama-3.2-1b", "--routed", "-q", "--json"]
    assert run([*asked, "-o", str(tmp_path / "pool.json")]) == 0
    answer = capsys.readouterr().out
    assert json.loads(answer)["kind"] == "routed"
    assert (tmp_path / "pool.json").read_text() == answer
    assert run(["export", str(tmp_path / "pool.json"), "-o", str(tmp_path / "files")]) == 2
    assert run([*asked, "--survive", "gpu"]) == 2
