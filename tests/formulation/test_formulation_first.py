"""A plan by construction obeys every rule, and what is known of it before any search is true."""

import random
from collections import Counter
from dataclasses import replace

import pytest
from formulation.instances import column, instance, nodes, point, workload
from formulation.test_formulation_bounds import SEEDS, drawn, silent, truth
from ortools.sat.python import cp_model

from optimizer.errors import NoAnswerError
from optimizer.formulation import solve
from optimizer.formulation.bounds import SUMS, goal_of, least, worth
from optimizer.formulation.columns import Column, Piece
from optimizer.formulation.failures import told_apart
from optimizer.formulation.first import Built, built
from optimizer.formulation.instance import Instance
from optimizer.formulation.objectives import OBJECTIVES
from optimizer.formulation.solve import Limits, choose
from optimizer.formulation.stated import stated

MANY = range(150)


def _with_a_failure(asked: Instance, seed: int) -> Instance:
    """Return an instance that has to survive something where its models have no phases apart."""
    if any(one.role != "both" for one in asked.columns) or len(asked.loads) > 1 or not asked.columns:
        return asked
    draw = random.Random(seed)
    owned = told_apart(tuple(replace(one, pieces=_bare(one)) for one in asked.columns))
    return replace(asked, columns=owned, survive=draw.choice(["gpu", "node", "nic"]), own_nics=(draw.random() < 0.5,))


def _bare(one: Column) -> tuple[Piece, ...]:
    return tuple(replace(piece, owner=0) for piece in one.pieces)


def _least_goal(asked: Instance, plan: Built) -> int | None:
    """Return the least that the first goal comes to with these replicas, None where a rule forbids them."""
    model, decisions = stated(asked)
    for var, n in zip(decisions.replicas, plan.replicas, strict=True):
        model.add(var == n)
    model.minimize(OBJECTIVES[asked.objective](model, decisions)[0].expression)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    return round(solver.objective_value) if solver.solve(model) == cp_model.OPTIMAL else None


@pytest.mark.parametrize("seed", MANY)
def test_a_plan_by_construction_obeys_every_rule_and_comes_to_what_is_said(seed: int) -> None:
    asked = drawn(seed) if seed % 2 else _with_a_failure(drawn(seed), seed)
    plan = built(asked) if asked.columns else None
    if plan is None:
        return
    goal = _least_goal(asked, plan)
    assert goal is not None
    if asked.objective in SUMS:  # with its pieces on other nodes a failure may take less
        assert goal == goal_of(asked, plan) or (asked.survive and goal < goal_of(asked, plan))


@pytest.mark.parametrize("seed", MANY)
def test_what_nodes_hold_are_the_pieces_of_its_replicas_and_no_node_is_over_full(seed: int) -> None:
    asked = drawn(seed)
    plan = built(asked) if asked.columns else None
    if plan is None:
        return
    needed: Counter[Piece] = Counter()
    for one, n in zip(asked.columns, plan.replicas, strict=True):
        needed.update({piece: n * times for piece, times in Counter(one.pieces).items()})
    assert needed == sum((Counter(held) for held in plan.held.values()), Counter())
    (node_class,) = asked.classes
    for held in plan.held.values():
        for i, island in enumerate(node_class.islands):
            assert sum(n * piece.counts[i] for piece, n in held.items()) <= island.size
        promised: Counter[str] = Counter()
        for piece, n in held.items():
            promised.update({place: n * share for place, share in piece.shares})
        assert all(share <= 1 + 1e-6 for share in promised.values())


def test_most_of_such_instances_have_a_plan_by_construction() -> None:
    found = [built(drawn(seed)) for seed in SEEDS if truth(seed) is not None]
    assert sum(plan is not None for plan in found) >= 0.8 * len(found)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_plan_beats_the_bound_that_is_known_before_any_search(seed: int) -> None:
    asked, best = drawn(seed), truth(seed)
    if best is None:
        return
    sign, plan = 1 if asked.objective == "throughput" else -1, built(asked)
    assert sign * (least(asked) - best.value) >= -1e-9 * abs(best.value)
    if plan is not None:
        assert sign * (best.value - worth(asked, plan)) >= -1e-9 * abs(best.value)


def _pair() -> Instance:
    """Two replicas of one GPU, or one of two that carries more for each GPU."""
    small, large = column((1,), gives=point(1.0)), column((2,), gives=point(2.5))
    return instance(nodes(3, 4), small, large, objective="gpus", load=workload(request_rate="3.4 /s"))


def test_the_last_replica_is_the_least_that_covers_what_is_left() -> None:
    assert built(_pair()) is not None
    assert built(_pair()).replicas == (1, 1)  # type: ignore[union-attr]


def test_where_the_time_is_over_the_plan_by_construction_is_the_answer_with_its_bound() -> None:
    found = choose(_pair(), Limits(time_limit_s=0.0), silent)
    assert found is not None
    assert (found.value, found.bound, found.proven) == (3.0, 3.0, True)  # the bound is proven, and reached
    found = choose(replace(_pair(), then=("latency",)), Limits(time_limit_s=0.0), silent)
    assert found is not None
    assert (found.value, found.bound, found.proven) == (3.0, 3.0, False)


def test_where_the_user_stops_the_model_being_built_the_plan_by_construction_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(solve, "stated", stopped)
    found = choose(_pair(), Limits(anytime=True), silent)
    assert found is not None
    assert found.interrupted
    with pytest.raises(KeyboardInterrupt):
        choose(_pair(), Limits(), silent)


def test_without_any_plan_the_end_of_the_time_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solve, "built", lambda _: None)
    assert choose(_pair(), Limits(time_limit_s=0.0), silent) is not None
    monkeypatch.setattr(solve, "LEAST_TRIED_S", 0.0)
    with pytest.raises(NoAnswerError, match="time limit"):
        choose(_pair(), Limits(time_limit_s=0.0), silent)


def test_a_worse_plan_of_the_search_gives_way_to_the_one_by_construction() -> None:
    asked = _pair()
    good, bad = built(asked), (4, 0)
    found = replace(choose(asked, Limits(), silent), replicas=bad, proven=False, value=4.0)  # type: ignore[type-var]
    kept = solve._at_least(good, asked, found)
    assert kept is not None
    assert (kept.replicas, kept.value) == ((1, 1), 3.0)
