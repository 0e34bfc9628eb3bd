"""Prefill and decode apart: which replicas may hand KV to each other, and the TTFT of the slowest pair.

The TTFT of a pair is the prefill's seconds, the transfer at the slower side, and the decode's first step. Its largest
value over all pairs is the larger of two sums, each of one maximum over prefill and one over decode replicas.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product

from ortools.sat.python import cp_model

from optimizer.cost.quantities import pair_ttft_s
from optimizer.formulation.columns import Column
from optimizer.formulation.variables import Decisions, at_least_if_chosen
from optimizer.inputs.workload import Role

NS = 1e9
"""TTFTs of pairs are summed in whole nanoseconds."""

SAME = 1e-3
"""Of a nanosecond: sums of the same floats in another order are no difference."""

Seconds = Callable[[Column], float]


def nanoseconds(seconds: float) -> int:
    """Return whole nanoseconds, rounded down."""
    return math.floor(seconds * NS + SAME)


def bound_ns(seconds: float) -> int:
    """Return a bound on the sum of such, rounded up."""
    return math.ceil(seconds * NS)


def services_apart(columns: Sequence[Column]) -> tuple[int, ...]:
    """Return the services that have both prefill and decode replicas among their columns."""
    roles = {(column.service, column.role) for column in columns}
    return tuple(sorted(s for s, role in roles if role == "prefill" and (s, "decode") in roles))


def kept_s(column: Column) -> float:
    """Return what the objectives' percentile of requests keeps, transfer not counted."""
    return column.point.ttft_slo_s


def mean_s(column: Column) -> float:
    """Return the mean, transfer not counted."""
    return column.point.ttft_s


def total_s(column: Column) -> float:
    """Return what the percentile of requests keeps, this side's transfer included."""
    return column.point.ttft_slo_s + column.point.transfer_s


def slowest_pair(
    model: cp_model.CpModel, decisions: Decisions, service: int, seconds: Seconds
) -> tuple[cp_model.LinearExpr, cp_model.LinearExpr]:
    """Return two sums in nanoseconds: no pair of chosen replicas has a larger TTFT than the larger of them."""

    def total(column: Column) -> float:
        return seconds(column) + column.point.transfer_s

    prefill, decode = (list(_of(decisions, service, role)) for role in ("prefill", "decode"))
    return (
        _slowest(model, prefill, total, 0) + _slowest(model, decode, seconds, 0),
        _slowest(model, prefill, seconds, 0) + _slowest(model, decode, total, 0),
    )


Chosen = Sequence[tuple[Column, cp_model.IntVar]]


def _slowest(model: cp_model.CpModel, own: Chosen, seconds: Seconds, least_ns: int) -> cp_model.LinearExpr:
    """Return at least the nanoseconds of every chosen replica; what is below ``least_ns`` makes no difference."""
    late = [(var, ns) for column, var in own if (ns := nanoseconds(seconds(column))) > least_ns]
    if not late:
        return cp_model.LinearExpr.constant(least_ns)
    slowest = model.new_int_var(least_ns, max(ns for _, ns in late), "slowest")
    for var, ns in late:
        at_least_if_chosen(model, slowest, var, ns)
    return slowest


def _of(decisions: Decisions, service: int, role: Role) -> Iterator[tuple[Column, cp_model.IntVar]]:
    for column, var in zip(decisions.instance.columns, decisions.replicas, strict=True):
        if column.service == service and column.role == role:
            yield column, var


def pairs_meet_ttft(model: cp_model.CpModel, decisions: Decisions) -> None:
    """Every prefill replica with every decode replica of its service keeps the objective on TTFT."""
    for service in services_apart(decisions.instance.columns):
        bound = decisions.instance.loads[service].workload.slo.ttft
        if bound is None:
            continue
        prefill, decode = (list(_of(decisions, service, role)) for role in ("prefill", "decode"))
        _sum_within(model, (prefill, total_s), (decode, kept_s), bound_ns(bound))
        _sum_within(model, (prefill, kept_s), (decode, total_s), bound_ns(bound))


def _sum_within(
    model: cp_model.CpModel, prefill: tuple[Chosen, Seconds], decode: tuple[Chosen, Seconds], most_ns: int
) -> None:
    """Bound the slowest of both phases together; a replica that keeps the bound with the slowest partner is no part."""
    (sends, first), (takes, then) = prefill, decode
    most = [max(nanoseconds(seconds(column)) for column, _ in own) for own, seconds in (prefill, decode)]
    if sum(most) > most_ns:
        early = _slowest(model, sends, first, max(0, most_ns - most[1]))
        late = _slowest(model, takes, then, max(0, most_ns - most[0]))
        model.add(early + late <= most_ns)


def pairs_agree(model: cp_model.CpModel, decisions: Decisions) -> None:
    """Prefill and decode replicas of a service hold KV of equal precision and blocks, and TP sizes that divide."""
    for service in services_apart(decisions.instance.columns):
        used = {role: _used(model, decisions, service, role) for role in ("prefill", "decode")}
        for (mine, here), (its, there) in product(used["prefill"].items(), used["decode"].items()):
            if not agree(mine, its):
                model.add_bool_or(~here, ~there)


Kind = tuple[int, str]
"""TP size and KV precision."""


def kind(column: Column) -> Kind:
    """Return what a replica's partner has to agree with; blocks are equal when precision and engine are."""
    return column.layout.tp, column.layout.kv_cache


def agree(prefill: Kind, decode: Kind) -> bool:
    """Whether KV can be handed over (vLLM's NixlConnector; SGLang's transfer is held to the same)."""
    (a, mine), (b, its) = prefill, decode
    return mine == its and (a % b == 0 or b % a == 0)


def _used(model: cp_model.CpModel, decisions: Decisions, service: int, role: Role) -> dict[Kind, cp_model.BoolVarT]:
    """Return for each kind a Boolean that is true when a replica of it is chosen."""
    by_kind: dict[Kind, list[cp_model.IntVar]] = {}
    for column, var in _of(decisions, service, role):
        by_kind.setdefault(kind(column), []).append(var)
    used: dict[Kind, cp_model.BoolVarT] = {}
    for (tp, kv), own in sorted(by_kind.items()):
        used[tp, kv] = model.new_bool_var(f"used[{service},{role},tp{tp},{kv}]")
        model.add(cp_model.LinearExpr.sum(own) == 0).only_enforce_if(~used[tp, kv])
    return used


def slowest_pair_s(chosen: Sequence[Column], service: int) -> float:
    """Return the mean TTFT of the slowest pair of chosen replicas, 0 when there is none."""
    own = [column for column in chosen if column.service == service]
    pairs = product((c.point for c in own if c.role == "prefill"), (c.point for c in own if c.role == "decode"))
    return max((pair_ttft_s(prefill, decode) for prefill, decode in pairs), default=0.0)
