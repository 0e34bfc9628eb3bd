"""The solver against all choices of tiny instances made by hand, seen whole and after columns are left out.

Rates, seconds and prices are round numbers from short lists, so that ties are frequent and exact.
"""

import random
from dataclasses import replace
from importlib import import_module

import pytest
from formulation.counted import Vector, best, vector
from formulation.instances import column, nodes, point, workload
from formulation.test_formulation_phases import of

from optimizer.formulation.columns import Column, Piece
from optimizer.formulation.dominance import essential
from optimizer.formulation.failures import told_apart
from optimizer.formulation.instance import Instance, Load
from optimizer.formulation.solve import Limits, choose
from optimizer.inputs.workload import Role
from optimizer.plan import Failure, ObjectiveName
from optimizer.topology.classes import IslandShape, NodeClass
from optimizer.topology.footprints import Slot

CORE = import_module("optimizer.formulation.core")

RATES = (0.5, 1.0, 2.0, 2.5, 4.0, 5.0, 10.0)
"""Each a part of ten with few digits: all gains are whole numbers of quanta, whichever is the largest."""

MOST_COLUMNS = 11
"""Choices are too many to go through beyond."""

PRICES = ((2.0, 1.0), (3.0,))
WATTS = ((300.0, 500.0), (200.0,))
"""Of a GPU, by class and island."""

OBJECTIVES: tuple[ObjectiveName, ...] = ("throughput", "latency", "ttft", "gpus", "cost", "energy")
ROLES: tuple[tuple[Role, ...], ...] = (("both",), ("both",), ("prefill", "decode"), ("both", "prefill", "decode"))


def _replica(draw: random.Random, classes: tuple[NodeClass, ...], service: int, role: Role) -> Column:
    """Return a replica on one node, on two or three of a class, or on nodes of two classes."""
    first = draw.randrange(len(classes))
    home = classes[first]
    spans = [1, 1, 1, 2, 2, 3] if len(home.nodes) > 2 else [1, 1, 2] if len(home.nodes) > 1 else [1]
    span, across = draw.choice(spans), len(classes) > 1 and draw.random() < 0.2
    share = draw.choice([0.0, 0.25, 0.5, 1.0]) if span > 1 or across else draw.choice([0.0, 0.0, 0.5])
    shares = {"nics": share} if share else {}
    island = draw.randrange(len(home.islands))
    counts = tuple(
        draw.randint(1, min(draw.choice([1, 2, 3]), s.size)) if i == island else 0 for i, s in enumerate(home.islands)
    )
    gives = point(
        draw.choice(RATES), concurrency=draw.randint(1, 4), ttft_s=draw.choice([0.1, 0.2, 0.3]),
        tpot_s=0.0 if role == "prefill" else draw.choice([0.01, 0.02, 0.03]),
    )  # fmt: skip
    gives = replace(gives, transfer_s=0.0 if role == "both" else draw.choice([0.0, 0.1, 0.2]))
    made = column(
        *[counts] * span, gives=gives, shares=shares, tp=draw.choice([1, 1, 2, 4, 3]),
        leaf_shares={"u": draw.choice([0.25, 0.5, 1.0])} if span > 1 and draw.random() < 0.3 else None,
    )  # fmt: skip
    pieces = tuple(replace(piece, node_class=first) for piece in made.pieces)
    if across:
        other = next(number for number in range(len(classes)) if number != first)
        single = (1, *(0 for _ in classes[other].islands[1:]))
        pieces = (*pieces, Piece(other, single, tuple(shares.items()), 1))
    slots = tuple(Slot(piece.node_class, (piece.counts,)) for piece in pieces)
    shape = replace(made.shape, footprint=replace(made.footprint, slots=slots))
    kv = replace(shape.layout, kv_cache=draw.choice(["bf16", "bf16", "bf16", "fp8"]))
    made = replace(made, pieces=pieces, shape=replace(shape, layout=kv))
    price, power_w = (sum(_of_gpus(piece, each) for piece in pieces) for each in (PRICES, WATTS))
    return of(replace(made, price_per_h=price, power_w=power_w), service, role)


def _of_gpus(piece: Piece, each: tuple[tuple[float, ...], ...]) -> float:
    """Return what the GPUs of a piece cost or draw; each island of a class is of its own type."""
    return sum(n * one for n, one in zip(piece.counts, each[piece.node_class], strict=False))


def _points(draw: random.Random, made: Column) -> list[Column]:
    """Return a replica at one, two or three operating points, which compete for the same GPUs."""
    e, found = made.point, [made]
    for _ in range(draw.choice([0, 0, 1, 2])):
        other = replace(
            e, requests_per_s=draw.choice(RATES), concurrency=draw.randint(1, 4), ttft_s=draw.choice([0.1, 0.2, 0.3]),
            tpot_s=e.tpot_s and draw.choice([0.01, 0.02, 0.03]),
        )  # fmt: skip
        found.append(replace(made, point=replace(other, ttft_slo_s=other.ttft_s, tpot_slo_s=other.tpot_s)))
    return found


def _load(draw: random.Random) -> Load:
    kinds: dict[str, dict[str, object]] = {
        "rate": {"request_rate": f"{draw.choice(RATES)} /s"}, "clients": {"concurrency": draw.randint(1, 6)},
        "saturating": {},
    }  # fmt: skip
    asked = kinds[draw.choice(sorted(kinds))]
    slo = {"slo": {"ttft": f"{draw.choice([0.3, 0.4, 0.5, 0.6, 0.7])} s"}} if draw.random() < 0.5 else {}
    return Load(workload(**asked, **slo), draw.choice([1.0, 1.0, 0.5, 2.0]))


def _classes(draw: random.Random) -> tuple[NodeClass, ...]:
    """Return nodes of up to six GPUs, eight in all, of one class or two."""
    kinds = [(1, (6,)), (1, (4, 2)), (2, (2,)), (2, (4,)), (2, (2, 1)), (3, (2,)), (2, (3,)), (3, (1, 1)), (4, (2,))]
    count, sizes = draw.choice(kinds)
    found = [nodes(count, *sizes)]
    if draw.random() < 0.3 and count * sum(sizes) < 8:
        found.append(NodeClass(("m0",), (IslandShape("g", draw.choice([1, 2]), 1.0),), None))
    return tuple(found)


def drawn(seed: int) -> Instance:
    """Return an instance of one or two models, with or without roles, failures, limits and further objectives."""
    draw = random.Random(seed)
    classes, services = _classes(draw), draw.choice([1, 1, 2])
    columns: list[Column] = []
    for service in range(services):
        roles = draw.choice(ROLES)
        for role in roles:
            for _ in range(draw.choice([2, 3, 4]) if services * len(roles) == 1 else draw.choice([1, 2])):
                columns += _points(draw, _replica(draw, classes, service, role))
    columns = draw.sample(columns, len(columns))
    whole = all(one.role == "both" for one in columns)
    loads = tuple(_load(draw) for _ in range(services))
    objective = draw.choice(OBJECTIVES)
    rated = all(load.workload.request_rate for load in loads)
    may_break = (whole and (services == 1 or objective != "throughput")) or (rated and objective != "throughput")
    failures: list[Failure | None] = [None, None, "gpu", "node", "nic"]
    rest = [name for name in OBJECTIVES if name != objective]
    return Instance(
        classes, tuple(columns), loads, objective,
        max_gpus=draw.choice([None, None, None, None, 3, 4]),
        replicas=draw.choice([None, None, None, None, 2, 3]) if whole else None,
        then=tuple(draw.sample(rest, draw.choice([0, 0, 0, 1, 2]))),
        survive=draw.choice(failures) if may_break else None,
        own_nics=tuple(draw.random() < 0.5 for _ in classes),
    )  # fmt: skip


def entire(asked: Instance) -> tuple[Column, ...]:
    """Return all columns, with pieces of their own where that matters."""
    return told_apart(asked.columns) if asked.survive in ("node", "nic") else asked.columns


def agree(asked: Instance, columns: tuple[Column, ...], expected: Vector | None) -> None:
    """Assert that the choice of these columns is as good as the best, in all that is asked and in the tie-break."""
    choice = choose(replace(asked, columns=columns), Limits(), lambda _: None)
    assert (choice is None) == (expected is None)
    if choice is None or expected is None:
        return
    assert choice.proven
    chosen = [one for one, n in zip(columns, choice.replicas, strict=True) for _ in range(n)]
    reached = vector(asked, chosen)
    if asked.survive is not None and asked.objective == "throughput":  # what is left depends on the seats
        reached = (float(f"{-choice.value:.9g}"), *reached[1:])
    assert reached == pytest.approx(expected, rel=1e-7)


SEEDS = [seed for seed in range(190) if len(drawn(seed).columns) < MOST_COLUMNS]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_best_of_all_choices_is_found_and_not_lost_with_the_columns_left_out(seed: int) -> None:
    asked = drawn(seed)
    expected = best(asked)
    agree(asked, entire(asked), expected)
    agree(asked, essential(asked), expected)


@pytest.mark.parametrize("seed", SEEDS[::2])
@pytest.mark.parametrize("few", [0, 2])
def test_what_a_relaxation_leaves_out_is_in_no_best_choice(
    seed: int, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The few columns of the first plan are made fewer still, so that all others depend on the relaxation."""
    for name, number in (("MANY", 0), ("FEW", few), ("OF_EACH", 1)):
        monkeypatch.setattr(CORE, name, number)
    asked = drawn(seed)
    expected = best(asked)
    agree(asked, entire(asked), expected)
    found = choose(replace(asked, columns=essential(asked)), Limits(gap=0.2), lambda _: None)
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        sign = 1 if asked.objective == "throughput" else -1
        assert sign * found.bound >= sign * abs(expected[0]) - 2e-6 * abs(expected[0])
        assert not found.proven or found.value == pytest.approx(abs(expected[0]), rel=2e-6)


@pytest.mark.parametrize("seed", SEEDS[1::2])
def test_nodes_filled_one_by_one_hold_the_best_choice_too(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where patterns are too many to list, or GPUs cannot be counted only."""
    monkeypatch.setattr(import_module("optimizer.formulation.patterns"), "MOST_PATTERNS", 0)
    monkeypatch.setattr(import_module("optimizer.formulation.variables"), "fill_freely", lambda *_: False)
    asked = drawn(seed)
    agree(asked, essential(asked), best(asked))
