"""One decode step, traced to kernels, links and the constants measured on them."""

from collections.abc import Iterator

from optimizer.cost.batch import Batch, fullest, is_captured, rows_of
from optimizer.cost.case import Case
from optimizer.cost.collectives import collective, link, part, volume_factor
from optimizer.cost.layers import routed
from optimizer.cost.operators import Matrix, Rate, gemm
from optimizer.cost.pipeline import part_of
from optimizer.cost.quantities import Breakdown
from optimizer.cost.speculation import drafter
from optimizer.cost.step import stage_prices
from optimizer.cost.work import LayerWork, work
from optimizer.inputs.calibration import CollectiveFit
from optimizer.report.facts import Fact, fact, source_of
from optimizer.report.loads import MEDIA
from optimizer.topology.wiring import GroupPath
from optimizer.units import MB, show_bytes, show_bytes_per_s, show_seconds

ROOFLINE = "fixed + ((bytes / B)^p + (FLOP / F)^p)^(1/p)"


def step_fact(name: str, case: Case, parts: Breakdown, running: float, context: float) -> Fact:
    """Return a decode step of ``running`` sequences by cause, each down to its kernels."""
    micro = min(case.layout.pp, max(1, int(running)))
    decodes = running / micro
    batch = fullest(case, Batch(decodes=decodes, context=context))
    rows = rows_of(case, batch)
    pipelined = f"; PP runs it as {micro} micro-batches of {decodes:g}" if micro > 1 else ""
    causes = f"gemm + attention + collectives + pipeline + overhead{pipelined}"
    pipeline = _pipeline(case, parts.pipeline, rows)
    if not case.further:
        gemm_fact, *others, overhead = _causes(case, range(case.layout.pp), parts, batch, rows)
        return fact(name, parts.total, show_seconds(parts.total), causes, gemm_fact, *others, pipeline, overhead)
    stages = [_on_one_type(part, held, batch, rows) for part, held in case.parts]
    return fact(
        name, parts.total, show_seconds(parts.total), f"stages of each type + pipeline{pipelined}", *stages, pipeline
    )


def _on_one_type(case: Case, held: range, batch: Batch, rows: float) -> Fact:
    """Return what the stages on GPUs of one type take, by cause."""
    constants, price = work(case), stage_prices(case, batch)
    parts = Breakdown.sum(
        Breakdown(*price(constants.shapes[index])) for index in constants.order[held.start : held.stop]
    )
    name = f"stage {held.start}" if len(held) == 1 else f"stages {held.start} to {held[-1]}"
    return fact(
        f"{name} on {case.gpu.id}", parts.total, show_seconds(parts.total),
        "gemm + attention + collectives + overhead", *_causes(case, held, parts, batch, rows),
    )  # fmt: skip


def _causes(case: Case, held: range, parts: Breakdown, batch: Batch, rows: float) -> tuple[Fact, ...]:
    """Return what stages on GPUs of one type take, cause by cause."""
    return (
        _gemm(case, held, parts.gemm, rows),
        _attention(case, parts.attention, batch.decodes, batch.context),
        _collectives(case, held, parts.collectives, rows, batch),
        _overhead(case, held, parts.overhead, captured=is_captured(case, batch)),
    )


def calibration_source(case: Case, *keys: str) -> str:
    """Return where a measured constant comes from; kin and borrowed values say so."""
    fits = case.calibration
    told = f"calibration {fits.gpu} ({fits.engine}, {fits.date})"
    borrowed = [origin for key, origin in fits.borrowed.items() if key in keys]
    kin = f", nearest measured kin of {case.gpu.id}" if fits.gpu != case.gpu.id else ""
    detail = source_of(fits.sources, *keys)
    return told + kin + (f": {detail}" if detail else "") + (f"; borrowed: {borrowed[0]}" if borrowed else "")


def host_fact(case: Case, name: str, key: str) -> Fact:
    """Return a constant of the host."""
    seconds: float = getattr(case.calibration.host, key)
    return fact(name, seconds, show_seconds(seconds), source=calibration_source(case, "host"))


def _gemm(case: Case, held: range, seconds: float, rows: float) -> Fact:
    constants = work(case)
    kinds = list(zip(constants.kinds, _layers(case, held), strict=True))
    inputs = [_kind(case, kind, number, count, rows) for number, (kind, count) in enumerate(kinds)]
    formula = f"sum over layers of their matrix products of {rows:g} rows (padded to a captured graph)"
    if held.stop == case.layout.pp:
        inputs, formula = [*inputs, _matrix(case, "head", constants.head, rows)], f"{formula}, and the head"
    return fact("gemm", seconds, show_seconds(seconds), formula, *inputs)


def _layers(case: Case, held: range) -> tuple[int, ...]:
    """Return the layers of each kind in some stages."""
    constants = work(case)
    counts = [constants.shapes[index].counts for index in constants.order[held.start : held.stop]]
    return tuple(sum(column) for column in zip(*counts, strict=True))


def _kind(case: Case, kind: LayerWork, number: int, count: int, rows: float) -> Fact:
    matrices = (*kind.attention.matrices, *kind.matrices, *kind.attention.decode_matrices)
    inputs = [_matrix(case, f"matrix {index + 1}", one, rows) for index, one in enumerate(matrices)]
    seconds = sum(gemm(one, rows) for one in matrices)
    more = " and the experts that are hit" if kind.experts is not None else ""
    name = "layer" if len(work(case).kinds) == 1 else f"layer of kind {number + 1}"
    return fact(name, seconds, f"{show_seconds(seconds)} x {count} layers", f"sum of its matrices{more}", *inputs)


def _matrix(case: Case, name: str, one: Matrix, rows: float) -> Fact:
    seconds, n_bytes = gemm(one, rows), one.weight_bytes + one.io_bytes_per_row * rows
    return fact(
        name, seconds, show_seconds(seconds), ROOFLINE,
        fact("bytes", n_bytes, show_bytes(n_bytes), f"weights {show_bytes(one.weight_bytes)} + activations"),
        fact("FLOP", one.flop_per_row * rows, f"{one.flop_per_row * rows:.4g} FLOP", "2 x rows x K x N of the shard"),
        *_rate(case, one.rate, "gemm"),
    )  # fmt: skip


def _rate(case: Case, rate: Rate, family: str) -> Iterator[Fact]:
    gpu, source = case.gpu, calibration_source(case, family)
    share, peak = rate.bytes_per_s / gpu.memory_bandwidth, show_bytes_per_s(gpu.memory_bandwidth)
    datasheet = source_of(gpu.sources, "memory_bandwidth")
    yield fact(
        "B", rate.bytes_per_s, show_bytes_per_s(rate.bytes_per_s), "measured share x datasheet bandwidth",
        fact("share", share, f"{share:.3f}", source=source),
        fact("datasheet bandwidth", gpu.memory_bandwidth, peak, source=datasheet),
    )  # fmt: skip
    yield fact(
        "F", rate.flop_per_s, f"{rate.flop_per_s:.4g} FLOP/s", "measured share x datasheet matrix rate (dense)",
        fact("bf16 peak", gpu.peak.bf16, f"{gpu.peak.bf16:.4g} FLOP/s", source=source_of(gpu.sources, "peak")),
    )  # fmt: skip
    yield fact("p", rate.power, f"{rate.power:g}", source=source)
    yield fact("fixed", rate.fixed_s, show_seconds(rate.fixed_s), source=source)


def _attention(case: Case, seconds: float, sequences: float, context: float) -> Fact:
    constants = work(case)
    inputs = [
        fact("sequences", sequences, f"{sequences:g}", "running / (micro-batches x attention DP)"),
        fact("context", context, f"{context:g} tokens", "ISL + OSL / 2 x (1 + cv^2)"),
    ]
    for number, kind in enumerate(constants.kinds):
        name = "layer" if len(constants.kinds) == 1 else f"layer of kind {number + 1}"
        at = kind.attention
        inputs.append(
            fact(
                f"KV bytes per token and {name}",
                at.kv_bytes_per_token,
                show_bytes(at.kv_bytes_per_token),
                "KV heads of the rank x (key + value width) x bytes of a cached number",
                *_rate(case, at.decode, "attention_decode"),
            )
        )
    formula = f"layers x ({ROOFLINE} + sequences x per sequence), bytes: sequences x context x KV bytes"
    return fact("attention", seconds, show_seconds(seconds), formula, *inputs)


def _collectives(case: Case, held: range, seconds: float, rows: float, batch: Batch) -> Fact:
    if case.layout.ranks_per_stage == 1:
        return fact("collectives", seconds, show_seconds(seconds), "none: a stage is one rank")
    constants, group = work(case), part(case.wiring.group, case.layout.tp)
    reduces = sum(kind.all_reduces * count for kind, count in zip(constants.kinds, _layers(case, held), strict=True))
    message = rows * constants.hidden_bytes
    each = collective(case.calibration, "all_reduce", message, group)
    reduced = fact("all-reduce", each, show_seconds(each), _collective_formula(group),
                   fact("message", message, show_bytes(message), "rows x hidden width x 2 bytes"),
                   *_path(case, group))  # fmt: skip
    among = f"{reduces} all-reduces in the layers, one of the embedding, one gather of logits"
    return fact(
        "collectives", seconds, show_seconds(seconds),
        f"{among if case.layout.tp > 1 else 'no TP group'} (and what follows, once a layer)",
        *([reduced] if case.layout.tp > 1 else []), *_exchanged(case, rows, batch),
    )  # fmt: skip


def _exchanged(case: Case, rows: float, batch: Batch) -> Iterator[Fact]:
    """Yield what attention replicas and context parallel ranks send each other in a layer."""
    constants, layout, groups = work(case), case.layout, part_of(case).groups
    if any(kind.exchanges for kind in constants.kinds):
        everyone = routed(case, batch, rows)
        each = groups.exchange(rows, everyone)
        yield fact("exchange", each, show_seconds(each), "all rows gathered for the experts, their sums scattered",
                   fact("rows", everyone, f"{everyone:g}", "of all attention replicas and prefill context ranks",
                        source="vLLM: all2all backend allgather_reducescatter"))  # fmt: skip
    if layout.dcp > 1:
        each = groups.merge(batch.decodes, 0.0, 0.0)
        yield fact("merge", each, show_seconds(each), "queries gathered, outputs reduced, over decode context ranks")


def _collective_formula(group: GroupPath) -> str:
    if group.domains > 1:
        return "inside each domain, then between domains: reduce-scatter, all-reduce, all-gather"
    return (
        "the engine's own kernel up to its limit, else the faster of in-switch reduction and ring: "
        "base + steps x hop + volume / (efficiency x rate) + ramp x sqrt(message / 1 MB)"
    )


def _path(case: Case, group: GroupPath) -> Iterator[Fact]:
    factor = volume_factor("all_reduce", group.ranks)
    yield fact("volume", factor, f"{factor:.3f} x message", "2(n-1)/n", source="nccl-tests, PERFORMANCE.md")
    ways = [("inside", group.inner, group.inner_bytes_per_s), ("between", group.outer, group.outer_bytes_per_s)]
    for name, medium, rate in ways:
        if medium == "local":
            continue
        fit = link(case.calibration, medium).operations["all_reduce"]
        yield fact(
            f"rate {name}", rate, f"{show_bytes_per_s(rate)} over {MEDIA[medium]}",
            "nominal, per direction, of the seats taken", *_fit(case, fit, medium), source="cluster and GPU catalogue",
        )  # fmt: skip


def _fit(case: Case, fit: CollectiveFit, medium: str) -> Iterator[Fact]:
    source = calibration_source(case, f"links {medium}", "links")
    yield fact("efficiency", fit.efficiency, f"{fit.efficiency:.3f}", source=source)
    yield fact("base", fit.base, show_seconds(fit.base), source=source)
    yield fact("hop", fit.hop, show_seconds(fit.hop), source=source)
    yield fact("ramp", fit.ramp, f"{show_seconds(fit.ramp)} at {MB:,} B", source=source)


def _pipeline(case: Case, seconds: float, rows: float) -> Fact:
    message = 2 * rows * work(case.at(0)).hidden_bytes
    hops = [
        fact(f"to stage {number + 1}", hop.bytes_per_s,
             f"{show_bytes_per_s(hop.bytes_per_s)} over {MEDIA[hop.medium]}",
             f"{hop.streams} ranks send at once", source="cluster and GPU catalogue")
        for number, hop in enumerate(case.wiring.hops)
    ]  # fmt: skip
    if not hops:
        return fact("pipeline", seconds, show_seconds(seconds), "none: one stage")
    sent = fact("message", message, show_bytes(message), "hidden state and residual of every row")
    return fact("pipeline", seconds, show_seconds(seconds), "one hand-over between stages each", sent, *hops)


def _overhead(case: Case, held: range, seconds: float, *, captured: bool) -> Fact:
    kernels = sum(work(case).shapes[index].kernels for index in work(case).order[held.start : held.stop])
    gap = case.calibration.kernel
    how = "the graph is captured: no launches" if captured else "not captured: the host launches kernel by kernel"
    more = " + drafting" if drafter(case) is not None else ""
    return fact(
        "overhead", seconds, show_seconds(seconds),
        f"kernels x gap of a kernel + elementwise traffic + sampling{more}, at least the host's shortest step ({how})",
        fact("kernels", kernels, f"{kernels}", "of all layers and stages"),
        fact("gap of a kernel", gap, show_seconds(gap), source=calibration_source(case, "kernel")),
        host_fact(case, "sampling per sequence", "per_sequence"), host_fact(case, "shortest step", "step_floor"),
    )  # fmt: skip
