"""Kernel and link families from measured tables: one least-squares fit per family, errors counted on points left out.

Every fit minimises soft-L1 of log(model / measured). Held out: every fifth point, fitted without them.
"""

import csv
import gzip
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

Floats = NDArray[np.float64]
Row = Mapping[str, str]
HOLD_OUT_EVERY = 5


@dataclass(frozen=True)
class Fit:
    """Parameters in the order of the model, and the mean absolute relative errors."""

    values: tuple[float, ...]
    n: int
    in_sample: float
    held_out: float

    def error(self) -> dict[str, float | int]:
        """Return the errors as a calibration file holds them."""
        return {"n": self.n, "in_sample": round(self.in_sample, 4), "held_out": round(self.held_out, 4)}


Model = Callable[[Sequence[float]], Floats]


def table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file, gzipped or not."""
    raw = path.read_bytes()
    text = gzip.decompress(raw) if path.suffix == ".gz" else raw
    return list(csv.DictReader(io.StringIO(text.decode())))


def columns(rows: Iterable[Row], *names: str) -> list[Floats]:
    """Return the named columns as arrays; an empty cell is 0."""
    rows = list(rows)
    return [np.array([float(row[name] or 0) for row in rows]) for name in names]


def fitted(
    model: Callable[[Sequence[float], NDArray[np.bool_]], Floats],
    seconds: Floats,
    bounds: list[tuple[float, float, float]],
) -> Fit:
    """Return the parameters (start, low, high each) that fit ``model`` to ``seconds``, and the errors."""
    start, low, high = (np.array(column) for column in zip(*bounds, strict=True))
    everything = np.ones(len(seconds), dtype=bool)
    kept = np.arange(len(seconds)) % HOLD_OUT_EVERY != 0

    def solve(mask: NDArray[np.bool_]) -> Floats:
        found = least_squares(
            lambda x: np.log(model(x, mask) / seconds[mask]), start, bounds=(low, high), loss="soft_l1", f_scale=0.1,
            x_scale=np.maximum(np.abs(start), 1e-9),
        )  # fmt: skip
        return np.asarray(found.x)

    def error(x: Floats, mask: NDArray[np.bool_]) -> float:
        return float(np.abs(model(list(x), mask) / seconds[mask] - 1).mean()) if mask.any() else float("nan")

    best = solve(everything)
    return Fit(tuple(map(float, best)), len(seconds), error(best, everything), error(solve(kept), ~kept))


def roofline(
    n_bytes: Floats, flop: Floats, seconds: Floats, bandwidth: float, peak: float, least_power: float = 1.0
) -> Fit:
    """Return (memory share, compute share, power, fixed seconds) of one kernel family."""

    def model(x: Sequence[float], mask: NDArray[np.bool_]) -> Floats:
        memory, compute = n_bytes[mask] / (x[0] * bandwidth), flop[mask] / (x[1] * peak)
        longer, shorter = np.maximum(memory, compute), np.minimum(memory, compute)
        return np.asarray(x[3] + longer * (1 + (shorter / longer) ** x[2]) ** (1 / x[2]))

    return fitted(model, seconds, [(0.8, 0.1, 1.0), (0.6, 0.05, 1.0), (2.0, least_power, 16.0), (5e-6, 0.0, 80e-6)])


def gemm(rows: list[dict[str, str]], weight_bytes: float, bandwidth: float, peak: float) -> Fit:
    """Return the roofline of matrix products; activations are 16 bits wide."""
    m, n, k, ms = columns(rows, "m", "n", "k", "latency_ms")
    return roofline(weight_bytes * n * k + 2 * m * (n + k), 2 * m * n * k, ms / 1e3, bandwidth, peak)


def moe(rows: list[dict[str, str]], weight_bytes: float, bandwidth: float, peak: float) -> Fit:
    """Return (memory, compute, power, fixed seconds, activation share) of fused experts.

    The table's routing is taken as even. Left out: rows of one rank of several, whose share of the tokens the table
    does not tell, and those of two-matrix experts (22 of 512).
    """
    rows = [row for row in rows if float(row["moe_ep"]) == 1 and float(row["topk"]) != _UNGATED_TOP_K]
    m, h, i, k, e, tp, ms = columns(rows, "m", "hidden", "inter", "topk", "num_experts", "moe_tp", "latency_ms")
    width = 3 * h * i / tp
    weights = e * (1 - (1 - k / e) ** m) * width * weight_bytes
    passed = m * k * (3 * h + 6 * i / tp) * 2
    flop = 2 * m * k * width

    def model(x: Sequence[float], mask: NDArray[np.bool_]) -> Floats:
        memory = weights[mask] / (x[0] * bandwidth) + passed[mask] / (x[4] * bandwidth)
        compute = flop[mask] / (x[1] * peak)
        longer, shorter = np.maximum(memory, compute), np.minimum(memory, compute)
        return np.asarray(x[3] + longer * (1 + (shorter / longer) ** x[2]) ** (1 / x[2]))

    start = [(0.86, 0.1, 1.0), (0.6, 0.05, 1.0), (1.2, 1.0, 16.0), (2e-5, 0.0, 80e-6), (0.6, 0.1, 1.0)]
    return fitted(model, ms / 1e3, start)


_UNGATED_TOP_K = 22


def attention_prefill(rows: list[dict[str, str]], bandwidth: float, peak: float) -> Fit:
    """Return the roofline of causal attention over whole prompts."""
    b, s, heads, kv_heads, d, ms = columns(rows, "batch", "isl", "num_heads", "num_kv_heads", "head_dim", "latency_ms")
    kv_heads = np.where(kv_heads == 0, heads, kv_heads)
    moved = 2 * b * s * d * (2 * heads + 2 * kv_heads)
    return roofline(moved, 2 * heads * d * s * s * b, ms / 1e3, bandwidth, peak, least_power=0.5)


def attention_decode(rows: list[dict[str, str]], kv_bytes: float, bandwidth: float) -> Fit:
    """Return (memory share, seconds per sequence, fixed seconds) of one-token attention."""
    b, s, heads, kv_heads, d, ms = columns(
        rows, "batch", "kv_len", "num_heads", "num_kv_heads", "head_dim", "latency_ms"
    )
    kv_heads = np.where(kv_heads == 0, heads, kv_heads)
    moved = 2 * b * s * kv_heads * d * kv_bytes

    def model(x: Sequence[float], mask: NDArray[np.bool_]) -> Floats:
        return np.asarray(x[2] + moved[mask] / (x[0] * bandwidth) + x[1] * b[mask])

    return fitted(model, ms / 1e3, [(0.8, 0.2, 1.0), (2e-8, 0.0, 1e-6), (12e-6, 0.0, 40e-6)])


STEPS = {"all_reduce": 2.0, "all_gather": 1.0, "reduce_scatter": 1.0, "alltoall": 1.0}


def collective(rows: list[dict[str, str]], operation: str, rate: float) -> Fit:
    """Return (base, seconds per step, efficiency, seconds per root megabyte, own part) of one operation.

    A rank's own part shows in groups of several sizes only; the all-reduce has none.
    """
    ranks, size, us = columns(rows, "num_gpus", "bytes", "latency_us")
    steps = STEPS[operation] * (ranks - 1)
    most = 4.0 if operation != "all_reduce" and len(set(ranks)) > 1 else 1e-9

    def model(x: Sequence[float], mask: NDArray[np.bool_]) -> Floats:
        ramp = x[3] * np.sqrt(size[mask] / 1e6)
        volume = (steps[mask] + x[4]) / ranks[mask] * size[mask]
        return np.asarray(x[0] + steps[mask] * x[1] + volume / (x[2] * rate) + ramp)

    bounds = [(5e-6, 0.0, 1e-4), (1e-6, 0.0, 2e-5), (0.7, 0.005, 1.0), (5e-6, 0.0, 1e-3), (most / 10, 0.0, most)]
    return fitted(model, us / 1e6, bounds)


def own_all_reduce(rows: list[dict[str, str]], rate: float) -> Fit:
    """Return (base, efficiency, ramp) of the engine's own all-reduce in a graph, all rows of one group size."""
    ranks, size, us = columns(rows, "num_gpus", "bytes", "latency_us")
    volume = 2 * (ranks - 1) / ranks * size

    def model(x: Sequence[float], mask: NDArray[np.bool_]) -> Floats:
        ramp = x[2] * np.sqrt(size[mask] / 1e6)
        return np.asarray(x[0] + volume[mask] / (x[1] * rate) + ramp)

    return fitted(model, us / 1e6, [(4e-6, 0.0, 1e-4), (0.7, 0.01, 1.0), (2e-6, 0.0, 1e-3)])


def in_switch(rows: list[dict[str, str]], rate: float, efficiency: float) -> Fit:
    """Return (base, ramp) of an all-reduce that the switch sums: every rank moves the message once.

    The efficiency is that of messages far longer than the tables hold.
    """
    size, us = columns(rows, "bytes", "latency_us")

    def model(x: Sequence[float], mask: NDArray[np.bool_]) -> Floats:
        return np.asarray(x[0] + size[mask] / (efficiency * rate) + x[1] * np.sqrt(size[mask] / 1e6))

    return fitted(model, us / 1e6, [(1e-5, 0.0, 1e-4), (5e-6, 0.0, 1e-3)])
