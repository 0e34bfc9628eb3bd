"""The table of rules: each just fits here and is one short there, is missed when it is gone, and has a twin in verify.

The page of the formulation says which functions state a rule and which check it; its table is read here.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from formulation.instances import column, instance, nodes, point, workload
from formulation.test_formulation_phases import DECODE, PREFILL, asked, gives, of

from optimizer.formulation.instance import Instance, Load
from optimizer.formulation.rules import RULES
from optimizer.formulation.solve import Limits, choose
from optimizer.verify import RULES as TWINS

PAGE = Path(__file__).parents[2] / "optimizer/formulation/README.md"
ROW = re.compile(r"^\| (?P<rule>[^|]+) \| (?P<says>[^|]+) \| (?P<code>[^|]+) \| (?P<twins>[^|]+) \|$", re.MULTILINE)

FOLLOWS = {"classes_have_the_gpus"}
"""Of others: without it the same plans are found, only later."""


def table() -> dict[str, set[str]]:
    """Return the verify functions beside each function of the page's table of rules."""
    text = PAGE.read_text()
    section = text[text.index("## Rules") : text.index("## Objectives")]
    found: dict[str, set[str]] = {}
    for row in ROW.finditer(section):
        for name in re.findall(r"`(\w+)`", row["code"]):
            found[name] = set(re.findall(r"`(\w+)`", row["twins"]))
    return found


def _prompts(clients: int) -> Instance:
    decode = of(column((1,), gives=gives(2.0, concurrency=2)), role="decode")
    prefill = of(column((1,), gives=gives(3.0, concurrency=9)), role="prefill")
    return asked((prefill, decode), Load(workload(concurrency=clients)))


def _by_tp(tp: int) -> Instance:
    """A cheap prefill replica of two ranks, a dear one of one, and decode on ``tp`` ranks."""
    two = of(column((2,), gives=gives(1.0), tp=2), role="prefill")
    one = of(column((3,), gives=gives(1.0), tp=1), role="prefill")
    decode = of(column((1,), gives=gives(1.0), tp=tp), role="decode")
    return asked((two, one, decode), Load(workload(request_rate="1 /s")))


def _by_ttft(bound: str) -> Instance:
    """A slow prefill replica on one GPU and a fast one on two; the slow pair takes half a second."""
    slow = of(column((1,), gives=gives(1.0, ttft_s=0.2, transfer_s=0.1)), role="prefill")
    fast = of(column((2,), gives=gives(1.0, ttft_s=0.1, transfer_s=0.1)), role="prefill")
    decode = of(column((1,), gives=gives(1.0, ttft_s=0.15, transfer_s=0.15)), role="decode")
    return asked((slow, fast, decode), Load(workload(request_rate="1 /s", slo={"ttft": bound})))


def _linked(share: float) -> Instance:
    return instance(nodes(1, 8), column((1,), shares={"nics": share}))


def _uplinked(share: float) -> Instance:
    return instance(nodes(6, 8, leaf="su1"), column((1,), (1,), leaf_shares={"su1": share}))


def _boxed(*places: tuple[str, ...]) -> Instance:
    """Replicas of two GPUs on nodes of one each, which are named."""
    bare = column((1,), (1,), shares={"router": 1.0})
    footprint = replace(bare.footprint, places=places)
    return instance(nodes(4, 1), replace(bare, shape=replace(bare.shape, footprint=footprint)))


def _at_most(gpus: int) -> Instance:
    return instance(nodes(1, 8), column((2,)), column((3,), gives=point(1.6)), max_gpus=gpus)


def _at_rate(rate: str) -> Instance:
    return instance(nodes(1, 8), column((1,)), objective="gpus", load=workload(request_rate=rate))


CASES: Mapping[str, tuple[Instance, Instance]] = {
    "pieces_have_a_place": (instance(nodes(6, 6, 1), column((3, 0))), instance(nodes(6, 5, 1), column((3, 0)))),
    "nodes_are_not_exceeded": (instance(nodes(2, 8), column((2,))), instance(nodes(2, 7), column((2,)))),
    "classes_have_the_gpus": (instance(nodes(1, 4), column((4,))), instance(nodes(1, 3), column((4,)))),
    "links_carry_what_is_promised": (_linked(0.5), _linked(0.51)),
    "uplinks_carry_what_is_promised": (_uplinked(0.25), _uplinked(0.26)),
    "pieces_of_a_replica_sit_apart": (
        instance(nodes(2, 4), column((1,), (1,))), instance(nodes(1, 4), column((1,), (1,)))
    ),
    "boxes_do_not_overlap": (_boxed(("n0", "n1"), ("n2", "n3")), _boxed(("n0", "n1"), ("n1", "n2"))),
    "gpus_are_not_exceeded": (_at_most(5), _at_most(4)),
    "replicas_are_as_fixed": (
        instance(nodes(1, 8), column((2,)), replicas=4), instance(nodes(1, 8), column((2,)), replicas=5)
    ),
    "demand_is_met": (_at_rate("4 /s"), _at_rate("4.001 /s")),
    "prompts_keep_up": (_prompts(6), _prompts(7)),
    "pairs_agree": (_by_tp(2), _by_tp(3)),
    "pairs_meet_ttft": (_by_ttft("0.5 s"), _by_ttft("0.49 s")),
    "enough_is_left": (replace(_at_rate("3 /s"), survive="gpu"), replace(_at_rate("3.001 /s"), survive="gpu")),
}  # fmt: skip
"""For each rule an instance in which what is wanted just fits, and one in which it is one short."""


def chosen(of: Instance) -> tuple[int, ...] | None:
    choice = choose(of, Limits(), lambda _: None)
    return None if choice is None else choice.replicas


def test_every_rule_is_on_the_page_and_in_the_table() -> None:
    names = [rule.__name__ for rule in RULES]
    assert set(names) <= set(table())
    assert set(names) == set(CASES)


def test_every_rule_of_the_page_has_a_twin_in_verify() -> None:
    known = {rule.__name__ for rule in TWINS}
    for name, twins in table().items():
        assert twins, name
        assert twins <= known, name


@pytest.mark.parametrize("rule", CASES)
def test_one_short_is_another_plan_and_without_the_rule_it_is_not_noticed(
    rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits, short = CASES[rule]
    kept = chosen(short)
    assert chosen(fits) != kept
    others = tuple(other for other in RULES if other.__name__ != rule)
    for room in ("stated",):
        monkeypatch.setattr(import_module(f"optimizer.formulation.{room}"), "RULES", others)
    assert (chosen(short) == kept) == (rule in FOLLOWS)


def test_both_phases_have_a_replica_even_where_nothing_is_asked_of_one() -> None:
    assert chosen(asked((PREFILL, DECODE))) == (1, 1)
