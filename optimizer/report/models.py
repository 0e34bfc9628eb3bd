"""Several models on one cluster, and prefill and decode apart: what each gets, and how KV moves between replicas."""

from collections.abc import Iterable, Sequence
from operator import attrgetter

from rich.console import Group, RenderableType

from optimizer.compare import ReplicaGroup, is_apart, replica_groups, runs, service_names
from optimizer.cost.quantities import mean_over_requests, mean_transfer_s
from optimizer.inputs.cluster import ClusterSpec
from optimizer.inputs.hostlist import all_hosts
from optimizer.inputs.workload import Lengths, Role, WorkloadSpec
from optimizer.plan import Plan, Replica
from optimizer.report.tables import columns, pairs, percent
from optimizer.units import show_number, show_seconds


def title(plan: Plan) -> str:
    """Return what is served where: "MODEL on CLUSTER", or "3 models on CLUSTER"."""
    services = plan.inputs.services
    what = services[0].model.name if len(services) == 1 else f"{len(services)} models"
    return f"{what} on {plan.inputs.cluster.name}"


def headline(plan: Plan) -> str:
    """Return the answer in a line: every model with its replicas, and the GPUs they take."""
    if not plan.inputs.more:
        return f"{title(plan)}: {_degrees(replica_groups(plan))}, {plan.totals.gpus} GPUs"
    used = f"{plan.totals.gpus} of {_all_gpus(plan.inputs.cluster)} GPUs"
    told = (f"{name} {_degrees(own)}" for name, own in by_model(plan))
    return f"{len(plan.inputs.services)} models on {used} of {plan.inputs.cluster.name}: {'; '.join(told)}"


def _degrees(groups: Iterable[ReplicaGroup]) -> str:
    return " + ".join(group.degrees for group in groups)


def _all_gpus(cluster: ClusterSpec) -> int:
    nodes = zip(cluster.nodes, all_hosts(cluster.nodes), strict=True)
    return sum(cluster.templates[entry.template].size * len(names) for entry, names in nodes)


def by_model(plan: Plan) -> list[tuple[str, list[ReplicaGroup]]]:
    """Return the groups of equal replicas of each model, by the model's name."""
    groups = replica_groups(plan)
    names = service_names(plan.inputs.services)
    return [(name, [g for g in groups if g.one.service == number]) for number, name in enumerate(names)]


def workload_line(workload: WorkloadSpec) -> str:
    """Return the workload in one line."""
    if workload.request_rate is not None:
        load = f"{show_number(workload.request_rate)} requests/s"
    elif workload.concurrency is not None:
        load = f"{workload.concurrency} requests in flight"
    else:
        load = "saturating load"
    bounds = {"TTFT": workload.slo.ttft, "TPOT": workload.slo.tpot}
    told = [f"{name} <= {show_seconds(bound)}" for name, bound in bounds.items() if bound is not None]
    at = f" at p{workload.slo.percentile:g}" if told and workload.slo.percentile else ""
    safe = f", margin {100 * workload.margin:g} %" if workload.margin else ""
    lengths = f"ISL {_length(workload.isl)}, OSL {_length(workload.osl)}"
    return f"{lengths}, {load}" + "".join(f", {t}" for t in told) + at + safe


def _length(length: Lengths) -> str:
    return f"{length.mean} (cv {length.cv:g})" if length.cv else str(length.mean)


def traffic_lines(plan: Plan) -> tuple[tuple[str, str], ...]:
    """Return each model's name and what is asked of it."""
    named = zip(service_names(plan.inputs.services), plan.inputs.services, strict=True)
    return tuple(
        (name, workload_line(s.workload) + (f", weight {s.weight:g}" if s.weight != 1 else "")) for name, s in named
    )


SERVED = ("model", "requests/s", "tokens/s", "TTFT", "TPOT", "replicas", "GPUs")


def served_rows(plan: Plan) -> list[tuple[str, ...]]:
    """Return what each model gets, in the columns of ``SERVED``."""
    names = _brief(service_names(plan.inputs.services))
    return [
        (
            names[one.service], of_asked(one.requests_per_s, plan.inputs.services[one.service].workload),
            f"{one.output_tokens_per_s:,.0f}",
            show_seconds(one.ttft_s), show_seconds(one.tpot_s), str(one.replicas), str(one.gpus),
        )
        for one in plan.totals.services
    ]  # fmt: skip


def of_asked(requests_per_s: float, workload: WorkloadSpec) -> str:
    """Return requests/s, with what is asked where it is more."""
    rate, served = workload.request_rate, show_number(requests_per_s)
    return served if rate is None or requests_per_s >= rate * (1 - _SAME) else f"{served} of {show_number(rate)}"


_SAME = 1e-9


def _brief(names: Sequence[str]) -> tuple[str, ...]:
    """Return names without who published the model, as long as that tells them apart."""
    brief = tuple(name.rsplit("/", 1)[-1] for name in names)
    return brief if len(set(brief)) == len(brief) else tuple(names)


def models_part(plan: Plan) -> RenderableType:
    """Return what is asked of each model and what it gets; nothing for one model."""
    if not plan.inputs.more:
        return Group()
    table = columns("What each model gets (means at this load)", SERVED, served_rows(plan))
    return Group(pairs("Models", traffic_lines(plan)), table)


# -- prefill and decode apart ------------------------------------------------------------------------------------------

HANDED = ("replica", "role", "requests/s", "KV transfer", "link load")
"""Link load: mean part of the time in which the way out of a rank is busy with the KV of so many requests."""


def handed_part(plan: Plan) -> RenderableType:
    """Return how KV moves from prefill to decode; nothing when every replica does both."""
    if not is_apart(plan):
        return Group()
    table = columns("What each side can carry, and KV on its way", HANDED, handed_rows(plan), left=(0, 1))
    return Group(pairs("Prefill and decode apart", ratio_lines(plan)), table)


def ratio_lines(plan: Plan) -> list[tuple[str, str]]:
    """Return for each model that is split: replicas and GPUs of each phase, and what its TTFT is made of."""
    found = []
    for name, groups in by_model(plan):
        roles = {role: [r for g in groups if g.one.role == role for r in g.members] for role in _ROLES}
        if not roles["prefill"] or not roles["decode"]:
            continue
        several = bool(plan.inputs.more)
        found.append((name if several else "ratio", _ratio(roles)))
        total, parts = _ttft(roles["prefill"], roles["decode"])
        found.append(("", f"TTFT {total} = {parts}") if several else ("TTFT", f"{total} = {parts}"))
    return found


_ROLES: tuple[Role, ...] = ("prefill", "decode", "both")


def _ratio(roles: dict[Role, list[Replica]]) -> str:
    prefill, decode, both = (roles[role] for role in _ROLES)
    told = f"{len(prefill)} prefill : {len(decode)} decode replicas, {_gpus(prefill)} : {_gpus(decode)} GPUs"
    return told + (f", and {len(both)} that do both on {_gpus(both)} GPUs" if both else "")


def _gpus(replicas: Iterable[Replica]) -> int:
    return sum(len(replica.seats) for replica in replicas)


def _ttft(prefill: Sequence[Replica], decode: Sequence[Replica]) -> tuple[str, str]:
    """Return the mean and its parts, over requests that are routed to each side by its rates, independently."""
    sends, takes = ([replica.estimate for replica in own] for own in (prefill, decode))
    means = {
        "prompt": mean_over_requests(sends, attrgetter("ttft_s")),
        "KV transfer": mean_transfer_s(sends, takes),
        "first decode step": mean_over_requests(takes, attrgetter("ttft_s")),
    }
    told = " + ".join(f"{show_seconds(seconds)} {name}" for name, seconds in means.items())
    return show_seconds(sum(means.values())), told


def handed_rows(plan: Plan) -> list[tuple[str, ...]]:
    """Return requests/s, seconds of a transfer and load of the way out, for each group of a model that is split."""
    split = {replica.service for replica in plan.replicas if replica.role != "both"}
    return [_handed_row(group) for group in replica_groups(plan) if group.one.service in split]


def _handed_row(group: ReplicaGroup) -> tuple[str, ...]:
    one = group.one
    moved = ("-", "-") if one.role == "both" else (show_seconds(one.estimate.transfer_s), percent(link_load(one)))
    return numbers(group), one.role, show_number(group.dp * one.estimate.requests_per_s), *moved


def link_load(replica: Replica) -> float:
    """Return the mean part of the time in which the way out of a rank is busy with KV."""
    return replica.estimate.requests_per_s / replica.attn_dp * replica.estimate.transfer_s


def numbers(group: ReplicaGroup) -> str:
    """Return "0-3, 7": the replicas of a group by number."""
    return runs(group.numbers)


def tokens_held(workload: WorkloadSpec, role: Role) -> float:
    """Return the mean tokens whose KV a running request holds: its prompt and, where it decodes, half of its answer."""
    return workload.isl.mean + (0.0 if role == "prefill" else workload.osl.mean / 2)
