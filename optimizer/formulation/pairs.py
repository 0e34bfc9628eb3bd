"""Prefill and decode apart: which replicas may hand KV to each other, and the TTFT of the slowest pair.

The TTFT of a pair is the prefill's seconds, the transfer at the slower side, and the decode's first step. Its largest
value over all pairs is the larger of two sums, each of one maximum over prefill and one over decode replicas.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product

from ortools.sat.python import cp_model

from optimizer.formulation.columns import Column
from optimizer.formulation.variables import Decisions
from optimizer.inputs.workload import Role

NS = 1e9
"""TTFTs of pairs are summed in whole nanoseconds."""

Seconds = Callable[[Column], float]


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


def _with_transfer(seconds: Seconds) -> Seconds:
    return lambda column: seconds(column) + column.point.transfer_s


def slowest_pair(
    model: cp_model.CpModel, decisions: Decisions, service: int, seconds: Seconds
) -> tuple[cp_model.LinearExprT, cp_model.LinearExprT]:
    """Return two sums in nanoseconds: no pair of chosen replicas has a larger TTFT than the larger of them."""
    total = _with_transfer(seconds)
    return (
        _slowest(model, decisions, service, "prefill", total) + _slowest(model, decisions, service, "decode", seconds),
        _slowest(model, decisions, service, "prefill", seconds) + _slowest(model, decisions, service, "decode", total),
    )


def _slowest(
    model: cp_model.CpModel, decisions: Decisions, service: int, role: Role, seconds: Seconds
) -> cp_model.IntVar:
    """Return a variable that is at least the nanoseconds of every chosen replica of a role."""
    own = list(_of(decisions, service, role))
    most = max(math.floor(seconds(column) * NS) for column, _ in own)
    slowest = model.new_int_var(0, most, f"slowest[{service},{role}]")
    for column, var in own:
        chosen = model.new_bool_var(f"chosen[{var.name},{role}]")
        model.add(var == 0).only_enforce_if(~chosen)
        model.add(slowest >= math.floor(seconds(column) * NS)).only_enforce_if(chosen)
    return slowest


def _of(decisions: Decisions, service: int, role: Role) -> Iterator[tuple[Column, cp_model.IntVar]]:
    for column, var in zip(decisions.instance.columns, decisions.replicas, strict=True):
        if column.service == service and column.role == role:
            yield column, var


def pairs_meet_ttft(model: cp_model.CpModel, decisions: Decisions) -> None:
    """Every prefill replica with every decode replica of its service keeps the objective on TTFT."""
    for service in services_apart(decisions.instance.columns):
        bound = decisions.instance.loads[service].workload.slo.ttft
        if bound is not None:
            for total in slowest_pair(model, decisions, service, kept_s):
                model.add(total <= math.ceil(bound * NS)).with_name(f"pair_ttft[{service}]")


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


def slowest_pair_s(chosen: Sequence[Column], service: int, seconds: Seconds) -> float:
    """Return the TTFT of the slowest pair of chosen replicas, 0 when there is none."""
    own = [column for column in chosen if column.service == service]
    pairs = product((c for c in own if c.role == "prefill"), (c for c in own if c.role == "decode"))
    return max((pair_s(p, d, seconds) for p, d in pairs), default=0.0)


def pair_s(prefill: Column, decode: Column, seconds: Seconds) -> float:
    """Return the TTFT of requests that go from one replica to another."""
    return seconds(prefill) + max(prefill.point.transfer_s, decode.point.transfer_s) + seconds(decode)
