"""Columns that look outdone and are not: each would be left out if one thing were not looked at."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from formulation.instances import column, instance, nodes, point, workload
from formulation.test_formulation_phases import gives, of

from optimizer.formulation.columns import Column
from optimizer.formulation.dominance import essential
from optimizer.formulation.instance import Instance, Load
from optimizer.inputs.workload import KvScheme, Role, WorkloadSpec
from optimizer.plan import ObjectiveName


def asked(*columns: Column, load: WorkloadSpec | None = None, objective: ObjectiveName = "gpus") -> Instance:
    return Instance((nodes(2, 8),), columns, (Load(load or workload(request_rate="3 /s")),), objective)


def one(
    gpus: int, rate: float, role: Role = "both", *, tp: int = 1, ttft_s: float = 0.1, transfer_s: float = 0.0,
    kv: KvScheme = "bf16",
) -> Column:  # fmt: skip
    made = of(column((gpus,), gives=gives(rate, ttft_s=ttft_s, transfer_s=transfer_s), tp=tp), role=role)
    return replace(made, shape=replace(made.shape, layout=replace(made.shape.layout, kv_cache=kv)))


WITHIN_HALF = workload(request_rate="3 /s", slo={"ttft": "0.5 s"})


def fewer_partners(ttft_s: float, transfer_s: float, *, mine: tuple[float, float]) -> Instance:
    """A prefill replica that makes more prompts, one that makes fewer in ``mine`` seconds, a slow and a fast decode."""
    more = one(1, 3.0, "prefill", ttft_s=ttft_s, transfer_s=transfer_s)
    fewer = one(1, 2.0, "prefill", ttft_s=mine[0], transfer_s=mine[1])
    slow, fast = one(1, 9.0, "decode", ttft_s=0.05, transfer_s=0.2), one(2, 1.0, "decode", ttft_s=0.01)
    return asked(fewer, more, slow, fast, load=WITHIN_HALF)


def of_kind(tp: int, kv: KvScheme) -> Instance:
    """A prefill replica of the only kind that the decode replica takes KV from makes fewer prompts than another."""
    mine = one(6, 1.0, "prefill", tp=tp, kv=kv)
    return asked(mine, one(6, 2.0, "prefill", tp=2), one(3, 9.0, "decode", tp=tp, kv=kv), one(4, 1.0, "decode", tp=4))


def by_roles() -> Instance:
    """Both take one GPU; decode finishes more than prefill makes."""
    return asked(one(1, 1.0, "prefill"), one(1, 9.0, "decode"))


def by_uplinks() -> Instance:
    inside, outside = (column((1,), (1,), gives=point(rate)) for rate in (1.0, 2.0))
    return asked(inside, replace(outside, leaf_shares=(("u", 0.5),)))


def by_number() -> Instance:
    """Two small replicas do more than the large one, but only one replica is wanted."""
    return replace(asked(one(2, 3.0), one(1, 2.0)), replicas=1)


def by_partners_of_parts() -> Instance:
    """Two small prefill replicas make more prompts than the large one, too late for the better decode replica."""
    small, slow, fast = (
        one(1, 2.0, "prefill", ttft_s=0.3), one(1, 10.0, "decode", ttft_s=0.35), one(1, 1.0, "decode", ttft_s=0.05)
    )  # fmt: skip
    return asked(one(2, 3.0, "prefill", ttft_s=0.1), small, slow, fast, load=WITHIN_HALF)


def by_kind_of_parts() -> Instance:
    """Two small prefill replicas make more prompts than the large one, for the worse decode replica only."""
    small, three, four = one(2, 2.0, "prefill", tp=2), one(3, 10.0, "decode", tp=3), one(4, 1.0, "decode", tp=4)
    return asked(one(4, 3.0, "prefill", tp=1), small, three, four)


def by_uplinks_of_parts() -> Instance:
    wide = column((1,), (1,), (1,), (1,), gives=point(3.0))
    narrow = column((1,), (1,), gives=point(2.0), leaf_shares={"u": 0.6})
    return replace(asked(wide, narrow), classes=(nodes(4, 8),))


def by_links_of_parts() -> Instance:
    """Each small replica wants the node's NIC for itself."""
    return asked(one(2, 3.0), column((1,), gives=point(2.0), shares={"nics": 1.0}))


def by_flight() -> Instance:
    """For clients it is places that count; the replica with fewer of them finishes more."""
    roomy, quick = (column((1,), gives=point(rate, concurrency=n)) for rate, n in ((1.0, 4), (2.0, 3)))
    return asked(roomy, quick, load=workload(concurrency=4))


def by_transfer() -> Instance:
    """For least TTFT a replica whose KV moves faster is not outdone by one whose prompts are done as soon."""
    mine, other = (one(1, rate, "prefill", transfer_s=s) for rate, s in ((3.0, 0.1), (3.0, 0.3)))
    return asked(replace(other, point=replace(other.point, ttft_s=0.05)), mine, one(1, 9.0, "decode"), objective="ttft")


ONLY_SIDE = {
    "partners-by-their-transfer": lambda: fewer_partners(0.3, 0.0, mine=(0.1, 0.3)),
    "partners-by-own-transfer": lambda: fewer_partners(0.1, 0.36, mine=(0.2, 0.0)),
    "tp": lambda: of_kind(3, "bf16"),
    "kv": lambda: of_kind(2, "fp8"),
    "role": by_roles,
    "uplinks": by_uplinks,
    "number": by_number,
    "partners-of-parts": by_partners_of_parts,
    "kind-of-parts": by_kind_of_parts,
    "uplinks-of-parts": by_uplinks_of_parts,
    "links-of-parts": by_links_of_parts,
    "flight": by_flight,
}


@pytest.mark.parametrize("made", ONLY_SIDE.values(), ids=ONLY_SIDE)
def test_the_first_column_is_needed_though_it_looks_outdone(made: Callable[[], Instance]) -> None:
    instance = made()
    assert instance.columns[0] in essential(instance)


def test_a_prefill_replica_whose_kv_moves_faster_is_needed_for_least_ttft() -> None:
    instance = by_transfer()
    assert set(instance.columns) == set(essential(instance))


def test_a_replica_with_a_single_partner_is_kept_and_one_without_is_not() -> None:
    late, lone = one(1, 2.0, "prefill", ttft_s=0.4), one(1, 5.0, "prefill", ttft_s=0.6)
    decode = one(1, 3.0, "decode", ttft_s=0.1)
    assert essential(asked(late, lone, decode, load=WITHIN_HALF)) == (late, decode)


def test_what_breaks_with_a_node_depends_on_whose_pieces_it_holds() -> None:
    heavy, light = (column((2,), gives=point(rate, concurrency=n)) for rate, n in ((4.0, 1), (1.0, 4)))
    instance = replace(asked(heavy, light, load=workload(concurrency=4)), survive="node")
    kept = essential(instance)
    assert len({piece for one in kept for piece in one.pieces}) == sum(len(one.pieces) for one in kept)


def test_a_model_without_columns_leaves_none_to_the_others() -> None:
    lone = of(column((1,), gives=gives(5.0, ttft_s=0.6)), 1, "prefill")
    decode = of(column((1,), gives=gives(5.0, ttft_s=0.1)), 1, "decode")
    two = Instance((nodes(2, 8),), (one(1, 1.0), lone, decode), (Load(workload()), Load(WITHIN_HALF)), "gpus")
    assert essential(two) == ()


@pytest.mark.parametrize(("most", "left"), [(2, 2), (1, 1)], ids=["just-fits", "one-short"])
def test_a_replica_of_all_gpus_allowed_is_a_choice(most: int, left: int) -> None:
    columns = (column((2,), gives=point(9.0)), column((1,), gives=point(1.0)))
    assert len(essential(instance(nodes(1, 8), *columns, max_gpus=most))) == left
