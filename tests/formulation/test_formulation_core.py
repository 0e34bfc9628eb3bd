"""The linear relaxation bounds every plan, and leaving columns out for it changes no optimum."""

import random
from dataclasses import replace
from itertools import product

import pytest
from formulation.instances import column, nodes, point, workload
from formulation.test_formulation_phases import gives, of
from ortools.sat.python import cp_model

from optimizer.formulation import core
from optimizer.formulation.columns import Column
from optimizer.formulation.instance import Instance, Load
from optimizer.formulation.relaxed import relaxation
from optimizer.formulation.search import Search
from optimizer.formulation.solve import Choice, Limits, choose
from optimizer.plan import ObjectiveName

SEEDS = range(30)


def _knapsack(seed: int) -> tuple[cp_model.CpModel, list[cp_model.IntVar], list[tuple[int, tuple[int, ...]]]]:
    """Three variables of up to three, two rows: small enough to look at every solution."""
    draw, model = random.Random(seed), cp_model.CpModel()
    variables = [model.new_int_var(0, 3, "") for _ in range(3)]
    rows = [([draw.randint(1, 9) for _ in variables], draw.randint(5, 30)) for _ in range(2)]
    for factors, most in rows:
        model.add(cp_model.LinearExpr.weighted_sum(variables, factors) <= most)
    worth = [draw.randint(-9, 1) for _ in variables]
    model.minimize(cp_model.LinearExpr.weighted_sum(variables, worth))
    allowed = [
        x for x in product(range(4), repeat=3)
        if all(sum(a * n for a, n in zip(factors, x, strict=True)) <= most for factors, most in rows)
    ]  # fmt: skip
    return model, variables, [(sum(c * n for c, n in zip(worth, x, strict=True)), x) for x in allowed]


@pytest.mark.parametrize("seed", SEEDS)
def test_no_solution_is_below_the_bound_nor_below_that_of_a_variable_it_uses(seed: int) -> None:
    model, variables, solutions = _knapsack(seed)
    found = relaxation(model)
    assert found is not None
    assert found.least <= min(value for value, _ in solutions)
    for value, x in solutions:
        assert all(found.least_with(n) <= value for n in range(len(variables)) if x[n])


def test_a_relaxation_without_solutions_bounds_nothing() -> None:
    model = cp_model.CpModel()
    x = model.new_int_var(0, 1, "x")
    model.add(x >= 2)
    model.minimize(x)
    assert relaxation(model) is None


def _drawn(seed: int, objective: ObjectiveName) -> Instance:
    """Two models on six nodes of four GPUs; the second has prefill and decode apart, links are shared out."""
    draw = random.Random(f"{objective} {seed}")

    def some(size: int) -> Column:
        spans, rate = draw.choice([1, 1, 2]), size * draw.uniform(0.7, 1.3)
        shares = {"nics": draw.choice([0.25, 0.5]) * min(1, size)} if spans > 1 else {}
        return column(*((size,),) * spans, gives=gives(rate * spans), shares=shares, price=size * spans * 1.0)

    whole = [of(some(draw.randint(1, 4)), 0) for _ in range(5)]
    apart = [of(some(draw.randint(1, 3)), 1, role) for role in ("prefill", "decode") for _ in range(4)]
    rates = ("4.5 /s", "3.5 /s") if objective != "throughput" or draw.random() < 0.5 else (None, None)
    loads = tuple(Load(workload(request_rate=rate), weight) for rate, weight in zip(rates, (1.0, 2.0), strict=True))
    return Instance((nodes(6, 4),), (*whole, *apart), loads, objective)


def _solved(instance: Instance, gap: float | None = None) -> Choice | None:
    return choose(instance, Limits(gap=gap), lambda _: None)


@pytest.mark.parametrize("objective", ["throughput", "gpus", "cost"])
@pytest.mark.parametrize("seed", range(8))
def test_columns_left_out_change_no_optimum(
    seed: int, objective: ObjectiveName, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = _drawn(seed, objective)
    every = _solved(instance)
    for name, n in (("MANY", 0), ("FEW", 2), ("OF_EACH", 1)):
        monkeypatch.setattr(core, name, n)
    few = _solved(instance)
    assert (every is None) == (few is None)
    if every is not None and few is not None:
        assert few.proven
        assert few.value == pytest.approx(every.value, rel=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_a_plan_within_the_gap_has_a_bound_that_holds_for_the_columns_left_out(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = _drawn(seed, "throughput")
    best = _solved(instance)
    for name, n in (("MANY", 0), ("FEW", 2), ("OF_EACH", 1)):
        monkeypatch.setattr(core, name, n)
    near = _solved(instance, gap=0.2)
    assert best is not None
    assert near is not None
    assert near.value <= best.value * (1 + 1e-9) <= near.bound * (1 + 2e-9)
    assert near.bound - near.value <= 0.2 * near.value * (1 + 1e-6)


def test_what_is_left_counts_in_the_integers_of_the_whole() -> None:
    small, large = column((1,), gives=gives(1.0), price=1.5), column((4,), gives=gives(5.0), price=7.7)
    instance = Instance((nodes(6, 4),), (small, large), (Load(workload(request_rate="3 /s")),), "cost")
    part = instance.only((small,)).only((small,))
    assert part.whole == replace(part, columns=(small, large), counted_as=())


def _two_alike(then: tuple[ObjectiveName, ...]) -> Instance:
    """Two replicas of one GPU that differ in nothing that the first objective sees."""
    slow, fast = (column((1,), gives=point(1.0, tpot_s=seconds)) for seconds in (0.02, 0.01))
    load = Load(workload(request_rate="2 /s"))
    return Instance((nodes(2, 4),), (slow, fast), (load,), "gpus", then=then)


def test_columns_that_a_further_objective_may_need_are_kept_beside_the_few(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, n in (("MANY", 0), ("FEW", 1), ("OF_EACH", 1)):
        monkeypatch.setattr(core, name, n)
    monkeypatch.setattr(core, "_is_large", lambda _: True)
    search = Search(Limits(), lambda _: None)
    assert len(core.of_core(_two_alike(()), search, {}).instance.columns) == 1
    assert len(core.of_core(_two_alike(("latency",)), search, {}).instance.columns) == 2


def test_a_plan_within_the_gap_is_not_enough_where_more_is_asked() -> None:
    search = Search(Limits(gap=0.2), lambda _: None)
    assert core._is_close_enough(11, 10, _two_alike(()), search)
    assert not core._is_close_enough(11, 10, _two_alike(("latency",)), search)
    assert not core._is_close_enough(10, 10, _two_alike(()), search)
