"""solve's answer for people: layout, seats, memory, proof, why it won, what it assumes."""

import re
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from optimizer.compare import ReplicaGroup, fixed_bytes, replica_groups, runs, service_names, workload_of
from optimizer.cost.quantities import RankMemory
from optimizer.inputs.hostlist import folded
from optimizer.inputs.workload import WorkloadSpec
from optimizer.plan import NO_WORKLOAD, Objective, Plan, Replica, Survival
from optimizer.report.candidates import candidate_table, leading, seconds_table
from optimizer.report.damage import fault_lines
from optimizer.report.models import (
    by_model,
    handed_part,
    headline,
    models_part,
    numbers,
    of_asked,
    tokens_held,
    workload_line,
)
from optimizer.report.seats import MOST_LINES, seats_part
from optimizer.report.tables import Screen, amount, bullets, columns, memory_bar, pairs, percent
from optimizer.report.winning import winning
from optimizer.units import show_bytes, show_bytes_per_s, show_number, show_seconds

MAX_OTHERS = 5
"""Layouts beside those chosen; ``compare`` lists all."""


def solved(
    plan: Plan, seconds: Mapping[str, float], screen: Screen, *, assumed: bool = False, full: bool = False
) -> RenderableType:
    """Return the answer of ``solve``; ``assumed`` says that no workload was given, ``full`` leaves nothing out."""
    groups = replica_groups(plan)
    return Group(
        Text(headline(plan), style="bold green"),
        pairs("Answer", _answer(plan, seconds, assumed=assumed)),
        models_part(plan),
        *(_layouts(name if plan.inputs.more else "", own) for name, own in by_model(plan)),
        pairs("Engine", ((numbers(group), _settings(group)) for group in groups)),
        handed_part(plan),
        seats_part(plan, full=full),
        _memory(plan, groups, screen),
        _links(plan, full=full),
        _beside(plan, screen, full=full),
        bullets("Faults", fault_lines(plan, amount)),
        bullets("Notes", _notes(plan)),
    )


def _answer(plan: Plan, seconds: Mapping[str, float], *, assumed: bool) -> Iterable[tuple[str, str]]:
    totals, objective = plan.totals, plan.objective
    yield "objective", ", then ".join(_goal(plan, one) for one in (objective, *objective.then))
    yield "proof", proof_line(plan, seconds)
    if plan.survival is not None:
        yield "survives", _survival_line(plan.survival)
    if not plan.inputs.more:
        yield "workload", workload_line(plan.inputs.workload) + (" (assumed: no workload was given)" if assumed else "")
    one = not plan.inputs.more
    served = of_asked(totals.requests_per_s, plan.inputs.workload) if one else show_number(totals.requests_per_s)
    short = " asked for: the rest is not served" if " of " in served else ""
    yield "output", f"{totals.output_tokens_per_s:,.1f} tokens/s, {served} requests/s{short}"
    yield "latency", f"TTFT {show_seconds(totals.ttft_s)}, TPOT {show_seconds(totals.tpot_s)} (means at this load)"
    if totals.cost_per_h is not None:
        per_million = totals.cost_per_h / (totals.output_tokens_per_s * 3600) * 1_000_000
        yield "cost", f"{totals.cost_per_h:,.2f} {totals.currency}/h, {per_million:,.3g} per million output tokens"
    if totals.power_w is not None:
        joules = totals.power_w / totals.output_tokens_per_s
        yield "power", f"at most {totals.power_w / 1000:,.3g} kW, {joules:,.3g} J per output token (TDP of these GPUs)"
    yield from winning(plan)


def _goal(plan: Plan, one: Objective) -> str:
    weighted = one.name == "throughput" and any(service.weight != 1 for service in plan.inputs.services)
    return f"{one.name}: {amount(one.value, one.unit)}" + (", each by its model's weight" if weighted else "")


def _survival_line(survival: Survival) -> str:
    """Return what the worst failure takes and leaves."""
    told = f"any single {survival.failure}"
    if survival.worst is None:
        return f"{told}: no replica needs one"
    left = f"{show_number(survival.requests_per_s)} requests/s, {survival.concurrency} in flight"
    lost = ", ".join(map(str, survival.replicas_lost))
    return f"{told}; worst {survival.worst} (takes replica {lost}) leaves {left}"


def proof_line(plan: Plan, seconds: Mapping[str, float]) -> str:
    """Return status, bound, gap and seconds: "optimal" is only said when the bound equals the value."""
    objective = plan.objective
    took = f", {seconds['total'] if 'total' in seconds else sum(seconds.values()):.2g} s" if seconds else ""
    return f"{plan.status}, bound {amount(objective.bound, objective.unit)}, gap {objective.gap:.2%}{took}"


def _layouts(model: str, groups: Sequence[ReplicaGroup]) -> RenderableType:
    """Return the layouts of one model; ``model`` is its name where there are several."""
    title = f"Layout of {model}" if model else "Layout"
    shared = ("TPxPPxDP", "GPU", "weights KV", "requests", "TTFT", "TPOT")
    if any(group.one.role != "both" for group in groups):
        return columns(title, ("replica", "role", *shared), map(_row_apart, groups), left=(0, 1, 2, 3, 4))
    return columns(title, ("replica", *shared, "tokens/s"), map(_row, groups), left=(0, 1, 2, 3))


def _row(group: ReplicaGroup) -> tuple[str, ...]:
    one, price = group.one, group.one.estimate
    return (
        numbers(group), f"{one.tp} x {one.pp} x {group.dp}{_within(one)}", one.gpu_type,
        f"{one.weights} {one.kv_cache}",
        str(price.concurrency), show_seconds(price.ttft_s), show_seconds(price.tpot_s),
        f"{price.output_tokens_per_s * group.dp:,.0f}",
    )  # fmt: skip


def _within(one: Replica) -> str:
    """Return the degrees that few layouts have."""
    more = {"attndp": one.attn_dp, "dcp": one.dcp, "pcp": one.pcp}
    return "".join(f" {name}{degree}" for name, degree in more.items() if degree > 1)


def _row_apart(group: ReplicaGroup) -> tuple[str, ...]:
    """Return a line with the role; what only prefills has no TPOT, and TTFT is each role's own part of it."""
    number, *layout, tpot, _tokens = _row(group)
    return number, group.one.role, *layout, "-" if group.one.role == "prefill" else tpot


def _settings(group: ReplicaGroup) -> str:
    one, engine = group.one, group.one.engine
    more = {"EP": one.ep, "DCP": one.dcp, "PCP": one.pcp, "attention DP": one.attn_dp}
    told = "".join(f", {name} {degree}" for name, degree in more.items() if degree > 1)
    stages = f", layers {'+'.join(map(str, one.layers_per_stage))}" if one.pp > 1 else ""
    return (
        f"{engine.name} {engine.version}, max_num_seqs {engine.max_num_seqs}, "
        f"max_num_batched_tokens {engine.max_num_batched_tokens}, max_model_len {engine.max_model_len}{stages}{told}"
    )


def _memory(plan: Plan, groups: tuple[ReplicaGroup, ...], screen: Screen) -> RenderableType:
    """Return a line for each stage; stages that hold the same share one."""
    kinds = [_alike(plan, group) for group in groups]
    wider = max((len(stages) - len("stages") for kind in kinds for stages, _ in kind), default=0)
    width = max(3, min(40, screen.width - 72) - max(0, wider))
    rows = [
        (numbers(group), stages, *memory_row(rank, group.one, workload_of(plan, group.one), screen, width))
        for group, kind in zip(groups, kinds, strict=True)
        for stages, rank in kind
    ]
    heads = ("replica", "stages", "weights", "other", "KV load/pool", "used", "capacity", "")
    signs = "█ weights ▓ other ▒ KV" if screen.unicode else "# weights = other + KV"
    title = f"Memory of the fullest GPU of each stage, GiB ({signs})"
    return columns(title, heads, rows, left=(0, 1, 7))


def _alike(plan: Plan, group: ReplicaGroup) -> list[tuple[str, RankMemory]]:
    """Return "0, 3" and a rank of theirs: the stages that look alike, with their GPU type where stages differ in it."""
    found: dict[tuple[object, ...], list[RankMemory]] = {}
    for rank in fullest_ranks(group.one.estimate.memory):
        looks = memory_row(rank, group.one, workload_of(plan, group.one), Screen(), 0)
        found.setdefault((_type(group.one, rank.stage), *looks), []).append(rank)
    return [
        (f"{runs([rank.stage for rank in ranks])}{_type(group.one, ranks[0].stage)}", ranks[0])
        for ranks in found.values()
    ]


def _type(replica: Replica, stage: int) -> str:
    return f" {replica.type_of(stage)}" if replica.gpu_types else ""


def fullest_ranks(memory: Iterable[RankMemory]) -> list[RankMemory]:
    """Return the fullest rank of each stage, in stage order."""
    by_stage: dict[int, RankMemory] = {}
    for rank in memory:
        held = by_stage.setdefault(rank.stage, rank)
        if fixed_bytes(rank) > fixed_bytes(held):
            by_stage[rank.stage] = rank
    return [by_stage[stage] for stage in sorted(by_stage)]


def memory_row(
    rank: RankMemory, replica: Replica, workload: WorkloadSpec, screen: Screen, width: int
) -> tuple[str, str, str, str, str, str]:
    """Return weights, the rest, KV of this load and of the whole pool, the sum, capacity and its bar, in GiB.

    A request holds its prompt and, in the mean, half of its answer where it is decoded.
    """
    sequences = replica.estimate.concurrency / replica.attn_dp
    tokens = sequences * tokens_held(workload, replica.role)
    need = tokens * rank.kv_bytes_per_token + sequences * rank.kv_bytes_per_sequence
    pool = max(0.0, rank.capacity_bytes - fixed_bytes(rank))
    held = min(need, pool)
    other = rank.activation_bytes + rank.overhead_bytes
    used = fixed_bytes(rank) + held
    bar = memory_bar(
        (rank.weights_bytes, other, held), rank.capacity_bytes, width=width, unicode=screen.unicode
    )  # fmt: skip
    share = percent(used / rank.capacity_bytes) if rank.capacity_bytes else "-"
    figures = (rank.weights_bytes, other, used, rank.capacity_bytes)
    weights, rest, total, capacity = (show_bytes(value).removesuffix(" GiB") for value in figures)
    kv = f"{show_bytes(held).removesuffix(' GiB')}/{show_bytes(pool).removesuffix(' GiB')}"
    return weights, rest, kv, total, capacity, f"{bar} {share}"


def _links(plan: Plan, *, full: bool) -> RenderableType:
    """Return what is set aside on shared boundaries, summed by domain; nothing when no replica crosses one."""
    totals: dict[str, float] = {}
    for replica in plan.replicas:
        for reservation in replica.reservations:
            totals[reservation.domain] = totals.get(reservation.domain, 0.0) + reservation.bytes_per_s
    rows = list(boundaries(totals))
    shown = rows if full else rows[:MOST_LINES]
    return columns("Bandwidth set aside, per direction", ("boundary", "reserved"), shown) if rows else Group()


def boundaries(rates: Mapping[str, float]) -> Iterable[tuple[str, str]]:
    """Yield each boundary with its rate; parts of a node or leaf share a line, and so do equal nodes or leaves."""
    inside: dict[tuple[str, float], list[str]] = {}
    for domain, rate in sorted(rates.items(), key=lambda item: _natural(item[0])):
        parent, _, part = domain.rpartition("/")
        inside.setdefault((parent, rate), []).append(part)
    alike: dict[tuple[float, bool, str], list[str]] = {}
    for (parent, rate), parts in inside.items():
        alike.setdefault((rate, bool(parent), folded(parts)), []).append(parent)
    for (rate, has_parent, parts_told), parents in alike.items():
        several = len(parents) > 1 or "[" in parts_told or "," in parts_told
        where = f"{folded(parents)}/{parts_told}" if has_parent else parts_told
        yield where, show_bytes_per_s(rate) + (" each" if several else "")


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts "n2" before "n10"."""
    return [(int(digits or 0), text) for text, digits in re.findall(r"(\D*)(\d*)", name)]


def _beside(plan: Plan, screen: Screen, *, full: bool) -> RenderableType:
    """Return for each model the chosen layouts and the next best, each as equal replicas by itself."""
    parts: list[RenderableType] = []
    for number, name in enumerate(service_names(plan.inputs.services)):
        own = [candidate for candidate in plan.candidates if candidate.service == number]
        chosen = [candidate for candidate in own if candidate.chosen]
        others = [candidate for candidate in own if full or (candidate.fits and not candidate.chosen)]
        kinds = max(1, len({candidate.role for candidate in own}))
        shown = own if full else chosen + leading(others, max(2, MAX_OTHERS // kinds))
        what = f"{name}: " if plan.inputs.more else ""
        title = f"{what}Chosen (*) and next best: {len(shown)} of {len(own)} layouts, each as equal replicas alone"
        parts += [candidate_table(title, shown, screen), seconds_table(shown if full else chosen)]
    return Group(*parts)


def _notes(plan: Plan) -> tuple[str, ...]:
    estimates = (note for replica in plan.replicas for note in replica.estimate.notes)
    said = (note for note in plan.provenance.notes if not note.startswith(NO_WORKLOAD))
    return tuple(dict.fromkeys((*said, *estimates)))
