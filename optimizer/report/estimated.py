"""estimate's answer for people."""

from collections.abc import Mapping
from dataclasses import asdict

from rich.console import Group, RenderableType
from rich.text import Text

from optimizer.compare import shares
from optimizer.cost.quantities import Estimate, RankMemory
from optimizer.report.candidates import PARTS
from optimizer.report.tables import Screen, bullets, columns, memory_bar, pairs, percent
from optimizer.units import show_bytes, show_number, show_seconds


def estimated(title: str, estimate: Estimate, settings: Mapping[str, object], screen: Screen) -> RenderableType:
    """Return one priced layout: latency, throughput, memory per rank, where the time goes, the settings priced."""
    verdict = "fits" if estimate.fits else "does not fit (priced all the same)"
    figures = [
        ("TTFT", f"{show_seconds(estimate.ttft_s)} (mean at this load, queueing included)"),
        ("TPOT", show_seconds(estimate.tpot_s)),
        ("output", f"{estimate.output_tokens_per_s:,.1f} tokens/s, {show_number(estimate.requests_per_s)} requests/s"),
        ("memory", verdict),
    ]
    if estimate.transfer_s:
        figures.insert(2, ("KV transfer", f"{show_seconds(estimate.transfer_s)} for one request (this side's pace)"))
    return Group(
        Text(
            f"{title}: {estimate.concurrency} requests in flight", style="bold green" if estimate.fits else "bold red"
        ),
        pairs("Estimate", figures),
        bullets("Does not fit", estimate.reasons),
        _memory(estimate.memory, screen),
        _seconds(estimate),
        pairs("Settings", ((key, _setting(value)) for key, value in settings.items())),
        bullets("Notes", estimate.notes),
    )


def _setting(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _memory(memory: tuple[RankMemory, ...], screen: Screen) -> RenderableType:
    """Return the ledger; equal ranks of one stage share a line."""
    lines: dict[tuple[object, ...], list[int]] = {}
    for rank in memory:
        same = tuple(value for key, value in asdict(rank).items() if key != "rank")
        lines.setdefault(same, []).append(rank.rank)
    by_rank = {rank.rank: rank for rank in memory}
    rows = [_memory_row(by_rank[ranks[0]], ranks, screen) for ranks in lines.values()]
    heads = ("ranks", "stage", "weights", "activations", "overhead", "KV tokens", "capacity", "")
    return columns("Memory per rank, GiB", heads, rows, left=(0, 1, 7))


def _memory_row(rank: RankMemory, ranks: list[int], screen: Screen) -> tuple[str, ...]:
    parts = (rank.weights_bytes, rank.activation_bytes, rank.overhead_bytes)
    bar = memory_bar(parts, rank.capacity_bytes, width=max(8, screen.width - 72), unicode=screen.unicode)
    named = str(ranks[0]) if len(ranks) == 1 else f"{ranks[0]}-{ranks[-1]}"
    figures = (show_bytes(value).removesuffix(" GiB") for value in parts)
    return named, str(rank.stage), *figures, f"{rank.kv_tokens:,}", show_bytes(rank.capacity_bytes)[:-4], bar


def _seconds(estimate: Estimate) -> RenderableType:
    phases = asdict(estimate.breakdown)
    rows = [
        (phase, show_seconds(sum(parts.values())), *(f"{show_seconds(parts[part])}" for part in PARTS))
        for phase, parts in phases.items()
    ]
    told = [(phase, "", *(percent(shares(parts).get(part, 0.0)) for part in PARTS)) for phase, parts in phases.items()]
    both = [line for pair in zip(rows, told, strict=True) for line in pair]
    return columns(
        "Where the time goes: one prompt, one decode step, one request at this load", ("phase", "step", *PARTS), both
    )
