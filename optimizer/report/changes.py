"""diff: what changed between two plans and why: inputs, options, versions and calibrations, or the choice alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from rich.console import Group, RenderableType
from rich.text import Text

from optimizer.compare import Row, input_differences, is_apart, plan_rows, replica_groups
from optimizer.cost.estimate import estimate
from optimizer.errors import InputError
from optimizer.plan import Plan
from optimizer.report.facts import case_of
from optimizer.report.tables import bullets, columns
from optimizer.topology.graph import build
from optimizer.units import show_seconds

MOST_INPUTS = 30


@dataclass(frozen=True)
class Changes:
    """What differs between two plans."""

    results: tuple[Row, ...]
    """Layout, engine, estimate, proof, seats: those that differ, with the relative change where there is one."""
    inputs: tuple[Row, ...]
    provenance: tuple[Row, ...]
    """Versions, calibrations, seed."""
    reasons: tuple[str, ...]

    def record(self) -> dict[str, object]:
        """Return the JSON record."""
        told = {"results": self.results, "inputs": self.inputs, "provenance": self.provenance}
        rows = {key: [{"key": row.key, "values": list(row.values)} for row in found] for key, found in told.items()}
        return {**rows, "reasons": list(self.reasons)}


def changes(a: Plan, b: Plan) -> Changes:
    """Return what changed from ``a`` to ``b``, and why."""
    results = tuple(_with_change(row, a, b) for row in plan_rows((a, b)) if row.differs)
    inputs, provenance = tuple(filter(_matters, input_differences(a, b))), _provenance(a, b)
    return Changes(results, inputs, provenance, tuple(_reasons(a, b, results, inputs, provenance)))


def _matters(row: Row) -> bool:
    """Return whether a differing input can move a number: names of sources and values left out cannot."""
    return ".sources" not in row.key and not set(row.values) <= {"None", "absent", "[]", "{}"}


def _numbers(plan: Plan) -> dict[str, float]:
    totals = plan.totals
    return {
        "objective": plan.objective.value, "GPUs": totals.gpus, "output tokens/s": totals.output_tokens_per_s,
        "requests/s": totals.requests_per_s, "TTFT": totals.ttft_s, "TPOT": totals.tpot_s,
    }  # fmt: skip


def _with_change(row: Row, a: Plan, b: Plan) -> Row:
    before, after = _numbers(a).get(row.key), _numbers(b).get(row.key)
    comparable = row.key != "objective" or a.objective.name == b.objective.name
    if before is None or after is None or not before or not comparable:
        return Row(row.key, (*row.values, ""))
    return Row(row.key, (*row.values, f"{after / before - 1:+.1%}"))


def _provenance(a: Plan, b: Plan) -> tuple[Row, ...]:
    ours, theirs = (
        dict(plan.provenance.versions) | {"seed": str(plan.provenance.seed)} | _engines(plan) for plan in (a, b)
    )
    keys = [*ours, *(key for key in theirs if key not in ours)]
    rows = (Row(key, (ours.get(key, "absent"), theirs.get(key, "absent"))) for key in keys)
    return tuple(row for row in rows if row.differs)


def _engines(plan: Plan) -> dict[str, str]:
    versions = sorted({f"{replica.engine.name} {replica.engine.version}" for replica in plan.replicas})
    return {"engine": ", ".join(versions)}


def _reasons(
    a: Plan, b: Plan, results: Sequence[Row], inputs: Sequence[Row], provenance: Sequence[Row]
) -> Iterator[str]:
    """Yield why, in words, the strongest cause first."""
    if not results and not inputs and not provenance:
        yield "the plans are equal"
        return
    for kind in ("cluster", "model", "workload", "weight", "more", "option"):
        keys = [row.key for row in inputs if row.key.startswith(kind)]
        if keys:
            yield f"{_KINDS.get(kind, kind)} differs: {', '.join(keys[:4])}{', ...' if len(keys) > 4 else ''}"
    yield from (f"{row.key}: {row.values[0]} before, {row.values[1]} after" for row in provenance)
    if inputs:
        yield from _held_against(a, b)
    elif any("calibration" in row.key or row.key == "tpopt" for row in provenance):
        yield "the inputs are the same: prices differ because tpopt or its calibration does"
    elif "feasible" in (a.status, b.status):
        yield "the inputs are the same: a plan that is not proven optimal may differ between runs"
    elif results and not provenance:
        yield "the inputs and versions are the same: equally good plans, or a file that was edited"


_KINDS = {"more": "what else shares the cluster"}


def _held_against(a: Plan, b: Plan) -> Iterator[str]:
    """Yield what the replicas of ``a`` would give under the inputs of ``b``, priced by this tpopt.

    Nothing where the two have other models, or prefill and decode apart: no sum of replicas says what these give.
    """
    if a.inputs.more or b.inputs.more or is_apart(a):
        return
    topology = build(b.inputs.cluster)
    mixed = b.model_copy(update={"replicas": a.replicas})
    tokens, slowest = 0.0, 0.0
    try:
        for group in replica_groups(a):
            case = case_of(mixed, group.one, topology)
            price = estimate(case, b.inputs.workload, group.one.estimate.concurrency)
            if not price.fits:
                yield f"the first plan's {group.label} does not fit the second's inputs: {price.reasons[0]}"
                return
            tokens += group.dp * price.output_tokens_per_s
            slowest = max(slowest, price.tpot_s)
    except InputError as error:
        yield f"the first plan's replicas cannot sit in the second's cluster: {error}"
        return
    if a.inputs.model.num_layers == b.inputs.model.num_layers:
        reached = f"{tokens:,.0f} tokens/s at TPOT {show_seconds(slowest)}"
        yield (
            f"the first plan's replicas under the second's inputs: {reached}; "
            f"the second plan: {b.totals.output_tokens_per_s:,.0f} tokens/s at TPOT {show_seconds(b.totals.tpot_s)}"
        )


def changed(names: tuple[str, str], found: Changes) -> RenderableType:
    """Return the changes as tables for people; files are called by their names, "a" and "b" when those are equal."""
    left, names = (0, 1, 2), _short(names)
    parts: list[RenderableType] = [bullets("Why", found.reasons)]
    if found.results:
        parts.append(columns("What changed", ("", *names, "change"), _cells(found.results), left=left))
    if found.inputs:
        shown = found.inputs[:MOST_INPUTS]
        parts.append(columns("Inputs and options", ("key", *names), _cells(shown), left=left))
        if len(found.inputs) > len(shown):
            parts.append(Text(f"  and {len(found.inputs) - len(shown)} more (all with --json)", style="dim"))
    if found.provenance:
        parts.append(columns("Versions", ("", *names), _cells(found.provenance), left=left))
    return Group(*parts)


def _short(names: tuple[str, str]) -> tuple[str, str]:
    first, second = (PurePath(name).name for name in names)
    return (first, second) if first != second else ("a", "b")


def _cells(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    return [(row.key, *row.values) for row in rows]
