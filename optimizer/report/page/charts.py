"""The charts of the report as plotly figures: data and layout as plain values, drawn by plotly.js in the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optimizer.compare import candidate_label, fixed_bytes, is_apart, replica_groups, service_names, workload_of
from optimizer.cost.quantities import Estimate
from optimizer.inputs.workload import WorkloadSpec
from optimizer.plan import Candidate, Plan, Replica
from optimizer.report.models import tokens_held
from optimizer.report.page.curves import Curve
from optimizer.report.pasted import PARTS
from optimizer.report.tables import of_capacity
from optimizer.units import GIB, show_seconds

CAUSES = {
    "gemm": "#2f6db3", "attention": "#b9531a", "collectives": "#27804f", "pipeline": "#7d4a9e", "overhead": "#8a97a6",
}  # fmt: skip
GROUPS = ("#2f6db3", "#b9531a", "#27804f", "#7d4a9e", "#0b7a82", "#a83d7c", "#866a14")
CHOSEN, OTHER, MISSED = "#b9531a", "#2f6db3", "#9aa6b4"
SECONDS = {"tickformat": "~s", "ticksuffix": "s"}
"""An axis of seconds, told in the unit that suits them."""
MOST_RANKS = 64
"""GPUs whose memory is drawn one by one; beyond, one replica stands for its equals."""
MOST_OTHERS = 5


@dataclass(frozen=True)
class Chart:
    """One chart and the same numbers as a table."""

    key: str
    title: str
    says: str
    data: tuple[Mapping[str, object], ...]
    layout: Mapping[str, object]
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def memory(plan: Plan) -> Chart:
    """Return what each GPU holds against its capacity, in GiB, KV of this load included."""
    every = plan.totals.gpus <= MOST_RANKS
    shown = [(f"R{number}", replica) for number, replica in enumerate(plan.replicas)]
    if not every:
        shown = [(f"{group.dp} x R", group.one) for group in replica_groups(plan)]
    bars = [(name, replica, rank) for name, replica in shown for rank in range(len(replica.seats))]
    labels = [f"{name}.{rank}" for name, _, rank in bars]
    parts = [_held(replica, rank, workload_of(plan, replica)) for _, replica, rank in bars]
    where = [_seat_words(replica, rank) for _, replica, rank in bars]
    looks = {"weights": "#2f6db3", "activations": "#7d4a9e", "overhead": "#8a97a6", "KV of this load": "#27804f"}
    data: list[dict[str, object]] = [
        {
            "type": "bar", "name": name, "x": labels, "y": [one[name] for one in parts], "marker": {"color": colour},
            "customdata": where, "hovertemplate": f"%{{x}} (%{{customdata}})<br>{name}: %{{y:.1f}} GiB<extra></extra>",
        }
        for name, colour in looks.items()
    ]  # fmt: skip
    data.append({
        "type": "scatter", "mode": "lines", "name": "capacity", "x": labels, "y": [one["capacity"] for one in parts],
        "line": {"color": "#c62828", "width": 2, "shape": "hvh"},
        "hovertemplate": "%{x}<br>capacity: %{y:.1f} GiB<extra></extra>",
    })  # fmt: skip
    layout: dict[str, object] = {"barmode": "stack", "xaxis": {"title": {"text": "replica.rank"}, "type": "category"},
              "yaxis": {"title": {"text": "GiB"}, "rangemode": "tozero"}}  # fmt: skip
    rows = tuple(
        (label, place, *(f"{one[name]:.1f}" for name in (*looks, "capacity")))
        for label, place, one in zip(labels, where, parts, strict=True)
    )
    says = "What a GPU holds; the line is what the engine may take of it. KV: a request's prompt and half its answer."
    return Chart("memory", "Memory of each GPU", says, tuple(data), layout, ("rank", "GPU", *looks, "capacity"), rows)


def _held(replica: Replica, rank: int, workload: WorkloadSpec) -> dict[str, float]:
    one = replica.estimate.memory[rank]
    sequences = replica.estimate.concurrency / replica.attn_dp
    need = sequences * (tokens_held(workload, replica.role) * one.kv_bytes_per_token + one.kv_bytes_per_sequence)
    parts = {
        "weights": one.weights_bytes, "activations": one.activation_bytes, "overhead": one.overhead_bytes,
        "KV of this load": min(need, max(0.0, one.capacity_bytes - fixed_bytes(one))), "capacity": one.capacity_bytes,
    }  # fmt: skip
    return {name: size / GIB for name, size in parts.items()}


def _seat_words(replica: Replica, rank: int) -> str:
    seat = next(seat for seat in replica.seats if seat.rank == rank)
    return f"{seat.node} GPU {seat.local_index}, stage {seat.stage}"


def step(plan: Plan, service: int, phase: str) -> Chart:
    """Return where the seconds of one step go, for the chosen layouts of one model and the next best."""
    own = [candidate for candidate in plan.candidates if candidate.service == service]
    spent = [(candidate, getattr(candidate, phase) or {}) for candidate in nearest(own)]
    told = [(candidate, parts) for candidate, parts in spent if any(parts.values())]
    shown = [candidate for candidate, _ in told]
    labels = [
        name + (" *" if candidate.chosen else "") for name, candidate in zip(names(shown, shown), shown, strict=True)
    ]
    data: tuple[dict[str, object], ...] = tuple(
        {
            "type": "bar", "orientation": "h", "name": part, "y": labels[::-1], "marker": {"color": CAUSES[part]},
            "x": [parts.get(part, 0.0) for _, parts in told][::-1],
            "hovertemplate": f"%{{y}}<br>{part}: %{{x:.3s}}s<extra></extra>",
        }
        for part in PARTS
    )  # fmt: skip
    layout: dict[str, object] = {"barmode": "stack", "xaxis": {"rangemode": "tozero", **SECONDS},
              "yaxis": {"type": "category", "automargin": True}}  # fmt: skip
    rows = tuple(
        (label, show_seconds(sum(parts.values())), *(show_seconds(parts.get(part, 0.0)) for part in PARTS))
        for label, (_, parts) in zip(labels, told, strict=True)
    )
    what = {"prefill": "One prompt on the idle replica", "decode": "One token for every running request"}[phase]
    what += "; the chosen layout (*) and the next best."
    key, of = _of(plan, service)
    title = f"Where a {phase} step{of} spends its time"
    return Chart(phase + key, title, what, data, layout, ("layout", "step", *PARTS), rows)


def _of(plan: Plan, service: int) -> tuple[str, str]:
    """Return what tells a model's chart from those of other models: for its key and for its title."""
    if not plan.inputs.more:
        return "", ""
    return f"-{service}", f" of {service_names(plan.inputs.services)[service]}"


def nearest(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the chosen layouts and the best of the others that fit."""
    others = [candidate for candidate in candidates if candidate.fits and not candidate.chosen]
    return [candidate for candidate in candidates if candidate.chosen] + others[:MOST_OTHERS]


def names(candidates: Sequence[Candidate], among: Sequence[Candidate]) -> list[str]:
    """Return the candidates' names with what tells them from others ``among`` them."""
    telling = [
        name
        for name in ("role", "weights", "kv_cache", "gpu_type", "span")
        if len({getattr(c, name) for c in among}) > 1
    ]
    return [" ".join([candidate_label(one), *(str(getattr(one, name)) for name in telling)]) for one in candidates]


def load(plan: Plan, found: Sequence[Curve], what: str) -> Chart:
    """Return throughput or TPOT of the chosen layouts against requests in flight, with objectives and chosen point.

    Throughput is in requests/s where some replicas only prefill; those have no TPOT.
    """
    is_rate, apart = what == "throughput", is_apart(plan)
    unit = "requests/s" if apart else "tokens/s"
    data: list[dict[str, object]] = []
    rows: list[tuple[str, ...]] = []
    for number, curve in enumerate(c for c in found if is_rate or c.group.one.role != "prefill"):
        colour, label = GROUPS[number % len(GROUPS)], curve.group.label
        xs = [point.concurrency for point in curve.points]
        ys = [_rate(point, apart=apart) * curve.group.dp if is_rate else point.tpot_s for point in curve.points]
        shown = f"%{{y:,.4g}} {unit}" if is_rate else "%{y:.3s}s"
        hover = f"{label}<br>%{{x}} requests a replica: {shown}<extra></extra>"
        data.append({"type": "scatter", "mode": "lines+markers", "name": label, "x": xs, "y": ys,
                     "line": {"color": colour}, "hovertemplate": hover})  # fmt: skip
        at = xs.index(curve.group.one.estimate.concurrency)
        data.append({"type": "scatter", "mode": "markers", "name": "chosen", "x": [xs[at]], "y": [ys[at]],
                     "marker": {"size": 15, "symbol": "star", "color": CHOSEN, "line": {"width": 1, "color": "#fff"}},
                     "showlegend": number == 0, "hovertemplate": hover})  # fmt: skip
        rows += [(label, f"{x}", f"{y:,.1f}" if is_rate else show_seconds(y)) for x, y in zip(xs, ys, strict=True)]
    title = "Throughput against load" if is_rate else "TPOT against load"
    axis = "TPOT" if not is_rate else unit if apart else "output tokens/s"
    layout: dict[str, object] = {
        "xaxis": {"title": {"text": "requests in flight, each replica"}, "type": "log", "dtick": 0.30103},
        "yaxis": {"title": {"text": axis}, "rangemode": "tozero", **({} if is_rate else SECONDS)},
    }
    bounds = [] if is_rate else _bounds(plan)
    if bounds:
        layout |= {"shapes": [_bound(at) for at, _ in bounds], "annotations": [_bound_label(*one) for one in bounds]}
    says = "The chosen layout at every load that fits its memory; the star is the chosen point."
    return Chart(what, title, says, tuple(data), layout, ("replicas", "requests each", axis), tuple(rows))


def _rate(point: Estimate, *, apart: bool) -> float:
    return point.requests_per_s if apart else point.output_tokens_per_s


def _bounds(plan: Plan) -> list[tuple[float, str]]:
    """Return the objectives on TPOT, each once, and what to say of them."""
    found: dict[tuple[float, str], list[str]] = {}
    for name, service in zip(service_names(plan.inputs.services), plan.inputs.services, strict=True):
        slo = service.workload.slo
        if slo.tpot is not None:
            percentile = f" at p{slo.percentile:g}" if slo.percentile else ""
            found.setdefault((slo.tpot, percentile), []).append(name)
    every = len(plan.inputs.services)
    return [
        (at, percentile + ("" if len(names) == every else f" of {', '.join(names)}"))
        for (at, percentile), names in found.items()
    ]


def _bound(at: float) -> dict[str, object]:
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": at, "y1": at,
            "line": {"color": "#c62828", "dash": "dash", "width": 1.5}}  # fmt: skip


def _bound_label(at: float, more: str) -> dict[str, object]:
    return {"xref": "paper", "x": 0, "xanchor": "left", "y": at, "yanchor": "bottom", "showarrow": False,
            "text": f"objective {show_seconds(at)}{more}", "font": {"color": "#c62828"}}  # fmt: skip


def pareto(plan: Plan, service: int) -> Chart:
    """Return one model's candidates that fit by TPOT and throughput, the best compromises joined, the chosen marked."""
    own = [one for one in plan.candidates if one.service == service]
    told = [one for one in own if one.fits and one.tpot_s and one.output_tokens_per_s]
    front = front_of(told)
    line: dict[str, object] = {
        "type": "scatter", "mode": "lines", "name": "Pareto front", "x": [one.tpot_s or 0.0 for one in front],
        "y": [one.output_tokens_per_s for one in front], "line": {"color": "#27804f", "dash": "dot"},
        "hoverinfo": "skip",
    }  # fmt: skip
    layout: dict[str, object] = {
        "xaxis": {"title": {"text": "TPOT, less is better"}, **SECONDS}, "hovermode": "closest",
        "yaxis": {"title": {"text": "output tokens/s, more is better"}, "rangemode": "tozero"},
    }  # fmt: skip
    says = "Every layout that fits, each as equal replicas by itself; on the dotted line nothing is better in both."
    if any(one.role == "decode" for one in told):
        says += " Those for decode: as if all prompts came to them computed."
    heads = ("layout", "TPOT", "tokens/s", "on the front")
    key, of = _of(plan, service)
    data = (line, *_dots(told, own))
    return Chart(f"pareto{key}", f"All candidates{of}", says, data, layout, heads, _by_tpot(told, front))


def _dots(told: Sequence[Candidate], own: Sequence[Candidate]) -> list[dict[str, object]]:
    """Return the points of a scatter by what they are to the plan."""
    kinds = (
        ("meets the workload", OTHER, "circle", [one for one in told if one.meets and not one.chosen]),
        ("does not meet it", MISSED, "circle-open", [one for one in told if not one.meets and not one.chosen]),
        ("chosen", CHOSEN, "star", [one for one in told if one.chosen]),
    )
    return [
        {
            "type": "scatter", "mode": "markers", "name": name, "x": [one.tpot_s or 0.0 for one in group],
            "y": [one.output_tokens_per_s for one in group], "text": [_point_words(one, own) for one in group],
            "marker": {"color": colour, "symbol": symbol, "size": 16 if name == "chosen" else 9},
            "hovertemplate": "%{text}<extra></extra>",
        }
        for name, colour, symbol, group in kinds if group
    ]  # fmt: skip


def _by_tpot(told: Sequence[Candidate], front: Sequence[Candidate]) -> tuple[tuple[str, ...], ...]:
    """Return a line for each point, least TPOT first."""
    on_front = {id(one) for one in front}
    ordered = sorted(told, key=lambda one: one.tpot_s or 0.0)
    return tuple(
        (
            name, show_seconds(one.tpot_s or 0.0), f"{one.output_tokens_per_s:,.0f}",
            "yes" if id(one) in on_front else "",
        )
        for name, one in zip(names(ordered, told), ordered, strict=True)
    )  # fmt: skip


def front_of(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates that no other beats in TPOT and throughput both, by TPOT."""
    front: list[Candidate] = []
    for one in sorted(candidates, key=lambda c: (c.tpot_s or 0.0, -(c.output_tokens_per_s or 0.0))):
        if not front or (one.output_tokens_per_s or 0.0) > (front[-1].output_tokens_per_s or 0.0):
            front.append(one)
    return front


def _point_words(one: Candidate, among: Sequence[Candidate]) -> str:
    return "<br>".join((
        *names([one], among), f"{one.dp} replicas on {one.gpus} GPUs, {one.concurrency} requests in flight",
        f"{one.output_tokens_per_s:,.0f} tokens/s", f"TTFT {show_seconds(one.ttft_s or 0.0)}, "
        f"TPOT {show_seconds(one.tpot_s or 0.0)}", of_capacity(one.memory_bytes, one.capacity_bytes), one.why,
    ))  # fmt: skip
