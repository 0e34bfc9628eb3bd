"""How far predictions are from measurements: every row of a measurements.csv priced, errors per metric, model, layout.

``validate(rows, load_model=..., load_gpu=..., load_calibration=..., load_engine=...) -> Validation`` takes rows as
dictionaries of text (one value a row; an empty setting means that engine version's default) and never drops one: what
cannot be priced is listed with the reason. The loaders are those of ``inputs.presets`` (or ``inputs.read`` for the
user's own models); each may raise InputError, which becomes the row's reason.

Error = (predicted - measured) / measured, both in the row's unit: s, ms or us, tokens, tokens/s. By the metric's name:
kv_tokens: tokens of the engine's KV pool. ttft: first token of the first of ``concurrency`` prompts on an idle engine.
tpot: seconds per token with ``concurrency`` requests in decode. burst_tpot: the mean of ``concurrency`` requests sent
to an idle engine at once, prefill of later ones between the tokens of earlier ones included. batch_prefill_time: until
the last of ``concurrency`` prompts has its token. batch_output_tokens_per_s: ``concurrency`` requests sent at once,
until the last has ended. closed_loop_output_tokens_per_s: steady window of a closed loop over ``requests``.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import ceil, inf
from statistics import fmean, median
from typing import get_args

from optimizer.cost.bursts import batch_prefill, burst_tpot, closed_loop_tokens_per_s, idle_ttft, mean_context
from optimizer.cost.case import Case
from optimizer.cost.memory import kv_pool, sequences_that_fit
from optimizer.cost.notes import notes
from optimizer.cost.serving import batch_seconds, closed_loop
from optimizer.cost.settings import resolve, version_facts
from optimizer.cost.step import decode
from optimizer.errors import InputError
from optimizer.inputs import cells
from optimizer.inputs.calibration import Calibration
from optimizer.inputs.cells import Row
from optimizer.inputs.complaints import validated
from optimizer.inputs.engine import EngineSpec
from optimizer.inputs.gpu import GpuSpec
from optimizer.inputs.model import Latent, MixtureOfExperts, ModelSpec, Scheme
from optimizer.inputs.workload import EngineChoice, KvScheme, Lengths, WorkloadSpec
from optimizer.layout import Layout, refusals, split_layers
from optimizer.topology.wiring import ALONE, GroupPath, HopPath, Medium, Wiring

NODE_GPUS = 8
"""Rows do not say how nodes are joined: only replicas of one node of up to so many GPUs are priced."""

COLLAPSED_EXPERTS = 10.0
"""Experts hit per layer by DeepSeek-V2 routers of dummy weights, fewer by far than even routing would hit.

Perhaps all scores tie in 16 bits (not checked in the engine). The count was scanned on such rows and is a property of
those measurements: it is applied to rows whose source says "dummy weights", never in planning."""


@dataclass(frozen=True)
class Prediction:
    """One row priced, or why it is not."""

    row: int
    """Position among the rows, from 0."""
    metric: str
    model: str
    layout: str
    measured: float | None
    predicted: float | None
    reason: str = ""
    notes: tuple[str, ...] = ()
    """What in the price is not measured on the row's GPU."""

    @property
    def error(self) -> float | None:
        """(predicted - measured) / measured."""
        if self.predicted is None or self.measured is None or self.measured <= 0:
            return None
        return (self.predicted - self.measured) / self.measured


@dataclass(frozen=True)
class Errors:
    """Errors of a set of rows, as fractions."""

    n: int
    mape: float
    median_ape: float
    bias: float


@dataclass(frozen=True)
class Validation:
    """All rows with their predictions."""

    predictions: tuple[Prediction, ...]

    @property
    def unpriced(self) -> tuple[Prediction, ...]:
        """Rows without a prediction, each with its reason."""
        return tuple(p for p in self.predictions if p.error is None)

    def by(self, key: Callable[[Prediction], str]) -> dict[str, Errors]:
        """Return the errors of priced rows grouped by ``key``, in order of first appearance."""
        groups: dict[str, list[float]] = {}
        for prediction in self.predictions:
            if prediction.error is not None:
                groups.setdefault(key(prediction), []).append(prediction.error)
        return {name: summary(errors) for name, errors in groups.items()}

    @property
    def metrics(self) -> dict[str, Errors]:
        """Errors by metric."""
        return self.by(lambda p: p.metric)

    @property
    def notes(self) -> tuple[str, ...]:
        """What in the prices is not measured on the rows' GPUs, in order of first appearance."""
        return tuple(dict.fromkeys(note for one in self.predictions for note in one.notes))

    def worst(self, count: int) -> tuple[Prediction, ...]:
        """Return the rows with the largest errors, largest first."""
        priced = [p for p in self.predictions if p.error is not None]
        return tuple(sorted(priced, key=lambda p: (-abs(p.error or 0.0), p.row))[:count])


def summary(errors: Sequence[float]) -> Errors:
    """Return mean and median absolute error and the mean error."""
    return Errors(len(errors), fmean(map(abs, errors)), median(map(abs, errors)), fmean(errors))


def validate(
    rows: Iterable[Row],
    *,
    load_model: Callable[[str], ModelSpec],
    load_gpu: Callable[[str], GpuSpec],
    load_calibration: Callable[[GpuSpec], Calibration],
    load_engine: Callable[[str], EngineSpec],
) -> Validation:
    """Return every row with its prediction or the reason why it has none, in the rows' order."""

    def case_of(row: Row) -> tuple[Case, int]:
        gpu = load_gpu(cells.needed(row, "gpu"))
        model, engine = load_model(cells.needed(row, "model")), load_engine(row.get("engine") or "vllm")
        return row_case(row, model, gpu, engine, load_calibration(gpu))

    return Validation(tuple(_predicted(index, row, case_of) for index, row in enumerate(rows)))


def _predicted(index: int, row: Row, case_of: Callable[[Row], tuple[Case, int]]) -> Prediction:
    metric, model, layout = row.get("metric") or "", row.get("model") or "", _label(row)
    measured: float | None = None
    try:
        measured = cells.number(row, "value")
        case, replicas = case_of(row)
        value = predict(case, row, replicas) * cells.units(row, metric)
    except InputError as error:
        return Prediction(index, metric, model, layout, measured, None, str(error))
    reason = "" if measured > 0 else "value: no positive measurement"
    return Prediction(index, metric, model, layout, measured, value, reason, notes(case))


def _label(row: Row) -> str:
    degrees = "".join(f"{axis}{row[axis]}" for axis in ("tp", "pp", "dp", "ep") if row.get(axis) not in (None, "", "1"))
    schemes = (row.get("weights") or "bf16", f"kv-{row['kv_cache']}" if row.get("kv_cache") == "fp8" else "")
    return " ".join(filter(None, (degrees or "tp1", *schemes)))


def _choice(row: Row, engine: EngineSpec) -> EngineChoice:
    """Return the settings the row names; None stands for the default."""
    named: dict[str, object] = {
        "name": engine.name,
        "version": cells.text(row, "engine_version") or None,
        "gpu_memory_utilization": cells.share(row, "gpu_memory_utilization"),
        "max_num_seqs": cells.whole_or_none(row, "max_num_seqs"),
        "max_num_batched_tokens": cells.whole_or_none(row, "max_num_batched_tokens"),
        "cuda_graph_sizes": cells.wholes(row, "cuda_graph_sizes"),
        "cuda_graphs": cells.text(row, "cuda_graphs") != "0",
    }
    return validated(EngineChoice, named, "settings")


def row_case(
    row: Row, model: ModelSpec, gpu: GpuSpec, engine: EngineSpec, calibration: Calibration
) -> tuple[Case, int]:
    """Return the replica of a row and how many of it run side by side; InputError says why it cannot be priced."""
    layout, replicas = _layout(row, model)
    _admit(model, layout, engine)
    if cells.text(row, "max_model_len"):
        model = model.model_copy(update={"max_model_len": cells.whole(row, "max_model_len")})
    choice, workload = _choice(row, engine), _workload(row)
    settings = resolve(choice, engine, gpu, model, workload, None, gpus=layout.world_size)
    facts = version_facts(engine, settings.version)
    return Case(model, layout, gpu, one_node(gpu, layout), settings, facts, calibration), replicas


def _layout(row: Row, model: ModelSpec) -> tuple[Layout, int]:
    """Return the layout of one replica and the number of replicas.

    Data parallelism of a model whose experts are spread over it shares those experts; else it is replicas side by side.
    """
    tp, pp, dp, ep = (cells.whole(row, axis, 1) for axis in ("tp", "pp", "dp", "ep"))
    weights, kv = row.get("weights") or model.checkpoint_scheme, row.get("kv_cache") or "bf16"
    shared = dp if ep > tp and model.is_moe else 1
    try:
        layout = Layout(
            tp=tp, pp=pp, layers_per_stage=split_layers(model.num_layers, pp), attn_dp=shared,
            ep=tp * shared if ep > 1 and model.is_moe else 1, weights=_WEIGHTS[weights], kv_cache=_KV[kv],
        )  # fmt: skip
    except KeyError as unknown:
        raise InputError(f"weights or kv_cache: {unknown.args[0]!r} is not modelled") from None
    return layout, dp // shared


_WEIGHTS: dict[str, Scheme] = {scheme: scheme for scheme in get_args(Scheme)}
_KV: dict[str, KvScheme] = {"auto": "bf16", "bf16": "bf16", "fp8": "fp8"}


def _admit(model: ModelSpec, layout: Layout, engine: EngineSpec) -> None:
    reasons = refusals(model, layout, engine.name)
    if reasons:
        raise InputError(f"layout {layout.label}: {'; '.join(reasons)}")
    if layout.world_size > NODE_GPUS:
        raise InputError(f"layout {layout.label}: {layout.world_size} GPUs are more than one node; links are not known")


def one_node(gpu: GpuSpec, layout: Layout) -> Wiring:
    """Return the paths of a replica alone on one node of its GPU type: its own links, else PCIe."""
    medium, rate = _own_links(gpu, layout)
    ranks = layout.ranks_per_stage
    group = ALONE if ranks == 1 else GroupPath(ranks, 1, medium, rate, "local", inf)
    return Wiring(group, (HopPath(medium, rate, ranks),) * (layout.pp - 1))


def _own_links(gpu: GpuSpec, layout: Layout) -> tuple[Medium, float]:
    if (links := gpu.scale_up) is None or (links.kind == "bridge" and layout.world_size > 2):
        return ("pcie" if gpu.peer_to_peer else "host"), gpu.pcie_bandwidth
    if links.kind == "mesh":
        return "mesh", (links.pair_bandwidth or links.bandwidth) * max(1, layout.ranks_per_stage - 1)
    return ("nvswitch" if links.kind == "nvswitch" else "nvlink"), links.bandwidth


def _workload(row: Row) -> WorkloadSpec:
    lengths = {key: Lengths(mean=cells.whole(row, key, 1)) for key in ("isl", "osl")}
    return WorkloadSpec(isl=lengths["isl"], osl=lengths["osl"])


_NO_LOAD = {"kv_tokens": ("isl", "osl", "concurrency"), "ttft": ("osl", "concurrency"), "batch_prefill_time": ("osl",)}
"""What a metric is measured without: its cells may be empty."""


def _load_is_told(row: Row, metric: str) -> None:
    for key in ("isl", "osl", "concurrency"):
        if key not in _NO_LOAD.get(metric, ()):
            cells.needed(row, key)


def predict(case: Case, row: Row, replicas: int = 1) -> float:
    """Return the prediction for one row; InputError for a metric that has no definition."""
    workload, metric = _workload(row), cells.needed(row, "metric")
    _load_is_told(row, metric)
    if metric == "kv_tokens":
        return float(kv_pool(case))
    each = ceil(cells.whole(row, "concurrency", 1) / replicas)
    distinct = collapsed(case.model, row)
    match metric:
        case "ttft":
            return idle_ttft(case, workload, distinct)
        case "tpot":
            return decode(case, each, mean_context(workload), distinct).total
        case "burst_tpot":
            return burst_tpot(case, workload, each, distinct)
        case "batch_prefill_time":
            return batch_prefill(case, workload, each, distinct)
        case "batch_output_tokens_per_s":
            places = sequences_that_fit(case, workload.isl.mean + workload.osl.mean)
            return replicas * each * workload.osl.mean / batch_seconds(case, workload, each, places)
        case "closed_loop_output_tokens_per_s":
            return replicas * _closed_loop(case, row, workload, each, replicas, distinct)
        case _:
            raise InputError(f"metric: {metric!r} is not defined; known: {', '.join(METRICS)}")


METRICS = ("kv_tokens", "ttft", "tpot", "burst_tpot", "batch_prefill_time", "batch_output_tokens_per_s",
           "closed_loop_output_tokens_per_s")  # fmt: skip


def _closed_loop(
    case: Case, row: Row, workload: WorkloadSpec, each: int, replicas: int, distinct: float | None
) -> float:
    """Return output tokens/s of one replica: until ``requests`` are done, or for ever when the row names none."""
    if cells.text(row, "requests"):
        requests = ceil(cells.whole(row, "requests") / replicas)
        return closed_loop_tokens_per_s(case, workload, each, requests, distinct)
    return closed_loop(case, workload, each).requests_per_s * workload.osl.mean


def collapsed(model: ModelSpec, row: Row) -> float | None:
    """Return the experts hit per layer where the measurement says its router does not spread tokens, else None."""
    routed = any(
        isinstance(run.attention, Latent) and isinstance(run.feed_forward, MixtureOfExperts) for run in model.runs
    )
    return COLLAPSED_EXPERTS if routed and "dummy weights" in (row.get("source") or "") else None
